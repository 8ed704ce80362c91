#include "vrs-server/accounts/account.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/secret.h"
#include "lib/text.h"
#include "partitions/fields.h"

#define ACCOUNT_MEMBERS(type, prefix)                                                              \
    FIELD(1, FIELD_TEXT, type, prefix user), FIELD(2, FIELD_TEXT, type, prefix person_name),       \
        FIELD(3, FIELD_TEXT, type, prefix municipality),                                           \
        FIELD(4, FIELD_TEXT, type, prefix section), FIELD(5, FIELD_TEXT, type, prefix roles),      \
        FIELD(6, FIELD_TEXT, type, prefix rights),                                                 \
        FIELD(7, FIELD_TEXT, type, prefix password_hash),                                          \
        FIELD(8, FIELD_TEXT, type, prefix valid_until),                                            \
        FIELD(9, FIELD_TEXT, type, prefix approved_by),                                            \
        FIELD(10, FIELD_I64, type, prefix made_ms), FIELD(15, FIELD_TEXT, type, prefix unit),      \
        FIELD(16, FIELD_TEXT, type, prefix scope), FIELD(17, FIELD_I64, type, prefix password_ms), \
        FIELD(18, FIELD_BOOL, type, prefix must_change),                                           \
        FIELD(19, FIELD_TEXT, type, prefix totp_secret),                                           \
        FIELD(20, FIELD_BOOL, type, prefix totp_on), FIELD(21, FIELD_I64, type, prefix totp_step), \
        FIELD(22, FIELD_I64, type, prefix used_ms),                                                \
        FIELD(23, FIELD_I64, type, prefix reviewed_ms),                                            \
        FIELD(24, FIELD_TEXT, type, prefix reviewed_by),                                           \
        FIELD(25, FIELD_TEXT, type, prefix left_on), FIELD(26, FIELD_TEXT, type, prefix ended_by), \
        FIELD(27, FIELD_TEXT, type, prefix end_reason),                                            \
        FIELD(28, FIELD_TEXT, type, prefix application)

static const struct field account_members[] = {ACCOUNT_MEMBERS(struct account, ), {0}};
static const struct field application_members[] = {
    ACCOUNT_MEMBERS(struct application, account.),
    FIELD(11, FIELD_TEXT, struct application, applicant),
    FIELD(12, FIELD_I64, struct application, applied_ms),
    FIELD(13, FIELD_TEXT, struct application, decided_by),
    FIELD(14, FIELD_I64, struct application, decided_ms),
    FIELD(40, FIELD_TEXT, struct application, reason),
    FIELD(41, FIELD_TEXT, struct application, decision_reason),
    {0}};

typedef enum vrs_err write_fn(struct partition *p, enum store_table t, struct record *r);

/* Writes a row; its one index is the blind form of the user's name. */
static enum vrs_err put(struct partition *registry, enum store_table t, const char *user,
                        const struct field *members, const void *from, struct record_id *id,
                        uint64_t *version, uint32_t *generation, uint32_t state, write_fn *write) {
    struct record r;
    record_init(&r);
    r.id = *id;
    r.version = *version;
    r.generation = *generation;
    r.state = state;
    fields_encode(members, from, &r.text);
    enum vrs_err e = partition_blind(registry, "user", user, strlen(user), &r.index[0]);
    if (e == VRS_OK)
        e = write(registry, t, &r);
    *version = r.version;
    *generation = r.generation;
    record_fini(&r);
    return e;
}

#define TAKE_HEAD(to, r)                                                                           \
    do {                                                                                           \
        (to)->id = (r)->id;                                                                        \
        (to)->version = (r)->version;                                                              \
        (to)->generation = (r)->generation;                                                        \
    } while (0)

/* --- accounts --- */

static enum vrs_err account_read(const struct record *r, struct account *out) {
    memset(out, 0, sizeof *out);
    TAKE_HEAD(out, r);
    out->state = (enum account_state)r->state;
    return fields_decode(account_members, &r->text, out);
}

struct found_account {
    struct account *out;
    bool any;
};

