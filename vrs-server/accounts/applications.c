/* Applications of a municipality's people: filed by one, approved or refused by another.  A new
 * account, an extension (C46), another section or other rights: all are applications. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/worker.h"
#include "vrs-server/accounts/account.h"
#include "vrs-server/accounts/account_act.h"
#include "vrs-server/accounts/logins.h"
#include "vrs-server/accounts/password_rule.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/handlers.h"

struct filing {
    struct account_act act; /* first */
    struct login_hash hash;
    struct inside_request *in;
    struct application application;
    struct record_id id;
};

static json_t *view(const struct application *a) {
    static const char *const states[] = {"", "open", "approved", "refused"};
    char id[33], applied[25], decided[25];
    record_id_format(&a->id, id);
    clock_format_rfc3339(a->applied_ms, applied);
    clock_format_rfc3339(a->decided_ms, decided);
    bool decided_on = a->state != APPLICATION_OPEN;
    bool lapsed = !decided_on && !application_open(a);
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:s,s:b,s:s,s:s,s:s,s:s?,s:s?,s:s?}", "application_id",
        id, "state", lapsed ? "lapsed" : states[a->state], "user_id", a->account.user,
        "person_name", a->account.person_name, "section", a->account.section, "unit",
        a->account.unit, "roles", account_words(a->account.roles), "rights",
        account_words(a->account.rights), "valid_until", a->account.valid_until, "sets_password",
        a->account.password_hash[0] != '\0', "applicant", a->applicant, "applied_at", applied,
        "reason", a->reason, "decided_by", decided_on ? a->decided_by : NULL, "decided_at",
        decided_on ? decided : NULL, "decision_reason", decided_on ? a->decision_reason : NULL);
}

/* --- filing --- */

/* The same application again, by its Idempotency-Key; what was set at the decision aside. */
static bool same(const struct application *a, const struct application *b) {
    const struct account *x = &a->account, *y = &b->account;
    return strcmp(x->user, y->user) == 0 && strcmp(x->person_name, y->person_name) == 0 &&
           strcmp(x->section, y->section) == 0 && strcmp(x->unit, y->unit) == 0 &&
           strcmp(x->roles, y->roles) == 0 && strcmp(x->rights, y->rights) == 0 &&
           strcmp(x->valid_until, y->valid_until) == 0 && strcmp(a->reason, b->reason) == 0;
}

static enum vrs_err file(struct inside_request *in, struct partition *registry) {
    struct filing *f = in->own;
    struct application a = f->application, before;
    const char *field = NULL;
    a.id = f->id;
    a.applied_ms = clock_now_ms();
    enum vrs_err e = application_check(registry, &a, in->server->municipalities, &field);
    if (e != VRS_OK && field != NULL)
        account_field(in, field);
    if (e == VRS_OK)
        e = application_get(registry, &a.id, &before);
    if (e == VRS_OK) {
        e = same(&a, &before) ? VRS_OK : ERR_KEY_REUSED;
        a = before;
    } else if (e == ERR_NOT_FOUND) {
        e = application_put(registry, &a);
    }
    in->status = 201;
    (void)snprintf(f->act.detail, sizeof f->act.detail, "%s: %s until %s", a.account.user,
                   a.account.rights, a.account.valid_until);
    if (e == VRS_OK)
        e = inside_json(in, view(&a));
    secret_wipe(&a, sizeof a);
    return e;
}

static void hashed(struct worker_job *job) {
    struct login_hash *hash = (struct login_hash *)job;
    struct filing *f = hash->arg;
    struct account *a = &f->application.account;
    memcpy(a->password_hash, hash->hash, sizeof a->password_hash);
    enum vrs_err e = hash->err;
    secret_wipe(hash->password, sizeof hash->password);
    secret_wipe(hash->hash, sizeof hash->hash);
    if (e != VRS_OK)
        inside_refuse(f->in, e);
    else
        account_act_run(f->in);
}

/* The municipality's own: whatever is applied for stays in it. */
static enum vrs_err read_filing(struct inside_request *in, struct filing *f,
                                const char **password) {
    struct application *a = &f->application;
    const char *user = NULL, *person = NULL, *section = NULL, *unit = NULL, *until = NULL;
    const char *reason = NULL;
    json_t *roles = NULL, *rights = NULL;
    const struct json_field fields[] = {
        JF_STR("user_id", true, sizeof a->account.user - 1, &user),
        JF_STR("person_name", true, sizeof a->account.person_name - 1, &person),
        JF_STR("section", true, sizeof a->account.section - 1, &section),
        JF_STR("unit", false, sizeof a->account.unit - 1, &unit),
        JF_ARRAY("roles", true, &roles),
        JF_ARRAY("rights", true, &rights),
        JF_STR("valid_until", true, 10, &until),
        JF_STR("reason", false, sizeof a->reason - 1, &reason),
        JF_STR("password", false, PASSWORD_MAX_BYTES, password),
        JF_END,
    };
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK &&
        (e = account_words_read(roles, a->account.roles, sizeof a->account.roles)) != VRS_OK)
        account_field(in, "roles");
    if (e == VRS_OK &&
        (e = account_words_read(rights, a->account.rights, sizeof a->account.rights)) != VRS_OK)
        account_field(in, "rights");
    INSIDE_COPY(a->account.user, user);
    INSIDE_COPY(a->account.person_name, person);
    INSIDE_COPY(a->account.section, section);
    INSIDE_COPY(a->account.unit, unit);
    INSIDE_COPY(a->account.valid_until, until);
    INSIDE_COPY(a->reason, reason);
    INSIDE_COPY(a->account.municipality, in->session.municipality);
    INSIDE_COPY(a->applicant, in->session.user);
    a->account.approved_by[0] = '\0';
    a->state = APPLICATION_OPEN;
    return e;
}

