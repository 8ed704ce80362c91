#include "vrs-server/session.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/log.h"
#include "lib/tls.h"
#include "vrs-server/accounts/login.h"
#include "vrs-server/accounts/logins.h"
#include "vrs-server/handlers.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/request.h"
#include "vrs-server/routes.h"
#include "vrs-server/setting.h"
#include "vrs-server/terminals/terminal_list.h"

enum {
    MAX_SESSIONS = 20000,
    TOKEN_BYTES = 32,
    SWEEP_S = 2, /* a time-out is on record so soon after it */
};

struct live {
    uint8_t token_hash[CRYPTO_HASH_BYTES];
    struct session session;
    int64_t last_used_ms;
    struct live *next;
};

struct sessions {
    struct server *server;
    struct live *list; /* most recently used first: idle ones gather at the end */
    size_t count;
    uint64_t last_serial;
    uint64_t ended;
    struct event *sweep;
};

static void on_sweep(evutil_socket_t fd, short what, void *arg);

enum vrs_err sessions_open(struct server *server, struct sessions **out) {
    const struct timeval every = {.tv_sec = SWEEP_S};
    struct sessions *s = calloc(1, sizeof *s);
    *out = s;
    if (s == NULL)
        return ERR_MEMORY;
    s->server = server;
    for (const struct route *r = lgwan_routes; r->path != NULL; r++) {
        if (r->right != NULL && !right_known(r->right))
            return ERR_INTERNAL;
    }
    s->sweep = event_new(server->base, -1, EV_PERSIST, on_sweep, s);
    return s->sweep != NULL && event_add(s->sweep, &every) == 0 ? VRS_OK : ERR_MEMORY;
}

static void live_remove(struct sessions *s, struct live **at) {
    struct live *gone = *at;
    *at = gone->next;
    secret_wipe(gone, sizeof *gone);
    free(gone);
    s->count--;
}

void sessions_close(struct sessions **sp) {
    struct sessions *s = *sp;
    if (s == NULL)
        return;
    if (s->sweep != NULL)
        event_free(s->sweep);
    while (s->list != NULL)
        live_remove(s, &s->list);
    free(s);
    *sp = NULL;
}

/* --- time-outs: an entry each (C65) --- */

struct timed_out {
    struct pool_job job; /* first */
    struct session session;
    bool idle;
};

static enum vrs_err timed_out_run(struct pool_job *job, struct partition *p) {
    const struct timed_out *t = (const struct timed_out *)job;
    const struct log_entry entry = {.actor = {.user = t->session.user,
                                              .section = t->session.place,
                                              .terminal = t->session.terminal,
                                              .source = "lgwan"},
                                    .act = "session.timeout",
                                    .purpose = "operation",
                                    .result = "ok",
                                    .detail = t->idle ? "idle" : "age"};
    return access_log_append(p, &entry, NULL);
}

static void timed_out_done(struct pool_job *job) {
    if (job->err != VRS_OK)
        log_event(LOG_ERROR, "session.timeout_unlogged", LF_ERR(job->err));
    free(job);
}

static void note_time_out(struct sessions *s, const struct session *session, bool idle) {
    log_event(LOG_INFO, "session.timed_out", LF_STR("user", session->user));
    struct timed_out *t = calloc(1, sizeof *t);
    if (t == NULL)
        return;
    t->session = *session;
    t->idle = idle;
    memcpy(t->job.municipality, session->municipality, sizeof t->job.municipality);
    t->job.flags = POOL_CREATE;
    t->job.run = timed_out_run;
    t->job.done = timed_out_done;
    if (pool_submit(s->server->pool, &t->job) != VRS_OK)
        free(t);
}

/* Ends *at when its time is over. */
static bool over(struct sessions *s, struct live **at) {
    const struct live *l = *at;
    int64_t now = clock_mono_ms();
    bool idle = now - l->last_used_ms > s->server->config.session_idle_s * 1000;
    if (!idle && now <= l->session.expires_mono_ms)
        return false;
    note_time_out(s, &l->session, idle);
    live_remove(s, at);
    return true;
}

