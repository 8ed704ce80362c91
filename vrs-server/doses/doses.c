/* Doses of a person: list, correct, cancel, move, history.  Nothing is overwritten: every change is
 * a new version with who, when and why, and the old one stays readable. */
#include "vrs-server/doses/doses.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/handlers.h"
#include "vrs-server/log/change.h"
#include "vrs-server/views.h"

enum { PRODUCT_MAX = 39, LOT_MAX = 60, SITE_MAX = 255, PHYSICIAN_MAX = 127, REASON_MAX = 500 };

/* --- list and history --- */

struct list {
    const struct server *server;
    json_t *doses;
    bool all; /* cancelled and duplicates too */
};

static enum vrs_err add_dose(struct claim *c, void *arg) {
    struct list *l = arg;
    if (!l->all && (c->state == CLAIM_CANCELLED || c->state == CLAIM_DUPLICATE))
        return VRS_OK;
    json_t *o = view_dose(l->server, c);
    return o != NULL && json_array_append_new(l->doses, o) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err list_run(struct inside_request *in, struct partition *p) {
    struct record_id id;
    struct person person;
    const char *include = http_query(in->rq, "include");
    struct list l = {.server = in->server,
                     .doses = json_array(),
                     .all = include != NULL && strcmp(include, "all") == 0};
    memset(&person, 0, sizeof person);
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = person_get(p, &id, &person);
    if (e == VRS_OK)
        e = claims_of_person(p, &id, add_dose, &l);
    if (e == VRS_OK)
        e = inside_log(in, p, &person, &person.id, 1, json_array_size(l.doses), "ok", NULL);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:O}", "doses", l.doses));
    json_decref(l.doses);
    person_wipe(&person);
    return e;
}

void doses_of_resident(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "dose.list";
    inside_run(in, list_run);
}

enum vrs_err dose_log(struct inside_request *in, struct partition *p, const struct claim *c,
                      uint64_t count, const char *result, const char *detail) {
    struct person person;
    memset(&person, 0, sizeof person);
    enum vrs_err e = c->has_person ? person_get(p, &c->person, &person) : VRS_OK;
    if (e == VRS_OK)
        e = inside_log(in, p, c->has_person ? &person : NULL, &c->person, c->has_person ? 1 : 0,
                       count, result, detail);
    person_wipe(&person);
    return e;
}

static enum vrs_err history_run(struct inside_request *in, struct partition *p) {
    struct record_id id;
    struct claim c;
    struct list l = {.server = in->server, .doses = json_array(), .all = true};
    enum vrs_err e = inside_id(in, "id", &id);
    claim_init(&c);
    if (e == VRS_OK)
        e = claim_get(p, &id, &c);
    if (e == VRS_OK)
        e = claim_history(p, &id, add_dose, &l);
    if (e == VRS_OK)
        e = add_dose(&c, &l);
    if (e == VRS_OK)
        e = dose_log(in, p, &c, json_array_size(l.doses), "ok", NULL);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:O}", "versions", l.doses));
    json_decref(l.doses);
    claim_wipe(&c);
    return e;
}

void doses_history(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "dose.history";
    inside_run(in, history_run);
}

/* --- changing --- */

enum vrs_err dose_answer(struct inside_request *in, const struct claim *c) {
    in->etag = c->version;
    return inside_json(in, view_dose(in->server, c));
}

void dose_changed(struct inside_request *in, struct claim *c, const char *reason) {
    INSIDE_COPY(c->changed_by, in->session.user);
    INSIDE_COPY(c->change_reason, reason);
    c->changed_ms = clock_now_ms();
}

/* The claim in force of a turn other than `except`; version 0: none. */
struct turn {
    const struct record_id *except;
    struct claim found;
};

static enum vrs_err see_turn(struct claim *c, void *arg) {
    struct turn *t = arg;
    if (claim_in_force(c) && !record_id_equal(&c->id, t->except))
        t->found = *c;
    return VRS_OK;
}

enum vrs_err dose_in_force(struct partition *p, const struct coupon *turn,
                           const struct record_id *except, struct claim *out) {
    struct turn t = {.except = except};
    enum vrs_err e = claims_of_turn(p, turn, see_turn, &t);
    *out = t.found;
    return e;
}

static enum vrs_err get_for_change(struct inside_request *in, struct partition *p,
                                   const char *reason, struct claim *out) {
    struct record_id id;
    claim_init(out);
    if (reason == NULL || reason[0] == '\0')
        return ERR_REASON_REQUIRED;
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = claim_get(p, &id, out);
    return e == VRS_OK && out->version != in->if_match ? ERR_STALE_VERSION : e;
}

