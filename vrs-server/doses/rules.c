#include "vrs-server/doses/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"

enum { MAX_RULES = 64, HOUR_MS = 3600000, MINUTE_MS = 60000 };

struct rule;
typedef bool rule_fn(const struct rule *rule, const struct rule_input *in);

struct rule {
    const char *name; /* borrowed from the document */
    const char *message_ja;
    bool on;
    bool review;
    int64_t number;          /* its one numeric parameter, 0 none */
    struct civil_date first; /* before_programme */
    rule_fn *fires;
};

struct rule_list {
    json_t *document;
    size_t count;
    struct rule rule[MAX_RULES];
};

/* --- the rules, one function each; names as in data/rules.json --- */

static bool coupon_not_registered(const struct rule *r, const struct rule_input *in) {
    (void)r;
    return in->person == NULL;
}

static bool after_flag(struct civil_date flag, struct civil_date day) {
    return person_date_set(flag) && day.days > flag.days;
}

static bool holder_dead(const struct rule *r, const struct rule_input *in) {
    (void)r;
    return in->person != NULL && after_flag(in->person->died_on, in->claim->vaccinated_on);
}

static bool holder_moved_out(const struct rule *r, const struct rule_input *in) {
    (void)r;
    return in->person != NULL && person_date_set(in->person->moved_out_on) &&
           in->claim->vaccinated_on.days >= in->person->moved_out_on.days;
}

static const struct claim *prior_dose(const struct rule_input *in, int dose_number) {
    for (size_t i = 0; i < in->priors; i++) {
        if (in->prior[i]->coupon.dose_number == dose_number)
            return in->prior[i];
    }
    return NULL;
}

static bool previous_dose_missing(const struct rule *r, const struct rule_input *in) {
    (void)r;
    int n = in->claim->coupon.dose_number;
    return in->person != NULL && in->claim->given && n > 1 && prior_dose(in, n - 1) == NULL;
}

static bool date_order(const struct rule *r, const struct rule_input *in) {
    (void)r;
    if (!in->claim->given)
        return false;
    for (size_t i = 0; i < in->priors; i++) {
        int other = in->prior[i]->coupon.dose_number, own = in->claim->coupon.dose_number;
        int32_t days = in->prior[i]->vaccinated_on.days, own_days = in->claim->vaccinated_on.days;
        if ((other < own && days >= own_days) || (other > own && days <= own_days))
            return true;
    }
    return false;
}

static bool interval_short(const struct rule *r, const struct rule_input *in) {
    const struct claim *c = in->claim;
    const struct claim *before = prior_dose(in, c->coupon.dose_number - 1);
    const struct vaccine *v = vaccine_find(in->vaccines, c->product);
    if (!c->given || before == NULL || v == NULL)
        return false;
    int min = vaccine_min_days(in->vaccines, v, c->coupon.dose_number, c->vaccinated_on);
    int64_t days = (int64_t)c->vaccinated_on.days - before->vaccinated_on.days;
    /* not after the previous one at all is date_order's finding */
    return min > 0 && days > 0 && days + r->number < min;
}

static bool dose_number_repeated(const struct rule *r, const struct rule_input *in) {
    (void)r;
    return in->claim->given && prior_dose(in, in->claim->coupon.dose_number) != NULL;
}

static bool other_maker_second_dose(const struct rule *r, const struct rule_input *in) {
    (void)r;
    int n = in->claim->coupon.dose_number;
    const struct claim *other = n == 2 ? prior_dose(in, 1) : n == 1 ? prior_dose(in, 2) : NULL;
    if (!in->claim->given || other == NULL)
        return false;
    const struct vaccine *a = vaccine_find(in->vaccines, in->claim->product);
    const struct vaccine *b = vaccine_find(in->vaccines, other->product);
    return a != NULL && b != NULL && strcmp(a->maker_ja, b->maker_ja) != 0;
}

