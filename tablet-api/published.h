/* What the inside publishes outward: site-staff accounts, registered and revoked
 * terminals, system clients and the
 * key that entries are sealed to.  A signed text whose version only grows; read-only once read.
 *
 * published_verify and published_read are pure and may run on any thread; a struct published then
 * belongs to the loop. */
#ifndef TABLET_API_PUBLISHED_H
#define TABLET_API_PUBLISHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/err.h"

enum { PUBLISHED_MAX_BYTES = 32 << 20 };

enum tablet_right {
    RIGHT_DOSE_POST = 1 << 0,
    RIGHT_DOSE_CANCEL = 1 << 1,
    RIGHT_RECEIPT_READ = 1 << 2,
    RIGHT_COUPON_CHECK = 1 << 3,
    RIGHT_OUTBOX_UNLOCK = 1 << 4 /* sets a tablet's code for work without network; no route's */
};
/* "dose.post" …; 0: not a right of this side. */
unsigned right_by_name(const char *name);
/* ["dose.post", …], new; NULL: out of memory. */
struct json_t *rights_write(unsigned rights);

struct published_user {
    const char *user_id;
    const char *password_hash;
    const char *roles_json;   /* ["site_staff"] */
    const char *municipality; /* "" none */
    const char *site;         /* "" none */
    unsigned rights;
    bool ends;
    struct civil_date valid_until; /* the last day */
};

struct published_terminal {
    const char *serial; /* lower case, no leading zeros */
    const char *name;
    const char *kind;         /* "tablet", "reader", "system" */
    const char *municipality; /* "" none */
    const char *site;         /* "" none */
    const char *binding;      /* whose people may log in: "" municipality, "site", "none" all */
    int64_t works_until_ms;   /* replaced by a renewal: refused after this; 0 none */
};

struct published_system {
    const char *fingerprint; /* 64 lower-case hex digits */
    const char *name;
    unsigned rights;
};

struct published;

/* Takes the PUT body apart and checks the signature over the exact bytes of the text.  *text (to be
 * freed by the caller) and *len are the signed text.  ERR_BAD_FIELD "signature" when it does not
 * verify. */
VRS_CHECK enum vrs_err published_verify(const void *body, size_t body_len,
                                        const uint8_t key[CRYPTO_ED25519_BYTES], char **text,
                                        size_t *len, uint8_t signature[CRYPTO_SIGNATURE_BYTES],
                                        struct vrs_fault *fault);
/* The text must have been verified. */
VRS_CHECK enum vrs_err published_read(const void *text, size_t len, struct published **out,
                                      struct vrs_fault *fault);
void published_close(struct published **p);

/* The public keys of the log's signer, the newest first: what proofs are held against. */
enum { PUBLISHED_MAX_LOG_KEYS = 16 };
struct published_log_key {
    char key_id[9];
    uint8_t key[CRYPTO_ED25519_BYTES];
};
size_t published_log_keys(const struct published *p, const struct published_log_key **out);

uint64_t published_version(const struct published *p);
int64_t published_made_ms(const struct published *p);
const uint8_t *published_inbox_key(const struct published *p);
/* Younger than its maximum age: log-ins are allowed. */
bool published_fresh(const struct published *p, int64_t now_ms);
const struct published_user *published_user(const struct published *p, const char *user_id);
bool published_revoked(const struct published *p, const char *serial_hex);
/* NULL: not registered. */
const struct published_terminal *published_terminal(const struct published *p,
                                                    const char *serial_hex);
/* May this user log in on this terminal (C23)?  Not without a terminal. */
bool published_bound(const struct published_terminal *t, const struct published_user *u);
const struct published_system *published_system(const struct published *p,
                                                const uint8_t fingerprint[CRYPTO_HASH_BYTES]);

#endif