static void sweep(struct sessions *s) {
    for (struct live **at = &s->list; *at != NULL;) {
        if (!over(s, at))
            at = &(*at)->next;
    }
}

static void on_sweep(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    sweep(arg);
}

/* --- ending and changing --- */

void sessions_end_user(struct sessions *s, const char *user) {
    s->ended++;
    for (struct live **at = &s->list; *at != NULL;) {
        if (strcmp((*at)->session.user, user) == 0)
            live_remove(s, at);
        else
            at = &(*at)->next;
    }
}

void sessions_end(struct sessions *s, uint64_t serial) {
    for (struct live **at = &s->list; *at != NULL; at = &(*at)->next) {
        if ((*at)->session.serial == serial) {
            live_remove(s, at);
            return;
        }
    }
}

void sessions_password_changed(struct sessions *s, const char *user, uint64_t serial) {
    s->ended++;
    for (struct live **at = &s->list; *at != NULL;) {
        struct live *l = *at;
        if (strcmp(l->session.user, user) == 0 && l->session.serial != serial) {
            live_remove(s, at);
            continue;
        }
        if (l->session.serial == serial)
            l->session.limited = VRS_OK;
        at = &l->next;
    }
}

void sessions_set_rules(struct sessions *s, const char *municipality,
                        const struct session_rules *rules) {
    for (struct live *l = s->list; l != NULL; l = l->next) {
        if (strcmp(l->session.municipality, municipality) == 0)
            l->session.rules = *rules;
    }
}

uint64_t sessions_epoch(const struct sessions *s) {
    return s->ended;
}

size_t sessions_of(struct sessions *s, const char *user, const char *terminal, bool *elsewhere) {
    size_t n = 0;
    sweep(s);
    *elsewhere = false;
    for (const struct live *l = s->list; l != NULL; l = l->next) {
        if (strcmp(l->session.user, user) != 0)
            continue;
        n++;
        *elsewhere |= strcmp(l->session.terminal, terminal) != 0;
    }
    return n;
}

/* Of the user's sessions beyond `most`, the one that was opened first. */
static bool end_oldest(struct sessions *s, const char *user, int64_t most) {
    uint64_t oldest = UINT64_MAX;
    int64_t n = 0;
    for (const struct live *l = s->list; l != NULL; l = l->next) {
        if (strcmp(l->session.user, user) != 0)
            continue;
        n++;
        if (l->session.serial < oldest)
            oldest = l->session.serial;
    }
    if (n > most)
        sessions_end(s, oldest);
    return n > most;
}

enum vrs_err sessions_add(struct sessions *s, struct session *session,
                          char token[SESSION_TOKEN_SIZE]) {
    struct live *l = s->count < MAX_SESSIONS ? calloc(1, sizeof *l) : NULL;
    uint8_t bytes[TOKEN_BYTES];
    if (l == NULL)
        return ERR_BUSY;
    while (end_oldest(s, session->user, session->rules.sessions - 1))
        ;
    crypto_random(bytes, sizeof bytes);
    crypto_sha256(bytes, sizeof bytes, l->token_hash);
    crypto_hex(bytes, sizeof bytes, token);
    secret_wipe(bytes, sizeof bytes);
    l->last_used_ms = clock_mono_ms();
    session->serial = ++s->last_serial;
    session->expires_mono_ms = l->last_used_ms + s->server->config.session_age_s * 1000;
    l->session = *session;
    l->next = s->list;
    s->list = l;
    s->count++;
    return VRS_OK;
}

