#include "vrs-server/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/log.h"
#include "lib/throttle.h"
#include "lib/tls.h"
#include "lib/worker.h"
#include "vrs-server/account.h"
#include "vrs-server/request.h"
#include "vrs-server/terminal_list.h"

enum {
    MAX_SESSIONS = 20000,
    HASHERS = 2, /* argon2id takes 19 MiB and 30 ms: at most two at once */
    HASH_QUEUE = 32,
    TRIES = 10,         /* failed log-ins of one account, terminal or source … */
    WINDOW_MS = 300000, /* … in five minutes */
    THROTTLE_NAMES = 16384,
    PASSWORD_MAX = 256,
    TOKEN_BYTES = 32,
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
    uint64_t ended; /* how often an account's sessions were ended from outside */
    struct worker *hasher[HASHERS];
    unsigned turn;
    struct throttle *throttle;
};

enum vrs_err sessions_open(struct server *server, struct sessions **out) {
    struct sessions *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_MEMORY;
    s->server = server;
    enum vrs_err e = VRS_OK;
    s->throttle = throttle_open(THROTTLE_NAMES, TRIES, WINDOW_MS);
    if (s->throttle == NULL)
        e = ERR_MEMORY;
    for (size_t i = 0; i < HASHERS && e == VRS_OK; i++)
        e = worker_open(server->base, "argon2", HASH_QUEUE, NULL, NULL, &s->hasher[i]);
    if (e != VRS_OK)
        sessions_close(&s);
    *out = s;
    return e;
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
    for (size_t i = 0; i < HASHERS; i++) {
        if (s->hasher[i] != NULL)
            worker_close(&s->hasher[i]);
    }
    while (s->list != NULL)
        live_remove(s, &s->list);
    throttle_close(&s->throttle);
    free(s);
    *sp = NULL;
}

static void end_user(struct sessions *s, const char *user) {
    for (struct live **at = &s->list; *at != NULL;) {
        if (strcmp((*at)->session.user, user) == 0)
            live_remove(s, at);
        else
            at = &(*at)->next;
    }
}

