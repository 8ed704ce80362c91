/* Residents: search, read, change, flags, reveal of the number. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/text.h"
#include "vrs-server/handlers.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/log/change.h"
#include "vrs-server/log/near.h"
#include "vrs-server/request.h"
#include "vrs-server/views.h"

enum { SEARCH_MAX = 200, MAX_LINKS = 32 };

static enum vrs_err add_coupon(const struct person_coupon *c, void *arg) {
    json_t *o = json_pack("{s:s,s:o,s:o}", "coupon_number", c->number.digits, "sent_on",
                          view_date(c->sent_on), "registered_at", view_time(c->registered_ms));
    return o != NULL && json_array_append_new(arg, o) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err view_with_coupons(struct partition *p, const struct person *person,
                                      json_t **out) {
    json_t *coupons = json_array();
    enum vrs_err e = coupons_of(p, &person->id, add_coupon, coupons);
    if (e != VRS_OK) {
        json_decref(coupons);
        return e;
    }
    *out = view_person(person, coupons);
    return *out != NULL ? VRS_OK : ERR_MEMORY;
}

/* --- search --- */

struct search {
    const char *coupon, *addressee, *number, *purpose, *kana, *birth;
    struct civil_date birth_date;
    struct partition *partition;
    json_t *found;
    bool near; /* the coupon beside the one that was searched before */
    struct record_id subject[SEARCH_MAX];
    size_t count;
};

static enum vrs_err found_one(struct person *person, void *arg) {
    struct search *s = arg;
    json_t *o = NULL;
    if (s->count >= SEARCH_MAX)
        return VRS_OK;
    enum vrs_err e = view_with_coupons(s->partition, person, &o);
    if (e == VRS_OK && json_array_append_new(s->found, o) != 0)
        e = ERR_MEMORY;
    if (e == VRS_OK)
        s->subject[s->count++] = person->id;
    return e;
}

static enum vrs_err find_by_number(struct inside_request *in, struct partition *p, struct search *s,
                                   struct person *out) {
    struct personal_number number;
    struct record_id row, id;
    const struct number_access why = {
        .right = "number.search", .purpose = s->purpose, .user = in->session.user};
    (void)snprintf(number.digits, sizeof number.digits, "%s", s->number);
    enum vrs_err e = number_match(in->server->number[in->job.worker_index], partition_code(p),
                                  &number, &why, &row);
    secret_wipe(&number, sizeof number);
    if (e == VRS_OK)
        e = number_link_person(p, &row, &id);
    return e == VRS_OK ? person_get(p, &id, out) : e;
}

static enum vrs_err search_run(struct inside_request *in, struct partition *p) {
    struct search *s = in->own;
    struct person person;
    struct person_coupon coupon;
    const char *kind;
    enum vrs_err e;
    memset(&person, 0, sizeof person);
    s->partition = p;
    s->count = 0;
    s->found = json_array();
    if (s->kana != NULL) {
        kind = "name_kana+birth_date";
        e = person_search(p, s->kana, s->birth_date, SEARCH_MAX, found_one, s);
    } else {
        if (s->coupon != NULL) {
            kind = s->near ? "coupon_number near" : "coupon_number";
            e = coupon_get(p, s->coupon, &coupon);
            if (e == VRS_OK)
                e = person_get(p, &coupon.person, &person);
        } else if (s->addressee != NULL) {
            kind = "addressee_number";
            e = person_by_addressee(p, s->addressee, &person);
        } else {
            kind = "personal_number";
            in->purpose = s->purpose;
            e = find_by_number(in, p, s, &person);
        }
        if (e == VRS_OK)
            e = found_one(&person, s);
        else if (e == ERR_NOT_FOUND)
            e = VRS_OK;
    }
    /* The kind of term and the hit count, never the term (C66). */
    if (e == VRS_OK)
        e = inside_log(in, p, s->count == 1 && person.version != 0 ? &person : NULL, s->subject,
                       s->count, s->count, "ok", kind);
    if (e == VRS_OK)
        e = inside_json(
            in, json_pack("{s:O,s:b}", "residents", s->found, "truncated", s->count >= SEARCH_MAX));
    json_decref(s->found);
    s->found = NULL;
    person_wipe(&person);
    return e;
}

