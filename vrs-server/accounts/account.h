/* Accounts live in the registry (partition 000000).  An account exists only from an approved
 * application (C22); who files and who approves differ (C47); it ends by itself after at most 366
 * days (C44, C45) and only a new approved application makes that later (C46) or gives rights; an ID
 * is one person's for ever (C26, C49).
 *
 * Site-staff accounts are the same records; the snapshot carries them outward. */
#ifndef VRS_SERVER_ACCOUNTS_ACCOUNT_H
#define VRS_SERVER_ACCOUNTS_ACCOUNT_H

#include "lib/clock.h"
#include "lib/crypto.h"
#include "ocr-ingest/coupon.h"
#include "partitions/partition.h"
#include "vrs-server/right.h"

enum { ACCOUNT_MAX_DAYS = 366, APPLICATION_VALID_DAYS = 30 };

enum account_state { ACCOUNT_ACTIVE = 1, ACCOUNT_DISABLED = 2 };
enum application_state { APPLICATION_OPEN = 1, APPLICATION_APPROVED, APPLICATION_REFUSED };

struct account {
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    enum account_state state;
    char user[64];
    char person_name[128]; /* one natural person per ID (C26) */
    char municipality[7];  /* "": none (prefecture, nation, audit, operation) */
    char section[64];      /* 課 */
    char unit[64];         /* 係 */
    char roles[128];       /* space-separated */
    char rights[512];      /* space-separated; checked when read */
    char scope[256];       /* prefecture: its two digits; audit: codes, or "*" */
    char password_hash[CRYPTO_PASSWORD_HASH_MAX];
    int64_t password_ms;  /* when it was set */
    bool must_change;     /* somebody else knew the password: nothing but changing it */
    char totp_secret[33]; /* base32; "" none */
    bool totp_on;         /* a code was given once: needed from then on */
    int64_t totp_step;    /* of the last code taken: no code twice */
    char valid_until[11]; /* YYYY-MM-DD, last day */
    char approved_by[64];
    char application[33]; /* the approved one that it stands on (C22), hex */
    int64_t made_ms;      /* by that application */
    int64_t used_ms;      /* last log-in; 0 never */
    int64_t reviewed_ms;
    char reviewed_by[64];
    char left_on[11]; /* the person has left: the ID is nobody's any more */
    char ended_by[64], end_reason[200];
};
VRS_CHECK enum vrs_err account_get(struct partition *registry, const char *user,
                                   struct account *out);
/* ERR_BAD_FIELD unless account_sound. */
VRS_CHECK enum vrs_err account_put(struct partition *registry, struct account *a);
/* Marks of a log-in (used_ms, totp_step, totp_on): no new version. */
VRS_CHECK enum vrs_err account_mark(struct partition *registry, struct account *a);
/* Roles, rights, municipality and scope known and fitting each other.  *mask may be NULL. */
bool account_sound(const struct account *a, right_mask *mask);
/* May it log in today: active, not past its last day. */
bool account_lives(const struct account *a);
/* Every stored account is sound; else ERR_CONFIG, and the text names the account. */
VRS_CHECK enum vrs_err accounts_check(struct partition *registry, struct vrs_fault *fault);
typedef enum vrs_err account_fn(struct account *a, void *arg);
VRS_CHECK enum vrs_err account_walk(struct partition *registry, account_fn *fn, void *arg);

struct application {
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    enum application_state state;
    struct account account; /* as applied for; without a password hash the old password stays */
    char applicant[64];
    int64_t applied_ms;
    char reason[200];
    char decided_by[64];
    int64_t decided_ms;
    char decision_reason[200];
};
VRS_CHECK enum vrs_err application_get(struct partition *registry, const struct record_id *id,
                                       struct application *out);
/* To be decided: nobody has, and it is not older than APPLICATION_VALID_DAYS. */
bool application_open(const struct application *a);
VRS_CHECK enum vrs_err application_put(struct partition *registry, struct application *a);
/* An initial password that waited for a decision goes with its application's time; *wiped is how many. */
VRS_CHECK enum vrs_err applications_wipe_lapsed(struct partition *registry, uint64_t *wiped);
typedef enum vrs_err application_fn(struct application *a, void *arg);
VRS_CHECK enum vrs_err application_walk(struct partition *registry, enum application_state state,
                                        application_fn *fn, void *arg);
/* Of any state, in the municipality. */
VRS_CHECK enum vrs_err applications_of(struct partition *registry, const char *municipality,
                                       application_fn *fn, void *arg);
/* Before it is filed, and again before it is approved: form of the ID, roles and rights, reach,
 * end date, and that an ID in use is the same person's.  Rights "" become the roles' usual ones.
 * ERR_BAD_FIELD, ERR_MISSING_FIELD, ERR_NO_SUCH_MUNICIPALITY, ERR_CONFLICT; *field names it. */
VRS_CHECK enum vrs_err application_check(struct partition *registry, struct application *a,
                                         const struct municipality_list *municipalities,
                                         const char **field);
/* Makes the account, or a new version of it.  ERR_FORBIDDEN when the approver filed it or is its
 * person, and unless the approver has user.approve there; with `bootstrap` (vrsctl) only where
 * nobody has.  ERR_CONFLICT: decided, or lapsed. */
VRS_CHECK enum vrs_err application_approve(struct partition *registry, struct application *a,
                                           const struct municipality_list *municipalities,
                                           const char *approver, bool bootstrap);
VRS_CHECK enum vrs_err application_refuse(struct partition *registry, struct application *a,
                                          const char *by, const char *reason);

#endif
