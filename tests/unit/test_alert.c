// needs: vrs-server/alerts/alert.c vrs-server/alerts/alert_out.c vrs-server/alerts/alert_rules.c
/* Alerts: the rules file, counting and quiet time with a clock of one's own, and the way out — a
 * receiver that fails, an end in between, and everything told once. */
#include <event2/event.h>
#include <event2/thread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/http.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "tests/lib/stand.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/alerts/alert_rules.h"

enum { PATIENCE_MS = 15000 };

static struct alert_rules rules;
static struct alert_table *table;
static int64_t now_ms;

/* --- the rules file --- */

static char *read_file(const char *path) {
    static char text[1 << 16];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    assert_int_equal(fclose(f), 0);
    return text;
}

/* The shipped file with `from` replaced once; what the fault says. */
static void refused_with(const char *from, const char *to, const char *says) {
    struct alert_rules out;
    struct vrs_fault fault = {0};
    char path[] = "/tmp/vrs-alerts-XXXXXX";
    char *text = read_file("data/alerts.json"), *at = strstr(text, from);
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    assert_non_null(at);
    assert_non_null(f);
    (void)fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(fclose(f), 0);
    assert_int_equal(alert_rules_load(path, &out, &fault), ERR_CONFIG);
    if (strstr(fault.text, says) == NULL)
        fail_msg("%s", fault.text);
    assert_int_equal(unlink(path), 0);
}

static void the_shipped_file_loads(void **state) {
    struct vrs_fault fault = {0};
    (void)state;
    if (alert_rules_load("data/alerts.json", &rules, &fault) != VRS_OK)
        fail_msg("%s", fault.text);
    assert_int_equal(ALERT_RULE_COUNT, 28);
    assert_string_equal(alert_rules_find(&rules, "disk_low")->severity, "critical");
    assert_int_equal(alert_rules_find(&rules, "disk_low")->limit, 10);
    assert_null(alert_rules_find(&rules, "nothing"));
}

static void a_wrong_file_refuses_the_start(void **state) {
    (void)state;
    refused_with("\"login_failed\"", "\"login_fained\"", "no alert is called login_fained");
    refused_with("\"login_failed\"", "\"scanning\"", "twice");
    refused_with("\"threshold\": 8", "\"threshold\": 8, \"colour\": 1", "colour");
    refused_with("\"threshold\": 8", "\"threshold\": 0", "out of bounds");
    refused_with("\"threshold\": 8", "\"threshold\": \"8\"", "threshold");
    refused_with("\"severity\": \"warning\"", "\"severity\": \"bad\"", "severity");
    refused_with("ログインの失敗が続いています", "Log-ins fail", "Japanese");
    refused_with("ログインの失敗が続いています", "", "Japanese");
    refused_with("\"limit\": 10", "\"limit\": 0", "limit");
    refused_with("vrs-alerts/1", "vrs-alerts/9", "format");
    refused_with("\"rules\"", "\"format\": \"x\", \"rules\"", "duplicate");
    refused_with("\"quiet_s\": 3600, \"limit\"", "\"threshold\": 1, \"quiet_s\": 3600, \"limit\"",
                 "a state has no threshold");
}

/* --- counting --- */

static int table_set_up(void **state) {
    the_shipped_file_loads(state);
    table = alert_table_open(&rules);
    now_ms = 1000000000;
    return table == NULL;
}

static int table_tear_down(void **state) {
    (void)state;
    alert_table_close(&table);
    return 0;
}

static const struct alert_rule *rule(const char *name) {
    return alert_rules_find(&rules, name);
}

static bool note(const char *name, const char *subject) {
    return alert_table_note(table, rule(name), subject, 1, now_ms);
}

static void expect(const char *subject, enum alert_kind kind, int64_t count) {
    struct alert_told t;
    assert_true(alert_table_take(table, now_ms, &t));
    assert_string_equal(t.subject, subject);
    assert_int_equal(t.kind, kind);
    assert_int_equal(t.count, count);
}

static void expect_nothing(void) {
    struct alert_told t;
    if (alert_table_take(table, now_ms, &t))
        fail_msg("%s %s %s", t.rule->name, t.subject, alert_kind_name(t.kind));
}