static enum vrs_err search_read(struct inside_request *in, struct search *s) {
    const struct json_field fields[] = {
        JF_STR("coupon_number", false, 10, &s->coupon),
        JF_STR("addressee_number", false, 20, &s->addressee),
        JF_STR("personal_number", false, 12, &s->number),
        JF_STR("purpose", false, 30, &s->purpose),
        JF_STR("name_kana", false, 200, &s->kana),
        JF_STR("birth_date", false, 10, &s->birth),
        JF_END,
    };
    enum vrs_err e = inside_read(in, fields);
    if (e != VRS_OK)
        return e;
    int terms = (s->coupon != NULL) + (s->addressee != NULL) + (s->number != NULL) +
                (s->kana != NULL || s->birth != NULL);
    if (terms != 1) {
        (void)snprintf(in->detail_ja, sizeof in->detail_ja,
                       "検索条件は、接種券番号・宛名番号・個人番号・カナ氏名と生年月日の"
                       "いずれか一つを指定してください。");
        return terms == 0 ? ERR_MISSING_FIELD : ERR_BAD_FIELD;
    }
    if (s->number != NULL) {
        if ((in->session.rights >> RIGHT_NUMBER_SEARCH & 1) == 0)
            return ERR_FORBIDDEN;
        if (s->purpose == NULL || session_purpose(in, s->purpose, "search") != VRS_OK)
            return ERR_PURPOSE;
        enum vrs_err may = session_number(in);
        if (may != VRS_OK)
            return may;
        return personal_number_valid(s->number) ? VRS_OK : ERR_R170;
    }
    if (s->coupon != NULL) {
        struct coupon_number n;
        if (!coupon_number_set(&n, s->coupon))
            return ERR_R101;
        s->near = near_last_coupon(in->session.user, n.digits);
        return VRS_OK;
    }
    if (s->addressee != NULL)
        return VRS_OK;
    if (s->kana == NULL || s->birth == NULL || s->kana[0] == '\0')
        return ERR_MISSING_FIELD;
    return clock_parse_date(s->birth, &s->birth_date);
}

void residents_search(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct search *s = arena_alloc(http_arena(rq), sizeof *s);
    in->act = "resident.search";
    in->own = s;
    enum vrs_err e = s != NULL ? search_read(in, s) : ERR_MEMORY;
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_run(in, search_run);
}

/* --- one resident --- */

static enum vrs_err answer_person(struct inside_request *in, struct partition *p,
                                  const struct person *person) {
    json_t *o = NULL;
    enum vrs_err e = view_with_coupons(p, person, &o);
    in->etag = person->version;
    return e == VRS_OK ? inside_json(in, o) : e;
}

static enum vrs_err get_person(struct inside_request *in, struct partition *p, struct person *out) {
    struct record_id id;
    memset(out, 0, sizeof *out);
    enum vrs_err e = inside_id(in, "id", &id);
    return e == VRS_OK ? person_get(p, &id, out) : e;
}

static enum vrs_err get_run(struct inside_request *in, struct partition *p) {
    struct person person;
    enum vrs_err e = get_person(in, p, &person);
    if (e == VRS_OK)
        e = inside_log(in, p, &person, &person.id, 1, 1, "ok", NULL);
    if (e == VRS_OK)
        e = answer_person(in, p, &person);
    person_wipe(&person);
    return e;
}

void residents_get(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "resident.read";
    inside_run(in, get_run);
}

/* The version that the clerk saw must be the present one. */
static enum vrs_err get_for_change(struct inside_request *in, struct partition *p,
                                   struct person *out) {
    enum vrs_err e = get_person(in, p, out);
    return e == VRS_OK && out->version != in->if_match ? ERR_STALE_VERSION : e;
}

