#include "vrs-server/terminals/doctor.h"

#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "partitions/claim.h"
#include "vrs-server/doses/apply.h"

static int hex(char c) {
    const char *all = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(all, c) : NULL;
    return at != NULL ? (int)(at - all) : -1;
}

/* What the outside says, made safe: doubts of another form than they should be are none. */
static void read_doubts(const struct line_doctor *from, struct doctor_reading *to) {
    memset(to, 0, sizeof *to);
    if (strlen(from->text) == DOCTOR_DIGITS)
        memcpy(to->text, from->text, sizeof to->text);
    if (strlen(from->second) == DOCTOR_DIGITS)
        memcpy(to->second, from->second, sizeof to->second);
    memset(to->confidence, 255, sizeof to->confidence);
    if (strlen(from->confidence) != 2 * (size_t)DOCTOR_DIGITS)
        return;
    for (size_t i = 0; i < DOCTOR_DIGITS; i++) {
        int high = hex(from->confidence[2 * i]), low = hex(from->confidence[2 * i + 1]);
        if (high >= 0 && low >= 0)
            to->confidence[i] = (uint8_t)(high * 16 + low);
    }
}

/* Candidates come cheapest first, so the first that fit are shown. */
static enum vrs_err look_up(struct partition *p, const struct doctor_candidate *list, size_t n,
                            struct doctor_found *out) {
    size_t fit = 0;
    for (size_t i = 0; i < n && fit <= DOCTOR_FIT; i++) {
        struct person_coupon c;
        struct coupon parsed;
        struct vrs_fault fault = {0};
        if (line_parse(list[i].line, NULL, &parsed, &fault) != VRS_OK)
            continue;
        enum vrs_err e = coupon_get(p, parsed.number.digits, &c);
        if (e == ERR_NOT_FOUND)
            continue;
        if (e != VRS_OK)
            return e;
        if (fit < DOCTOR_SHOWN) {
            out->candidate[fit] = list[i];
            out->person[fit] = c.person;
            out->count = fit + 1;
        }
        fit++;
    }
    if (fit > DOCTOR_FIT)
        memset(out, 0, sizeof *out);
    else if (fit > 0)
        return VRS_OK;
    return fit > DOCTOR_FIT ? VRS_OK : ERR_NOT_FOUND;
}

