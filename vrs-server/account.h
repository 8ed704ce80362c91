/* Accounts live in the registry (partition 000000).  An account exists only from an approved
 * application; applicant and approver differ (C22, C47); at most 366 days (C44); the end date works
 * by itself (C45); an ID is never given to another person (C49).
 *
 * Site-staff accounts are the same records; the snapshot carries them outward. */
#ifndef VRS_SERVER_ACCOUNT_H
#define VRS_SERVER_ACCOUNT_H

#include "lib/crypto.h"
#include "partitions/partition.h"
#include "vrs-server/right.h"

enum account_state { ACCOUNT_ACTIVE = 1, ACCOUNT_DISABLED = 2 };
enum application_state { APPLICATION_OPEN = 1, APPLICATION_APPROVED, APPLICATION_REFUSED };

struct account {
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    enum account_state state;
    char user[64];
    char person_name[128]; /* one natural person per ID (C26) */
    char municipality[7];
    char section[64];
    char roles[128];  /* space-separated */
    char rights[512]; /* space-separated; checked when read */
    char password_hash[CRYPTO_PASSWORD_HASH_MAX];
    char valid_until[11]; /* YYYY-MM-DD, last day */
    char approved_by[64];
    int64_t made_ms;
};
VRS_CHECK enum vrs_err account_get(struct partition *registry, const char *user,
                                   struct account *out);
VRS_CHECK enum vrs_err account_put(struct partition *registry, struct account *a);
typedef enum vrs_err account_fn(struct account *a, void *arg);
VRS_CHECK enum vrs_err account_walk(struct partition *registry, account_fn *fn, void *arg);

struct application {
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    enum application_state state;
    struct account account; /* as applied for; password hash set by the applicant */
    char applicant[64];
    int64_t applied_ms;
    char decided_by[64];
    int64_t decided_ms;
};
VRS_CHECK enum vrs_err application_get(struct partition *registry, const struct record_id *id,
                                       struct application *out);
VRS_CHECK enum vrs_err application_put(struct partition *registry, struct application *a);
typedef enum vrs_err application_fn(struct application *a, void *arg);
VRS_CHECK enum vrs_err application_walk(struct partition *registry, enum application_state state,
                                        application_fn *fn, void *arg);
/* Makes the account: approver ≠ applicant, approver has user.approve in that municipality (or is
 * the bootstrap approver of a municipality without one; logged as such). */
VRS_CHECK enum vrs_err application_approve(struct partition *registry, struct application *a,
                                           const char *approver);

#endif
