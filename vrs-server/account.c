#include "vrs-server/account.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/secret.h"
#include "partitions/fields.h"

#define ACCOUNT_MEMBERS(type, prefix)                                                              \
    FIELD(1, FIELD_TEXT, type, prefix user), FIELD(2, FIELD_TEXT, type, prefix person_name),       \
        FIELD(3, FIELD_TEXT, type, prefix municipality),                                           \
        FIELD(4, FIELD_TEXT, type, prefix section), FIELD(5, FIELD_TEXT, type, prefix roles),      \
        FIELD(6, FIELD_TEXT, type, prefix rights),                                                 \
        FIELD(7, FIELD_TEXT, type, prefix password_hash),                                          \
        FIELD(8, FIELD_TEXT, type, prefix valid_until),                                            \
        FIELD(9, FIELD_TEXT, type, prefix approved_by), FIELD(10, FIELD_I64, type, prefix made_ms)

static const struct field account_members[] = {ACCOUNT_MEMBERS(struct account, ), {0}};
static const struct field application_members[] = {
    ACCOUNT_MEMBERS(struct application, account.),
    FIELD(11, FIELD_TEXT, struct application, applicant),
    FIELD(12, FIELD_I64, struct application, applied_ms),
    FIELD(13, FIELD_TEXT, struct application, decided_by),
    FIELD(14, FIELD_I64, struct application, decided_ms),
    {0}};

/* Inserts (version 0) or replaces a row; its one index is the blind form of `key`. */
static enum vrs_err put(struct partition *registry, enum store_table t, const char *kind,
                        const char *key, const struct field *members, const void *from,
                        struct record_id *id, uint64_t *version, uint32_t *generation,
                        uint32_t state) {
    struct record r;
    record_init(&r);
    r.id = *id;
    r.version = *version;
    r.generation = *generation;
    r.state = state;
    fields_encode(members, from, &r.text);
    enum vrs_err e = partition_blind(registry, kind, key, strlen(key), &r.index[0]);
    if (e == VRS_OK)
        e = *version == 0 ? record_insert(registry, t, &r) : record_update(registry, t, &r);
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

/* An unknown right in data is a mistake somebody must see (default deny). */
static bool rights_known(const struct account *a) {
    right_mask rights;
    return right_mask_parse(a->rights, &rights) && rights_compatible(a->roles);
}

enum vrs_err account_put(struct partition *registry, struct account *a) {
    return rights_known(a) ? put(registry, TABLE_ACCOUNT, "user", a->user, account_members, a,
                                 &a->id, &a->version, &a->generation, a->state)
                           : ERR_BAD_FIELD;
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
    return put(registry, TABLE_APPLICATION, "user", a->account.user, application_members, a, &a->id,
               &a->version, &a->generation, a->state);
}

struct application_walk {
    enum application_state state;
    application_fn *fn;
    void *arg;
};

static enum vrs_err walk_application(struct record *r, void *arg) {
    const struct application_walk *w = arg;
    struct application a;
    enum vrs_err e =
        (enum application_state)r->state == w->state ? application_read(r, &a) : ERR_NOT_FOUND;
    if (e == VRS_OK)
        e = w->fn(&a, w->arg);
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

enum vrs_err application_walk(struct partition *registry, enum application_state state,
                              application_fn *fn, void *arg) {
    struct application_walk w = {.state = state, .fn = fn, .arg = arg};
    return record_walk(registry, TABLE_APPLICATION, NULL, 10000, walk_application, &w);
}

struct approvers {
    const char *municipality;
    const char *approver;
    bool any, is_one;
};

static enum vrs_err see_approver(struct account *a, void *arg) {
    struct approvers *s = arg;
    right_mask rights;
    if (a->state != ACCOUNT_ACTIVE || strcmp(a->municipality, s->municipality) != 0 ||
        !right_mask_parse(a->rights, &rights) || (rights >> RIGHT_APPROVE_USER & 1) == 0)
        return VRS_OK;
    s->any = true;
    s->is_one |= strcmp(a->user, s->approver) == 0;
    return VRS_OK;
}

enum vrs_err application_approve(struct partition *registry, struct application *a,
                                 const char *approver) {
    struct account before;
    struct civil_date until;
    struct approvers s = {.municipality = a->account.municipality, .approver = approver};
    if (a->state != APPLICATION_OPEN)
        return ERR_CONFLICT;
    if (approver[0] == '\0' || strcmp(approver, a->applicant) == 0 ||
        strcmp(approver, a->account.user) == 0)
        return ERR_FORBIDDEN; /* four eyes (C47) */
    enum vrs_err e = clock_parse_date(a->account.valid_until, &until);
    if (e == VRS_OK && until.days - clock_today_jst().days > 366)
        e = ERR_BAD_FIELD; /* C44 */
    if (e == VRS_OK)
        e = account_walk(registry, see_approver, &s);
    if (e == VRS_OK && s.any && !s.is_one)
        e = ERR_FORBIDDEN;
    if (e != VRS_OK)
        return e;
    e = account_get(registry, a->account.user, &before);
    if (e == VRS_OK) {
        /* An extension of the same person's account; an ID is never another person's (C49). */
        if (strcmp(before.person_name, a->account.person_name) != 0)
            return ERR_CONFLICT;
        a->account.id = before.id;
        a->account.version = before.version;
        a->account.generation = before.generation;
    } else if (e == ERR_NOT_FOUND) {
        record_id_new(&a->account.id);
        a->account.version = 0;
        a->account.generation = 0;
    } else {
        return e;
    }
    a->account.state = ACCOUNT_ACTIVE;
    a->account.made_ms = clock_now_ms();
    (void)snprintf(a->account.approved_by, sizeof a->account.approved_by, "%s", approver);
    e = account_put(registry, &a->account);
    if (e != VRS_OK)
        return e;
    a->state = APPLICATION_APPROVED;
    a->decided_ms = clock_now_ms();
    (void)snprintf(a->decided_by, sizeof a->decided_by, "%s", approver);
    return application_put(registry, a);
}
