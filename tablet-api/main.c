/* tablet-api: the Internet side.  Order at start: allocators, configuration, limits and uid, data
 * files, certificates and the inbox file, sandbox, then threads, then listeners. */
#include <arpa/inet.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin.h"
#include "lib/clock.h"
#include "lib/config.h"
#include "lib/crypto.h"
#include "lib/daemon.h"
#include "lib/http.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/sandbox.h"
#include "lib/secret.h"
#include "lib/throttle.h"
#include "lib/tls.h"
#include "ocr-ingest/coupon.h"
#include "ocr-ingest/vaccine.h"
#include "tablet-api/again.h"
#include "tablet-api/app.h"
#include "tablet-api/checkpoints.h"
#include "tablet-api/enrolment.h"
#include "tablet-api/event.h"
#include "tablet-api/inbox.h"
#include "tablet-api/line_in.h"
#include "tablet-api/log_proof.h"
#include "tablet-api/login.h"
#include "tablet-api/published.h"
#include "tablet-api/query.h"
#include "tablet-api/reader_line.h"
#include "tablet-api/receipt.h"
#include "tablet-api/tablet.h"
#include "tablet-api/terminal.h"
#include "tablet-api/trouble.h"
#include "tablet-api/warning.h"

enum { QUOTA_NAMES = 65536, AGAIN_READINGS = 65536, DAY_MS = 86400000 };

#define CONFIG_OF struct tablet_config

static const struct config_key config_keys[] = {
    STR(terminals_address, NULL, "numeric address of the terminals listener; never a wildcard"),
    INT(terminals_port, "8443", 0, 65535, "its port; 0 any free one"),
    STR(public_address, NULL, "numeric address of the public listener"),
    INT(public_port, "8444", 0, 65535, "its port"),
    STR(line_address, NULL, "numeric address of the line listener, reached by the inside only"),
    INT(line_port, "8445", 0, 65535, "its port"),
    STR(reader_address, "",
        "numeric address of the reader line (docs/reader-line.md); empty: there is none"),
    INT(reader_port, "8446", 0, 65535, "its port"),
    INT(reader_connections, "256", 1, 10000, "its connections; four of one terminal"),
    INT(reader_lines, "1200", 1, 1000000, "lines of one reader terminal a minute"),
    INT(reader_idle_s, "1800", 1, 86400, "a reader's connection ends after so many idle seconds"),
    INT(reader_age_s, "43200", 1, 604800, "a reader's connection ends after so many seconds"),
    STR(admin_address, "127.0.0.1", "loopback address of /healthz /readyz /metrics"),
    INT(admin_port, "9100", 0, 65535, "its port"),
    STR(forbidden_addresses, "", "addresses of the inside, space-separated: never bound"),
    STR(state_dir, NULL, "folder of the inbox (inbox.db); nothing else is written"),
    STR(data_dir, NULL, "folder of municipalities.csv, vaccines.json, rules.json"),
    STR(app_dir, "", "folder of the tablet app as built; read once at start, empty: none"),
    STR(cert_file, NULL, "server certificate of terminals and public, PEM"),
    STR(key_file, NULL, "its key, PEM, 0600"),
    STR(terminal_ca_file, NULL, "authority of the tablet and reader certificates, PEM"),
    STR(line_cert_file, NULL, "server certificate of the line, PEM"),
    STR(line_key_file, NULL, "its key"),
    STR(line_ca_file, NULL, "authority of the inside's line certificate, PEM"),
    STR(snapshot_key, NULL, "Ed25519 public key that snapshots are signed with, 64 hex digits"),
    STR(clock_file, "", "development only: file with an offset of the clock in seconds"),
    INT(uid, "0", 0, 4294967294, "uid to become when started as root; 0 stay"),
    INT(answer_wait_ms, "2000", 0, 30000, "a post waits so long for its outcome, then 202"),
    INT(query_wait_ms, "3000", 100, 30000, "a question waits so long for the inside, then 503"),
    INT(queries_per_minute, "60", 1, 100000, "coupons:check of one terminal"),
    INT(again_window_s, "10", 0, 3600,
        "the same coupon again from a terminal within so many seconds is a question; 0 never"),
    INT(doctor_per_day, "300", 0, 1000000,
        "coupons of one terminal in 24 hours that get candidates, or a pre-shot check"),
    INT(session_idle_s, "1800", 1, 86400, "a session ends after so many idle seconds"),
    INT(session_age_s, "43200", 1, 604800, "a session ends after so many seconds"),
    INT(sessions_max, "100000", 1, 1000000, "sessions at one time"),
    INT(login_queue, "64", 2, 10000, "log-ins that may wait for hashing; above it 503"),
    INT(login_tries, "10", 1, 100000,
        "failed log-ins of an account or terminal in 5 minutes (ten times as many of an address)"),
    INT(enrolment_tries, "10", 1, 10000,
        "enrolments of one address, or renewals of one terminal, in 10 minutes"),
    INT(inbox_queue, "4096", 16, 1000000, "doses that may wait for a commit; above it 503"),
    INT(retention_days, "100", 90, 3650, "keys, receipts and outcomes are kept so long"),
    INT(clock_tolerance_s, "120", 1, 86400, "a terminal clock off by more is warned about"),
    INT(connections, "12000", 8, 100000, "connections of the terminals listener"),
    FLAG(tls12, "true", "also TLS 1.2 with AEAD suites, for old terminals"),
    FLAG(development, "false", "allows clock_file and a kernel without Landlock"),
    FLAG(dumpable, "false", "tests of proofs only: core dumps allowed"),
#ifdef VRS_TEST_CONTROLS
    FLAG(test_ack_before_commit, "false", "the mistake that the crash test must catch"),
#endif
    {0},
};