static bool lot_not_of_maker(const struct rule *r, const struct rule_input *in) {
    (void)r;
    const struct vaccine *v = vaccine_find(in->vaccines, in->claim->product);
    return in->claim->given && v != NULL && !vaccine_lot_plausible(in->vaccines, v, in->claim->lot);
}

static bool date_in_future(const struct rule *r, const struct rule_input *in) {
    (void)r;
    return in->claim->vaccinated_on.days > in->today.days;
}

static bool before_birth(const struct rule *r, const struct rule_input *in) {
    (void)r;
    return in->person != NULL && in->claim->vaccinated_on.days < in->person->birth.days;
}

static bool before_programme(const struct rule *r, const struct rule_input *in) {
    return in->claim->vaccinated_on.days < r->first.days;
}

static bool before_licence(const struct rule *r, const struct rule_input *in) {
    (void)r;
    const struct vaccine *v = vaccine_find(in->vaccines, in->claim->product);
    return in->claim->given && v != NULL && in->claim->vaccinated_on.days < v->licensed_from.days;
}

static bool too_young(const struct rule *r, const struct rule_input *in) {
    (void)r;
    const struct vaccine *v = vaccine_find(in->vaccines, in->claim->product);
    if (!in->claim->given || v == NULL || in->person == NULL ||
        in->claim->vaccinated_on.days < in->person->birth.days)
        return false;
    return vaccine_too_young(in->vaccines, v, in->person->birth, in->claim->vaccinated_on);
}

static bool repeated_in_sitting(const struct rule *r, const struct rule_input *in) {
    const struct claim *c = in->claim;
    for (size_t i = 0; i < in->priors; i++) {
        const struct claim *o = in->prior[i];
        if (strcmp(c->origin, "tablet") == 0 && strcmp(o->terminal, c->terminal) == 0 &&
            strcmp(o->coupon.number.digits, c->coupon.number.digits) == 0 &&
            c->registered_ms - o->registered_ms < r->number * HOUR_MS)
            return true;
    }
    return false;
}

static bool registered_late(const struct rule *r, const struct rule_input *in) {
    return (int64_t)in->today.days - in->claim->vaccinated_on.days > r->number;
}

static bool terminal_clock_wrong(const struct rule *r, const struct rule_input *in) {
    const struct claim *c = in->claim;
    /* Read long before it was sent is an outbox at work; read in the future is a wrong clock. */
    return in->clock_warning ||
           (c->read_at_ms >= 0 && c->read_at_ms - c->registered_ms > r->number * MINUTE_MS);
}

/* A relayed claim comes with notes only about what nobody could check before it was acknowledged. */
static bool relayed_reading_wrong(const struct rule *r, const struct rule_input *in) {
    (void)r;
    return strcmp(in->claim->origin, "relay") == 0 && in->claim->notes[0] != '\0';
}

static const struct {
    const char *name;
    rule_fn *fires;
    const char *parameter; /* the numeric one */
} known[] = {
    {"coupon_not_registered", coupon_not_registered, NULL},
    {"holder_dead", holder_dead, NULL},
    {"holder_moved_out", holder_moved_out, NULL},
    {"previous_dose_missing", previous_dose_missing, NULL},
    {"date_order", date_order, NULL},
    {"interval_short", interval_short, "tolerance_days"},
    {"dose_number_repeated", dose_number_repeated, NULL},
    {"other_maker_second_dose", other_maker_second_dose, NULL},
    {"lot_not_of_maker", lot_not_of_maker, NULL},
    {"date_in_future", date_in_future, NULL},
    {"before_birth", before_birth, NULL},
    {"before_programme", before_programme, NULL},
    {"before_licence", before_licence, NULL},
    {"too_young", too_young, NULL},
    {"repeated_in_sitting", repeated_in_sitting, "sitting_hours"},
    {"registered_late", registered_late, "days"},
    {"terminal_clock_wrong", terminal_clock_wrong, "minutes"},
    {"relayed_reading_wrong", relayed_reading_wrong, NULL},
};

