#include "vrs-server/accounts/login.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/log.h"
#include "lib/tls.h"
#include "vrs-server/accounts/account.h"
#include "vrs-server/accounts/logins.h"
#include "vrs-server/accounts/totp.h"
#include "vrs-server/request.h"

static const int64_t day_ms = 86400000;

/* --- one log-in, or one act with the own account --- */

struct login {
    struct worker_job hash_job; /* first */
    struct inside_request *in;
    char user[64];
    char password[PASSWORD_MAX_BYTES + 1];
    char fresh[PASSWORD_MAX_BYTES + 1]; /* the new one of a change */
    char fresh_hash[CRYPTO_PASSWORD_HASH_MAX];
    char code[TOTP_DIGITS + 1];
    char secret[TOTP_SECRET_SIZE];
    struct account account;
    bool known, coded;
    enum vrs_err verdict;
    uint64_t epoch; /* of the sessions, when the account was looked up */
    size_t replaces;
    bool elsewhere;
    int64_t last_used_ms;
    char token[SESSION_TOKEN_SIZE];
};

static struct login *login_of(struct inside_request *in) {
    return in->own;
}

static void wipe(struct login *login) {
    secret_wipe(login->password, sizeof login->password);
    secret_wipe(login->fresh, sizeof login->fresh);
    secret_wipe(login->fresh_hash, sizeof login->fresh_hash);
    secret_wipe(login->code, sizeof login->code);
    secret_wipe(login->secret, sizeof login->secret);
    secret_wipe(&login->account, sizeof login->account);
    secret_wipe(login->token, sizeof login->token);
}

static void login_end(struct inside_request *in, enum vrs_err e) {
    wipe(login_of(in));
    inside_answer(in, e);
}

static enum vrs_err submit_hash(struct logins *l, struct login *login,
                                void (*run)(struct worker_job *job),
                                void (*done)(struct worker_job *job)) {
    login->hash_job.run = run;
    login->hash_job.done = done;
    return logins_submit(l, &login->hash_job);
}