static struct log_heads log_heads;
static struct tablet tablet = {.log_heads = &log_heads}; /* one a process; parts borrow it */

struct listeners {
    struct tls_server *terminals;
    struct tls_server *public;
    struct tls_server *line;
    struct admin_options admin;
    struct event *timer;
};

static struct metric m_cert_days = {.name = "vrs_certificate_days_left",
                                    .help = "Days until the first server certificate ends",
                                    .type = METRIC_GAUGE,
                                    .registered = ATOMIC_FLAG_INIT};
static struct metric m_since_pull = {.name = "vrs_line_since_pull_seconds",
                                     .help = "Since the inside last pulled",
                                     .type = METRIC_GAUGE,
                                     .registered = ATOMIC_FLAG_INIT};
static struct metric m_oldest = {.name = "vrs_inbox_oldest_pending_seconds",
                                 .help = "Age of the oldest entry without outcome, 0 none",
                                 .type = METRIC_GAUGE,
                                 .registered = ATOMIC_FLAG_INIT};
static struct metric m_snapshot_age = {.name = "vrs_snapshot_age_seconds",
                                       .help = "Since the snapshot was made, -1 none",
                                       .type = METRIC_GAUGE,
                                       .registered = ATOMIC_FLAG_INIT};
static struct metric m_snapshot_version = {.name = "vrs_snapshot_version",
                                           .help = "Version of the snapshot in force, 0 none",
                                           .type = METRIC_GAUGE,
                                           .registered = ATOMIC_FLAG_INIT};
static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    const struct listeners *l = arg;
    struct inbox_state state;
    int64_t now_ms = clock_now_ms();
    (void)fd;
    (void)what;
    inbox_state(tablet.inbox, &state);
    metric_set(&m_oldest, state.oldest_ms > 0 ? (now_ms - state.oldest_ms) / 1000 : 0);
    metric_set(&m_since_pull, line_door_since_pull_ms(tablet.line) / 1000);
    metric_set(&m_snapshot_age, tablet.published != NULL
                                    ? (now_ms - published_made_ms(tablet.published)) / 1000
                                    : -1);
    metric_set(&m_snapshot_version, (int64_t)published_version(tablet.published));
    metric_set(&m_cert_days,
               least(tls_server_days_left(l->terminals), tls_server_days_left(l->line)));
}

/* Not asked: whether a snapshot is there.  The inside brings it when it starts, after this side. */
static bool is_ready(void *arg, char *why, size_t cap) {
    struct inbox_state state;
    (void)arg;
    inbox_state(tablet.inbox, &state);
    if (!state.fit)
        (void)snprintf(why, cap, "storage_unavailable");
    return state.fit;
}

