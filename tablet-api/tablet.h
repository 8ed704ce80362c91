/* The parts of tablet-api and who holds them: one struct a process, everything in it belongs to the
 * loop thread unless its header says otherwise. */
#ifndef TABLET_API_TABLET_H
#define TABLET_API_TABLET_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/route.h"

struct app;
struct again;
struct checkpoints;
struct event_base;
struct events;
struct http_server;
struct inbox;
struct line_door;
struct log_heads;
struct login;
struct municipality_list;
struct published;
struct queries;
struct reader_line;
struct receipts;
struct trouble;
struct throttle;
struct vaccine_list;
struct warning_list;

struct tablet_config { /* the keys and their meaning: main.c */
    char *terminals_address;
    int64_t terminals_port;
    char *public_address;
    int64_t public_port;
    char *line_address;
    int64_t line_port;
    char *admin_address;
    int64_t admin_port;
    char *forbidden_addresses;
    char *state_dir;
    char *data_dir;
    char *app_dir;
    char *cert_file;
    char *key_file;
    char *terminal_ca_file;
    char *line_cert_file;
    char *line_key_file;
    char *line_ca_file;
    char *snapshot_key;
    char *clock_file;
    int64_t uid;
    char *reader_address;
    int64_t reader_port;
    int64_t reader_connections;
    int64_t reader_lines;
    int64_t reader_idle_s;
    int64_t reader_age_s;
    int64_t again_window_s;
    int64_t doctor_per_day;
    int64_t answer_wait_ms;
    int64_t query_wait_ms;
    int64_t queries_per_minute;
    int64_t session_idle_s;
    int64_t session_age_s;
    int64_t sessions_max;
    int64_t login_queue;
    int64_t login_tries;
    int64_t enrolment_tries;
    int64_t inbox_queue;
    int64_t retention_days;
    int64_t clock_tolerance_s;
    int64_t connections;
    bool tls12;
    bool development;
    bool dumpable;
    bool test_ack_before_commit;
};

struct tablet {
    struct tablet_config config;
    uint8_t snapshot_key[32]; /* Ed25519, verifies snapshots */
    struct event_base *base;
    struct http_server *http;
    struct app *app;
    struct municipality_list *municipalities;
    struct vaccine_list *vaccines;
    struct warning_list *warnings;
    struct published *published; /* NULL: none yet */
    struct inbox *inbox;
    struct events *events;
    struct login *login;
    struct receipts *receipts;
    struct queries *queries;
    struct throttle *coupon_quota;    /* coupons:check by terminal */
    struct throttle *doctor_quota;    /* candidates and pre-shot checks by terminal and day */
    struct again *again;              /* the same coupon twice within seconds */
    struct reader_line *reader;       /* NULL: not configured */
    struct throttle *enrolment_quota; /* tries to enrol by source, renewals by terminal */
    struct line_door *line;
    struct checkpoints *checkpoints;
    struct log_heads *log_heads;
    struct trouble *trouble;
};

extern const struct route terminal_routes[];
extern const struct route public_routes[];
extern const struct route line_routes[];

/* routes.c */
void vaccines_get(struct http_request *rq);

#endif