static enum vrs_err take_account(struct record *r, void *arg) {
    struct found_account *f = arg;
    f->any = true;
    return account_read(r, f->out);
}

enum vrs_err account_get(struct partition *registry, const char *user, struct account *out) {
    struct store_index index;
    struct found_account f = {.out = out};
    enum vrs_err e = partition_blind(registry, "user", user, strlen(user), &index);
    if (e == VRS_OK)
        e = record_find(registry, TABLE_ACCOUNT, 0, &index, take_account, &f);
    return e == VRS_OK && !f.any ? ERR_NOT_FOUND : e;
}

/* Two digits of a prefecture, or municipality codes, or "*". */
static bool scope_fits(const char *scope, enum role_reach reach) {
    if (reach == REACH_PREFECTURE)
        return strlen(scope) == 2 && strcmp(scope, "01") >= 0 && strcmp(scope, "47") <= 0;
    if (reach != REACH_AUDIT)
        return scope[0] == '\0';
    if (strcmp(scope, "*") == 0)
        return true;
    for (const char *code = scope;; code += 7) {
        char digits[7] = "";
        (void)snprintf(digits, sizeof digits, "%s", code);
        if (!municipality_code_valid(digits))
            return false;
        if (code[6] == '\0')
            return true;
        if (code[6] != ' ')
            return false;
    }
}

bool account_sound(const struct account *a, right_mask *mask) {
    right_mask rights, most, usual;
    enum role_reach reach;
    if (!right_mask_parse(a->rights, &rights) || !roles_rights(a->roles, &most, &usual, &reach))
        return false;
    if (mask != NULL)
        *mask = rights;
    bool local = reach == REACH_SITE || reach == REACH_MUNICIPALITY;
    return (rights & ~most) == 0 && rights_separate(rights) &&
           local == (a->municipality[0] != '\0') && scope_fits(a->scope, reach) &&
           a->approved_by[0] != '\0' && strcmp(a->approved_by, a->user) != 0;
}

bool account_lives(const struct account *a) {
    char today[11];
    clock_format_date(clock_today_jst(), today);
    return a->state == ACCOUNT_ACTIVE && strcmp(a->valid_until, today) >= 0;
}

enum vrs_err account_put(struct partition *registry, struct account *a) {
    return account_sound(a, NULL)
               ? put(registry, TABLE_ACCOUNT, a->user, account_members, a, &a->id, &a->version,
                     &a->generation, a->state, a->version == 0 ? record_insert : record_update)
               : ERR_BAD_FIELD;
}

enum vrs_err account_mark(struct partition *registry, struct account *a) {
    return put(registry, TABLE_ACCOUNT, a->user, account_members, a, &a->id, &a->version,
               &a->generation, a->state, record_reseal);
}

struct account_walk {
    account_fn *fn;
    void *arg;
    struct record_id last;
    size_t seen;
};

static enum vrs_err walk_account(struct record *r, void *arg) {
    struct account_walk *w = arg;
    struct account a;
    w->last = r->id;
    w->seen++;
    enum vrs_err e = account_read(r, &a);
    if (e == VRS_OK)
        e = w->fn(&a, w->arg);
    secret_wipe(&a, sizeof a);
    return e;
}

enum { PAGE = 500 };

enum vrs_err account_walk(struct partition *registry, account_fn *fn, void *arg) {
    struct account_walk w = {.fn = fn, .arg = arg, .seen = PAGE};
    enum vrs_err e = VRS_OK;
    for (bool first = true; e == VRS_OK && w.seen == PAGE; first = false) {
        struct record_id after = w.last;
        w.seen = 0;
        e = record_walk(registry, TABLE_ACCOUNT, first ? NULL : &after, PAGE, walk_account, &w);
    }
    return e;
}

static enum vrs_err check_one(struct account *a, void *arg) {
    struct vrs_fault *fault = arg;
    if (account_sound(a, NULL))
        return VRS_OK;
    return err_fail(
        fault, ERR_CONFIG,
        "account %s has an unknown right, or roles, rights, municipality and scope that "
        "do not go together: rights \"%s\", roles \"%s\"",
        a->user, a->rights, a->roles);
}