static enum vrs_err read_sex(const char *text, enum person_sex *out) {
    if (strcmp(text, "male") == 0)
        *out = SEX_MALE;
    else if (strcmp(text, "female") == 0)
        *out = SEX_FEMALE;
    else if (strcmp(text, "unknown") == 0)
        *out = SEX_UNKNOWN;
    else
        return ERR_BAD_FIELD;
    return VRS_OK;
}

static void note_change(struct change *x, const struct person *old, const struct person *p) {
    static const char *const sexes[] = {"不明", "男", "女"};
    char before[11] = "", after[11] = "";
    change_note(x, "name", old->name, p->name);
    change_note(x, "name_kana", old->kana, p->kana);
    change_note(x, "address", old->address, p->address);
    if (person_date_set(old->birth))
        clock_format_date(old->birth, before);
    if (person_date_set(p->birth))
        clock_format_date(p->birth, after);
    change_note(x, "birth_date", before, after);
    change_note(x, "sex",
                sexes[old->sex == SEX_MALE     ? 1
                      : old->sex == SEX_FEMALE ? 2
                                               : 0],
                sexes[p->sex == SEX_MALE     ? 1
                      : p->sex == SEX_FEMALE ? 2
                                             : 0]);
}

static enum vrs_err patch_run(struct inside_request *in, struct partition *p) {
    const char *name = NULL, *kana = NULL, *address = NULL, *birth = NULL, *sex = NULL;
    const char *reason = NULL;
    const struct json_field fields[] = {
        JF_STR("name", false, 255, &name),
        JF_STR("name_kana", false, 255, &kana),
        JF_STR("address", false, 511, &address),
        JF_STR("birth_date", false, 10, &birth),
        JF_STR("sex", false, 8, &sex),
        JF_STR("reason", false, 500, &reason),
        JF_END,
    };
    struct person person, old;
    struct change change = {0};
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && (reason == NULL || reason[0] == '\0'))
        e = ERR_REASON_REQUIRED;
    if (e != VRS_OK)
        return e;
    e = get_for_change(in, p, &person);
    old = person;
    INSIDE_COPY(person.name, name);
    INSIDE_COPY(person.kana, kana);
    INSIDE_COPY(person.address, address);
    if (e == VRS_OK && birth != NULL)
        e = clock_parse_date(birth, &person.birth);
    if (e == VRS_OK && person.birth.days > clock_today_jst().days)
        e = ERR_R112;
    if (e == VRS_OK && sex != NULL)
        e = read_sex(sex, &person.sex);
    if (e == VRS_OK && person.name[0] == '\0')
        e = ERR_R181;
    if (e == VRS_OK)
        e = person_put(p, &person);
    note_change(&change, &old, &person);
    if (e == VRS_OK)
        e = inside_log(in, p, &person, &person.id, 1, 1, "ok", change_text(&change, reason));
    if (e == VRS_OK)
        e = answer_person(in, p, &person);
    person_wipe(&person);
    person_wipe(&old);
    secret_wipe(&change, sizeof change);
    return e;
}

void residents_patch(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "resident.change";
    inside_run(in, patch_run);
}

/* --- flags: 転出, 死亡, 自動応答不可, 不開示 --- */

static enum vrs_err flag_set(struct inside_request *in, struct person *person, const char *flag,
                             const char *since, const char *to, bool clear) {
    struct civil_date day = PERSON_NO_DATE;
    bool dated = strcmp(flag, "moved_out") == 0 || strcmp(flag, "dead") == 0;
    if (dated && !clear) {
        enum vrs_err e = since != NULL ? clock_parse_date(since, &day) : ERR_MISSING_FIELD;
        if (e != VRS_OK)
            return e;
    }
    if (to != NULL && municipality_find(in->server->municipalities, to) == NULL)
        return ERR_NO_SUCH_MUNICIPALITY;
    if (strcmp(flag, "moved_out") == 0) {
        person->moved_out_on = day;
        memset(person->moved_out_to, 0, sizeof person->moved_out_to);
        if (!clear)
            INSIDE_COPY(person->moved_out_to, to);
    } else if (strcmp(flag, "dead") == 0) {
        person->died_on = day;
    } else if (strcmp(flag, "no_auto_answer") == 0) {
        person->no_auto_answer = !clear;
    } else if (strcmp(flag, "undisclosed") == 0) {
        person->undisclosed = !clear;
    } else {
        return ERR_BAD_FIELD;
    }
    return VRS_OK;
}

