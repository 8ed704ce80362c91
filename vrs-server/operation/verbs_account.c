#include "vrs-server/operation/verbs.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/secret.h"
#include "vrs-server/accounts/account.h"
#include "vrs-server/accounts/password_rule.h"

/* For the first approver of a municipality, and for those who belong to none: everybody else is
 * filed and approved by the municipality's own people (accounts_api.c). */
enum vrs_err verb_user_apply(struct control_call *c, struct partition *registry) {
    struct application a = {.state = APPLICATION_OPEN, .applied_ms = clock_now_ms()};
    const char *field = NULL;
    char id[33];
    record_id_new(&a.id);
    CONTROL_SET(a.account.user, "user_id");
    CONTROL_SET(a.account.person_name, "person_name");
    CONTROL_SET(a.account.municipality, "municipality_code");
    CONTROL_SET(a.account.section, "section");
    CONTROL_SET(a.account.unit, "unit");
    CONTROL_SET(a.account.roles, "roles");
    CONTROL_SET(a.account.rights, "rights");
    CONTROL_SET(a.account.scope, "scope");
    CONTROL_SET(a.account.valid_until, "valid_until");
    CONTROL_SET(a.applicant, "by");
    if (a.applicant[0] == '\0')
        return ERR_MISSING_FIELD;
    enum vrs_err e = VRS_OK;
    if (control_text(c, "password")[0] != '\0') {
        e = password_rule_check(
            c->server->passwords, control_text(c, "password"), a.account.user,
            municipality_find(c->server->municipalities, a.account.municipality));
        if (e == VRS_OK)
            e = crypto_password_hash(control_text(c, "password"), a.account.password_hash);
        a.account.password_ms = clock_now_ms();
        a.account.must_change = strcmp(a.account.roles, "site_staff") != 0;
    }
    if (e == VRS_OK)
        e = application_check(registry, &a, c->server->municipalities, &field);
    if (e == VRS_OK)
        e = application_put(registry, &a);
    if (e == VRS_OK)
        e = control_log(c, registry, a.account.user);
    record_id_format(&a.id, id);
    secret_wipe(&a, sizeof a);
    return e == VRS_OK ? control_answer(c, json_pack("{s:s}", "application_id", id)) : e;
}

/* Only where nobody of the municipality could (C22, C47). */
enum vrs_err verb_user_approve(struct control_call *c, struct partition *registry) {
    struct record_id id;
    struct application a;
    if (!record_id_parse(control_text(c, "application_id"), &id))
        return ERR_NOT_FOUND;
    enum vrs_err e = application_get(registry, &id, &a);
    if (e == VRS_OK)
        e = application_approve(registry, &a, c->server->municipalities, control_text(c, "by"),
                                true);
    if (e == VRS_OK)
        e = control_log(c, registry, a.account.user);
    secret_wipe(&a, sizeof a);
    return e;
}

struct others {
    const struct account *one;
    char today[11];
    bool any;
};

static bool approves(const struct account *a) {
    right_mask rights;
    return a->state == ACCOUNT_ACTIVE && right_mask_parse(a->rights, &rights) &&
           (rights >> RIGHT_APPROVE_USER & 1) != 0;
}

static enum vrs_err see_other(struct account *a, void *arg) {
    struct others *o = arg;
    o->any |= approves(a) && strcmp(a->user, o->one->user) != 0 &&
              strcmp(a->municipality, o->one->municipality) == 0 &&
              strcmp(a->valid_until, o->today) >= 0;
    return VRS_OK;
}

/* The last living approver of a municipality is not the operator's to end: vrsctl could then approve
 * whomever it likes there (rule 10). */
static enum vrs_err may_disable(const struct account *a, struct partition *registry) {
    struct others o = {.one = a};
    if (a->municipality[0] == '\0' || !approves(a))
        return VRS_OK;
    clock_format_date(clock_today_jst(), o.today);
    enum vrs_err e = account_walk(registry, see_other, &o);
    return e == VRS_OK && !o.any ? ERR_APPROVAL_REQUIRED : e;
}

enum vrs_err verb_user_disable(struct control_call *c, struct partition *registry) {
    struct account a;
    enum vrs_err e = account_get(registry, control_text(c, "user_id"), &a);
    if (e == VRS_OK)
        e = may_disable(&a, registry);
    a.state = ACCOUNT_DISABLED;
    if (e == VRS_OK)
        e = account_put(registry, &a);
    if (e == VRS_OK)
        e = control_log(c, registry, a.user);
    secret_wipe(&a, sizeof a);
    return e;
}

static enum vrs_err add_user(struct account *a, void *arg) {
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "user_id", a->user, "municipality_code",
                          a->municipality, "section", a->section, "roles", a->roles, "rights",
                          a->rights, "valid_until", a->valid_until, "state",
                          a->state == ACCOUNT_ACTIVE ? "active" : "disabled");
    return o != NULL && json_array_append_new(arg, o) == 0 ? VRS_OK : ERR_MEMORY;
}

enum vrs_err verb_user_list(struct control_call *c, struct partition *registry) {
    json_t *users = json_array();
    enum vrs_err e = account_walk(registry, add_user, users);
    if (e == VRS_OK)
        e = control_log(c, registry, NULL);
    if (e == VRS_OK)
        e = control_answer(c, json_pack("{s:O}", "users", users));
    json_decref(users);
    return e;
}

static enum vrs_err add_application(struct application *a, void *arg) {
    char id[33];
    if (!application_open(a))
        return VRS_OK;
    record_id_format(&a->id, id);
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s}", "application_id", id, "user_id", a->account.user,
                          "municipality_code", a->account.municipality, "roles", a->account.roles,
                          "by", a->applicant);
    return o != NULL && json_array_append_new(arg, o) == 0 ? VRS_OK : ERR_MEMORY;
}

enum vrs_err verb_user_applications(struct control_call *c, struct partition *registry) {
    json_t *list = json_array();
    enum vrs_err e = application_walk(registry, APPLICATION_OPEN, add_application, list);
    if (e == VRS_OK)
        e = control_log(c, registry, NULL);
    if (e == VRS_OK)
        e = control_answer(c, json_pack("{s:O}", "applications", list));
    json_decref(list);
    return e;
}