static void note_change(struct change *x, const struct claim *old, const struct claim *c) {
    char before[16], after[16];
    change_note(x, "status", old->given ? "given" : "not_given", c->given ? "given" : "not_given");
    clock_format_date(old->vaccinated_on, before);
    clock_format_date(c->vaccinated_on, after);
    change_note(x, "vaccinated_on", before, after);
    (void)snprintf(before, sizeof before, "%d", old->coupon.dose_number);
    (void)snprintf(after, sizeof after, "%d", c->coupon.dose_number);
    change_note(x, "dose_number", before, after);
    change_note(x, "coupon_number", old->coupon.number.digits, c->coupon.number.digits);
    change_note(x, "product", old->product, c->product);
    change_note(x, "lot", old->lot, c->lot);
    change_note(x, "site", old->site, c->site);
    change_note(x, "physician", old->physician, c->physician);
    change_note(x, "state", claim_state_name(old->state), claim_state_name(c->state));
}

/* Stores a change of `c`, with the counts before (`old`) and after. */
static enum vrs_err store(struct inside_request *in, struct partition *p, const struct claim *old,
                          struct claim *c, const char *reason, const char *result) {
    struct tally_batch *tally = tally_batch_open();
    if (tally == NULL)
        return ERR_MEMORY;
    apply_count(tally, old, -1);
    dose_changed(in, c, reason);
    enum vrs_err e = claim_update(p, c);
    apply_count(tally, c, 1);
    if (e == VRS_OK)
        e = tally_batch_flush(tally, p);
    tally_batch_close(&tally);
    struct change change = {0};
    note_change(&change, old, c);
    if (e == VRS_OK)
        e = dose_log(in, p, c, 1, result, change_text(&change, reason));
    return e == VRS_OK ? dose_answer(in, c) : e;
}

struct correction {
    const char *status, *day, *product, *lot, *site, *physician, *reason;
    int64_t dose_number; /* KEEP: not sent */
};
#define KEEP INT64_MIN

static enum vrs_err correct_fields(struct inside_request *in, const struct correction *x,
                                   struct claim *c) {
    if (x->day != NULL) {
        enum vrs_err e = clock_parse_date(x->day, &c->vaccinated_on);
        if (e != VRS_OK)
            return e;
        if (c->vaccinated_on.days > clock_today_jst().days)
            return ERR_R112;
    }
    if (x->product != NULL && vaccine_find(in->server->vaccines, x->product) == NULL)
        return ERR_R132;
    if (x->lot != NULL && x->lot[0] == '\0')
        return ERR_R130;
    if (x->status != NULL) {
        c->given = strcmp(x->status, "given") == 0;
        if (!c->given && strcmp(x->status, "not_given") != 0)
            return ERR_BAD_FIELD;
    }
    if (x->dose_number != KEEP) {
        if (x->dose_number < 1 || x->dose_number > 9)
            return ERR_R120;
        c->coupon.dose_number = (int)x->dose_number;
    }
    INSIDE_COPY(c->product, x->product);
    INSIDE_COPY(c->lot, x->lot);
    INSIDE_COPY(c->site, x->site);
    INSIDE_COPY(c->physician, x->physician);
    return VRS_OK;
}

static enum vrs_err correct_run(struct inside_request *in, struct partition *p) {
    struct correction x = {.dose_number = KEEP};
    const struct json_field fields[] = {
        JF_STR("status", false, 12, &x.status),
        JF_STR("vaccinated_on", false, 10, &x.day),
        JF_STR("product", false, PRODUCT_MAX, &x.product),
        JF_STR("lot", false, LOT_MAX, &x.lot),
        JF_STR("site", false, SITE_MAX, &x.site),
        JF_STR("physician", false, PHYSICIAN_MAX, &x.physician),
        JF_INT("dose_number", false, &x.dose_number),
        JF_STR("reason", false, REASON_MAX, &x.reason),
        JF_END,
    };
    struct claim c, old, other;
    enum vrs_err e = inside_read(in, fields);
    if (e != VRS_OK)
        return e;
    e = get_for_change(in, p, x.reason, &c);
    old = c;
    if (e == VRS_OK && c.state != CLAIM_RECORDED && c.state != CLAIM_REVIEW &&
        c.state != CLAIM_VISIT)
        e = ERR_CONFLICT; /* what is not in force is settled, not corrected */
    if (e == VRS_OK)
        e = correct_fields(in, &x, &c);
    if (e == VRS_OK && c.given)
        e = dose_in_force(p, &c.coupon, &c.id, &other);
    if (e == VRS_OK && c.given && other.version != 0) {
        (void)snprintf(
            in->detail_ja, sizeof in->detail_ja,
            "その接種回には別の記録があります。先にそちらを訂正または取消してください。");
        e = ERR_CONFLICT;
    }
    if (e == VRS_OK) { /* a person has looked: nothing is left to review */
        c.state = c.given ? CLAIM_RECORDED : CLAIM_VISIT;
        c.reasons[0] = '\0';
        e = store(in, p, &old, &c, x.reason, "corrected");
    }
    claim_wipe(&c);
    claim_wipe(&old);
    return e;
}

