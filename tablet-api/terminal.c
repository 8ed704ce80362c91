#include "tablet-api/terminal.h"

#include <string.h>
#include <strings.h>

#include "lib/arena.h"
#include "lib/clock.h"
#include "lib/http.h"
#include "lib/tls.h"
#include "tablet-api/app.h"
#include "tablet-api/event.h"
#include "tablet-api/login.h"
#include "tablet-api/published.h"
#include "tablet-api/tablet.h"

const struct caller *terminal_caller(const struct http_request *rq) {
    return http_context(rq);
}

static bool refuse(struct http_request *rq, const struct caller *c, enum vrs_err e,
                   const char *event) {
    struct tablet *t = http_arg(rq);
    const struct event_note note = {.name = event,
                                    .terminal = c->terminal,
                                    .staff = c->staff,
                                    .source = http_peer_address(rq),
                                    .municipality = c->municipality,
                                    .thin = true};
    event_note(t->events, &note);
    if (!app_refuse(rq, e))
        http_problem(rq, e, NULL, NULL);
    return false;
}

/* "Bearer <token>": the token, NULL when the header is of another form. */
static const char *bearer(const char *header) {
    return strncasecmp(header, "Bearer ", 7) == 0 ? header + 7 : NULL;
}

/* A session stands for its user only as the newest snapshot knows them, with the password of then,
 * and only on the terminal that it was opened from. */
static enum vrs_err use_session(struct tablet *t, struct caller *c, const char *token) {
    const struct session *s =
        token != NULL ? session_use(login_sessions(t->login), token, clock_mono_ms()) : NULL;
    if (s == NULL || memcmp(s->certificate, c->peer->fingerprint, sizeof s->certificate) != 0)
        return ERR_SESSION_ENDED;
    const struct published_user *u = published_user(t->published, s->user_id);
    const struct published_terminal *at = published_terminal(t->published, c->peer->serial);
    if (u == NULL || at == NULL || (u->ends && clock_today_jst().days > u->valid_until.days) ||
        !published_bound(at, u) || !session_password_is(s, u->password_hash)) {
        (void)session_end(login_sessions(t->login), token);
        return ERR_SESSION_ENDED;
    }
    c->staff = u->user_id;
    c->rights = u->rights;
    c->token = token;
    if (c->registered[0] == '\0')
        c->municipality = u->municipality;
    return VRS_OK;
}

/* Who it is, beyond the certificate.  VRS_OK with no rights at all where no log-in is needed. */
static enum vrs_err identify(struct http_request *rq, struct caller *c) {
    struct tablet *t = http_arg(rq);
    const struct route *route = http_route(rq);
    const char *header = http_header(rq, "Authorization");
    if (header != NULL && (route->flags & ROUTE_NO_LOGIN) == 0)
        return use_session(t, c, bearer(header));
    if ((route->flags & ROUTE_NO_LOGIN) != 0)
        return VRS_OK;
    const struct published_system *s = published_system(t->published, c->peer->fingerprint);
    if (s == NULL || (route->flags & ROUTE_SYSTEM_CLIENT) == 0)
        return ERR_LOGIN_REQUIRED;
    c->rights = s->rights;
    return VRS_OK;
}

static const char *event_of(enum vrs_err e, const struct tls_peer *peer) {
    if (e == ERR_SESSION_ENDED)
        return "session.not_valid";
    bool tablet = strcmp(peer->kind, "tablet") == 0;
    return tablet ? "session.missing" : "system.refused"; /* C21, C30: told inwards */
}

/* `staff` and `municipality` point into the snapshot, which may be replaced while an answer is
 * waited for. */
static bool keep(struct http_request *rq, struct caller *c) {
    struct arena *a = http_arena(rq);
    c->staff = c->staff[0] != '\0' ? arena_strdup(a, c->staff) : "";
    c->municipality = c->municipality[0] != '\0' ? arena_strdup(a, c->municipality) : "";
    c->registered = c->registered[0] != '\0' ? arena_strdup(a, c->registered) : "";
    return c->staff != NULL && c->municipality != NULL && c->registered != NULL;
}

/* Of the right authority is not enough: the registry names it, as this kind and by this name. */
static const struct published_terminal *registered(const struct tablet *t,
                                                   const struct tls_peer *peer) {
    const struct published_terminal *at = published_terminal(t->published, peer->serial);
    bool same =
        at != NULL && strcmp(at->kind, peer->kind) == 0 && strcmp(at->name, peer->name) == 0;
    return same ? at : NULL;
}

enum vrs_err terminal_admit(const struct tablet *t, const struct tls_peer *peer,
                            const struct published_terminal **out, const char **event) {
    *event = "terminal.revoked_used";
    if (peer->expired || clock_now_ms() > peer->not_after_ms ||
        published_revoked(t->published, peer->serial))
        return ERR_TERMINAL_REVOKED;
    *event = "session.no_snapshot";
    if (t->published == NULL) /* nobody is registered before the inside has said who is */
        return ERR_SNAPSHOT_OLD;
    *event = "terminal.unknown";
    const struct published_terminal *at = *out = registered(t, peer);
    if (at == NULL)
        return ERR_UNKNOWN_SYSTEM;
    *event = "terminal.revoked_used";
    if (at->works_until_ms != 0 && clock_now_ms() > at->works_until_ms)
        return ERR_TERMINAL_REVOKED;
    return VRS_OK;
}

bool terminal_gate(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const struct tls_peer *peer = http_tls_peer(rq);
    struct caller *c = arena_alloc(http_arena(rq), sizeof *c);
    if (peer == NULL || c == NULL) { /* the handshake demands a certificate */
        http_problem(rq, peer == NULL ? ERR_FORBIDDEN : ERR_MEMORY, NULL, NULL);
        return false;
    }
    *c = (struct caller){.peer = peer,
                         .terminal = peer->name,
                         .staff = "",
                         .municipality = peer->municipality,
                         .registered = ""};
    http_set_context(rq, c);
    const struct published_terminal *at = NULL;
    const char *event = NULL;
    enum vrs_err e = terminal_admit(t, peer, &at, &event);
    if (at != NULL)
        c->municipality = c->registered = at->municipality;
    else if (e == ERR_UNKNOWN_SYSTEM) /* what the certificate says of itself is not believed */
        c->municipality = "";
    if (e != VRS_OK)
        return refuse(rq, c, e, event);
    e = identify(rq, c);
    if (e != VRS_OK)
        return refuse(rq, c, e, event_of(e, peer));
    const struct route *route = http_route(rq);
    if (route->right != NULL && (c->rights & right_by_name(route->right)) == 0)
        return refuse(rq, c, ERR_FORBIDDEN, "request.forbidden");
    if (!keep(rq, c)) {
        http_problem(rq, ERR_MEMORY, NULL, NULL);
        return false;
    }
    return true;
}

void terminal_unrouted(struct http_request *rq, enum vrs_err e) {
    const struct tls_peer *peer = http_tls_peer(rq);
    const struct caller c = {.peer = peer,
                             .terminal = peer != NULL ? peer->name : "",
                             .staff = "",
                             .municipality = peer != NULL ? peer->municipality : ""};
    (void)refuse(rq, &c, e, "request.unknown");
}

bool line_gate(struct http_request *rq) {
    const struct tls_peer *peer = http_tls_peer(rq);
    if (peer == NULL || strcmp(peer->kind, "line") != 0) {
        http_problem(rq, ERR_FORBIDDEN, NULL, NULL);
        return false;
    }
    if (peer->expired) {
        http_problem(rq, ERR_TERMINAL_REVOKED, NULL, NULL);
        return false;
    }
    return true;
}
