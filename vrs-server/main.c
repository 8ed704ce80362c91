/* vrs-server: the LG-WAN side.  Order at start: allocators, configuration, limits and uid, data
 * files and keys, sandbox, then threads (pool, hashers), then listeners. */
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
#include "lib/csv.h"
#include "lib/daemon.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/sandbox.h"
#include "lib/secret.h"
#include "lib/tls.h"
#include "ocr-ingest/doctor.h"
#include "partitions/exchange.h"
#include "vrs-server/accounts/logins.h"
#include "vrs-server/accounts/password_rule.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/alerts/condition.h"
#include "vrs-server/alerts/watch.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/doses/prove.h"
#include "vrs-server/handlers.h"
#include "vrs-server/inquiries/allow_list.h"
#include "vrs-server/inquiries/permit.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/keeping/erasure.h"
#include "vrs-server/keeping/retention.h"
#include "vrs-server/keeping/sweep.h"
#include "vrs-server/log/checkpoint.h"
#include "vrs-server/log/log_keep.h"
#include "vrs-server/log/log_rule.h"
#include "vrs-server/log/refusals.h"
#include "vrs-server/operation/backup.h"
#include "vrs-server/operation/control.h"
#include "vrs-server/operation/rotation.h"
#include "vrs-server/residents/statistics.h"
#include "vrs-server/routes.h"
#include "vrs-server/session.h"
#include "vrs-server/terminals/terminal_list.h"

#define CONFIG_OF struct server_config

static const struct config_key config_keys[] = {
    STR(lgwan_address, NULL, "numeric address of the LG-WAN listener; never a wildcard"),
    INT(lgwan_port, "9443", 0, 65535, "port of the LG-WAN listener; 0 any free one"),
    STR(forbidden_addresses, "", "addresses of the other side, space-separated: never bound"),
    STR(admin_address, "127.0.0.2", "loopback address of /healthz /readyz /metrics"),
    INT(admin_port, "9100", 0, 65535, "port of the admin listener"),
    STR(state_dir, NULL, "folder of partitions/, keys/, backup/, control.sock"),
    STR(data_dir, NULL,
        "folder of municipalities.csv, vaccines.json, rules.json, policies.json, confusions.json, "
        "passwords.txt"),
    STR(kek_source, "credential",
        "where KEKs come from: credential (systemd) or file (development)"),
    STR(kek_dir, "", "folder of the KEK files when kek_source is file"),
    STR(cert_file, NULL, "server certificate, PEM"),
    STR(key_file, NULL, "its key, PEM, 0600"),
    STR(terminal_ca_file, NULL, "authority of the LG-WAN terminals, PEM"),
    STR(allow_list_file, "", "signed 照会許可用照合リスト; without one every inquiry is refused"),
    STR(allow_list_key, "", "Ed25519 public key that it is signed with, 64 hex digits"),
    STR(tablet_ca_file, NULL, "authority of tablets and readers, PEM: given to enrolled devices"),
    STR(line_url, NULL, "tablet-api's line listener, https://address:port"),
    STR(line_ca_file, NULL, "authority of the line, PEM"),
    STR(line_cert_file, NULL, "the inside's certificate for the line"),
    STR(line_key_file, NULL, "its key"),
    STR(inbox_key_file, NULL, "X25519 private key that readings are sealed to, hex, 0600"),
    STR(snapshot_key_file, NULL, "Ed25519 private key that signs snapshots, hex, 0600"),
    STR(number_socket, NULL, "unix socket of vrs-number"),
    STR(import_scanner_socket, "", "unix socket of clamd; with it every import is scanned"),
    STR(alert_webhook_url, "", "receiver of alerts, https://address:port/path; empty none"),
    STR(alert_webhook_ca_file, "", "authority of the receiver, PEM"),
    STR(alert_webhook_secret_file, "", "key of X-VRS-Signature, at least 16 bytes; empty unsigned"),
    STR(alert_mail_to, "", "address for alerts: messages are written to alerts/; empty none"),
    STR(alert_mail_from, "vrs", "sender of these messages"),
    STR(signer_socket, NULL, "unix socket of vrs-signer"),
    STR(clock_file, "", "development only: file with an offset of the clock in seconds"),
    STR(backup_dirs, "",
        "folders of backups, space-separated; at least two, not on the data's device"),
    INT(uid, "0", 0, 4294967294, "uid to become when started as root; 0 stay"),
    INT(workers, "8", 1, SERVER_MAX_WORKERS, "threads that own the partitions"),
    INT(max_open, "2000", 8, 100000, "partition files kept open"),
    INT(queue_max, "20000", 8, 1000000, "jobs that may wait for a worker; above it 503"),
    INT(session_idle_s, "900", 10, 86400, "a session ends after so many idle seconds"),
    INT(session_age_s, "28800", 60, 86400, "a session ends after so many seconds"),
    INT(snapshot_max_age_s, "86400", 60, 2592000,
        "tablet-api takes no new log-ins on an older one"),
    INT(pull_max, "500", 1, 1000, "entries a pull"),
    INT(pull_wait_ms, "20000", 10, 60000, "how long a pull waits for an entry"),
    INT(checkpoint_s, "60", 1, 3600, "how often signed heads go to their second place"),
    INT(signer_wait_ms, "500", 50, 30000,
        "an answer waits so long for a signature; a dose's proof then comes later"),
    INT(doctor_per_day, "300", 0, 1000000,
        "coupons of one terminal in 24 hours that get candidates, or a pre-shot check"),
    INT(coupon_filter_per_day, "400", 0, 1000000,
        "shards of the coupon filter that one terminal gets in 24 hours"),
    INT(coupon_filter_rebuild_s, "900", 1, 86400,
        "a filter older than this is made anew when coupons changed"),
    INT(coupon_filter_life_s, "86400", 60, 604800, "a tablet uses a filter so long"),
    INT(import_max_rows, "4000000", 1, 10000000, "rows of one import"),
    FLAG(development, "false", "allows key files, clock_file, and a kernel without Landlock"),
    FLAG(dumpable, "false", "tests of proofs only: core dumps allowed"),
    {0},
};