static enum vrs_err flag_run(struct inside_request *in, struct partition *p) {
    const char *flag = NULL, *since = NULL, *to = NULL;
    bool clear = false;
    const struct json_field fields[] = {
        JF_STR("flag", true, 20, &flag),
        JF_STR("since", false, 10, &since),
        JF_STR("to_municipality", false, 6, &to),
        JF_BOOL("clear", false, &clear),
        JF_END,
    };
    struct person person;
    enum vrs_err e = inside_read(in, fields);
    if (e != VRS_OK)
        return e;
    e = get_for_change(in, p, &person);
    if (e == VRS_OK)
        e = flag_set(in, &person, flag, since, to, clear);
    if (e == VRS_OK)
        e = person_put(p, &person);
    if (e == VRS_OK)
        e = inside_log(in, p, &person, &person.id, 1, 1, clear ? "cleared" : "set", flag);
    if (e == VRS_OK)
        e = answer_person(in, p, &person);
    person_wipe(&person);
    return e;
}

void residents_flag(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "resident.flag";
    inside_run(in, flag_run);
}

/* --- number rows of a person --- */

struct links {
    struct record_id row[MAX_LINKS];
    size_t count;
};

static enum vrs_err add_link(const struct record_id *row, void *arg) {
    struct links *l = arg;
    if (l->count < MAX_LINKS)
        l->row[l->count++] = *row;
    return VRS_OK;
}

/* --- reveal: the one answer that ever holds a 個人番号; logged and committed first --- */

struct reveal {
    struct links links;
    const char *purpose;
};

static enum vrs_err reveal_log(struct inside_request *in, struct partition *p) {
    struct reveal *r = in->own;
    struct person person;
    r->links.count = 0;
    in->purpose = r->purpose;
    enum vrs_err e = get_person(in, p, &person);
    if (e == VRS_OK)
        e = number_links_of(p, &person.id, add_link, &r->links);
    if (e == VRS_OK && r->links.count == 0)
        e = ERR_NOT_FOUND;
    if (e == VRS_OK)
        e = inside_log(in, p, &person, &person.id, 1, 1, "ok", NULL);
    person_wipe(&person);
    return e;
}

static enum vrs_err reveal_run(struct inside_request *in, struct partition *p) {
    struct reveal *r = in->own;
    struct personal_number number;
    const struct number_access why = {
        .right = "number.reveal", .purpose = r->purpose, .user = in->session.user};
    enum vrs_err e = number_reveal(in->server->number[in->job.worker_index], partition_code(p),
                                   &r->links.row[r->links.count - 1], &why, &number);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:s}", "personal_number", number.digits));
    secret_wipe(&number, sizeof number);
    return e;
}

static void answer_done(struct inside_request *in) {
    inside_answer(in, in->job.err);
}

static void reveal_logged(struct inside_request *in) {
    if (in->job.err != VRS_OK)
        inside_answer(in, in->job.err);
    else
        inside_step(in, in->session.municipality, 0, reveal_run, answer_done);
}

void residents_reveal_number(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct reveal *r = arena_alloc(http_arena(rq), sizeof *r);
    in->act = "number.reveal";
    in->own = r;
    if (r == NULL) {
        inside_answer(in, ERR_MEMORY);
        return;
    }
    const struct json_field fields[] = {JF_STR("purpose", false, 30, &r->purpose), JF_END};
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && (r->purpose == NULL || session_purpose(in, r->purpose, "reveal") != VRS_OK))
        e = ERR_PURPOSE;
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_step(in, in->session.municipality, 0, reveal_log, reveal_logged);
}
