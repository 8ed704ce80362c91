/* Log-in and log-out of site staff.
 *
 *     throttle (account, terminal, source) → bounded queue → argon2id on one of two workers
 *       → the log-in or the refusal is durable in the inbox → answer
 *
 * An unknown user, a wrong password and an account that ended take the same way, the same time and
 * get the same answer. */
#ifndef TABLET_API_LOGIN_H
#define TABLET_API_LOGIN_H

#include "lib/worker.h"
#include "tablet-api/session.h"

struct http_request;
struct login;
struct tablet;

VRS_CHECK enum vrs_err login_open(struct tablet *t, struct login **out);
/* Hashes what is queued and no more; its log-ins may still wait for the inbox. */
void login_stop(struct login *l);
void login_close(struct login **l); /* after the inbox is closed */
struct session_table *login_sessions(struct login *l);
/* Long work that is not hashing (reading a snapshot) shares the first worker. */
VRS_CHECK enum vrs_err login_submit(struct login *l, struct worker_job *job);

void session_post(struct http_request *rq);   /* POST /v1/sessions */
void session_delete(struct http_request *rq); /* DELETE /v1/sessions/current */

#endif