static struct server server; /* one a process; parts borrow it */
static bool ready;

static struct metric cert_days = {.name = "vrs_certificate_days_left",
                                  .help = "Days until the LG-WAN certificate ends",
                                  .type = METRIC_GAUGE};
static struct metric since_pull = {.name = "vrs_line_since_pull_seconds",
                                   .help = "Seconds since the last answered pull",
                                   .type = METRIC_GAUGE};
static bool is_ready(void *arg, char *why, size_t cap) {
    (void)arg;
    bool all = ready && terminal_list_ready(server.terminals);
    if (!all)
        (void)snprintf(why, cap, "starting");
    return all;
}

struct gauges {
    struct event *timer;
    unsigned seconds;
    int64_t day; /* JST, of the last sweep */
    const struct tls_server *tls;
};

static void gauges_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct gauges *g = arg;
    metric_set(&cert_days, tls_server_days_left(g->tls));
    metric_set(&since_pull, line_out_seconds_since_pull(server.line));
    int64_t today = clock_today_jst().days;
    if (++g->seconds % 60 == 0 || today != g->day) { /* results end with their day */
        g->day = today;
        inquiries_sweep(&server);
        terminal_list_sweep(server.terminals);
    }
    if (g->seconds % 5 == 0) {
        retention_tick(&server);
        erasures_tick(&server);
        log_keep_tick(&server);
    }
    if (g->seconds % 10 == 0)
        refusals_tick(server.refusals);
    if (g->seconds % 600 == 0) {
        sweep_leftovers(&server);
        log_reviews_look(&server);
    }
}

/* A crash may have cut inquiries off: nobody waits for them any more, a person asks again.  Those of a
 * partition that was open before are on their way (or, in a restored file, end by their age).  Erasures
 * that an older file does not know take effect before anything else does. */
static enum vrs_err partition_opened(struct partition *p, bool first, void *arg) {
    uint64_t aborted = 0;
    enum vrs_err e = first ? inquiries_abort_open(p, INT64_MAX, &aborted) : VRS_OK;
    if (e == VRS_OK && aborted > 0)
        log_event(LOG_WARN, "inquiry.aborted", LF_STR("municipality", partition_code(p)),
                  LF_INT("count", aborted));
    return e == VRS_OK ? erasure_opened(arg, p) : e;
}