/* C20: an address of the other side, or every address at once, must not start. */
static enum vrs_err check_address(const char *name, const char *address, const char *forbidden,
                                  struct vrs_fault *fault) {
    char list[256];
    char *save = NULL;
    struct in_addr four;
    if ((inet_pton(AF_INET, address, &four) == 1 && four.s_addr == htonl(INADDR_ANY)) ||
        strcmp(address, "::") == 0)
        return err_fail(fault, ERR_CONFIG, "%s must name one address, not a wildcard", name);
    (void)snprintf(list, sizeof list, "%s", forbidden);
    for (char *a = strtok_r(list, " ", &save); a != NULL; a = strtok_r(NULL, " ", &save)) {
        if (strcmp(a, address) == 0)
            return err_fail(fault, ERR_CONFIG, "%s: %s belongs to the inside", name, a);
    }
    return VRS_OK;
}

static enum vrs_err check_config(struct tablet *t, struct vrs_fault *fault) {
    const struct tablet_config *c = &t->config;
    enum vrs_err e =
        check_address("terminals_address", c->terminals_address, c->forbidden_addresses, fault);
    if (e == VRS_OK)
        e = check_address("public_address", c->public_address, c->forbidden_addresses, fault);
    if (e == VRS_OK)
        e = check_address("line_address", c->line_address, c->forbidden_addresses, fault);
    if (e == VRS_OK)
        e = check_address("reader_address", c->reader_address, c->forbidden_addresses, fault);
    if (e != VRS_OK)
        return e;
    if (c->clock_file[0] != '\0' && !c->development)
        return err_fail(fault, ERR_CONFIG, "clock_file is for development only");
    clock_use_file(c->clock_file[0] != '\0' ? c->clock_file : NULL);
    if (!crypto_unhex(c->snapshot_key, t->snapshot_key, sizeof t->snapshot_key))
        return err_fail(fault, ERR_CONFIG, "snapshot_key must be 64 hex digits");
    return VRS_OK;
}

static enum vrs_err load_data(struct tablet *t, struct vrs_fault *fault) {
    const char *dir = t->config.data_dir;
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/municipalities.csv", dir);
    enum vrs_err e = municipality_list_open(path, &t->municipalities, fault);
    (void)snprintf(path, sizeof path, "%s/vaccines.json", dir);
    if (e == VRS_OK)
        e = vaccine_list_open(path, &t->vaccines, fault);
    (void)snprintf(path, sizeof path, "%s/rules.json", dir);
    if (e == VRS_OK)
        e = warning_list_open(path, &t->warnings, fault);
    if (e == VRS_OK)
        e = app_open(t->config.app_dir, &t->app, fault);
    return e;
}

static enum vrs_err load_inbox(struct tablet *t, struct vrs_fault *fault) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/inbox.db", t->config.state_dir);
    const struct inbox_options o = {.path = path,
                                    .max_queued = (size_t)t->config.inbox_queue,
                                    .retention_ms = t->config.retention_days * 86400000,
                                    .test_ack_before_commit = t->config.test_ack_before_commit};
    struct vrs_fault why = {0};
    enum vrs_err e = inbox_open(&o, &t->inbox, fault);
    if (e != VRS_OK)
        return e;
    e = line_load_published(t, &why);
    if (e != VRS_OK && e != ERR_NOT_FOUND) /* the inside pushes a new one */
        log_fault(LOG_WARN, "snapshot.not_loaded", &why);
    return VRS_OK;
}

static enum vrs_err open_tls(const struct tablet_config *c, struct listeners *l,
                             struct vrs_fault *fault) {
    const struct tls_server_options terminals = {.cert_file = c->cert_file,
                                                 .key_file = c->key_file,
                                                 .client = TLS_CLIENT_REQUIRED,
                                                 .client_ca_file = c->terminal_ca_file,
                                                 .tls12 = c->tls12};
    const struct tls_server_options public = {.cert_file = c->cert_file,
                                              .key_file = c->key_file,
                                              .client = TLS_CLIENT_NONE,
                                              .tls12 = c->tls12};
    const struct tls_server_options line = {.cert_file = c->line_cert_file,
                                            .key_file = c->line_key_file,
                                            .client = TLS_CLIENT_REQUIRED,
                                            .client_ca_file = c->line_ca_file};
    enum vrs_err e = tls_server_open(&terminals, &l->terminals, fault);
    if (e == VRS_OK)
        e = tls_server_open(&public, &l->public, fault);
    if (e == VRS_OK)
        e = tls_server_open(&line, &l->line, fault);
    return e;
}

