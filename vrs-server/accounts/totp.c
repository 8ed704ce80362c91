#include "vrs-server/accounts/totp.h"

#include <stdio.h>
#include <string.h>

#include "lib/crypto.h"
#include "lib/secret.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

void totp_new_secret(char out[TOTP_SECRET_SIZE]) {
    uint8_t key[TOTP_KEY_BYTES];
    uint64_t bits = 0;
    size_t have = 0, len = 0;
    crypto_random(key, sizeof key);
    for (size_t i = 0; i < sizeof key; i++) {
        bits = bits << 8 | key[i];
        for (have += 8; have >= 5; have -= 5)
            out[len++] = alphabet[bits >> (have - 5) & 31];
    }
    out[len] = '\0';
    secret_wipe(key, sizeof key);
}

bool totp_key(const char *secret, uint8_t key[TOTP_KEY_BYTES]) {
    uint64_t bits = 0;
    size_t have = 0, len = 0;
    if (strlen(secret) != TOTP_SECRET_SIZE - 1)
        return false;
    for (; *secret != '\0'; secret++) {
        const char *at = strchr(alphabet, *secret);
        if (at == NULL)
            return false;
        bits = bits << 5 | (uint64_t)(at - alphabet);
        have += 5;
        if (have >= 8) {
            have -= 8;
            key[len++] = (uint8_t)(bits >> have);
        }
    }
    return len == TOTP_KEY_BYTES;
}

void totp_code(const uint8_t *key, size_t key_len, int64_t step, char out[TOTP_DIGITS + 1]) {
    uint8_t counter[8], mac[CRYPTO_SHA1_BYTES];
    for (size_t i = 0; i < sizeof counter; i++)
        counter[i] = (uint8_t)((uint64_t)step >> (56 - 8 * i));
    crypto_hmac_sha1(key, key_len, counter, sizeof counter, mac);
    const uint8_t *at = mac + (mac[sizeof mac - 1] & 15);
    uint32_t number = (uint32_t)(at[0] & 0x7f) << 24 | (uint32_t)at[1] << 16 |
                      (uint32_t)at[2] << 8 | (uint32_t)at[3];
    (void)snprintf(out, TOTP_DIGITS + 1, "%06u", (unsigned)(number % 1000000));
    secret_wipe(mac, sizeof mac);
}

bool totp_check(const char *secret, const char *code, int64_t now_ms, int64_t after,
                int64_t *step) {
    uint8_t key[TOTP_KEY_BYTES];
    char want[TOTP_DIGITS + 1];
    int64_t now = now_ms / 1000 / TOTP_STEP_S;
    bool good = false;
    if (strlen(code) != TOTP_DIGITS || !totp_key(secret, key))
        return false;
    for (int64_t s = now - 1; s <= now + 1; s++) {
        totp_code(key, sizeof key, s, want);
        if (secret_equal(want, code, TOTP_DIGITS) && s > after) {
            good = true;
            *step = s;
        }
    }
    secret_wipe(key, sizeof key);
    secret_wipe(want, sizeof want);
    return good;
}