/* C20: an address of the other side, or any address at once, is a mistake that must not start. */
static enum vrs_err check_address(const struct server_config *c, struct vrs_fault *fault) {
    char list[256];
    struct in_addr four;
    if (inet_pton(AF_INET, c->lgwan_address, &four) == 1 && four.s_addr == htonl(INADDR_ANY))
        return err_fail(fault, ERR_CONFIG, "lgwan_address must name one address, not a wildcard");
    if (strcmp(c->lgwan_address, "::") == 0)
        return err_fail(fault, ERR_CONFIG, "lgwan_address must name one address, not a wildcard");
    (void)snprintf(list, sizeof list, "%s", c->forbidden_addresses);
    for (char *save, *a = strtok_r(list, " ", &save); a != NULL; a = strtok_r(NULL, " ", &save)) {
        if (strcmp(a, c->lgwan_address) == 0)
            return err_fail(fault, ERR_CONFIG, "lgwan_address %s belongs to the Internet side", a);
    }
    return VRS_OK;
}

static enum vrs_err load_data(struct server *s, struct vrs_fault *fault) {
    const struct server_config *c = &s->config;
    char path[512];
    enum vrs_err e;
    (void)snprintf(path, sizeof path, "%s/municipalities.csv", c->data_dir);
    if ((e = municipality_list_open(path, &s->municipalities, fault)) != VRS_OK)
        return e;
    (void)snprintf(path, sizeof path, "%s/vaccines.json", c->data_dir);
    if ((e = vaccine_list_open(path, &s->vaccines, fault)) != VRS_OK)
        return e;
    (void)snprintf(path, sizeof path, "%s/rules.json", c->data_dir);
    if ((e = rule_list_open(path, &s->rules, fault)) != VRS_OK)
        return e;
    (void)snprintf(path, sizeof path, "%s/confusions.json", c->data_dir);
    if ((e = confusions_open(path, &s->confusions, fault)) != VRS_OK)
        return e;
    (void)snprintf(path, sizeof path, "%s/policies.json", c->data_dir);
    if ((e = policy_list_open(path, &s->policies, fault)) != VRS_OK)
        return e;
    (void)snprintf(path, sizeof path, "%s/passwords.txt", c->data_dir);
    if ((e = password_rules_open(path, &s->passwords, fault)) != VRS_OK)
        return e;
    (void)snprintf(path, sizeof path, "%s/log_rules.json", c->data_dir);
    if ((e = log_rules_open(path, &s->log_rules, fault)) != VRS_OK)
        return e;
    const struct kek_source *source = &kek_credential;
    if (strcmp(c->kek_source, "file") == 0) {
        if (!c->development)
            return err_fail(fault, ERR_CONFIG, "kek_source file is for development only");
        source = &kek_file;
    } else if (strcmp(c->kek_source, "credential") != 0) {
        return err_fail(fault, ERR_CONFIG, "kek_source is credential or file");
    }
    (void)snprintf(path, sizeof path, "%s/keys", c->state_dir);
    return keyring_open(path, source, c->kek_dir, 1U << KEY_RECORDS | 1U << KEY_LOG, &s->keys,
                        fault);
}

static enum vrs_err enter_sandbox(const struct server *s, struct vrs_fault *fault) {
    const struct server_config *c = &s->config;
    /* Everything below is opened after this point; number files are not among it (N2). */
    struct sandbox box = {
        .read_only = {c->cert_file, c->key_file, c->terminal_ca_file, c->line_ca_file,
                      c->line_cert_file, c->line_key_file, c->inbox_key_file, c->snapshot_key_file,
                      c->tablet_ca_file, c->data_dir, "/dev/urandom",
                      c->clock_file[0] != '\0' ? c->clock_file : NULL},
        .read_write = {c->state_dir},
        .may_connect_inet = true,
        .may_connect_unix = true,
        .may_accept_inet = true,
        .required = !c->development,
    };
    const char *const optional[] = {c->alert_webhook_ca_file, c->alert_webhook_secret_file};
    size_t n = 0;
    while (box.read_only[n] != NULL)
        n++;
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) {
        if (optional[i][0] != '\0')
            box.read_only[n++] = optional[i];
    }
    struct backup_dirs dirs;
    enum vrs_err e = backup_dirs_of(c, &dirs, fault);
    for (size_t i = 0; i < dirs.count && e == VRS_OK; i++)
        box.read_write[1 + i] = dirs.dir[i];
    return e == VRS_OK ? sandbox_enter(&box, fault) : e;
}

