#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "lib/metric.h"

static struct metric recorded = {
    .name = "vrs_doses_total", .help = "doses", .label = "outcome=\"recorded\""};
static struct metric depth = {.name = "vrs_queue", .help = "jobs", .type = METRIC_GAUGE};
static struct metric refused = {
    .name = "vrs_doses_total", .help = "doses", .label = "outcome=\"refused\""};
static struct metric took = {
    .name = "vrs_commit_seconds", .help = "time to commit", .type = METRIC_HISTOGRAM};

static void prometheus_text(void **state) {
    (void)state;
    metric_register(&recorded);
    metric_set(&depth, -4);
    metric_add(&refused, 2);
    metric_add(&refused, 1);
    metric_observe_us(&took, 0);
    metric_observe_us(&took, 100);
    metric_observe_us(&took, 101);
    metric_observe_us(&took, 3600000000);
    struct buffer b;
    buffer_init(&b, 10000);
    metric_write(&b);
    const char *text = buffer_cstr(&b);
    assert_non_null(text);
    /* One name's lines stand together, whatever was registered between. */
    static const char start[] = "# HELP vrs_doses_total doses\n"
                                "# TYPE vrs_doses_total counter\n"
                                "vrs_doses_total{outcome=\"recorded\"} 0\n"
                                "vrs_doses_total{outcome=\"refused\"} 3\n"
                                "# HELP vrs_queue jobs\n"
                                "# TYPE vrs_queue gauge\n"
                                "vrs_queue -4\n"
                                "# HELP vrs_commit_seconds time to commit\n"
                                "# TYPE vrs_commit_seconds histogram\n"
                                "vrs_commit_seconds_bucket{le=\"0.000100\"} 2\n"
                                "vrs_commit_seconds_bucket{le=\"0.000200\"} 3\n";
    static const char end[] = "vrs_commit_seconds_bucket{le=\"26.214400\"} 3\n"
                              "vrs_commit_seconds_bucket{le=\"+Inf\"} 4\n"
                              "vrs_commit_seconds_sum 3600.000201\n"
                              "vrs_commit_seconds_count 4\n";
    assert_memory_equal(text, start, sizeof start - 1);
    assert_string_equal(text + strlen(text) - (sizeof end - 1), end);
    buffer_fini(&b);
}

static struct metric shared = {.name = "vrs_shared_total", .help = "from all threads"};

static void *count(void *arg) {
    for (int i = 0; i < 10000; i++)
        metric_add(&shared, 1);
    return arg;
}

static void threads_count_together(void **state) {
    (void)state;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    struct buffer b;
    buffer_init(&b, 10000);
    metric_write(&b);
    assert_non_null(strstr(buffer_cstr(&b), "\nvrs_shared_total 40000\n"));
    buffer_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prometheus_text),
        cmocka_unit_test(threads_count_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