static void speaks_at_the_threshold(void **state) {
    (void)state;
    for (int i = 1; i < 8; i++) {
        assert_false(note("login_failed", "user a"));
        assert_false(note("login_failed", "user b"));
    }
    expect_nothing();
    assert_true(note("login_failed", "user a"));
    expect("user a", ALERT_RAISED, 8);
    expect_nothing();
}

static void the_window_slides(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) { /* seven in any window of 300 s */
        assert_false(note("login_failed", "user a"));
        now_ms += 301000 / 7;
    }
    now_ms += 400000;
    /* four at the end of one window and four at the beginning of the next are eight */
    for (int i = 0; i < 4; i++)
        (void)note("login_failed", "user a");
    now_ms += 100000;
    for (int i = 0; i < 3; i++)
        assert_false(note("login_failed", "user a"));
    assert_true(note("login_failed", "user a"));
}

static void quiet_then_one_line_with_the_count(void **state) {
    (void)state;
    for (int i = 0; i < 8; i++)
        (void)note("login_failed", "user a");
    expect("user a", ALERT_RAISED, 8);
    for (int i = 0; i < 100; i++) {
        now_ms += 5000;
        (void)note("login_failed", "user a");
        expect_nothing();
    }
    now_ms += 900000;
    expect("user a", ALERT_GOES_ON, 100);
    expect_nothing();
    now_ms += 900000; /* nothing came: it begins anew */
    expect_nothing();
    for (int i = 0; i < 7; i++)
        assert_false(note("login_failed", "user a"));
    expect_nothing();
    (void)note("login_failed", "user a");
    expect("user a", ALERT_RAISED, 8);
}

static void a_state_is_told_on_and_over(void **state) {
    const struct alert_rule *disk = rule("disk_low");
    (void)state;
    assert_false(alert_table_state(table, disk, "x", false, now_ms));
    assert_true(alert_table_state(table, disk, "x", true, now_ms));
    expect("x", ALERT_RAISED, 1);
    for (int i = 0; i < 10; i++) {
        now_ms += 10000;
        assert_false(alert_table_state(table, disk, "x", true, now_ms));
        expect_nothing();
    }
    assert_true(alert_table_state(table, disk, "x", false, now_ms));
    expect("x", ALERT_OVER, 0);
    /* flapping in the quiet time is told once, afterwards */
    for (int i = 0; i < 5; i++) {
        assert_false(alert_table_state(table, disk, "x", true, now_ms));
        assert_false(alert_table_state(table, disk, "x", false, now_ms));
    }
    assert_false(alert_table_state(table, disk, "x", true, now_ms));
    expect_nothing();
    now_ms += 3600000;
    expect("x", ALERT_RAISED, 6);
    now_ms += 3600000; /* and reminds while it lasts */
    expect("x", ALERT_GOES_ON, 0);
}

static void many_subjects_become_one(void **state) {
    struct alert_told t;
    char name[32];
    int told = 0, many = 0;
    (void)state;
    for (int i = 0; i < 500; i++) {
        (void)snprintf(name, sizeof name, "source 192.0.2.%d", i);
        for (int k = 0; k < 3; k++)
            (void)note("certificate_error", name);
        while (alert_table_take(table, now_ms, &t)) {
            told++;
            many += strcmp(t.subject, "(many)") == 0;
        }
    }
    assert_int_equal(told, ALERT_SUBJECTS_AN_HOUR + 1);
    assert_int_equal(many, 1);
}

static void more_subjects_than_places(void **state) {
    char name[32];
    (void)state;
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(name, sizeof name, "user u%d", i);
        now_ms++;
        (void)note("fishing", name);
    }
    for (int i = 0; i < 20; i++)
        (void)note("fishing", "user z");
    expect("user z", ALERT_RAISED, 20);
}

static void restored_ones_stay_quiet(void **state) {
    (void)state;
    alert_table_restore(table, rule("login_failed"), "user a", true, now_ms + 60000, now_ms);
    alert_table_restore(table, rule("disk_low"), "x", true, now_ms + 60000, now_ms);
    for (int i = 0; i < 8; i++)
        (void)note("login_failed", "user a");
    assert_false(alert_table_state(table, rule("disk_low"), "x", true, now_ms));
    expect_nothing();
    assert_true(alert_table_state(table, rule("disk_low"), "x", false, now_ms));
    expect("x", ALERT_OVER, 0);
    now_ms += 61000;
    expect("user a", ALERT_GOES_ON, 8);
}

/* --- the way out --- */

