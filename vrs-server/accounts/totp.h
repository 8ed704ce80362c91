/* One-time codes (RFC 6238): HMAC-SHA-1, 30 seconds, 6 digits — what every authenticator knows. */
#ifndef VRS_SERVER_ACCOUNTS_TOTP_H
#define VRS_SERVER_ACCOUNTS_TOTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOTP_STEP_S = 30, TOTP_DIGITS = 6, TOTP_KEY_BYTES = 20, TOTP_SECRET_SIZE = 33 };

/* 160 random bits in base32 (RFC 4648, no padding), NUL-terminated. */
void totp_new_secret(char out[TOTP_SECRET_SIZE]);
/* False when the text is not such a secret. */
bool totp_key(const char *secret, uint8_t key[TOTP_KEY_BYTES]);
/* The code of a step (seconds since 1970 / 30). */
void totp_code(const uint8_t *key, size_t key_len, int64_t step, char out[TOTP_DIGITS + 1]);
/* Is it the code of now, or of one step before or after (clocks differ), and of a step later than
 * `after` (no code is taken twice)?  Its step in *step. */
bool totp_check(const char *secret, const char *code, int64_t now_ms, int64_t after, int64_t *step);

#endif