enum vrs_err accounts_check(struct partition *registry, struct vrs_fault *fault) {
    return account_walk(registry, check_one, fault);
}

/* --- applications --- */

static enum vrs_err application_read(const struct record *r, struct application *out) {
    memset(out, 0, sizeof *out);
    TAKE_HEAD(out, r);
    out->state = (enum application_state)r->state;
    return fields_decode(application_members, &r->text, out);
}

enum vrs_err application_get(struct partition *registry, const struct record_id *id,
                             struct application *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(registry, TABLE_APPLICATION, id, &r);
    if (e == VRS_OK)
        e = application_read(&r, out);
    record_fini(&r);
    return e;
}

enum vrs_err application_put(struct partition *registry, struct application *a) {
    return put(registry, TABLE_APPLICATION, a->account.user, application_members, a, &a->id,
               &a->version, &a->generation, a->state,
               a->version == 0 ? record_insert : record_update);
}

bool application_open(const struct application *a) {
    int64_t age_ms = clock_now_ms() - a->applied_ms;
    return a->state == APPLICATION_OPEN &&
           age_ms < APPLICATION_VALID_DAYS * INT64_C(24) * 3600 * 1000;
}

struct application_walk {
    enum application_state state; /* 0: any */
    const char *municipality;     /* NULL: any */
    application_fn *fn;
    void *arg;
    struct record_id last;
    size_t seen;
};

static enum vrs_err walk_application(struct record *r, void *arg) {
    struct application_walk *w = arg;
    struct application a;
    w->last = r->id;
    w->seen++;
    if (w->state != 0 && (enum application_state)r->state != w->state)
        return VRS_OK;
    enum vrs_err e = application_read(r, &a);
    if (e == VRS_OK &&
        (w->municipality == NULL || strcmp(a.account.municipality, w->municipality) == 0))
        e = w->fn(&a, w->arg);
    secret_wipe(&a, sizeof a);
    return e;
}

static enum vrs_err walk_applications(struct partition *registry, struct application_walk *w) {
    enum vrs_err e = VRS_OK;
    w->seen = PAGE;
    for (bool first = true; e == VRS_OK && w->seen == PAGE; first = false) {
        struct record_id after = w->last;
        w->seen = 0;
        e = record_walk(registry, TABLE_APPLICATION, first ? NULL : &after, PAGE, walk_application,
                        w);
    }
    return e;
}

enum vrs_err application_walk(struct partition *registry, enum application_state state,
                              application_fn *fn, void *arg) {
    struct application_walk w = {.state = state, .fn = fn, .arg = arg};
    return walk_applications(registry, &w);
}

struct wiping {
    struct partition *registry;
    uint64_t *count;
};

static enum vrs_err wipe_lapsed(struct application *a, void *arg) {
    const struct wiping *w = arg;
    if (application_open(a) || a->account.password_hash[0] == '\0')
        return VRS_OK;
    secret_wipe(a->account.password_hash, sizeof a->account.password_hash);
    ++*w->count;
    return application_put(w->registry, a);
}

enum vrs_err applications_wipe_lapsed(struct partition *registry, uint64_t *wiped) {
    struct wiping w = {.registry = registry, .count = wiped};
    *wiped = 0;
    return application_walk(registry, APPLICATION_OPEN, wipe_lapsed, &w);
}

enum vrs_err applications_of(struct partition *registry, const char *municipality,
                             application_fn *fn, void *arg) {
    struct application_walk w = {.municipality = municipality, .fn = fn, .arg = arg};
    return walk_applications(registry, &w);
}

static enum vrs_err wrong(const char **field, const char *name, enum vrs_err e) {
    *field = name;
    return e;
}