/* C130 */
static enum vrs_err check_backups(const struct server_config *c, struct vrs_fault *fault) {
    struct buffer weak;
    buffer_init(&weak, 4096);
    enum vrs_err e = backup_check(c, &weak, fault);
    if (e == VRS_OK && weak.len > 0)
        log_event(LOG_WARN, "backup.weak", LF_STR("text", buffer_cstr(&weak)));
    buffer_fini(&weak);
    return e;
}

static enum vrs_err open_parts(struct server *s, struct vrs_fault *fault) {
    const struct server_config *c = &s->config;
    char dir[512];
    (void)snprintf(dir, sizeof dir, "%s/partitions", c->state_dir);
    const struct pool_options pool = {
        .engine = &store_sqlite,
        .dir = dir,
        .keys = s->keys,
        .workers = (unsigned)c->workers,
        .max_open = (size_t)c->max_open,
        .max_queued = (size_t)c->queue_max,
        .opened = partition_opened,
        .committed = prove_committed,
        .arg = s,
    };
    enum vrs_err e = checkpoints_open(s, &s->checkpoints);
    /* The workers sign with their own clients from their first commit on. */
    for (int64_t i = 0; i < c->workers && e == VRS_OK; i++)
        e = signer_client_open(c->signer_socket, c->signer_wait_ms, &s->signer[i]);
    if (e == VRS_OK)
        e = pool_open(s->base, &pool, &s->pool, fault);
    for (int64_t i = 0; i < c->workers && e == VRS_OK; i++)
        e = number_client_open(c->number_socket, 5000, &s->number[i]);
    if (e == VRS_OK)
        e = logins_check_accounts(s, fault);
    if (e == VRS_OK)
        e = refusals_open(s, &s->refusals);
    if (e == VRS_OK)
        e = allow_guard_open(s, &s->allow, fault);
    if (e == VRS_OK && (s->permits = permits_open()) == NULL)
        e = ERR_MEMORY;
    if (e == VRS_OK)
        e = terminal_list_open(s, &s->terminals);
    if (e == VRS_OK)
        e = sessions_open(s, &s->sessions);
    if (e == VRS_OK)
        e = logins_open(s, &s->logins);
    if (e == VRS_OK)
        e = statistics_open(s, &s->statistics);
    if (e == VRS_OK)
        e = alerts_open(s, &s->alerts, fault);
    if (e == VRS_OK)
        e = line_out_open(s, &s->line, fault);
    if (e == VRS_OK)
        e = conditions_open(s, &s->conditions);
    if (e == VRS_OK)
        e = rotations_open(s, &s->rotations);
    if (e == VRS_OK)
        e = control_open(s, &s->control, fault);
    if (e == VRS_OK)
        e = http_server_open(s->base, &s->http);
    return e;
}

static enum vrs_err listen_lgwan(struct server *s, struct tls_server **tls,
                                 struct vrs_fault *fault) {
    const struct server_config *c = &s->config;
    const struct tls_server_options t = {.cert_file = c->cert_file,
                                         .key_file = c->key_file,
                                         .client = TLS_CLIENT_REQUIRED,
                                         .client_ca_file = c->terminal_ca_file,
                                         .tls12 = true};
    struct http_listener *listener;
    enum vrs_err e = tls_server_open(&t, tls, fault);
    if (e != VRS_OK)
        return e;
    const struct http_listener_options lgwan = {.name = "lgwan",
                                                .address = c->lgwan_address,
                                                .port = (int)c->lgwan_port,
                                                .tls = *tls,
                                                .routes = lgwan_routes,
                                                .limits = {.connections = 4000},
                                                .gate = session_gate,
                                                .unrouted = session_unrouted,
                                                .trouble = watch_trouble,
                                                .arg = s};
    e = http_listen(s->http, &lgwan, &listener, fault);
    static struct admin_options admin = {.program = "vrs-server", .ready = is_ready};
    admin.address = c->admin_address;
    admin.port = (int)c->admin_port;
    if (e == VRS_OK)
        e = admin_listen(s->http, &admin, &listener, fault);
    return e;
}