void doses_correct(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "dose.correct";
    inside_run(in, correct_run);
}

static enum vrs_err cancel_run(struct inside_request *in, struct partition *p) {
    const char *reason = NULL;
    const struct json_field fields[] = {JF_STR("reason", false, REASON_MAX, &reason), JF_END};
    struct claim c, old;
    enum vrs_err e = inside_read(in, fields);
    if (e != VRS_OK)
        return e;
    e = get_for_change(in, p, reason, &c);
    old = c;
    if (e == VRS_OK && c.state == CLAIM_CANCELLED)
        e = ERR_CONFLICT;
    if (e == VRS_OK) {
        c.outcome_unsent |= c.state == CLAIM_WAITING; /* its receipt becomes final */
        in->kick_line = c.outcome_unsent;
        c.state = CLAIM_CANCELLED;
        e = store(in, p, &old, &c, reason, "cancelled");
    }
    claim_wipe(&c);
    claim_wipe(&old);
    return e;
}

void doses_cancel(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "dose.cancel";
    inside_run(in, cancel_run);
}

/* --- move: the coupon was read wrong, the dose is another person's --- */

static enum vrs_err last_coupon(const struct person_coupon *c, void *arg) {
    *(struct person_coupon *)arg = *c;
    return VRS_OK;
}

static enum vrs_err find_target(struct partition *p, const char *resident, const char *coupon,
                                struct person_coupon *out) {
    struct record_id id;
    memset(out, 0, sizeof *out);
    if (coupon != NULL)
        return coupon_get(p, coupon, out);
    if (!record_id_parse(resident, &id))
        return ERR_NOT_FOUND;
    enum vrs_err e = coupons_of(p, &id, last_coupon, out);
    return e == VRS_OK && out->number.digits[0] == '\0' ? ERR_NOT_FOUND : e;
}

static enum vrs_err move_run(struct inside_request *in, struct partition *p) {
    const char *reason = NULL, *resident = NULL, *coupon = NULL;
    const struct json_field fields[] = {
        JF_STR("to_resident_id", false, 32, &resident),
        JF_STR("to_coupon_number", false, 10, &coupon),
        JF_STR("reason", false, REASON_MAX, &reason),
        JF_END,
    };
    struct claim c, old, other;
    struct person_coupon target;
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && (resident != NULL) == (coupon != NULL))
        e = ERR_MISSING_FIELD;
    if (e != VRS_OK)
        return e;
    e = get_for_change(in, p, reason, &c);
    old = c;
    if (e == VRS_OK && (c.state == CLAIM_CANCELLED || c.state == CLAIM_DUPLICATE))
        e = ERR_CONFLICT;
    if (e == VRS_OK)
        e = find_target(p, resident, coupon, &target);
    if (e == VRS_OK) {
        in->kick_line = c.outcome_unsent = c.state == CLAIM_WAITING;
        c.coupon.number = target.number;
        c.has_person = true;
        c.person = target.person;
        (void)snprintf(c.coupon.municipality.digits, sizeof c.coupon.municipality.digits, "%s",
                       partition_code(p));
        e = dose_in_force(p, &c.coupon, &c.id, &other);
    }
    if (e == VRS_OK) {
        c.state = !c.given             ? CLAIM_VISIT
                  : other.version != 0 ? CLAIM_CONFLICT /* listed for a person, not overwritten */
                                       : CLAIM_RECORDED;
        c.reasons[0] = '\0';
        e = store(in, p, &old, &c, reason, "moved");
    }
    claim_wipe(&c);
    claim_wipe(&old);
    return e;
}

void doses_move(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "dose.move";
    inside_run(in, move_run);
}
