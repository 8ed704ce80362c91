/* Log-in on LG-WAN, and what a person does with the own account.
 *
 *     throttle (account, terminal, source; timed) → registry: the account → argon2id on a worker
 *       → registry: one-time code, last use → the municipality's log and settings → session
 *
 * An unknown user, a wrong password and an account that ended take the same way and time and get the
 * same answer.
 *
 * The handlers are named session_ after their paths; who is logged in is session.h's. */
#ifndef VRS_SERVER_ACCOUNTS_LOGIN_H
#define VRS_SERVER_ACCOUNTS_LOGIN_H

struct http_request;

void session_login(struct http_request *rq);           /* POST /v1/sessions */
void session_logout(struct http_request *rq);          /* DELETE /v1/sessions/current */
void session_change_password(struct http_request *rq); /* POST …/current:change-password */
void session_enrol_totp(struct http_request *rq);      /* POST …/current:enrol-totp */

#endif
