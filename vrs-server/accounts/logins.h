/* What log-ins share: the workers that hash, and the throttle that stands before them.  A try counts
 * from its start, so that many at once are no more than one after the other, and is taken back when
 * it was no failure; names are an account, a terminal, a source address. */
#ifndef VRS_SERVER_ACCOUNTS_LOGINS_H
#define VRS_SERVER_ACCOUNTS_LOGINS_H

#include "lib/crypto.h"
#include "lib/worker.h"
#include "vrs-server/accounts/password_rule.h"
#include "vrs-server/server.h"

struct inside_request;
struct logins;

VRS_CHECK enum vrs_err logins_open(struct server *s, struct logins **out);
void logins_close(struct logins **l);
/* At the start, before anybody listens: every stored account is read, and one with an unknown right
 * stops it (ERR_CONFIG).  Runs the loop. */
VRS_CHECK enum vrs_err logins_check_accounts(struct server *s, struct vrs_fault *fault);
/* An administrator lets somebody try again before the throttle's time is over (C141). */
void logins_clear_throttle(struct logins *l, const char *user);
/* A password to be hashed on one of the workers; job.done on the loop.  ERR_BUSY. */
struct login_hash {
    struct worker_job job; /* first */
    char password[PASSWORD_MAX_BYTES + 1];
    char hash[CRYPTO_PASSWORD_HASH_MAX];
    enum vrs_err err;
    void *arg;
};
VRS_CHECK enum vrs_err logins_hash(struct logins *l, struct login_hash *h);
/* The partition of people and terminals that belong to `municipality`; "" (none): the registry. */
const char *login_home(const char *municipality);

/* False: too many failures; Retry-After is set. */
bool logins_allow(struct inside_request *in, const char *user);
void logins_count(struct inside_request *in, const char *user);
void logins_take_back(struct inside_request *in, const char *user);
VRS_CHECK enum vrs_err logins_submit(struct logins *l, struct worker_job *job); /* ERR_BUSY */
/* crypto_password_verify, counted in vrs_password_hashes_total. */
VRS_CHECK enum vrs_err logins_verify(const char *password, const char *encoded);

#endif