void sessions_end_user(struct sessions *s, const char *user) {
    s->ended++;
    end_user(s, user);
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
    int64_t now = clock_mono_ms();
    int64_t idle_ms = s->server->config.session_idle_s * 1000;
    for (struct live **at = &s->list; *at != NULL;) {
        struct live *l = *at;
        if (now - l->last_used_ms > idle_ms || now > l->session.expires_mono_ms) {
            log_event(LOG_INFO, "session.timed_out", LF_STR("user", l->session.user));
            live_remove(s, at);
            continue;
        }
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
    if (l == NULL)
        return ERR_SESSION_ENDED;
    /* A token is worth nothing on another terminal (C23). */
    if (strcmp(l->session.terminal, peer->name) != 0 ||
        strcmp(l->session.municipality, peer->municipality) != 0) {
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
    } else if (len > 0 && route->method != ROUTE_PUT) {
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
        log_event(LOG_WARN,
                  e == ERR_UNKNOWN_SYSTEM ? "terminal.not_registered" : "terminal.revoked_used",
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
        /* Gate 2: may they. */
        enum right right;
        if (route->right != NULL &&
            (!right_by_name(route->right, &right) || (in->session.rights >> right & 1) == 0)) {
            inside_refuse(in, ERR_FORBIDDEN);
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

/* --- log-in --- */

struct login {
    struct worker_job hash_job; /* first */
    struct inside_request *in;
    char user[64];
    char password[PASSWORD_MAX];
    struct account account;
    bool known;
    enum vrs_err verdict;
    uint64_t ended; /* of struct sessions, when the account was looked up */
    char token[2 * TOKEN_BYTES + 1];
};

static struct login *login_of(struct inside_request *in) {
    return in->own;
}

static void login_end(struct inside_request *in, enum vrs_err e) {
    struct login *login = login_of(in);
    secret_wipe(login->password, sizeof login->password);
    secret_wipe(&login->account, sizeof login->account);
    inside_answer(in, e);
}

/* Last step: the entry is committed, now the session may exist. */
static void login_logged(struct inside_request *in) {
    struct login *login = login_of(in);
    struct sessions *s = in->server->sessions;
    if (in->job.err != VRS_OK || login->verdict != VRS_OK) {
        login_end(in, in->job.err != VRS_OK ? ERR_LOG_UNWRITABLE : login->verdict);
        return;
    }
    /* The account was looked up before it may have been disabled (C43): once more, please. */
    struct live *l = login->ended == s->ended ? calloc(1, sizeof *l) : NULL;
    if (l == NULL || s->count >= MAX_SESSIONS) {
        free(l);
        login_end(in, ERR_BUSY);
        return;
    }
    end_user(s, login->user); /* one session an ID (C26) */
    uint8_t token[TOKEN_BYTES];
    crypto_random(token, sizeof token);
    crypto_sha256(token, sizeof token, l->token_hash);
    crypto_hex(token, sizeof token, login->token);
    secret_wipe(token, sizeof token);
    l->session = in->session;
    l->last_used_ms = clock_mono_ms();
    l->session.expires_mono_ms = l->last_used_ms + s->server->config.session_age_s * 1000;
    l->next = s->list;
    s->list = l;
    s->count++;

    char expires[25];
    clock_format_rfc3339(clock_now_ms() + s->server->config.session_age_s * 1000, expires);
    json_t *roles = json_array();
    char words[sizeof in->session.roles];
    memcpy(words, in->session.roles, sizeof words);
    for (char *save, *w = strtok_r(words, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        (void)json_array_append_new(roles, json_string(w));
    in->status = 201;
    enum vrs_err e =
        inside_json(in, json_pack("{s:s,s:s,s:s,s:s,s:o}", "token", login->token, "expires_at",
                                  expires, "user_id", in->session.user, "municipality_code",
                                  in->session.municipality, "roles", roles));
    secret_wipe(login->token, sizeof login->token);
    login_end(in, e);
}

static enum vrs_err login_log(struct inside_request *in, struct partition *p) {
    struct login *login = login_of(in);
    return inside_log(in, p, NULL, NULL, 0, 0,
                      login->verdict == VRS_OK ? "ok" : err_name(login->verdict), NULL);
}

static enum vrs_err login_verdict(struct login *login, const struct tls_peer *peer) {
    if (login->verdict != VRS_OK || !login->known)
        return ERR_BAD_LOGIN;
    const struct account *a = &login->account;
    char today[11];
    clock_format_date(clock_today_jst(), today);
    right_mask rights;
    if (a->state != ACCOUNT_ACTIVE || strcmp(a->valid_until, today) < 0)
        return ERR_BAD_LOGIN;
    if (!account_sound(a, &rights))
        return ERR_FORBIDDEN;
    if (strcmp(a->municipality, peer->municipality) != 0)
        return ERR_OTHER_MUNICIPALITY;
    return VRS_OK;
}

/* Accounts and terminals are counted apart: a log-in as somebody called like another town's
 * terminal must not lock that terminal out. */
struct tries {
    char account[96], terminal[96];
};

static struct tries tries_of(const char *user, const struct tls_peer *peer) {
    struct tries t;
    (void)snprintf(t.account, sizeof t.account, "account %s", user);
    (void)snprintf(t.terminal, sizeof t.terminal, "terminal %s", peer->name);
    return t;
}

/* A try counts from its start, so that many at once are no more than one after the other. */
static void try_take_back(struct sessions *s, const struct login *login) {
    const struct tries t = tries_of(login->user, http_tls_peer(login->in->rq));
    throttle_take_back(s->throttle, t.account);
    throttle_take_back(s->throttle, t.terminal);
}

static void login_hashed(struct worker_job *job) {
    struct login *login = (struct login *)job;
    struct inside_request *in = login->in;
    struct sessions *s = in->server->sessions;
    const struct tls_peer *peer = http_tls_peer(in->rq);
    login->verdict = login_verdict(login, peer);
    struct session session = {0};
    memcpy(session.user, login->user, sizeof session.user);
    memcpy(session.terminal, peer->name, sizeof session.terminal);
    memcpy(session.municipality, peer->municipality, sizeof session.municipality);
    if (login->verdict == VRS_OK) {
        memcpy(session.section, login->account.section, sizeof session.section);
        memcpy(session.roles, login->account.roles, sizeof session.roles);
        if (!right_mask_parse(login->account.rights, &session.rights))
            login->verdict = ERR_FORBIDDEN;
        try_take_back(s, login);
    } else {
        log_event(LOG_WARN, "session.refused", LF_STR("terminal", peer->name),
                  LF_ERR(login->verdict));
    }
    inside_set_session(in, &session);
    in->act = "session.open";
    inside_step(in, peer->municipality, POOL_CREATE, login_log, login_logged);
}

static void login_hash(struct worker_job *job) {
    struct login *login = (struct login *)job;
    login->verdict =
        crypto_password_verify(login->password, login->known ? login->account.password_hash : NULL);
}

static void login_looked_up(struct inside_request *in) {
    struct login *login = login_of(in);
    struct sessions *s = in->server->sessions;
    enum vrs_err e = in->job.err;
    login->hash_job.run = login_hash;
    login->hash_job.done = login_hashed;
    if (e == VRS_OK && worker_submit(s->hasher[s->turn++ % HASHERS], &login->hash_job) != VRS_OK)
        e = ERR_BUSY;
    if (e == VRS_OK)
        return;
    try_take_back(s, login);
    secret_wipe(login->password, sizeof login->password);
    secret_wipe(&login->account, sizeof login->account);
    in->act = "session.open";
    inside_refuse_stranger(in, http_tls_peer(in->rq), login->user, e, REFUSALS_A_WINDOW);
}

static enum vrs_err login_look_up(struct inside_request *in, struct partition *registry) {
    struct login *login = login_of(in);
    enum vrs_err e = account_get(registry, login->user, &login->account);
    login->known = e == VRS_OK;
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

void session_login(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct sessions *s = in->server->sessions;
    const struct tls_peer *peer = http_tls_peer(rq);
    const char *user = NULL, *password = NULL;
    const struct json_field fields[] = {
        JF_STR("user_id", true, sizeof((struct login *)0)->user - 1, &user),
        JF_STR("password", true, PASSWORD_MAX - 1, &password),
        JF_END,
    };
    enum vrs_err e = inside_read(in, fields);
    struct login *login = e == VRS_OK ? arena_alloc(http_arena(rq), sizeof *login) : NULL;
    if (e == VRS_OK && login == NULL)
        e = ERR_MEMORY;
    /* Throttled before any hashing, the same for known and unknown users. */
    const struct tries tries = tries_of(e == VRS_OK ? user : "", peer);
    if (e == VRS_OK && (!throttle_allows(s->throttle, tries.account, NULL) ||
                        !throttle_allows(s->throttle, tries.terminal, NULL)))
        e = ERR_TOO_MANY;
    if (e != VRS_OK) {
        in->act = "session.open";
        /* The first of a window is an entry, the others are counted in its successor. */
        inside_refuse_stranger(in, peer, e == ERR_TOO_MANY ? user : NULL, e,
                               e == ERR_TOO_MANY ? 1 : REFUSALS_A_WINDOW);
        return;
    }
    login->in = in;
    in->own = login;
    (void)strncpy(login->user, user, sizeof login->user - 1);
    (void)strncpy(login->password, password, sizeof login->password - 1);
    login->ended = s->ended;
    throttle_count(s->throttle, tries.account);
    throttle_count(s->throttle, tries.terminal);
    inside_step(in, REGISTRY, 0, login_look_up, login_looked_up);
}

static enum vrs_err logout_run(struct inside_request *in, struct partition *p) {
    in->status = 204;
    return inside_log(in, p, NULL, NULL, 0, 0, "ok", NULL);
}

void session_logout(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    /* One session an ID: ending the user's sessions ends this one. */
    end_user(in->server->sessions, in->session.user);
    in->act = "session.close";
    inside_run(in, logout_run);
}
