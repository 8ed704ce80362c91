// needs: tablet-api/event.c tablet-api/line.c -Wl,--wrap=inbox_submit_put -Wl,--wrap=clock_mono_ms -Wl,--wrap=event_new
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "ocr-ingest/coupon.h"
#include "tablet-api/event.h"
#include "tablet-api/inbox.h"
#include "tablet-api/tablet.h"

enum { MOST = 64 };

static struct tablet tablet;
static int64_t now_ms;
static struct {
    struct line_event event;
    char municipality[7];
} sent[MOST];
static size_t count;
static enum vrs_err inbox_says;
static event_callback_fn tick; /* of the timer */
static void *tick_arg;

int64_t __wrap_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void) {
    return now_ms;
}

struct event *__real_event_new(struct event_base *b, evutil_socket_t fd, short what,
                               event_callback_fn fn, void *arg);
struct event *__wrap_event_new(struct event_base *b, evutil_socket_t fd, short what,
                               event_callback_fn fn, void *arg);
struct event *__wrap_event_new(struct event_base *b, evutil_socket_t fd, short what,
                               event_callback_fn fn, void *arg) {
    tick = fn;
    tick_arg = arg;
    return __real_event_new(b, fd, what, fn, arg);
}

enum vrs_err __wrap_inbox_submit_put(struct inbox *b, struct inbox_put *put,
                                     void (*done)(struct worker_job *job));
enum vrs_err __wrap_inbox_submit_put(struct inbox *b, struct inbox_put *put,
                                     void (*done)(struct worker_job *job)) {
    (void)b;
    if (inbox_says != VRS_OK)
        return inbox_says;
    assert_true(count < MOST);
    assert_int_equal(line_event_decode(put->plain.data, put->plain.len, &sent[count].event),
                     VRS_OK);
    memcpy(sent[count++].municipality, put->municipality, sizeof put->municipality);
    buffer_fini(&put->plain);
    put->job.err = VRS_OK;
    done(&put->job.job);
    return VRS_OK;
}

static int set_up(void **state) {
    struct vrs_fault fault = {0};
    (void)state;
    memset(&tablet, 0, sizeof tablet);
    now_ms = 1000;
    count = 0;
    inbox_says = VRS_OK;
    tablet.base = event_base_new();
    if (municipality_list_open("data/municipalities.csv", &tablet.municipalities, &fault) != VRS_OK)
        return 1;
    return events_open(&tablet, &tablet.events) != VRS_OK;
}

static int tear_down(void **state) {
    (void)state;
    events_close(&tablet.events);
    municipality_list_close(&tablet.municipalities);
    event_base_free(tablet.base);
    return 0;
}

static void note(const char *name, const char *terminal, const char *municipality, bool thin) {
    const struct event_note n = {.name = name,
                                 .terminal = terminal,
                                 .staff = "site-1",
                                 .source = "10.0.0.1",
                                 .municipality = municipality,
                                 .thin = thin};
    event_note(tablet.events, &n);
}

static void an_event_goes_to_the_town_of_its_site(void **state) {
    (void)state;
    note("session.opened", "tablet-1", "131032", false);
    note("session.opened", "tablet-2", "", false);
    note("session.opened", "tablet-3", NULL, false);
    note("session.opened", "tablet-4", "999999", false); /* no such town */
    assert_int_equal(count, 4);
    assert_string_equal(sent[0].municipality, "131032");
    for (size_t i = 1; i < 4; i++)
        assert_string_equal(sent[i].municipality, "000000");
    assert_string_equal(sent[0].event.staff, "site-1");
    assert_string_equal(sent[0].event.source, "10.0.0.1");
    assert_int_equal(sent[0].event.more, 0);
}

static uint64_t stands_for(const char *name) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += strcmp(sent[i].event.name, name) == 0 ? 1 + sent[i].event.more : 0;
    return sum;
}

static void what_is_thinned_out_is_counted_in_the_next(void **state) {
    (void)state;
    for (unsigned i = 0; i < 40; i++)
        note("session.missing", "tablet-1", "131032", true);
    note("session.missing", "tablet-2", "131032", true);
    note("session.not_valid", "tablet-1", "131032", true);
    assert_int_equal(count, 5); /* three, and one of each other */
    now_ms += 60000;
    note("session.missing", "tablet-1", "131032", true);
    assert_int_equal(count, 6);
    assert_int_equal(sent[5].event.more, 37);
    assert_int_equal(stands_for("session.missing"), 42);
    note("session.missing", "tablet-1", "131032", true);
    assert_int_equal(sent[6].event.more, 0);
}

static void without_a_next_one_the_timer_tells(void **state) {
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        note("session.throttled", "tablet-1", "131032", true);
    tick(-1, 0, tick_arg);
    tick(-1, 0, tick_arg);
    assert_int_equal(count, 4);
    assert_int_equal(stands_for("session.throttled"), 10);
    assert_string_equal(sent[3].municipality, "131032");
}

static void a_count_outlives_an_inbox_that_is_full(void **state) {
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        note("session.throttled", "tablet-1", "131032", true);
    inbox_says = ERR_BUSY;
    tick(-1, 0, tick_arg);
    assert_int_equal(count, 3);
    inbox_says = VRS_OK;
    tick(-1, 0, tick_arg);
    assert_int_equal(stands_for("session.throttled"), 10);
}

static void noted(enum vrs_err e, void *arg) {
    *(enum vrs_err *)arg = e;
}

static void who_waits_for_it_is_told(void **state) {
    enum vrs_err said = ERR_INTERNAL;
    struct event_note n = {.name = "session.opened",
                           .terminal = "tablet-1",
                           .staff = "",
                           .source = "",
                           .done = noted,
                           .arg = &said};
    (void)state;
    event_note(tablet.events, &n);
    assert_int_equal(said, VRS_OK);
    inbox_says = ERR_STORAGE;
    event_note(tablet.events, &n);
    assert_int_equal(said, ERR_STORAGE);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_event_goes_to_the_town_of_its_site),
        TEST(what_is_thinned_out_is_counted_in_the_next),
        TEST(without_a_next_one_the_timer_tells),
        TEST(a_count_outlives_an_inbox_that_is_full),
        TEST(who_waits_for_it_is_told),
    };
    return cmocka_run_group_tests_name("C65 what a site tells inwards", tests, NULL, NULL);
}
