#include "vrs-server/verbs.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/secret.h"
#include "vrs-server/account.h"

static bool words_known(const char *roles, right_mask *rights) {
    char copy[128];
    *rights = 0;
    (void)snprintf(copy, sizeof copy, "%s", roles);
    for (char *save, *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        right_mask more;
        if (!role_rights(w, &more))
            return false;
        *rights |= more;
    }
    return rights_compatible(roles);
}

static void rights_text(right_mask rights, char *out, size_t cap) {
    out[0] = '\0';
    for (int r = 0; r < RIGHT_COUNT; r++) {
        size_t len = strlen(out);
        if ((rights >> r & 1) != 0)
            (void)snprintf(out + len, cap - len, "%s%s", len > 0 ? " " : "",
                           right_name((enum right)r));
    }
}

enum vrs_err verb_user_apply(struct control_call *c, struct partition *registry) {
    struct application a = {.state = APPLICATION_OPEN, .applied_ms = clock_now_ms()};
    struct civil_date until;
    right_mask rights, asked;
    char id[33];
    record_id_new(&a.id);
    CONTROL_SET(a.account.user, "user_id");
    CONTROL_SET(a.account.person_name, "person_name");
    CONTROL_SET(a.account.municipality, "municipality_code");
    CONTROL_SET(a.account.section, "section");
    CONTROL_SET(a.account.roles, "roles");
    CONTROL_SET(a.account.valid_until, "valid_until");
    CONTROL_SET(a.applicant, "by");
    if (a.account.user[0] == '\0' || a.account.person_name[0] == '\0' || a.applicant[0] == '\0' ||
        strlen(control_text(c, "password")) < 12)
        return ERR_MISSING_FIELD;
    if (clock_parse_date(a.account.valid_until, &until) != VRS_OK ||
        !words_known(a.account.roles, &rights))
        return ERR_BAD_FIELD;
    if (until.days - clock_today_jst().days > 366)
        return ERR_BAD_FIELD; /* C44 */
    if (municipality_find(c->server->municipalities, a.account.municipality) == NULL)
        return ERR_NO_SUCH_MUNICIPALITY;
    if (control_text(c, "rights")[0] != '\0') {
        if (!right_mask_parse(control_text(c, "rights"), &asked) || (asked & ~rights) != 0)
            return ERR_BAD_FIELD;
        rights = asked;
    }
    rights_text(rights, a.account.rights, sizeof a.account.rights);
    enum vrs_err e = crypto_password_hash(control_text(c, "password"), a.account.password_hash);
    if (e == VRS_OK)
        e = application_put(registry, &a);
    if (e == VRS_OK)
        e = control_log(c, registry, a.account.user);
    record_id_format(&a.id, id);
    secret_wipe(&a, sizeof a);
    return e == VRS_OK ? control_answer(c, json_pack("{s:s}", "application_id", id)) : e;
}

enum vrs_err verb_user_approve(struct control_call *c, struct partition *registry) {
    struct record_id id;
    struct application a;
    if (!record_id_parse(control_text(c, "application_id"), &id))
        return ERR_NOT_FOUND;
    enum vrs_err e = application_get(registry, &id, &a);
    if (e == VRS_OK)
        e = application_approve(registry, &a, control_text(c, "by"));
    if (e == VRS_OK)
        e = control_log(c, registry, a.account.user);
    secret_wipe(&a, sizeof a);
    return e;
}

enum vrs_err verb_user_disable(struct control_call *c, struct partition *registry) {
    struct account a;
    enum vrs_err e = account_get(registry, control_text(c, "user_id"), &a);
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
