/* Terminals: which certificates were issued to whom, and what became of them.  Rows of the registry
 * (partition 000000).  A certificate that is not here, or not active, is nobody's (C20, C31): its
 * authority alone lets it through the handshake and no further. */
#ifndef VRS_SERVER_TERMINALS_TERMINAL_H
#define VRS_SERVER_TERMINALS_TERMINAL_H

#include "partitions/partition.h"
#include "vrs-server/right.h"

enum terminal_state { TERMINAL_ACTIVE = 1, TERMINAL_REVOKED = 2 };

/* Kinds.  The side follows from the kind: what an LG-WAN authority signs opens nothing outside. */
#define TERMINAL_TABLET "tablet"
#define TERMINAL_READER "reader"
#define TERMINAL_SYSTEM "system"             /* Internet side, certificate alone */
#define TERMINAL_LGWAN "lgwan"               /* a clerk's */
#define TERMINAL_LGWAN_SYSTEM "lgwan-system" /* kiosk, health system: certificate alone */

struct terminal {
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    enum terminal_state state;
    char name[64];
    char kind[16];
    char municipality[7]; /* lgwan: bound to it; tablet: its site's */
    char serial[48];
    char fingerprint[65]; /* hex */
    char rights[256];     /* of kinds that log nobody in */
    char valid_until[11];
    char site[128]; /* 会場・設置場所 */
    char binding
        [16]; /* whose people may log in, on the Internet side: "" municipality, "site", "none" */
    char key_hash[65]; /* SHA-256 of the public key (DER), hex: renewal keeps the key; "" unknown */
    int64_t made_ms;   /* of this certificate */
    char made_by[64];
    int64_t works_until_ms; /* replaced by a renewal: refused after this; 0 none */
    char revoked_by[64];
    char revoke_reason[256];
    int64_t revoked_ms;
    int64_t last_used_ms;
};
VRS_CHECK enum vrs_err terminal_put(struct partition *registry, struct terminal *t);
/* Writes last_used_ms without a new version. */
VRS_CHECK enum vrs_err terminal_touch(struct partition *registry, const struct record_id *id,
                                      int64_t at_ms);
VRS_CHECK enum vrs_err terminal_get(struct partition *registry, const struct record_id *id,
                                    struct terminal *out);
/* As printed by any tool: leading zeros and case do not matter. */
VRS_CHECK enum vrs_err terminal_by_serial(struct partition *registry, const char *serial,
                                          struct terminal *out);
/* The newest of that name: an active one before a revoked one. */
VRS_CHECK enum vrs_err terminal_by_name(struct partition *registry, const char *name,
                                        struct terminal *out);
/* Stops the device: every certificate of its name and municipality, whatever it renewed meanwhile.
 * Who, why and when are taken from t, whose own row is one of them. */
VRS_CHECK enum vrs_err terminal_revoke(struct partition *registry, struct terminal *t);
typedef enum vrs_err terminal_fn(struct terminal *t, void *arg);
VRS_CHECK enum vrs_err terminal_walk(struct partition *registry, terminal_fn *fn, void *arg);

bool terminal_is_inside(const struct terminal *t); /* the LG-WAN authority signed it */
/* Lower case, no leading zeros: how serials are compared. */
void terminal_plain_serial(const char *from, char out[48]);

#endif