/* Everything is loaded: from here on only the own folder is written, and nothing connects. */
static enum vrs_err enter_sandbox(const struct tablet_config *c, struct vrs_fault *fault) {
    struct sandbox box = {.read_only = {"/dev/urandom"},
                          .read_write = {c->state_dir},
                          .may_accept_inet = true,
                          .required = !c->development};
    if (c->clock_file[0] != '\0')
        box.read_only[1] = c->clock_file;
    return sandbox_enter(&box, fault);
}

static enum vrs_err open_second_place(struct tablet *t) {
    char dir[512];
    struct vrs_fault fault = {0};
    (void)snprintf(dir, sizeof dir, "%s/checkpoints", t->config.state_dir);
    enum vrs_err e = checkpoints_open(t->base, dir, &t->checkpoints, &fault);
    if (e != VRS_OK)
        log_fault(LOG_ERROR, "checkpoints.failed", &fault);
    return e;
}

static enum vrs_err open_parts(struct tablet *t) {
    enum vrs_err e = events_open(t, &t->events);
    if (e == VRS_OK)
        e = trouble_open(t, &t->trouble);
    if (e == VRS_OK)
        e = receipts_open(t, &t->receipts);
    if (e == VRS_OK)
        e = queries_open(t, &t->queries);
    t->coupon_quota = throttle_open(QUOTA_NAMES, (unsigned)t->config.queries_per_minute, 60000);
    t->enrolment_quota =
        throttle_open(QUOTA_NAMES, (unsigned)t->config.enrolment_tries, ENROLMENT_WINDOW_MS);
    t->doctor_quota = throttle_open(QUOTA_NAMES, (unsigned)t->config.doctor_per_day, DAY_MS);
    t->again = again_open(AGAIN_READINGS, t->config.again_window_s * 1000);
    if (t->coupon_quota == NULL || t->enrolment_quota == NULL || t->doctor_quota == NULL ||
        t->again == NULL)
        e = ERR_MEMORY;
    if (e == VRS_OK && t->published != NULL)
        e = queries_seal_to(t->queries, published_inbox_key(t->published));
    if (e == VRS_OK)
        e = line_door_open(t, &t->line);
    if (e == VRS_OK)
        e = open_second_place(t);
    if (e == VRS_OK)
        e = inbox_start(t->inbox, t->base);
    if (e == VRS_OK)
        e = login_open(t, &t->login);
    if (e == VRS_OK)
        e = http_server_open(t->base, &t->http);
    return e;
}

static enum vrs_err listen_all(struct tablet *t, struct listeners *l, struct vrs_fault *fault) {
    const struct tablet_config *c = &t->config;
    struct http_listener *listener = NULL;
    const struct http_listener_options terminals = {
        .name = "terminals",
        .address = c->terminals_address,
        .port = (int)c->terminals_port,
        .tls = l->terminals,
        .routes = terminal_routes,
        .limits = {.connections = (size_t)c->connections},
        .gate = terminal_gate,
        .unrouted = terminal_unrouted,
        .trouble = trouble_connection,
        .arg = t};
    const struct http_listener_options public = {.name = "public",
                                                 .address = c->public_address,
                                                 .port = (int)c->public_port,
                                                 .tls = l->public,
                                                 .routes = public_routes,
                                                 .limits = {.body_bytes = 1024},
                                                 .unrouted = trouble_unrouted,
                                                 .trouble = trouble_connection,
                                                 .arg = t};
    const struct http_listener_options line = {.name = "line",
                                               .address = c->line_address,
                                               .port = (int)c->line_port,
                                               .tls = l->line,
                                               .routes = line_routes,
                                               .limits = {.connections = 32},
                                               .gate = line_gate,
                                               .unrouted = trouble_unrouted,
                                               .trouble = trouble_connection,
                                               .arg = t};
    enum vrs_err e = http_listen(t->http, &terminals, &listener, fault);
    if (e == VRS_OK)
        e = http_listen(t->http, &public, &listener, fault);
    if (e == VRS_OK)
        e = http_listen(t->http, &line, &listener, fault);
    if (e == VRS_OK && c->reader_address[0] != '\0')
        e = reader_line_open(t, l->terminals, &t->reader, fault);
    l->admin = (struct admin_options){.program = "tablet-api",
                                      .address = c->admin_address,
                                      .port = (int)c->admin_port,
                                      .ready = is_ready};
    if (e == VRS_OK)
        e = admin_listen(t->http, &l->admin, &listener, fault);
    return e;
}

