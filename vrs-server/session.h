/* Who is logged in on LG-WAN.  Three gates stand before every handler, in this order: the terminal
 * certificate and log-in (authentication), the route's right and the municipality (authorisation),
 * the access log (audit) — a refusal is logged in the user's own partition before it is answered.
 *
 * Loop thread only.  Tokens are 256 random bits; only their hashes are kept, in memory. */
#ifndef VRS_SERVER_SESSION_H
#define VRS_SERVER_SESSION_H

#include "partitions/access_log.h"
#include "vrs-server/right.h"
#include "vrs-server/server.h"

struct session {
    char user[64];
    char section[64];
    char terminal[64];
    char municipality[7];
    char roles[128];
    right_mask rights;
    int64_t expires_mono_ms;
};

VRS_CHECK enum vrs_err sessions_open(struct server *s, struct sessions **out);
void sessions_close(struct sessions **s);
/* http_listener_options.gate of the LG-WAN listener; puts a copy of the session (arena) in
 * http_context as a struct inside_request (request.h). */
bool session_gate(struct http_request *rq);
/* http_listener_options.unrouted: the same first gate, then the refusal is logged. */
void session_unrouted(struct http_request *rq, enum vrs_err e);
void session_login(struct http_request *rq);  /* POST /v1/sessions */
void session_logout(struct http_request *rq); /* DELETE /v1/sessions/current */
/* Ends every session of the user: section change, disabling (C43). */
void sessions_end_user(struct sessions *s, const char *user);

#endif
