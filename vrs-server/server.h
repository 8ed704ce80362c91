/* What the parts of vrs-server share: one struct, made in main.c before the loop starts, read-only
 * afterwards but for the objects that belong to the loop thread. */
#ifndef VRS_SERVER_SERVER_H
#define VRS_SERVER_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/client.h"
#include "lib/http.h"
#include "ocr-ingest/coupon.h"
#include "ocr-ingest/vaccine.h"
#include "partitions/keyring.h"
#include "partitions/pool.h"
#include "vrs-server/doses/rules.h"
#include "vrs-server/number/number.h"
#include "vrs-server/signer/signer.h"

struct allow_guard;
struct checkpoints;
struct permits;
struct policy_list;
struct confusions;
struct password_rules;
struct sessions;
struct logins;
struct statistics;
struct terminal_list;
struct refusals;
struct line_out;
struct control;
struct log_rules;
struct rotations;
struct alerts;
struct conditions;

enum { SERVER_MAX_WORKERS = 16 };
#define REGISTRY "000000" /* accounts, applications, terminals, settings */

struct server_config { /* see config_keys in main.c for units and meaning */
    char *lgwan_address;
    int64_t lgwan_port;
    char *forbidden_addresses;
    char *admin_address;
    int64_t admin_port;
    char *state_dir;  /* partitions/, keys/, backup/, control.sock below it */
    char *data_dir;   /* municipalities.csv, vaccines.json, rules.json, policies.json … */
    char *kek_source; /* "file" | "credential" */
    char *kek_dir;
    char *cert_file, *key_file, *terminal_ca_file;
    char *allow_list_file, *allow_list_key; /* signed list; Ed25519 public key, hex */
    char *tablet_ca_file;                   /* PEM, given to enrolled devices */
    char *line_url, *line_ca_file, *line_cert_file, *line_key_file;
    char *inbox_key_file;    /* X25519 private key, hex, 0600 */
    char *snapshot_key_file; /* Ed25519 private key, hex, 0600 */
    char *number_socket, *signer_socket;
    char *clock_file;  /* development only, "" none */
    char *backup_dirs; /* see backup.h; "" below state_dir */
    char *alert_webhook_url, *alert_webhook_ca_file, *alert_webhook_secret_file; /* "" none */
    char *alert_mail_to, *alert_mail_from;
    char *import_scanner_socket; /* "" nothing is scanned */
    int64_t uid;
    int64_t workers;
    int64_t max_open; /* partitions kept open */
    int64_t queue_max;
    int64_t session_idle_s, session_age_s;
    int64_t snapshot_max_age_s;
    int64_t pull_max, pull_wait_ms;
    int64_t checkpoint_s, signer_wait_ms;
    int64_t doctor_per_day;
    int64_t coupon_filter_per_day, coupon_filter_rebuild_s, coupon_filter_life_s;
    int64_t import_max_rows;
    bool development; /* key files allowed, Landlock optional, clock_file allowed */
    bool dumpable;    /* tests of proofs only */
};

struct server {
    struct server_config config;
    struct event_base *base;
    struct pool *pool;
    struct keyring *keys;
    struct municipality_list *municipalities;
    struct vaccine_list *vaccines;
    struct rule_list *rules;
    struct policy_list *policies;
    struct confusions *confusions;
    struct log_rules *log_rules;
    struct allow_guard *allow; /* any thread */
    struct permits *permits;   /* any thread */
    struct password_rules *passwords;
    struct sessions *sessions;
    struct logins *logins;
    struct statistics *statistics;
    struct terminal_list *terminals;
    struct refusals *refusals;
    struct line_out *line;
    struct control *control;
    struct alerts *alerts; /* NULL in tests that want none */
    struct conditions *conditions;
    struct rotations *rotations;
    struct http_server *http;
    struct number_client *number[SERVER_MAX_WORKERS]; /* by pool_job.worker_index */
    struct signer_client *signer[SERVER_MAX_WORKERS]; /* by pool_job.worker_index */
    struct checkpoints *checkpoints;                  /* signed heads on their way; any thread */
};

#endif
