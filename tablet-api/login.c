#include "tablet-api/login.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"
#include "lib/clock.h"
#include "lib/http.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/throttle.h"
#include "lib/tls.h"
#include "tablet-api/event.h"
#include "tablet-api/published.h"
#include "tablet-api/tablet.h"
#include "tablet-api/terminal.h"

enum {
    HASHERS = 2, /* argon2id takes 19 MiB and 30 ms: at most two at once */
    WINDOW_MS = 300000,
    THROTTLE_NAMES = 16384,
    SWEEP_S = 30,
    PASSWORD_MAX = 1024 /* bytes: 256 characters */
};

struct login {
    struct tablet *tablet;
    struct worker *hasher[HASHERS];
    struct session_table *sessions;
    struct throttle *tries;        /* of one account or terminal */
    struct throttle *source_tries; /* a whole site may stand behind one address */
    struct event *sweep;
};

/* One POST /v1/sessions; owned by the worker while it hashes, else by the loop. */
struct attempt {
    struct worker_job job; /* first */
    struct login *login;
    struct http_request *rq;
    char user_id[64];
    char password[PASSWORD_MAX + 1];
    char hash[CRYPTO_PASSWORD_HASH_MAX];
    bool known; /* `hash` is the user's */
    enum vrs_err result;
    enum vrs_err answer;
    char terminal[64];
    char municipality[7]; /* of the terminal's site, else of the user's */
    char source[48];
};

static struct metric m_opened = {.name = "vrs_logins_total",
                                 .help = "Log-ins",
                                 .label = "result=\"opened\"",
                                 .type = METRIC_COUNTER,
                                 .registered = ATOMIC_FLAG_INIT};
static struct metric m_refused = {.name = "vrs_logins_total",
                                  .help = "Log-ins",
                                  .label = "result=\"refused\"",
                                  .type = METRIC_COUNTER,
                                  .registered = ATOMIC_FLAG_INIT};
static struct metric m_throttled = {.name = "vrs_logins_total",
                                    .help = "Log-ins",
                                    .label = "result=\"throttled\"",
                                    .type = METRIC_COUNTER,
                                    .registered = ATOMIC_FLAG_INIT};
static struct metric m_sessions = {.name = "vrs_sessions_open",
                                   .help = "Sessions not yet ended",
                                   .type = METRIC_GAUGE,
                                   .registered = ATOMIC_FLAG_INIT};

/* C65: a session that nobody used any more, told inwards. */
static void note_timed_out(const struct session *s, void *arg) {
    struct tablet *t = arg;
    const struct event_note note = {.name = "session.timed_out",
                                    .terminal = s->terminal,
                                    .staff = s->user_id,
                                    .source = "",
                                    .municipality = s->municipality};
    event_note(t->events, &note);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg) {
    struct login *l = arg;
    (void)fd;
    (void)what;
    session_sweep(l->sessions, clock_mono_ms());
    metric_set(&m_sessions, (int64_t)session_count(l->sessions));
}

enum vrs_err login_open(struct tablet *t, struct login **out) {
    const struct tablet_config *c = &t->config;
    const struct timeval every = {.tv_sec = SWEEP_S};
    *out = NULL;
    struct login *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_MEMORY;
    l->tablet = t;
    l->tries = throttle_open(THROTTLE_NAMES, (unsigned)c->login_tries, WINDOW_MS);
    l->source_tries = throttle_open(THROTTLE_NAMES, 10 * (unsigned)c->login_tries, WINDOW_MS);
    l->sweep = event_new(t->base, -1, EV_PERSIST, on_sweep, l);
    enum vrs_err e = session_table_open((size_t)c->sessions_max, c->session_idle_s * 1000,
                                        c->session_age_s * 1000, &l->sessions);
    if (e == VRS_OK)
        session_table_watch(l->sessions, note_timed_out, t);
    if (l->tries == NULL || l->source_tries == NULL || l->sweep == NULL ||
        event_add(l->sweep, &every) != 0)
        e = ERR_MEMORY;
    for (size_t i = 0; i < HASHERS && e == VRS_OK; i++)
        e = worker_open(t->base, "argon2", (size_t)c->login_queue / HASHERS, NULL, NULL,
                        &l->hasher[i]);
    metric_register(&m_opened);
    metric_register(&m_refused);
    metric_register(&m_throttled);
    metric_register(&m_sessions);
    if (e != VRS_OK)
        login_close(&l);
    *out = l;
    return e;
}

void login_stop(struct login *l) {
    for (size_t i = 0; l != NULL && i < HASHERS; i++)
        worker_close(&l->hasher[i]);
}

void login_close(struct login **login) {
    struct login *l = *login;
    if (l == NULL)
        return;
    login_stop(l);
    if (l->sweep != NULL)
        event_free(l->sweep);
    session_table_close(&l->sessions);
    throttle_close(&l->tries);
    throttle_close(&l->source_tries);
    free(l);
    *login = NULL;
}

struct session_table *login_sessions(struct login *l) {
    return l->sessions;
}

enum vrs_err login_submit(struct login *l, struct worker_job *job) {
    return worker_submit(l->hasher[0], job);
}

