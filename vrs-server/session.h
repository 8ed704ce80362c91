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

/* What the municipality's settings say that holds for its sessions; changed at once in those that
 * live. */
struct session_rules {
    bool code_for_number; /* operations with numbers need a log-in with a one-time code */
    bool transfer_in, transfer_out_answer, certificate; /* purposes switched on (C83) */
    int64_t sessions;                                   /* of one ID */
    int64_t password_days;                              /* 0: no limit */
};

struct session {
    uint64_t serial; /* 0: none (a system client, nobody) */
    char user[64];
    char section[64], unit[64]; /* C42: section, unit and ID go together */
    char place[132];            /* both, for the log */
    char terminal[64];
    char municipality[7]; /* REGISTRY for those who belong to none */
    char roles[128];
    char scope[256]; /* of an auditor, a prefecture; "" none */
    right_mask rights;
    bool coded;           /* logged in with a one-time code */
    enum vrs_err limited; /* but VRS_OK: only the own password may be changed */
    struct session_rules rules;
    int64_t expires_mono_ms;
    char valid_until[11]; /* the account's last day: its sessions end with it (C45) */
};

enum { SESSION_TOKEN_SIZE = 65 };

VRS_CHECK enum vrs_err sessions_open(struct server *s, struct sessions **out);
void sessions_close(struct sessions **s);
/* http_listener_options.gate of the LG-WAN listener; puts a copy of the session (arena) in
 * http_context as a struct inside_request (request.h). */
bool session_gate(struct http_request *rq);
/* http_listener_options.unrouted: the same first gate, then the refusal is logged. */
void session_unrouted(struct http_request *rq, enum vrs_err e);
/* Ends every session of the user: section change, disabling, new rights (C43). */
void sessions_end_user(struct sessions *s, const char *user);
void sessions_end(struct sessions *s, uint64_t serial);
/* After the user's password was changed in session `serial`: it is a full one, the others end. */
void sessions_password_changed(struct sessions *s, const char *user, uint64_t serial);
void sessions_set_rules(struct sessions *s, const char *municipality,
                        const struct session_rules *rules);

/* For log-in.  A new session; beyond rules.sessions the user's oldest end.  ERR_BUSY: too many. */
VRS_CHECK enum vrs_err sessions_add(struct sessions *s, struct session *session,
                                    char token[SESSION_TOKEN_SIZE]);
/* How often sessions were ended from outside: an account read before that must be read again. */
uint64_t sessions_epoch(const struct sessions *s);
/* Living sessions of the user, and whether one is on another terminal (C26). */
size_t sessions_of(struct sessions *s, const char *user, const char *terminal, bool *elsewhere);
VRS_CHECK enum vrs_err session_rules_read(struct partition *p, struct session_rules *out);

/* For handlers.  ERR_PURPOSE unless the closed list has it for this use (policy.h) and the
 * municipality has it switched on (C83). */
struct inside_request;
VRS_CHECK enum vrs_err session_purpose(const struct inside_request *in, const char *purpose,
                                       const char *use);
/* ERR_CODE_REQUIRED where the municipality wants a one-time code for numbers; the gate asks this for
 * routes with ROUTE_NUMBER. */
VRS_CHECK enum vrs_err session_number(const struct inside_request *in);
/* Whose log an act reads: the own municipality's; an auditor names one of its scope with
 * ?municipality_code= (REGISTRY allowed).  ERR_FORBIDDEN, ERR_MISSING_FIELD. */
VRS_CHECK enum vrs_err session_scope(const struct inside_request *in, char out[7]);

#endif