static struct stand stand;
static struct server server;
static struct http_listener *listener;
static struct http_server *receiver;
static int answer_status; /* of the receiver */
static int calls, signatures_ok;
static json_t *got; /* alerts that were taken */

static const char secret[] = "0123456789abcdef-secret";

static void on_alert(struct http_request *rq) {
    size_t len;
    const void *body = http_body(rq, &len);
    uint8_t mac[32];
    char want[80] = "sha256=";
    struct vrs_fault fault;
    json_t *document = NULL;
    calls++;
    crypto_hmac_sha256(secret, strlen(secret), body, len, mac);
    crypto_hex(mac, sizeof mac, want + 7);
    const char *signature = http_header(rq, "X-VRS-Signature");
    signatures_ok += signature != NULL && strcmp(signature, want) == 0;
    assert_int_equal(json_parse(body, len, &document, &fault), VRS_OK);
    if (answer_status == 204)
        assert_int_equal(json_array_extend(got, json_object_get(document, "alerts")), 0);
    json_decref(document);
    http_reply(rq, answer_status, NULL, NULL, 0);
}

static const struct route receiver_routes[] = {
    {.method = ROUTE_POST, .path = "/alerts", .handle = on_alert}, {0}};

static void listen_on(int port) {
    const struct http_listener_options o = {
        .name = "receiver", .address = "127.0.0.1", .port = port, .routes = receiver_routes};
    struct vrs_fault fault = {0};
    assert_int_equal(http_server_open(server.base, &receiver), VRS_OK);
    assert_int_equal(http_listen(receiver, &o, &listener, &fault), VRS_OK);
}

static char url[64], secret_file[128];
static char state_dir[64], data_dir[] = "data", empty[] = "", to[] = "ops@example.jp",
                           from[] = "vrs@example.jp";

static void start(void) {
    struct vrs_fault fault = {0};
    const struct pool_options pool = {.engine = &store_sqlite,
                                      .dir = stand.partitions,
                                      .keys = stand.ring,
                                      .workers = 1,
                                      .max_open = 8,
                                      .max_queued = 100};
    assert_int_equal(pool_open(server.base, &pool, &server.pool, &fault), VRS_OK);
    assert_int_equal(alerts_open(&server, &server.alerts, &fault), VRS_OK);
}

static void end(void) {
    alerts_close(server.alerts);
    pool_close(&server.pool);
    alerts_free(&server.alerts);
}

static int out_set_up(void **state) {
    (void)state;
    stand_open(&stand, 1U << KEY_RECORDS | 1U << KEY_LOG);
    memset(&server, 0, sizeof server);
    server.base = http_base_open();
    server.keys = stand.ring;
    answer_status = 204;
    calls = signatures_ok = 0;
    got = json_array();
    listen_on(0);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/alerts", http_listener_port(listener));
    (void)snprintf(state_dir, sizeof state_dir, "%s", stand.dir);
    (void)snprintf(secret_file, sizeof secret_file, "%s", stand_path(&stand, "secret"));
    FILE *f = fopen(secret_file, "w");
    assert_non_null(f);
    (void)fprintf(f, "%s\n", secret);
    (void)fclose(f);
    server.config.data_dir = data_dir;
    server.config.state_dir = state_dir;
    server.config.alert_webhook_url = url;
    server.config.alert_webhook_ca_file = empty;
    server.config.alert_webhook_secret_file = secret_file;
    server.config.alert_mail_to = to;
    server.config.alert_mail_from = from;
    server.config.development = true;
    start();
    return 0;
}

static int out_tear_down(void **state) {
    (void)state;
    end();
    http_server_close(&receiver, 100);
    event_base_free(server.base);
    json_decref(got);
    stand_close(&stand);
    return 0;
}

static bool until(bool (*holds)(void)) {
    int64_t deadline = clock_mono_ms() + PATIENCE_MS;
    while (!holds() && clock_mono_ms() < deadline) {
        const struct timeval a_moment = {.tv_usec = 5000};
        (void)event_base_loopexit(server.base, &a_moment);
        (void)event_base_dispatch(server.base);
    }
    return holds();
}

static size_t mails(void) {
    return stand_files(stand_path(&stand, "alerts"));
}
static bool one_everywhere(void) {
    return json_array_size(got) == 1 && mails() == 1;
}
static bool two_calls(void) {
    return calls >= 2;
}
static bool two_got(void) {
    return json_array_size(got) >= 2;
}