enum vrs_err session_rules_read(struct partition *p, struct session_rules *out) {
    int64_t code = 0, in = 0, answer = 0, certificate = 0;
    enum vrs_err e = setting_get(p, SETTING_TOTP_FOR_NUMBER, &code);
    if (e == VRS_OK)
        e = setting_get(p, SETTING_PURPOSE_TRANSFER, &in);
    if (e == VRS_OK)
        e = setting_get(p, SETTING_PURPOSE_ANSWER, &answer);
    if (e == VRS_OK)
        e = setting_get(p, SETTING_PURPOSE_CERTIFICATE, &certificate);
    if (e == VRS_OK)
        e = setting_get(p, SETTING_SESSIONS_PER_USER, &out->sessions);
    if (e == VRS_OK)
        e = setting_get(p, SETTING_PASSWORD_MAX_AGE_DAYS, &out->password_days);
    out->code_for_number = code != 0;
    out->transfer_in = in != 0;
    out->transfer_out_answer = answer != 0;
    out->certificate = certificate != 0;
    return e;
}

/* --- what handlers ask --- */

enum vrs_err session_purpose(const struct inside_request *in, const char *purpose,
                             const char *use) {
    const struct session_rules *r = &in->session.rules;
    const struct {
        const char *purpose;
        bool on;
    } switches[] = {{"transfer_in", r->transfer_in},
                    {"transfer_out_answer", r->transfer_out_answer},
                    {"certificate", r->certificate}};
    enum vrs_err e = policy_purpose(in->server->policies, purpose, use);
    /* A system client has no settings read for it: its few functions are switched by its rights. */
    for (size_t i = 0; i < 3 && e == VRS_OK && in->session.serial != 0; i++) {
        if (strcmp(switches[i].purpose, purpose) == 0 && !switches[i].on)
            e = ERR_PURPOSE;
    }
    return e;
}

enum vrs_err session_number(const struct inside_request *in) {
    return in->session.rules.code_for_number && !in->session.coded ? ERR_CODE_REQUIRED : VRS_OK;
}

enum vrs_err session_scope(const struct inside_request *in, char out[7]) {
    const char *asked = http_query(in->rq, "municipality_code");
    const char *own = in->session.municipality;
    bool auditor = in->session.scope[0] != '\0';
    if (!auditor || asked == NULL) {
        memcpy(out, own, 7);
        if (auditor)
            return ERR_MISSING_FIELD;
        return asked == NULL || strcmp(asked, own) == 0 ? VRS_OK : ERR_FORBIDDEN;
    }
    bool there = strcmp(asked, REGISTRY) == 0 ||
                 municipality_find(in->server->municipalities, asked) != NULL;
    if (!there || (strcmp(in->session.scope, "*") != 0 && strstr(in->session.scope, asked) == NULL))
        return ERR_FORBIDDEN;
    (void)snprintf(out, 7, "%s", asked);
    return VRS_OK;
}

/* --- the gates --- */

static bool token_hash(const struct http_request *rq, uint8_t hash[CRYPTO_HASH_BYTES]) {
    static const char scheme[] = "Bearer ";
    const char *header = http_header(rq, "Authorization");
    uint8_t token[TOKEN_BYTES];
    if (header == NULL || strncmp(header, scheme, sizeof scheme - 1) != 0)
        return false;
    const char *hex = header + sizeof scheme - 1;
    if (strlen(hex) != 2 * sizeof token || !crypto_unhex(hex, token, sizeof token))
        return false;
    crypto_sha256(token, sizeof token, hash);
    secret_wipe(token, sizeof token);
    return true;
}

/* The session of the request's token, moved to the front; NULL: unknown or ended. */
static struct live *find_live(struct sessions *s, const uint8_t hash[CRYPTO_HASH_BYTES]) {
    for (struct live **at = &s->list; *at != NULL;) {
        struct live *l = *at;
        if (over(s, at))
            continue;
        if (secret_equal(l->token_hash, hash, CRYPTO_HASH_BYTES)) {
            *at = l->next;
            l->next = s->list;
            s->list = l;
            return l;
        }
        at = &l->next;
    }
    return NULL;
}

