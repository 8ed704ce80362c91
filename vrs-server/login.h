/* Log-in on LG-WAN, and what a person does with the own account.
 *
 *     throttle (account, terminal, source; timed) → registry: the account → argon2id on a worker
 *       → registry: one-time code, last use → the municipality's log and settings → session
 *
 * An unknown user, a wrong password and an account that ended take the same way and time and get the
 * same answer. */
#ifndef VRS_SERVER_LOGIN_H
#define VRS_SERVER_LOGIN_H

#include "lib/crypto.h"
#include "lib/worker.h"
#include "vrs-server/password_rule.h"
#include "vrs-server/server.h"

struct http_request;
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

void session_login(struct http_request *rq);           /* POST /v1/sessions */
void session_logout(struct http_request *rq);          /* DELETE /v1/sessions/current */
void session_change_password(struct http_request *rq); /* POST …/current:change-password */
void session_enrol_totp(struct http_request *rq);      /* POST …/current:enrol-totp */

#endif