static void fail_logins(const char *subject) {
    for (int i = 0; i < 8; i++)
        alert_note(&server, "login_failed", subject);
}

static void told_on_every_channel(void **state) {
    (void)state;
    fail_logins("131032 user minato-1");
    assert_true(until(one_everywhere));
    const json_t *a = json_array_get(got, 0);
    assert_string_equal(json_string_value(json_object_get(a, "rule")), "login_failed");
    assert_string_equal(json_string_value(json_object_get(a, "subject")), "131032 user minato-1");
    assert_string_equal(json_string_value(json_object_get(a, "kind")), "raised");
    assert_int_equal(json_integer_value(json_object_get(a, "count")), 8);
    assert_int_equal(json_string_length(json_object_get(a, "id")), 32);
    assert_true(json_string_length(json_object_get(a, "todo")) > 10);
    assert_int_equal(signatures_ok, calls);
    assert_true(stand_holds(stand.dir, "To: ops@example.jp", 18));
    fail_logins("131032 user minato-1");
    alert_note_many(&server, "mass_reads", "131032 user minato-2", 499);
    assert_true(until(one_everywhere));
    alert_note(&server, "mass_reads", "131032 user minato-2");
    assert_true(until(two_got));
    assert_int_equal(json_array_size(got), 2);
}

static void repeated_until_taken_once(void **state) {
    (void)state;
    answer_status = 500;
    fail_logins("user a");
    assert_true(until(two_calls));
    assert_int_equal(json_array_size(got), 0);
    answer_status = 204;
    assert_true(until(one_everywhere));
    int then = calls;
    alert_state(&server, "disk_low", "vrs-server", true);
    assert_true(until(two_got));
    assert_int_equal(calls, then + 1);
    assert_int_equal(json_array_size(got), 2);
}

static bool one_mail(void) {
    return mails() == 1;
}

/* The answer was heard and is kept. */
static bool nothing_undelivered(void) {
    static int turns;
    struct buffer text;
    buffer_init(&text, 1 << 16);
    metric_write(&text);
    bool none = strstr(buffer_cstr(&text), "vrs_alerts_undelivered 0") != NULL;
    buffer_fini(&text);
    turns = none ? turns + 1 : 0;
    return turns > 10;
}

static void an_undelivered_one_survives(void **state) {
    (void)state;
    answer_status = 500;
    fail_logins("user a");
    assert_true(until(two_calls));
    assert_true(until(one_mail));
    end();
    assert_int_equal(json_array_size(got), 0);
    answer_status = 204;
    start();
    fail_logins("user a"); /* still quiet: the earlier run has told it */
    assert_true(until(one_everywhere));
    assert_true(until(nothing_undelivered)); /* else it would be told again, with its id */
    end();
    start(); /* delivered: not again */
    alert_note(&server, "log_break", "131032");
    assert_true(until(two_got));
    assert_int_equal(json_array_size(got), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(got, 1), "rule")),
                        "log_break");
}

static void nobody_listens_at_first(void **state) {
    int port = http_listener_port(listener);
    (void)state;
    http_server_close(&receiver, 100);
    fail_logins("user a");
    assert_true(until(one_mail));
    listen_on(port);
    assert_true(until(one_everywhere));
}

int main(void) {
    log_init("test", LOG_ERROR + 1);
    (void)evthread_use_pthreads();
#define TABLE_TEST(f) cmocka_unit_test_setup_teardown(f, table_set_up, table_tear_down)
#define OUT_TEST(f) cmocka_unit_test_setup_teardown(f, out_set_up, out_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shipped_file_loads),
        cmocka_unit_test(a_wrong_file_refuses_the_start),
        TABLE_TEST(speaks_at_the_threshold),
        TABLE_TEST(the_window_slides),
        TABLE_TEST(quiet_then_one_line_with_the_count),
        TABLE_TEST(a_state_is_told_on_and_over),
        TABLE_TEST(many_subjects_become_one),
        TABLE_TEST(more_subjects_than_places),
        TABLE_TEST(restored_ones_stay_quiet),
        OUT_TEST(told_on_every_channel),
        OUT_TEST(repeated_until_taken_once),
        OUT_TEST(an_undelivered_one_survives),
        OUT_TEST(nobody_listens_at_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