/* --- throttling: a try counts from its start, and is taken back when it was no failure --- */

struct names {
    char account[96], terminal[96], source[96];
};

static void names_of(const struct attempt *a, struct names *n) {
    (void)snprintf(n->account, sizeof n->account, "account %s", a->user_id);
    (void)snprintf(n->terminal, sizeof n->terminal, "terminal %s", a->terminal);
    (void)snprintf(n->source, sizeof n->source, "source %s", a->source);
}

static bool allowed(struct login *l, const struct attempt *a, int64_t *retry_ms) {
    struct names n = {0};
    names_of(a, &n);
    *retry_ms = 1000;
    return throttle_allows(l->tries, n.account, retry_ms) &&
           throttle_allows(l->tries, n.terminal, retry_ms) &&
           throttle_allows(l->source_tries, n.source, retry_ms);
}

static void count(struct login *l, const struct attempt *a,
                  void (*how)(struct throttle *t, const char *name)) {
    struct names n = {0};
    names_of(a, &n);
    how(l->tries, n.account);
    how(l->tries, n.terminal);
    how(l->source_tries, n.source);
}

/* --- the attempt --- */

static void attempt_free(struct attempt *a) {
    secret_wipe(a, sizeof *a);
    free(a);
}

static void run_hash(struct worker_job *job) {
    struct attempt *a = (struct attempt *)job;
    a->result = crypto_password_verify(a->password, a->known ? a->hash : NULL);
    secret_wipe(a->password, sizeof a->password);
}

static void write_session(struct buffer *b, const struct attempt *a, const struct published_user *u,
                          const char *token) {
    const struct tablet_config *c = &a->login->tablet->config;
    char expires[25];
    clock_format_rfc3339(clock_now_ms() + c->session_age_s * 1000, expires);
    json_t *doc = json_pack("{s:s, s:s, s:I, s:s, s:o}", "token", token, "expires_at", expires,
                            "idle_seconds", (json_int_t)c->session_idle_s, "user_id", u->user_id,
                            "rights", rights_write(u->rights));
    json_t *roles = json_loads(u->roles_json, 0, NULL);
    if (doc == NULL || roles == NULL || json_object_set_new(doc, "roles", roles) != 0)
        b->failed = true;
    else if (u->municipality[0] != '\0')
        (void)json_object_set_new(doc, "municipality_code", json_string(u->municipality));
    if (!json_write(b, doc))
        b->failed = true;
    json_decref(doc);
}

/* The log-in is on its way inwards for good: now the session may exist. */
static void open_session(struct attempt *a) {
    struct tablet *t = a->login->tablet;
    const struct published_user *u = published_user(t->published, a->user_id);
    const struct tls_peer *peer = http_tls_peer(a->rq);
    char token[SESSION_TOKEN_SIZE];
    if (u == NULL || peer == NULL) { /* a newer snapshot came meanwhile, or the client went */
        http_problem(a->rq, ERR_BAD_LOGIN, NULL, NULL);
        return;
    }
    enum vrs_err e =
        session_new(a->login->sessions, a->user_id, peer->fingerprint, clock_mono_ms(), token);
    if (e != VRS_OK) {
        http_problem(a->rq, e, NULL, NULL);
        return;
    }
    session_place(a->login->sessions, token, a->terminal, a->municipality, a->hash);
    metric_add(&m_opened, 1);
    struct buffer b;
    buffer_init(&b, 16384);
    write_session(&b, a, u, token);
    if (b.failed)
        http_problem(a->rq, ERR_MEMORY, NULL, NULL);
    else
        http_reply_json(a->rq, 201, (const char *)b.data, b.len);
    buffer_fini(&b);
    secret_wipe(token, sizeof token);
}

static void noted(enum vrs_err e, void *arg) {
    struct attempt *a = arg;
    if (a->answer != VRS_OK)
        http_problem(a->rq, a->answer, NULL, NULL);
    else if (e != VRS_OK) /* what is not recorded does not happen */
        http_problem(a->rq, e, NULL, NULL);
    else
        open_session(a);
    attempt_free(a);
}

static void hash_done(struct worker_job *job) {
    struct attempt *a = (struct attempt *)job;
    struct tablet *t = a->login->tablet;
    const struct published_user *u = published_user(t->published, a->user_id);
    bool lives = u != NULL && (!u->ends || clock_today_jst().days <= u->valid_until.days);
    const struct tls_peer *peer = http_tls_peer(a->rq);
    const char *name = "session.opened";
    a->answer = VRS_OK;
    if (a->result != VRS_OK || !a->known || !lives) {
        /* Anything but a wrong password is our failure, not a try. */
        a->answer = a->result == VRS_OK ? ERR_BAD_LOGIN : a->result;
        metric_add(&m_refused, 1);
        name = "session.refused";
    } else if (peer != NULL &&
               !published_bound(published_terminal(t->published, peer->serial), u)) {
        a->answer = ERR_OTHER_MUNICIPALITY; /* C23 */
        metric_add(&m_refused, 1);
        name = "session.other_terminal";
    } else if (peer != NULL && session_elsewhere(a->login->sessions, a->user_id, peer->fingerprint,
                                                 clock_mono_ms())) {
        name = "session.opened_elsewhere"; /* C26: one ID on two terminals is told inwards */
    }
    if (a->answer != ERR_BAD_LOGIN)
        count(a->login, a, throttle_take_back);
    const struct event_note note = {.name = name,
                                    .terminal = a->terminal,
                                    .staff = a->user_id,
                                    .source = a->source,
                                    .municipality = a->municipality,
                                    .done = noted,
                                    .arg = a};
    event_note(t->events, &note);
}