static enum vrs_err authenticate(struct sessions *s, struct inside_request *in,
                                 const struct tls_peer *peer) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    if (!token_hash(in->rq, hash))
        return ERR_LOGIN_REQUIRED;
    struct live *l = find_live(s, hash);
    char today[11];
    clock_format_date(clock_today_jst(), today);
    if (l != NULL && strcmp(l->session.valid_until, today) < 0) {
        sessions_end_user(s, l->session.user);
        l = NULL;
    }
    if (l == NULL)
        return ERR_SESSION_ENDED;
    /* A token is worth nothing on another terminal (C23). */
    if (strcmp(l->session.terminal, peer->name) != 0 ||
        strcmp(l->session.municipality, login_home(peer->municipality)) != 0) {
        INSIDE_COPY(in->session.user, l->session.user); /* whose token it is, for the entry */
        return ERR_OTHER_MUNICIPALITY;
    }
    l->last_used_ms = clock_mono_ms();
    inside_set_session(in, &l->session);
    return VRS_OK;
}

static bool is_uuid(const char *s) {
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : strchr("0123456789abcdefABCDEF", s[i]) == NULL || s[i] == '\0')
            return false;
    }
    return s[36] == '\0';
}

static bool takes_csv(const struct route *route, const char *type) {
    return route->handle == users_leavers && type != NULL && strncmp(type, "text/csv", 8) == 0;
}

/* What every handler would otherwise read for itself: key, version, JSON body. */
static enum vrs_err read_common(struct inside_request *in) {
    const struct route *route = http_route(in->rq);
    if ((route->flags & ROUTE_IDEMPOTENT) != 0) {
        const char *key = http_header(in->rq, "Idempotency-Key");
        if (key == NULL || !is_uuid(key))
            return ERR_NO_IDEMPOTENCY_KEY;
        in->idempotency_key = arena_strdup(http_arena(in->rq), key);
        if (in->idempotency_key == NULL)
            return ERR_MEMORY;
    }
    if ((route->flags & ROUTE_IF_MATCH) != 0) {
        const char *tag = http_header(in->rq, "If-Match");
        char *end;
        if (tag == NULL)
            return ERR_PRECONDITION_REQUIRED;
        if (tag[0] != '"' || tag[1] < '1' || tag[1] > '9')
            return ERR_BAD_REQUEST;
        in->if_match = strtoull(tag + 1, &end, 10);
        if (strcmp(end, "\"") != 0)
            return ERR_BAD_REQUEST;
    }
    size_t len;
    const void *body = http_body(in->rq, &len);
    const char *type = http_header(in->rq, "Content-Type");
    if (len > 0 && type != NULL && strncmp(type, "application/json", 16) == 0) {
        struct vrs_fault fault = {0};
        enum vrs_err e = json_parse(body, len, &in->body, &fault);
        if (e != VRS_OK)
            return e;
    } else if (len > 0 && route->method != ROUTE_PUT && !takes_csv(route, type)) {
        return ERR_BAD_MEDIA;
    }
    return VRS_OK;
}

/* A refusal at the first gate: nobody is logged in, the terminal answers for it. */
static bool refuse_stranger(struct inside_request *in, const struct tls_peer *peer,
                            enum vrs_err e) {
    char user[sizeof in->session.user];
    memcpy(user, in->session.user, sizeof user);
    inside_refuse_stranger(in, peer, user, e, REFUSALS_A_WINDOW);
    return false;
}

/* Gate 1: who is it.  The handshake let only our authority's certificates through; the registry says
 * which of them are terminals of ours. */
