/* Sessions of site staff: a random token, kept hashed; idle time by the monotonic clock.  In memory
 * only: a restart of tablet-api asks everyone to log in again.  Loop thread. */
#ifndef TABLET_API_SESSION_H
#define TABLET_API_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/crypto.h"
#include "lib/err.h"

enum { SESSION_TOKEN_SIZE = 65 }; /* 64 hex digits, NUL */

struct session {
    char user_id[64];
    uint8_t certificate[CRYPTO_HASH_BYTES]; /* the terminal it was opened from */
    int64_t opened_ms;                      /* monotonic */
    int64_t used_ms;                        /* monotonic */
    char terminal[64], municipality[7];     /* where it stands; for the log of time-outs */
    uint8_t password[CRYPTO_HASH_BYTES];    /* of the hash that it was opened by */
};

struct session_table;

VRS_CHECK enum vrs_err session_table_open(size_t max, int64_t idle_ms, int64_t age_ms,
                                          struct session_table **out);
void session_table_close(struct session_table **t);
/* ERR_BUSY when all places are taken by sessions that live. */
VRS_CHECK enum vrs_err session_new(struct session_table *t, const char *user_id,
                                   const uint8_t certificate[CRYPTO_HASH_BYTES], int64_t now_mono,
                                   char token[SESSION_TOKEN_SIZE]);
/* Where the session of the token was opened, and the hash that its password fitted. */
void session_place(struct session_table *t, const char *token, const char *terminal,
                   const char *municipality, const char *password_hash);
/* Is it still the user's password? */
bool session_password_is(const struct session *s, const char *password_hash);
/* Called for every session that time ends, before it is forgotten. */
typedef void session_timed_out_fn(const struct session *s, void *arg);
void session_table_watch(struct session_table *t, session_timed_out_fn *fn, void *arg);
/* NULL when unknown or ended by time; otherwise counts as use.  Borrowed until the next call. */
const struct session *session_use(struct session_table *t, const char *token, int64_t now_mono);
bool session_end(struct session_table *t, const char *token);
/* Whether the user has a living session on another terminal. */
bool session_elsewhere(struct session_table *t, const char *user_id,
                       const uint8_t certificate[CRYPTO_HASH_BYTES], int64_t now_mono);
size_t session_count(const struct session_table *t);
void session_sweep(struct session_table *t, int64_t now_mono); /* forgets what time has ended */

#endif