enum vrs_err doctor_look(struct partition *p, const struct confusions *table,
                         const struct line_doctor *reading, struct doctor_found *out) {
    struct doctor_reading r;
    size_t left = DOCTOR_LOOKUPS;
    enum vrs_err e = ERR_NOT_FOUND;
    struct doctor_candidate *list = calloc(DOCTOR_LOOKUPS, sizeof *list);
    memset(out, 0, sizeof *out);
    if (list == NULL)
        return ERR_MEMORY;
    read_doubts(reading, &r);
    for (int changes = 1; changes <= DOCTOR_CHANGES && e == ERR_NOT_FOUND; changes++) {
        size_t n = doctor_candidates(table, &r, partition_code(p), changes, list, left);
        left -= n;
        e = look_up(p, list, n, out);
    }
    secret_wipe(&r, sizeof r);
    secret_wipe(list, DOCTOR_LOOKUPS * sizeof *list);
    free(list);
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

enum vrs_err doctor_write(const struct doctor_found *f, struct buffer *out) {
    if (f->count == 0)
        return VRS_OK;
    json_t *list = json_array();
    for (size_t i = 0; i < f->count; i++)
        (void)json_array_append_new(list, json_pack("{s:s, s:i}", "ocr_line", f->candidate[i].line,
                                                    "changes", f->candidate[i].changes));
    bool made = list != NULL && json_write(out, list);
    json_decref(list);
    return made ? VRS_OK : ERR_MEMORY;
}

/* --- the interval --- */

struct one_before {
    int turn;
    struct civil_date on; /* the latest, PERSON_NO_DATE none */
};

static enum vrs_err see_one_before(struct claim *c, void *arg) {
    struct one_before *b = arg;
    bool it = claim_in_force(c) && c->given && c->coupon.dose_number == b->turn;
    if (it && (!person_date_set(b->on) || c->vaccinated_on.days > b->on.days))
        b->on = c->vaccinated_on;
    return VRS_OK;
}

enum vrs_err interval_look(struct partition *p, const struct vaccine_list *vaccines,
                           const struct coupon *c, const struct record_id *holder,
                           const char *product, struct civil_date on, struct civil_date *earliest) {
    const struct vaccine *v = vaccine_find(vaccines, product);
    struct one_before before = {.turn = c->dose_number - 1, .on = PERSON_NO_DATE};
    *earliest = PERSON_NO_DATE;
    if (v == NULL || before.turn < 1)
        return VRS_OK;
    enum vrs_err e = claims_of_person(p, holder, see_one_before, &before);
    if (e != VRS_OK || !person_date_set(before.on))
        return e;
    int days = vaccine_min_days(vaccines, v, c->dose_number, on);
    struct civil_date first = {.days = before.on.days + (days > 1 ? days : 1)};
    if (on.days < first.days)
        *earliest = first;
    return VRS_OK;
}

enum vrs_err interval_write(struct civil_date earliest, struct buffer *out) {
    char day[11];
    if (!person_date_set(earliest))
        return VRS_OK;
    clock_format_date(earliest, day);
    json_t *doc = json_pack("{s:s}", "earliest_on", day);
    bool made = doc != NULL && json_write(out, doc);
    json_decref(doc);
    return made ? VRS_OK : ERR_MEMORY;
}

/* --- before the shot --- */

struct doses {
    int count, last_turn;
    struct civil_date last_on;
};

static enum vrs_err see_dose(struct claim *c, void *arg) {
    struct doses *d = arg;
    if (!claim_in_force(c) || !c->given)
        return VRS_OK;
    d->count++;
    if (c->coupon.dose_number > d->last_turn)
        d->last_turn = c->coupon.dose_number;
    if (c->vaccinated_on.days > d->last_on.days)
        d->last_on = c->vaccinated_on;
    return VRS_OK;
}

/* Intervals go by the day of the next shot: the rows of today tell, as long as no later day is
 * known. */
static struct civil_date earliest(const struct vaccine_list *vaccines, const char *product,
                                  const struct doses *d, int next) {
    const struct vaccine *v = vaccine_find(vaccines, product);
    struct civil_date on = PERSON_NO_DATE;
    int days = -1;
    if (d->count > 0 && next > 0 && v != NULL)
        days = vaccine_min_days(vaccines, v, next, clock_today_jst());
    if (days >= 0)
        on.days = d->last_on.days + days;
    return on;
}

enum vrs_err pre_shot_look(struct partition *p, const struct vaccine_list *vaccines,
                           const struct coupon *c, const char *product, struct pre_shot *out) {
    struct doses d = {.last_on = PERSON_NO_DATE};
    struct person_coupon coupon;
    memset(out, 0, sizeof *out);
    enum vrs_err e = coupon_get(p, c->number.digits, &coupon);
    if (e == VRS_OK)
        e = person_get(p, &coupon.person, &out->holder);
    if (e == VRS_OK)
        e = claims_of_person(p, &coupon.person, see_dose, &d);
    if (e != VRS_OK)
        return e;
    out->doses_so_far = d.count;
    out->next_dose_number = d.last_turn < 9 ? d.last_turn + 1 : 0;
    out->earliest_next = earliest(vaccines, product, &d, out->next_dose_number);
    return VRS_OK;
}

enum vrs_err pre_shot_write(const struct pre_shot *s, struct buffer *out) {
    char day[11];
    bool known = person_date_set(s->earliest_next);
    if (known)
        clock_format_date(s->earliest_next, day);
    json_t *doc = json_pack("{s:i, s:i, s:s*}", "doses_so_far", s->doses_so_far, "next_dose_number",
                            s->next_dose_number, "earliest_next_on", known ? day : NULL);
    bool made = doc != NULL && json_write(out, doc);
    json_decref(doc);
    return made ? VRS_OK : ERR_MEMORY;
}