static enum vrs_err look_up(struct inside_request *in, struct partition *registry) {
    struct login *login = login_of(in);
    enum vrs_err e = account_get(registry, login->user, &login->account);
    login->known = e == VRS_OK;
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

static void run_verify(struct worker_job *job) {
    struct login *login = (struct login *)job;
    login->verdict =
        logins_verify(login->password, login->known ? login->account.password_hash : NULL);
}

/* --- the log-in's last steps --- */

static json_t *words_of(const char *text) {
    json_t *array = json_array();
    char words[512];
    (void)snprintf(words, sizeof words, "%s", text);
    for (char *save, *w = strtok_r(words, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        (void)json_array_append_new(array, json_string(w));
    return array;
}

static enum vrs_err answer_session(struct inside_request *in, const struct login *login) {
    const struct session *s = &in->session;
    char expires[25], last[25], rights[512];
    clock_format_rfc3339(clock_now_ms() + in->server->config.session_age_s * 1000, expires);
    clock_format_rfc3339(login->last_used_ms, last);
    right_mask_format(s->rights, rights, sizeof rights);
    json_t *o = json_pack("{s:s,s:s,s:s,s:o,s:o,s:s?}", "token", login->token, "expires_at",
                          expires, "user_id", s->user, "roles", words_of(s->roles), "rights",
                          words_of(rights), "last_log_in", login->last_used_ms != 0 ? last : NULL);
    if (o != NULL && strcmp(s->municipality, REGISTRY) != 0)
        (void)json_object_set_new(o, "municipality_code", json_string(s->municipality));
    if (o != NULL && s->limited != VRS_OK)
        (void)json_object_set_new(o, "password_change_required", json_true());
    in->status = 201;
    return inside_json(in, o);
}

/* The entry is committed, now the session may exist. */
static void login_logged(struct inside_request *in) {
    struct login *login = login_of(in);
    struct sessions *s = in->server->sessions;
    if (in->job.err != VRS_OK || login->verdict != VRS_OK) {
        login_end(in, in->job.err != VRS_OK ? ERR_LOG_UNWRITABLE : login->verdict);
        return;
    }
    /* The account was looked up before it may have been disabled (C43): once more, please. */
    enum vrs_err e = login->epoch == sessions_epoch(s) ? VRS_OK : ERR_BUSY;
    if (e == VRS_OK)
        e = sessions_add(s, &in->session, login->token);
    if (e == VRS_OK)
        e = answer_session(in, login);
    login_end(in, e);
}

/* The municipality's settings hold from here on. */
static enum vrs_err take_rules(struct inside_request *in, struct partition *p) {
    struct login *login = login_of(in);
    struct session *s = &in->session;
    enum vrs_err e = session_rules_read(p, &s->rules);
    int64_t age_ms = clock_now_ms() - login->account.password_ms;
    bool old = s->rules.password_days > 0 && age_ms > s->rules.password_days * day_ms;
    s->limited = login->account.must_change || old ? ERR_PASSWORD_OLD : VRS_OK;
    return e;
}

static enum vrs_err login_log(struct inside_request *in, struct partition *p) {
    struct login *login = login_of(in);
    char detail[80] = "";
    enum vrs_err e = login->verdict == VRS_OK ? take_rules(in, p) : VRS_OK;
    if (e != VRS_OK)
        return e;
    (void)snprintf(detail, sizeof detail, "source=%.40s%s%s", http_peer_address(in->rq),
                   login->coded ? " code" : "",
                   login->elsewhere       ? " open_elsewhere"
                   : login->replaces != 0 ? " open_before"
                                          : "");
    return inside_log(in, p, NULL, NULL, 0, 0,
                      login->verdict == VRS_OK ? "ok" : err_name(login->verdict), detail);
}

static void finish(struct inside_request *in) {
    struct login *login = login_of(in);
    const struct tls_peer *peer = http_tls_peer(in->rq);
    const struct account *a = &login->account;
    struct session session = {0};
    memcpy(session.user, login->user, sizeof session.user);
    memcpy(session.terminal, peer->name, sizeof session.terminal);
    memcpy(session.municipality, login_home(peer->municipality), 6); /* six digits, both */
    if (login->verdict == VRS_OK) {
        memcpy(session.section, a->section, sizeof session.section);
        memcpy(session.unit, a->unit, sizeof session.unit);
        memcpy(session.roles, a->roles, sizeof session.roles);
        memcpy(session.scope, a->scope, sizeof session.scope);
        (void)snprintf(session.place, sizeof session.place, "%s%s%s", a->section,
                       a->unit[0] != '\0' ? " " : "", a->unit);
        session.coded = login->coded;
        memcpy(session.valid_until, a->valid_until, sizeof session.valid_until);
        if (!account_sound(a, &session.rights))
            login->verdict = ERR_FORBIDDEN;
    }
    if (login->verdict != ERR_BAD_LOGIN)
        logins_take_back(in, login->user);
    if (login->verdict != VRS_OK)
        log_event(LOG_WARN, "session.refused", LF_STR("terminal", peer->name),
                  LF_ERR(login->verdict));
    else
        login->replaces =
            sessions_of(in->server->sessions, session.user, session.terminal, &login->elsewhere);
    inside_set_session(in, &session);
    in->act = "session.open";
    in->purpose = "operation";
    inside_step(in, session.municipality, POOL_CREATE, login_log, login_logged);
}

/* --- the one-time code and the mark of the last use, in the registry --- */

static enum vrs_err admit(struct inside_request *in, struct partition *registry) {
    struct login *login = login_of(in);
    struct account *a = &login->account;
    char known_hash[CRYPTO_PASSWORD_HASH_MAX];
    int64_t step = 0;
    memcpy(known_hash, a->password_hash, sizeof known_hash);
    login->verdict = VRS_OK;
    login->coded = false;
    enum vrs_err e = account_get(registry, login->user, a);
    if (e != VRS_OK)
        return e;
    if (strcmp(known_hash, a->password_hash) != 0) /* changed while it was being checked */
        return ERR_BUSY;
    if (login->code[0] != '\0') {
        if (!totp_check(a->totp_secret, login->code, clock_now_ms(), a->totp_step, &step)) {
            login->verdict = ERR_BAD_LOGIN;
            return VRS_OK;
        }
        a->totp_step = step;
        a->totp_on = true; /* the first code proves that the secret has arrived */
        login->coded = true;
    } else if (a->totp_on) {
        login->verdict = ERR_CODE_REQUIRED;
        return VRS_OK;
    }
    login->last_used_ms = a->used_ms;
    a->used_ms = clock_now_ms();
    return account_mark(registry, a);
}

static void admitted(struct inside_request *in) {
    struct login *login = login_of(in);
    if (in->job.err == VRS_OK) {
        finish(in);
        return;
    }
    logins_take_back(in, login->user);
    wipe(login);
    in->act = "session.open";
    inside_refuse_stranger(in, http_tls_peer(in->rq), login->user, in->job.err, REFUSALS_A_WINDOW);
}

static enum vrs_err verdict(const struct login *login, const struct tls_peer *peer) {
    if (login->verdict == ERR_MEMORY)
        return ERR_MEMORY;
    right_mask most, usual;
    enum role_reach reach;
    if (login->verdict != VRS_OK || !login->known || !account_lives(&login->account))
        return ERR_BAD_LOGIN;
    /* What stands outside, hash and all, opens nothing inside. */
    if (!roles_rights(login->account.roles, &most, &usual, &reach) || reach == REACH_SITE)
        return ERR_BAD_LOGIN;
    return strcmp(login_home(login->account.municipality), login_home(peer->municipality)) == 0
               ? VRS_OK
               : ERR_OTHER_MUNICIPALITY; /* C23 */
}

static void verified(struct worker_job *job) {
    struct login *login = (struct login *)job;
    struct inside_request *in = login->in;
    login->verdict = verdict(login, http_tls_peer(in->rq));
    if (login->verdict == VRS_OK)
        inside_step(in, REGISTRY, 0, admit, admitted);
    else
        finish(in);
}

static void looked_up(struct inside_request *in) {
    struct login *login = login_of(in);
    enum vrs_err e = in->job.err;
    if (e == ERR_NOT_FOUND) /* no registry yet: nobody is known */
        e = VRS_OK;
    if (e == VRS_OK)
        e = submit_hash(in->server->logins, login, run_verify, verified);
    if (e == VRS_OK)
        return;
    logins_take_back(in, login->user);
    wipe(login);
    in->act = "session.open";
    inside_refuse_stranger(in, http_tls_peer(in->rq), login->user, e, REFUSALS_A_WINDOW);
}

void session_login(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    const struct tls_peer *peer = http_tls_peer(rq);
    const char *user = NULL, *password = NULL, *code = NULL;
    const struct json_field fields[] = {
        JF_STR("user_id", true, sizeof((struct login *)0)->user - 1, &user),
        JF_STR("password", true, PASSWORD_MAX_BYTES, &password),
        JF_STR("code", false, TOTP_DIGITS, &code),
        JF_END,
    };
    enum vrs_err e = inside_read(in, fields);
    struct login *login = e == VRS_OK ? arena_alloc(http_arena(rq), sizeof *login) : NULL;
    if (e == VRS_OK && login == NULL)
        e = ERR_MEMORY;
    /* Throttled before any hashing, the same for known and unknown users. */
    if (e == VRS_OK && !logins_allow(in, user))
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
    INSIDE_COPY(login->user, user);
    INSIDE_COPY(login->password, password);
    INSIDE_COPY(login->code, code);
    login->epoch = sessions_epoch(in->server->sessions);
    logins_count(in, user);
    inside_step(in, REGISTRY, 0, look_up, looked_up);
}

/* --- log-out --- */

static enum vrs_err logout_run(struct inside_request *in, struct partition *p) {
    in->status = 204;
    return inside_log(in, p, NULL, NULL, 0, 0, "ok", NULL);
}

void session_logout(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    sessions_end(in->server->sessions, in->session.serial);
    in->act = "session.close";
    in->purpose = "operation";
    inside_run(in, logout_run);
}

/* --- the own account: password and one-time code.  The old password is asked for again: a session
 * that somebody left open is not enough. --- */

static void own_end(struct inside_request *in, enum vrs_err e) {
    wipe(login_of(in));
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_answer(in, VRS_OK);
}

static void own_applied(struct inside_request *in) {
    const struct login *login = login_of(in);
    if (in->job.err == VRS_OK && login->fresh[0] != '\0')
        sessions_password_changed(in->server->sessions, login->user, in->session.serial);
    own_end(in, in->job.err);
}

static enum vrs_err own_apply(struct inside_request *in, struct partition *registry) {
    struct login *login = login_of(in);
    struct account *a = &login->account;
    enum vrs_err e = account_get(registry, login->user, a);
    if (e != VRS_OK)
        return e;
    if (login->fresh[0] != '\0') {
        memcpy(a->password_hash, login->fresh_hash, sizeof a->password_hash);
        a->password_ms = clock_now_ms();
        a->must_change = false;
        in->status = 204;
        return account_put(registry, a);
    }
    char uri[300];
    if (a->totp_on && !login->coded) /* came into use meanwhile */
        return ERR_CODE_REQUIRED;
    memcpy(a->totp_secret, login->secret, sizeof a->totp_secret);
    a->totp_on = false; /* until the first code */
    a->totp_step = 0;
    e = account_put(registry, a);
    (void)snprintf(uri, sizeof uri,
                   "otpauth://totp/VRS:%s?secret=%s&issuer=VRS&algorithm=SHA1&digits=6&period=30",
                   a->user, a->totp_secret);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:s,s:s}", "secret", a->totp_secret, "otpauth_uri", uri));
    secret_wipe(uri, sizeof uri);
    in->status = 201;
    return e;
}

static enum vrs_err own_log(struct inside_request *in, struct partition *p) {
    return inside_log(in, p, NULL, NULL, 0, 1, "ok", NULL);
}

static void own_logged(struct inside_request *in) {
    if (in->job.err != VRS_OK) {
        wipe(login_of(in));
        inside_answer(in, ERR_LOG_UNWRITABLE);
        return;
    }
    inside_step(in, REGISTRY, 0, own_apply, own_applied);
}

/* A new secret in the place of one that is in use: only for whoever has that one.  Who has lost it
 * gets a new start by an application with a new password. */
static enum vrs_err present_code(struct login *login) {
    const struct account *a = &login->account;
    int64_t step;
    if (login->secret[0] == '\0' || !a->totp_on)
        return VRS_OK;
    if (login->code[0] == '\0')
        return ERR_CODE_REQUIRED;
    login->coded = totp_check(a->totp_secret, login->code, clock_now_ms(), a->totp_step, &step);
    return login->coded ? VRS_OK : ERR_BAD_LOGIN;
}

static void own_verified(struct worker_job *job) {
    struct login *login = (struct login *)job;
    struct inside_request *in = login->in;
    if (login->verdict == VRS_OK)
        login->verdict = present_code(login);
    if (login->verdict != ERR_BAD_LOGIN)
        logins_take_back(in, login->user);
    if (login->verdict != VRS_OK)
        own_end(in, login->verdict);
    else
        inside_step(in, in->session.municipality, POOL_CREATE, own_log, own_logged);
}

static void own_run(struct worker_job *job) {
    struct login *login = (struct login *)job;
    run_verify(job);
    if (login->verdict == VRS_OK && login->fresh[0] != '\0')
        login->verdict = crypto_password_hash(login->fresh, login->fresh_hash);
}

static void own_looked_up(struct inside_request *in) {
    struct login *login = login_of(in);
    enum vrs_err e = in->job.err;
    if (e == VRS_OK)
        e = submit_hash(in->server->logins, login, own_run, own_verified);
    if (e != VRS_OK) {
        logins_take_back(in, login->user);
        own_end(in, e);
    }
}

static void own_start(struct inside_request *in, struct login *login, enum vrs_err e) {
    in->purpose = "operation";
    if (e == VRS_OK && !logins_allow(in, in->session.user))
        e = ERR_TOO_MANY;
    if (e != VRS_OK) {
        if (login != NULL)
            wipe(login);
        inside_refuse(in, e);
        return;
    }
    login->in = in;
    in->own = login;
    INSIDE_COPY(login->user, in->session.user);
    logins_count(in, login->user);
    inside_step(in, REGISTRY, 0, look_up, own_looked_up);
}

void session_change_password(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct login *login = arena_alloc(http_arena(rq), sizeof *login);
    const char *old = NULL, *fresh = NULL;
    const struct json_field fields[] = {JF_STR("old_password", true, PASSWORD_MAX_BYTES, &old),
                                        JF_STR("new_password", true, PASSWORD_MAX_BYTES, &fresh),
                                        JF_END};
    in->act = "session.change_password";
    enum vrs_err e = login != NULL ? inside_read(in, fields) : ERR_MEMORY;
    if (e == VRS_OK && strcmp(old, fresh) == 0)
        e = ERR_PASSWORD_WEAK;
    if (e == VRS_OK)
        e = password_rule_check(
            in->server->passwords, fresh, in->session.user,
            municipality_find(in->server->municipalities, in->session.municipality));
    if (e == VRS_OK) {
        INSIDE_COPY(login->password, old);
        INSIDE_COPY(login->fresh, fresh);
    }
    own_start(in, login, e);
}

void session_enrol_totp(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct login *login = arena_alloc(http_arena(rq), sizeof *login);
    const char *password = NULL, *code = NULL;
    const struct json_field fields[] = {JF_STR("password", true, PASSWORD_MAX_BYTES, &password),
                                        JF_STR("code", false, TOTP_DIGITS, &code), JF_END};
    in->act = "session.enrol_totp";
    enum vrs_err e = login != NULL ? inside_read(in, fields) : ERR_MEMORY;
    if (e == VRS_OK) {
        INSIDE_COPY(login->password, password);
        INSIDE_COPY(login->code, code);
        totp_new_secret(login->secret);
    }
    own_start(in, login, e);
}
