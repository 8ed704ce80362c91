// needs: vrs-server/doses/rules.c
/* Each suspect rule fires for its reason and stays silent for an ordinary dose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "vrs-server/doses/rules.h"

static struct rule_list *rules;
static struct vaccine_list *vaccines;
static struct vrs_fault fault;

static struct civil_date day(const char *text) {
    struct civil_date d;
    assert_int_equal(clock_parse_date(text, &d), VRS_OK);
    return d;
}

/* An ordinary second dose three weeks after an ordinary first one. */
struct scene {
    struct claim claim, first;
    const struct claim *prior[2];
    struct person person;
    struct rule_input in;
};

static void ordinary(struct scene *s) {
    memset(s, 0, sizeof *s);
    claim_init(&s->claim);
    claim_init(&s->first);
    person_init(&s->person);
    s->person.birth = day("1960-01-01");
    s->first.coupon.dose_number = 1;
    s->first.given = s->claim.given = true;
    s->first.vaccinated_on = day("2021-07-01");
    (void)snprintf(s->first.product, sizeof s->first.product, "comirnaty");
    s->claim = s->first;
    record_id_new(&s->claim.id);
    s->claim.coupon.dose_number = 2;
    s->claim.vaccinated_on = day("2021-07-22");
    (void)snprintf(s->claim.lot, sizeof s->claim.lot, "FF3620");
    s->prior[0] = &s->first;
    s->in = (struct rule_input){.claim = &s->claim,
                                .person = &s->person,
                                .prior = s->prior,
                                .priors = 1,
                                .vaccines = vaccines,
                                .today = day("2021-07-22")};
}

static void nothing(struct scene *s) {
    (void)s;
}
static void unregistered(struct scene *s) {
    s->in.person = NULL;
    s->in.priors = 0;
    s->claim.coupon.dose_number = 1;
}
static void dead(struct scene *s) {
    s->person.died_on = day("2021-07-21");
}
static void moved(struct scene *s) {
    s->person.moved_out_on = day("2021-07-22");
}
static void first_missing(struct scene *s) {
    s->in.priors = 0;
}
static void before_first(struct scene *s) {
    s->claim.vaccinated_on = day("2021-07-01");
}
static void too_soon(struct scene *s) {
    s->claim.vaccinated_on = day("2021-07-10");
}
static void twice(struct scene *s) {
    s->first.coupon.dose_number = 2;
    s->first.vaccinated_on = s->claim.vaccinated_on;
    static struct claim one;
    one = s->first;
    one.coupon.dose_number = 1;
    one.vaccinated_on = day("2021-07-01");
    s->prior[1] = &one;
    s->in.priors = 2;
}
static void other_maker(struct scene *s) {
    (void)snprintf(s->first.product, sizeof s->first.product, "spikevax");
}
static void odd_lot(struct scene *s) {
    (void)snprintf(s->claim.lot, sizeof s->claim.lot, "?");
}
static void tomorrow(struct scene *s) {
    s->claim.vaccinated_on = day("2021-07-23");
}
static void unborn(struct scene *s) {
    s->person.birth = day("2021-07-23");
}
static void too_early(struct scene *s) {
    s->claim.coupon.dose_number = 1;
    s->in.priors = 0;
    s->claim.vaccinated_on = day("2021-02-16");
    s->in.today = day("2021-02-16");
}
static void unlicensed(struct scene *s) {
    (void)snprintf(s->claim.product, sizeof s->claim.product, "comirnaty_xbb");
    (void)snprintf(s->first.product, sizeof s->first.product, "comirnaty_xbb");
}
static void child(struct scene *s) {
    s->person.birth = day("2015-01-01");
}
static void again(struct scene *s) {
    (void)snprintf(s->claim.origin, sizeof s->claim.origin, "tablet");
    (void)snprintf(s->claim.terminal, sizeof s->claim.terminal, "tablet-1");
    (void)snprintf(s->first.terminal, sizeof s->first.terminal, "tablet-1");
    s->claim.registered_ms = s->first.registered_ms + 60000;
}
static void late(struct scene *s) {
    s->in.today = day("2021-09-30");
}
static void clock_off(struct scene *s) {
    s->in.clock_warning = true;
}

struct rule_case {
    const char *name; /* "" fires nothing */
    void (*change)(struct scene *s);
    bool review;
};

static void one_rule(void **state) {
    const struct rule_case *c = *state;
    struct scene s;
    struct rule_result r;
    ordinary(&s);
    c->change(&s);
    rules_apply(rules, &s.in, &r);
    if (c->name[0] == '\0')
        assert_string_equal(r.names, "");
    else if (strstr(r.names, c->name) == NULL)
        fail_msg("%s is not among: %s", c->name, r.names);
    assert_int_equal(r.review, c->review);
}

static struct rule_case cases[] = {
    {"", nothing, false},
    {"coupon_not_registered", unregistered, false},
    {"holder_dead", dead, true},
    {"holder_moved_out", moved, true},
    {"previous_dose_missing", first_missing, true},
    {"date_order", before_first, true},
    {"interval_short", too_soon, true},
    {"dose_number_repeated", twice, true},
    {"other_maker_second_dose", other_maker, true},
    {"lot_not_of_maker", odd_lot, true},
    {"date_in_future", tomorrow, true},
    {"before_birth", unborn, true},
    {"before_programme", too_early, true},
    {"before_licence", unlicensed, true},
    {"too_young", child, true},
    {"repeated_in_sitting", again, false},
    {"registered_late", late, false},
    {"terminal_clock_wrong", clock_off, false},
};

static void every_rule_of_the_data_has_a_case(void **state) {
    (void)state;
    for (size_t i = 1; i < sizeof cases / sizeof *cases; i++)
        assert_non_null(rule_message(rules, cases[i].name));
    assert_null(rule_message(rules, "no_such_rule"));
}

static void an_unknown_rule_refuses_the_start(void **state) {
    (void)state;
    char path[] = "/tmp/vrs-rules-XXXXXX";
    static const char text[] = "{\"rules\":[{\"name\":\"made_up\",\"default\":\"on\",\"effect\":"
                               "\"review\",\"message_ja\":\"x\",\"parameters\":{}}]}";
    struct rule_list *l;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), (ssize_t)sizeof text - 1);
    (void)close(fd);
    assert_int_equal(rule_list_open(path, &l, &fault), ERR_CONFIG);
    assert_non_null(strstr(fault.text, "made_up"));
    (void)unlink(path);
}

int main(void) {
    struct CMUnitTest tests[sizeof cases / sizeof *cases + 2];
    size_t n = 0;
    if (rule_list_open("data/rules.json", &rules, &fault) != VRS_OK ||
        vaccine_list_open("data/vaccines.json", &vaccines, &fault) != VRS_OK) {
        print_error("%s\n", fault.text);
        return 1;
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        tests[n++] = (struct CMUnitTest){
            .name = cases[i].name[0] != '\0' ? cases[i].name : "an_ordinary_dose_fires_nothing",
            .test_func = one_rule,
            .initial_state = &cases[i]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(every_rule_of_the_data_has_a_case);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(an_unknown_rule_refuses_the_start);
    int failed = _cmocka_run_group_tests("rules", tests, n, NULL, NULL);
    rule_list_close(&rules);
    vaccine_list_close(&vaccines);
    return failed;
}