/* What people type and read out: no spaces, no look-alikes of other scripts. */
static bool user_id_good(const char *user) {
    size_t n = strlen(user);
    return n >= 3 && n < 64 &&
           strspn(user, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

/* However the name is spaced or typed. */
static bool same_person(const char *a, const char *b) {
    struct buffer x, y;
    buffer_init(&x, 1024);
    buffer_init(&y, 1024);
    text_fold_name(a, &x);
    text_fold_name(b, &y);
    bool same = x.failed || y.failed || strcmp(buffer_cstr(&x), buffer_cstr(&y)) == 0;
    buffer_fini(&x);
    buffer_fini(&y);
    return same;
}

struct other_ids {
    const struct account *of;
    right_mask rights;
};

static enum vrs_err see_other_id(struct account *a, void *arg) {
    struct other_ids *o = arg;
    right_mask rights;
    if (account_lives(a) && strcmp(a->user, o->of->user) != 0 &&
        strcmp(a->municipality, o->of->municipality) == 0 &&
        same_person(a->person_name, o->of->person_name) && right_mask_parse(a->rights, &rights))
        o->rights |= rights;
    return VRS_OK;
}

/* What one person may not hold in one ID, the person holds in no two IDs either (C26, C47). */
static enum vrs_err check_other_ids(struct partition *registry, const struct account *a) {
    struct other_ids others = {.of = a};
    right_mask asked;
    if (!right_mask_parse(a->rights, &asked))
        return ERR_BAD_FIELD;
    enum vrs_err e = account_walk(registry, see_other_id, &others);
    return e == VRS_OK && !rights_separate(asked | others.rights) ? ERR_CONFLICT : e;
}

static enum vrs_err check_rights(struct account *a, const char **field) {
    right_mask most, usual, asked;
    enum role_reach reach;
    if (!roles_rights(a->roles, &most, &usual, &reach))
        return wrong(field, "roles", ERR_BAD_FIELD);
    if (a->rights[0] == '\0')
        right_mask_format(usual, a->rights, sizeof a->rights);
    if (!right_mask_parse(a->rights, &asked) || (asked & ~most) != 0 || !rights_separate(asked))
        return wrong(field, "rights", ERR_BAD_FIELD);
    bool local = reach == REACH_SITE || reach == REACH_MUNICIPALITY;
    if (local != (a->municipality[0] != '\0'))
        return wrong(field, "municipality_code", ERR_NO_SUCH_MUNICIPALITY);
    return scope_fits(a->scope, reach) ? VRS_OK : wrong(field, "scope", ERR_BAD_FIELD);
}

enum vrs_err application_check(struct partition *registry, struct application *application,
                               const struct municipality_list *municipalities, const char **field) {
    struct account *a = &application->account, before;
    struct civil_date until, today = clock_today_jst();
    if (!user_id_good(a->user))
        return wrong(field, "user_id", ERR_BAD_FIELD);
    if (a->person_name[0] == '\0')
        return wrong(field, "person_name", ERR_MISSING_FIELD);
    if (clock_parse_date(a->valid_until, &until) != VRS_OK || strlen(a->valid_until) != 10 ||
        until.days < today.days || until.days - today.days > ACCOUNT_MAX_DAYS) /* C44 */
        return wrong(field, "valid_until", ERR_BAD_FIELD);
    if (a->municipality[0] != '\0' && municipality_find(municipalities, a->municipality) == NULL)
        return wrong(field, "municipality_code", ERR_NO_SUCH_MUNICIPALITY);
    enum vrs_err e = check_rights(a, field);
    if (e != VRS_OK)
        return e;
    e = check_other_ids(registry, a);
    if (e != VRS_OK)
        return e == ERR_CONFLICT ? wrong(field, "person_name", e) : e;
    e = account_get(registry, a->user, &before);
    if (e == ERR_NOT_FOUND)
        return a->password_hash[0] != '\0' ? VRS_OK : wrong(field, "password", ERR_MISSING_FIELD);
    /* An ID is never another person's, nor anybody's again when its person has left (C49). */
    if (e == VRS_OK &&
        (strcmp(before.person_name, a->person_name) != 0 ||
         strcmp(before.municipality, a->municipality) != 0 || before.left_on[0] != '\0'))
        e = wrong(field, "user_id", ERR_CONFLICT);
    secret_wipe(&before, sizeof before);
    return e;
}

struct approvers {
    const struct application *application;
    const char *approver;
    bool any, is_one, is_subject;
};

static enum vrs_err see_approver(struct account *a, void *arg) {
    struct approvers *s = arg;
    right_mask rights;
    const struct account *subject = &s->application->account;
    if (!account_lives(a) || strcmp(a->municipality, subject->municipality) != 0 ||
        !right_mask_parse(a->rights, &rights) || (rights >> RIGHT_APPROVE_USER & 1) == 0)
        return VRS_OK;
    s->any = true;
    if (strcmp(a->user, s->approver) == 0) {
        s->is_one = true;
        s->is_subject = same_person(a->person_name, subject->person_name);
    }
    return VRS_OK;
}

/* Four eyes (C47): neither who filed it nor the one it is for, under whatever ID. */
static enum vrs_err may_decide(struct partition *registry, const struct application *a,
                               const char *by, bool bootstrap) {
    struct approvers s = {.application = a, .approver = by};
    if (by[0] == '\0' || strcmp(by, a->applicant) == 0 || strcmp(by, a->account.user) == 0)
        return ERR_FORBIDDEN;
    enum vrs_err e = account_walk(registry, see_approver, &s);
    if (e == VRS_OK && (bootstrap ? s.any : !s.is_one || s.is_subject))
        e = ERR_FORBIDDEN;
    return e;
}

static enum vrs_err decide(struct partition *registry, struct application *a,
                           enum application_state state, const char *by) {
    a->state = state;
    a->decided_ms = clock_now_ms();
    (void)snprintf(a->decided_by, sizeof a->decided_by, "%s", by);
    /* An initial password has no use here any more. */
    secret_wipe(a->account.password_hash, sizeof a->account.password_hash);
    return application_put(registry, a);
}

/* What an earlier account of the ID keeps when it is extended or changed. */
static void carry_over(struct account *to, const struct account *from) {
    to->id = from->id;
    to->version = from->version;
    to->generation = from->generation;
    to->used_ms = from->used_ms;
    if (to->password_hash[0] != '\0')
        return; /* a new start: the second factor, too */
    memcpy(to->password_hash, from->password_hash, sizeof to->password_hash);
    to->password_ms = from->password_ms;
    to->must_change = from->must_change;
    memcpy(to->totp_secret, from->totp_secret, sizeof to->totp_secret);
    to->totp_on = from->totp_on;
    to->totp_step = from->totp_step;
}

enum vrs_err application_approve(struct partition *registry, struct application *a,
                                 const struct municipality_list *municipalities,
                                 const char *approver, bool bootstrap) {
    struct account before, made;
    const char *field;
    if (!application_open(a))
        return ERR_CONFLICT;
    enum vrs_err e = may_decide(registry, a, approver, bootstrap);
    if (e == VRS_OK)
        e = application_check(registry, a, municipalities, &field);
    if (e != VRS_OK)
        return e;
    made = a->account;
    e = account_get(registry, made.user, &before);
    if (e == VRS_OK) {
        carry_over(&made, &before);
    } else if (e == ERR_NOT_FOUND) {
        record_id_new(&made.id);
        made.version = 0;
        e = VRS_OK;
    }
    made.state = ACCOUNT_ACTIVE;
    made.made_ms = made.reviewed_ms = clock_now_ms();
    (void)snprintf(made.approved_by, sizeof made.approved_by, "%s", approver);
    (void)snprintf(made.reviewed_by, sizeof made.reviewed_by, "%s", approver);
    record_id_format(&a->id, made.application);
    if (e == VRS_OK)
        e = account_put(registry, &made);
    if (e == VRS_OK)
        e = decide(registry, a, APPLICATION_APPROVED, approver);
    secret_wipe(&before, sizeof before);
    secret_wipe(&made, sizeof made);
    return e;
}

enum vrs_err application_refuse(struct partition *registry, struct application *a, const char *by,
                                const char *reason) {
    if (!application_open(a))
        return ERR_CONFLICT;
    enum vrs_err e = may_decide(registry, a, by, false);
    (void)snprintf(a->decision_reason, sizeof a->decision_reason, "%s", reason);
    return e == VRS_OK ? decide(registry, a, APPLICATION_REFUSED, by) : e;
}