static void stop(void *arg) {
    (void)event_base_loopbreak(arg);
}

/* Whoever waits is answered first; then the workers finish what they have. */
static void close_parts(struct tablet *t) {
    receipts_stop(t->receipts);
    reader_line_stop(t->reader);
    if (t->inbox != NULL && t->http != NULL)
        inbox_nudge(t->inbox);
    queries_close(&t->queries);
    http_server_close(&t->http, 2000);
    checkpoints_close(&t->checkpoints); /* its last answers may be events for the inbox */
    login_stop(t->login);
    inbox_close(&t->inbox);
    receipts_close(&t->receipts);
    reader_line_close(&t->reader);
    login_close(&t->login);
    line_door_close(&t->line);
    trouble_close(&t->trouble);
    events_close(&t->events);
    published_close(&t->published);
    throttle_close(&t->coupon_quota);
    throttle_close(&t->enrolment_quota);
    throttle_close(&t->doctor_quota);
    again_close(&t->again);
    warning_list_close(&t->warnings);
    vaccine_list_close(&t->vaccines);
    municipality_list_close(&t->municipalities);
    app_close(&t->app);
}

static enum vrs_err run(struct tablet *t, struct listeners *l, struct vrs_fault *fault) {
    const struct timeval second = {.tv_sec = 1};
    if (evthread_use_pthreads() != 0 || (t->base = http_base_open()) == NULL)
        return err_fail(fault, ERR_MEMORY, "no event loop");
    enum vrs_err e = open_parts(t);
    if (e != VRS_OK)
        return err_fail(fault, e, "start a part");
    e = listen_all(t, l, fault);
    if (e == VRS_OK)
        e = daemon_signals(t->base, stop, t->base);
    l->timer = event_new(t->base, -1, EV_PERSIST, on_tick, l);
    if (e == VRS_OK && (l->timer == NULL || event_add(l->timer, &second) != 0))
        e = err_fail(fault, ERR_MEMORY, "timer");
    if (e != VRS_OK)
        return e;
    on_tick(-1, 0, l);
    daemon_ready();
    (void)event_base_dispatch(t->base);
    return VRS_OK;
}

static enum vrs_err serve(void *arg, struct vrs_fault *fault) {
    struct tablet *t = arg;
    const struct daemon_options d = {.program = "tablet-api",
                                     .uid = t->config.uid,
                                     .dumpable = t->config.dumpable,
                                     .max_files = t->config.connections + 1024};
    struct listeners l = {0};
    enum vrs_err e = daemon_start(&d, fault);
    if (e == VRS_OK)
        e = check_config(t, fault);
    if (e == VRS_OK)
        e = load_data(t, fault);
    if (e == VRS_OK)
        e = open_tls(&t->config, &l, fault);
    if (e == VRS_OK)
        e = load_inbox(t, fault);
    if (e == VRS_OK)
        e = enter_sandbox(&t->config, fault);
    if (e == VRS_OK)
        e = run(t, &l, fault);
    close_parts(t);
    if (l.timer != NULL)
        event_free(l.timer);
    tls_server_close(&l.terminals);
    tls_server_close(&l.public);
    tls_server_close(&l.line);
    if (t->base != NULL)
        event_base_free(t->base);
    return e;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--print-routes") == 0) {
        route_print("terminals", terminal_routes);
        route_print("public", public_routes);
        route_print("line", line_routes);
        route_print("admin", admin_routes);
        return 0;
    }
    return daemon_main("tablet-api", argc, argv, config_keys, &tablet.config, serve, &tablet);
}