/* --- loading --- */

static enum vrs_err read_rule(const json_t *from, struct rule *r, struct vrs_fault *fault) {
    const char *name = json_string_value(json_object_get(from, "name"));
    const char *state = json_string_value(json_object_get(from, "default"));
    const char *effect = json_string_value(json_object_get(from, "effect"));
    const json_t *parameters = json_object_get(from, "parameters");
    r->name = name;
    r->message_ja = json_string_value(json_object_get(from, "message_ja"));
    if (name == NULL || state == NULL || effect == NULL || r->message_ja == NULL)
        return err_fail(fault, ERR_CONFIG, "a rule needs name, default, effect and message_ja");
    r->on = strcmp(state, "on") == 0;
    r->review = strcmp(effect, "review") == 0;
    if ((!r->on && strcmp(state, "off") != 0) || (!r->review && strcmp(effect, "warning") != 0))
        return err_fail(fault, ERR_CONFIG, "rule %s: default is on|off, effect review|warning",
                        name);
    const char *first = json_string_value(json_object_get(parameters, "first_day"));
    if (first != NULL && clock_parse_date(first, &r->first) != VRS_OK)
        return err_fail(fault, ERR_CONFIG, "rule %s: first_day is not a date", name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) == 0) {
            r->fires = known[i].fires;
            if (known[i].parameter == NULL)
                return VRS_OK;
            const json_t *number = json_object_get(parameters, known[i].parameter);
            r->number = json_integer_value(number);
            return json_is_integer(number)
                       ? VRS_OK
                       : err_fail(fault, ERR_CONFIG, "rule %s needs the parameter %s", name,
                                  known[i].parameter);
        }
    }
    return err_fail(fault, ERR_CONFIG, "no rule is called %s", name);
}

enum vrs_err rule_list_open(const char *json_path, struct rule_list **out,
                            struct vrs_fault *fault) {
    struct rule_list *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_MEMORY;
    json_error_t error;
    enum vrs_err e = VRS_OK;
    l->document = json_load_file(json_path, JSON_REJECT_DUPLICATES, &error);
    const json_t *rules = json_object_get(l->document, "rules");
    if (!json_is_array(rules) || json_array_size(rules) > MAX_RULES)
        e = err_fail(fault, ERR_CONFIG, "%s:%d: no list of at most %d rules", json_path,
                     l->document == NULL ? error.line : 1, MAX_RULES);
    for (size_t i = 0; e == VRS_OK && i < json_array_size(rules); i++)
        e = read_rule(json_array_get(rules, i), &l->rule[l->count++], fault);
    if (e != VRS_OK)
        rule_list_close(&l);
    *out = l;
    return e;
}

void rule_list_close(struct rule_list **l) {
    if (*l == NULL)
        return;
    json_decref((*l)->document);
    free(*l);
    *l = NULL;
}

const char *rule_message(const struct rule_list *l, const char *name) {
    for (size_t i = 0; i < l->count; i++) {
        if (strcmp(l->rule[i].name, name) == 0)
            return l->rule[i].message_ja;
    }
    return NULL;
}

/* --- applying --- */

static void add_name(struct rule_result *out, const char *name) {
    size_t len = strlen(out->names);
    (void)snprintf(out->names + len, sizeof out->names - len, "%s%s", len > 0 ? " " : "", name);
}

void rules_apply(const struct rule_list *l, const struct rule_input *in, struct rule_result *out) {
    memset(out, 0, sizeof *out);
    for (int pass = 0; pass < 2; pass++) { /* what needs a person first */
        for (size_t i = 0; i < l->count; i++) {
            const struct rule *r = &l->rule[i];
            if (!r->on || r->review != (pass == 0) || !r->fires(r, in))
                continue;
            out->review |= r->review;
            add_name(out, r->name);
        }
    }
}