static bool pass_terminal(struct inside_request *in, const struct tls_peer *peer,
                          const struct listed_terminal **out) {
    enum vrs_err e =
        peer != NULL ? terminal_list_check(in->server->terminals, peer, out) : ERR_FORBIDDEN;
    if (e == VRS_OK)
        return true;
    if (e == ERR_BUSY) { /* starting: nobody passes, nothing can be logged either */
        inside_answer(in, e);
        return false;
    }
    if (e != ERR_FORBIDDEN)
        log_event(LOG_WARN, e == ERR_UNKNOWN_SYSTEM ? "terminal.unknown" : "terminal.revoked_used",
                  LF_STR("terminal", peer->name), LF_STR("serial", peer->serial));
    return refuse_stranger(in, peer, e);
}

/* A kiosk or another system has no log-in: its certificate stands for its few functions (C30). */
static bool pass_system(struct inside_request *in, const struct listed_terminal *t) {
    struct session session = {.rights = t->rights};
    const struct route *route = http_route(in->rq);
    (void)snprintf(session.user, sizeof session.user, "system:%.56s", t->name);
    (void)snprintf(session.section, sizeof session.section, "system");
    memcpy(session.terminal, t->name, sizeof session.terminal);
    memcpy(session.municipality, t->municipality, sizeof session.municipality);
    inside_set_session(in, &session);
    if (route == NULL || (route->flags & ROUTE_SYSTEM_CLIENT) != 0)
        return true;
    inside_refuse(in, ERR_FORBIDDEN);
    return false;
}

static bool pass_log_in(struct inside_request *in, const struct tls_peer *peer,
                        const struct listed_terminal *t) {
    if (strcmp(t->kind, TERMINAL_LGWAN_SYSTEM) == 0)
        return pass_system(in, t);
    enum vrs_err e = authenticate(in->server->sessions, in, peer);
    if (e == VRS_OK)
        return true;
    log_event(LOG_WARN, "request.refused", LF_STR("terminal", peer->name), LF_ERR(e));
    return refuse_stranger(in, peer, e);
}

/* There is no such route: whoever asks is known all the same, and the asking is on record. */
void session_unrouted(struct http_request *rq, enum vrs_err e) {
    struct inside_request *in = inside_make(rq);
    const struct tls_peer *peer = http_tls_peer(rq);
    const struct listed_terminal *terminal = NULL;
    if (in == NULL)
        http_problem(rq, ERR_MEMORY, NULL, NULL);
    else if (pass_terminal(in, peer, &terminal) && pass_log_in(in, peer, terminal))
        inside_refuse(in, e);
}

/* Gate 2: may they. */
static enum vrs_err authorise(const struct inside_request *in, const struct route *route) {
    if (in->session.limited != VRS_OK && route->handle != session_change_password &&
        route->handle != session_logout)
        return in->session.limited;
    if (!right_allows(in->session.rights, route->right))
        return ERR_FORBIDDEN;
    return (route->flags & ROUTE_NUMBER) != 0 ? session_number(in) : VRS_OK;
}

bool session_gate(struct http_request *rq) {
    struct inside_request *in = inside_make(rq);
    if (in == NULL) {
        http_problem(rq, ERR_MEMORY, NULL, NULL);
        return false;
    }
    const struct route *route = http_route(rq);
    const struct tls_peer *peer = http_tls_peer(rq);
    const struct listed_terminal *terminal = NULL;
    if (!pass_terminal(in, peer, &terminal))
        return false;
    bool person = strcmp(terminal->kind, TERMINAL_LGWAN) == 0;
    if ((route->flags & ROUTE_NO_LOGIN) == 0 || !person) {
        if (!pass_log_in(in, peer, terminal))
            return false;
        enum vrs_err may = authorise(in, route);
        if (may != VRS_OK) {
            inside_refuse(in, may);
            return false;
        }
    }
    enum vrs_err e = read_common(in);
    if (e != VRS_OK && in->session.user[0] == '\0')
        return refuse_stranger(in, peer, e);
    if (e != VRS_OK)
        inside_refuse(in, e);
    return e == VRS_OK;
}