/* The key makes the id, so that the same request again is the same application. */
static void id_from_key(const struct inside_request *in, struct record_id *out) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    struct crypto_digest *d = crypto_digest_open();
    if (d == NULL) {
        record_id_new(out);
        return;
    }
    crypto_digest_add(d, in->session.user, strlen(in->session.user) + 1);
    crypto_digest_add(d, in->idempotency_key, strlen(in->idempotency_key));
    crypto_digest_close(&d, hash);
    memcpy(out->bytes, hash, sizeof out->bytes);
}

void applications_file(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct filing *f = arena_alloc(http_arena(rq), sizeof *f);
    const char *password = NULL;
    in->act = "application.file";
    in->purpose = "operation";
    in->own = f;
    enum vrs_err e = f != NULL ? read_filing(in, f, &password) : ERR_MEMORY;
    if (e == VRS_OK && password != NULL) {
        e = password_rule_check(
            in->server->passwords, password, f->application.account.user,
            municipality_find(in->server->municipalities, in->session.municipality));
        if (e != VRS_OK)
            account_field(in, "password");
    }
    if (e != VRS_OK) {
        inside_refuse(in, e);
        return;
    }
    f->in = in;
    f->act.apply = file;
    f->act.count = 1;
    id_from_key(in, &f->id);
    if (password == NULL) {
        account_act_run(in);
        return;
    }
    /* Others have seen this one: on LG-WAN it is good for changing it and nothing else. */
    f->application.account.must_change = strcmp(f->application.account.roles, "site_staff") != 0;
    f->application.account.password_ms = clock_now_ms();
    INSIDE_COPY(f->hash.password, password);
    f->hash.arg = f;
    f->hash.job.done = hashed;
    e = logins_hash(in->server->logins, &f->hash);
    if (e != VRS_OK)
        inside_refuse(in, e);
}

/* --- the list --- */

static enum vrs_err add(struct application *a, void *arg) {
    struct inside_request *in = arg;
    struct account_act *act = in->own;
    const char *state = http_query(in->rq, "state");
    if (state != NULL && strcmp(state, "open") == 0 && !application_open(a))
        return VRS_OK;
    act->count++;
    json_t *list = json_object_get(act->shown, "applications");
    return json_array_append_new(list, view(a)) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err look(struct inside_request *in, struct partition *registry) {
    struct account_act *act = in->own;
    act->count = 0;
    act->shown = json_pack("{s:[]}", "applications");
    return act->shown != NULL ? applications_of(registry, in->session.municipality, add, in)
                              : ERR_MEMORY;
}

void applications_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct account_act *act = arena_alloc(http_arena(rq), sizeof *act);
    in->act = "application.list";
    in->own = act;
    if (act == NULL) {
        inside_refuse(in, ERR_MEMORY);
        return;
    }
    act->look = look;
    account_act_run(in);
}

/* --- the decision --- */

struct decision {
    struct account_act act; /* first */
    bool approve;
    char reason[200];
    char user[64];
};

static enum vrs_err decide(struct inside_request *in, struct partition *registry) {
    struct decision *d = in->own;
    struct record_id id;
    struct application a;
    memset(&a, 0, sizeof a);
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = application_get(registry, &id, &a);
    if (e == VRS_OK && strcmp(a.account.municipality, in->session.municipality) != 0)
        e = ERR_NOT_FOUND; /* another municipality's is as good as none */
    if (e == VRS_OK && d->approve)
        e = application_approve(registry, &a, in->server->municipalities, in->session.user, false);
    else if (e == VRS_OK)
        e = application_refuse(registry, &a, in->session.user, d->reason);
    memcpy(d->user, a.account.user, sizeof d->user);
    (void)snprintf(d->act.detail, sizeof d->act.detail, "%s: %s until %s, filed by %s",
                   a.account.user, a.account.rights, a.account.valid_until, a.applicant);
    if (e == VRS_OK)
        e = inside_json(in, view(&a));
    secret_wipe(&a, sizeof a);
    return e;
}

/* Rights that changed hold from the next log-in on, also outside. */
static void decided(struct inside_request *in) {
    const struct decision *d = in->own;
    if (!d->approve)
        return;
    sessions_end_user(in->server->sessions, d->user);
    line_out_snapshot_changed(in->server->line);
}

static void start_decision(struct http_request *rq, bool approve) {
    struct inside_request *in = inside_of(rq);
    struct decision *d = arena_alloc(http_arena(rq), sizeof *d);
    const char *reason = NULL;
    const struct json_field fields[] = {JF_STR("reason", false, sizeof d->reason - 1, &reason),
                                        JF_END};
    in->act = approve ? "application.approve" : "application.refuse";
    in->purpose = "operation";
    in->own = d;
    enum vrs_err e = d == NULL ? ERR_MEMORY : in->body != NULL ? inside_read(in, fields) : VRS_OK;
    if (e == VRS_OK && !approve && (reason == NULL || reason[0] == '\0'))
        e = ERR_REASON_REQUIRED;
    if (e != VRS_OK) {
        inside_refuse(in, e);
        return;
    }
    d->approve = approve;
    INSIDE_COPY(d->reason, reason);
    d->act.apply = decide;
    d->act.after = decided;
    d->act.count = 1;
    account_act_run(in);
}

void applications_approve(struct http_request *rq) {
    start_decision(rq, true);
}

void applications_refuse(struct http_request *rq) {
    start_decision(rq, false);
}