static void refuse_throttled(struct tablet *t, struct attempt *a, int64_t retry_ms) {
    char after[24];
    const struct event_note note = {.name = "session.throttled",
                                    .terminal = a->terminal,
                                    .staff = a->user_id,
                                    .source = a->source,
                                    .municipality = a->municipality,
                                    .thin = true};
    metric_add(&m_throttled, 1);
    event_note(t->events, &note);
    (void)snprintf(after, sizeof after, "%lld", (long long)((retry_ms + 999) / 1000));
    http_set_header(a->rq, "Retry-After", after);
    http_problem(a->rq, ERR_TOO_MANY, NULL, NULL);
}

static enum vrs_err submit(struct login *l, struct attempt *a) {
    size_t shorter = worker_queued(l->hasher[0]) <= worker_queued(l->hasher[1]) ? 0 : 1;
    a->job.run = run_hash;
    a->job.done = hash_done;
    enum vrs_err e = worker_submit(l->hasher[shorter], &a->job);
    if (e == VRS_OK)
        count(l, a, throttle_count);
    return e;
}

/* Before anything was tried: on record all the same. */
static void note_refused(struct http_request *rq, const char *name, const char *user_id) {
    const struct caller *c = terminal_caller(rq);
    const struct event_note note = {.name = name,
                                    .terminal = c->terminal,
                                    .staff = user_id,
                                    .source = http_peer_address(rq),
                                    .municipality = c->municipality,
                                    .thin = true};
    event_note(((struct tablet *)http_arg(rq))->events, &note);
}

void session_post(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const char *user_id = NULL;
    const char *password = NULL;
    const struct json_field fields[] = {JF_STR("user_id", true, 63, &user_id),
                                        JF_STR("password", true, PASSWORD_MAX, &password), JF_END};
    struct vrs_fault fault = {0};
    json_t *doc = NULL;
    struct attempt *a = NULL;
    int64_t retry_ms = 0;
    size_t len = 0;
    const void *body = http_body(rq, &len);
    enum vrs_err e = json_parse(body, len, &doc, &fault);
    if (e == VRS_OK)
        e = json_read(doc, fields, &fault);
    if (e != VRS_OK) {
        note_refused(rq, "session.malformed", "");
        http_problem_fault(rq, &fault);
        goto out;
    }
    if (!published_fresh(t->published, clock_now_ms())) {
        note_refused(rq, "session.no_snapshot", user_id);
        http_problem(rq, ERR_SNAPSHOT_OLD, NULL, NULL);
        goto out;
    }
    a = calloc(1, sizeof *a);
    if (a == NULL) {
        http_problem(rq, ERR_MEMORY, NULL, NULL);
        goto out;
    }
    a->login = t->login;
    a->rq = rq;
    (void)snprintf(a->user_id, sizeof a->user_id, "%s", user_id);
    (void)snprintf(a->password, sizeof a->password, "%s", password);
    (void)snprintf(a->terminal, sizeof a->terminal, "%s", terminal_caller(rq)->terminal);
    (void)snprintf(a->source, sizeof a->source, "%s", http_peer_address(rq));
    const struct published_user *u = published_user(t->published, user_id);
    const char *site = terminal_caller(rq)->municipality;
    if (site[0] == '\0' && u != NULL)
        site = u->municipality;
    (void)snprintf(a->municipality, sizeof a->municipality, "%.6s", site);
    if (!allowed(t->login, a, &retry_ms)) {
        refuse_throttled(t, a, retry_ms);
        goto out;
    }
    if (u != NULL) {
        a->known = true;
        (void)snprintf(a->hash, sizeof a->hash, "%s", u->password_hash);
    }
    e = submit(t->login, a);
    if (e == VRS_OK) {
        a = NULL;
    } else {
        note_refused(rq, "session.busy", user_id);
        http_problem(rq, e, NULL, NULL);
    }
out:
    if (a != NULL)
        attempt_free(a);
    json_decref(doc);
}

void session_delete(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const struct caller *c = terminal_caller(rq);
    const struct event_note note = {.name = "session.closed",
                                    .terminal = c->terminal,
                                    .staff = c->staff,
                                    .source = http_peer_address(rq),
                                    .municipality = c->municipality};
    if (c->token == NULL || !session_end(t->login->sessions, c->token)) {
        http_problem(rq, ERR_LOGIN_REQUIRED, NULL, NULL);
        return;
    }
    event_note(t->events, &note);
    http_reply(rq, 204, NULL, NULL, 0);
}
