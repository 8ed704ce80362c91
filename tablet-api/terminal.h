/* The gate of the terminals listener: certificate → terminal, session or system client → caller.
 * Every request passes it before its handler: authenticate, then authorise. */
#ifndef TABLET_API_TERMINAL_H
#define TABLET_API_TERMINAL_H

#include <stdbool.h>

#include "lib/err.h"

struct http_request;
struct published_terminal;
struct tablet;
struct tls_peer;

/* Who asks; in the request's arena, borrowed by its handler. */
struct caller {
    const struct tls_peer *peer;
    const char *terminal;     /* certificate CN */
    const char *staff;        /* user id, "" for a system client and before log-in */
    const char *municipality; /* of the site, "" unknown */
    const char *registered;   /* the terminal's municipality by the registry, "" none */
    bool own_coupon;          /* coupons:check: the coupon is of `registered` */
    const void *refusal;      /* coupons:check: struct intake_refusal of a line that is not valid */
    bool counted;             /* coupons:check: a place in the doctor's quota is taken */
    unsigned rights;          /* enum tablet_right */
    const char *token;        /* of the session, hex; NULL without one */
};

/* What the registry says of a certificate now, also on a live connection: VRS_OK and its terminal
 * (borrowed from the snapshot), else why not and the name of the event that tells it inwards. */
VRS_CHECK enum vrs_err terminal_admit(const struct tablet *t, const struct tls_peer *peer,
                                      const struct published_terminal **out, const char **event);
/* True: the handler may run and http_context is a struct caller.  False: it has answered:
 * 403 terminal_revoked (on every route), 401 without log-in, 403 without the right. */
bool terminal_gate(struct http_request *rq);
/* http_listener_options.unrouted: what was not found is told inwards, too. */
void terminal_unrouted(struct http_request *rq, enum vrs_err e);
/* The same for the line listener: only the inside's certificate. */
bool line_gate(struct http_request *rq);
const struct caller *terminal_caller(const struct http_request *rq);

#endif