static void stop(void *arg) {
    struct event_base *base = arg;
    (void)event_base_loopbreak(base);
}

static void close_parts(struct server *s) {
    http_server_close(&s->http, 2000);
    control_close(&s->control);
    line_out_close(&s->line);
    logins_close(&s->logins);
    sessions_close(&s->sessions);
    refusals_close(&s->refusals);
    conditions_close(&s->conditions);
    alerts_close(s->alerts);
    pool_close(&s->pool); /* finishes what is queued */
    alerts_free(&s->alerts);
    statistics_close(&s->statistics);
    rotations_close(&s->rotations);
    terminal_list_close(&s->terminals);
    allow_guard_close(&s->allow);
    permits_close(&s->permits);
    for (size_t i = 0; i < SERVER_MAX_WORKERS; i++) {
        if (s->number[i] != NULL)
            number_client_close(&s->number[i]);
        signer_client_close(&s->signer[i]);
    }
    checkpoints_close(&s->checkpoints);
    keyring_close(&s->keys);
    password_rules_close(&s->passwords);
    log_rules_close(&s->log_rules);
    policy_list_close(&s->policies);
    confusions_close(&s->confusions);
    rule_list_close(&s->rules);
    vaccine_list_close(&s->vaccines);
    municipality_list_close(&s->municipalities);
}

static enum vrs_err serve(void *arg, struct vrs_fault *fault) {
    struct server *s = arg;
    const struct server_config *c = &s->config;
    const struct daemon_options d = {.program = "vrs-server",
                                     .uid = c->uid,
                                     .dumpable = c->dumpable,
                                     .max_files = 2 * c->max_open + 6000};
    struct tls_server *tls = NULL;
    enum vrs_err e = daemon_start(&d, fault);
    if (e != VRS_OK)
        return e;
    if (c->clock_file[0] != '\0' && !c->development)
        return err_fail(fault, ERR_CONFIG, "clock_file is for development only");
    clock_use_file(c->clock_file[0] != '\0' ? c->clock_file : NULL);
    csv_prepare(); /* the CP932 converter, before the file system closes */
    if ((e = check_address(c, fault)) != VRS_OK || (e = load_data(s, fault)) != VRS_OK ||
        (e = check_backups(c, fault)) != VRS_OK || (e = enter_sandbox(s, fault)) != VRS_OK)
        return e;
    if (evthread_use_pthreads() != 0 || (s->base = http_base_open()) == NULL)
        return err_fail(fault, ERR_MEMORY, "no event loop");
    if ((e = open_parts(s, fault)) == VRS_OK && (e = listen_lgwan(s, &tls, fault)) == VRS_OK &&
        (e = daemon_signals(s->base, stop, s->base)) == VRS_OK) {
        struct gauges gauges = {.tls = tls};
        gauges.timer = event_new(s->base, -1, EV_PERSIST, gauges_tick, &gauges);
        const struct timeval second = {.tv_sec = 1};
        if (gauges.timer != NULL)
            (void)event_add(gauges.timer, &second);
        gauges_tick(-1, 0, &gauges); /* whoever finds us ready finds all figures */
        if (pool_warm(s->pool) != VRS_OK)
            log_plain(LOG_WARN, "partition.not_warmed");
        sweep_orphans(s);
        rotations_resume(s->rotations);
        sweep_leftovers(s);
        log_reviews_look(s);
        ready = true;
        daemon_ready();
        (void)event_base_dispatch(s->base);
        if (gauges.timer != NULL)
            event_free(gauges.timer);
    }
    close_parts(s);
    tls_server_close(&tls);
    event_base_free(s->base);
    return e;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--print-routes") == 0) {
        route_print("lgwan", lgwan_routes);
        return 0;
    }
    return daemon_main("vrs-server", argc, argv, config_keys, &server.config, serve, &server);
}
