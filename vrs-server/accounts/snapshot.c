#include "vrs-server/accounts/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "partitions/tally.h"
#include "vrs-server/accounts/account.h"
#include "vrs-server/log/checkpoint.h"
#include "vrs-server/terminals/terminal.h"

enum { MAX_SNAPSHOT_BYTES = 64 << 20, CLOCK_BACK_MS = 60000 };

/* The outside tells its version, and ours goes above it: beyond this it is not believed, or a
 * taken-over outside could use the counter up, and no revocation would ever get out again. */
static const uint64_t max_believed = UINT64_C(1) << 53;

struct make_job {
    struct pool_job job; /* first */
    struct snapshot *snapshot;
    uint64_t at_least; /* the outside's version: ours must be above */
    uint64_t version;
    struct buffer body; /* signed */
};

struct snapshot {
    struct server *server;
    struct client *line;
    struct secret_key sign_key;
    char inbox_key_base64[48];
    struct buffer body; /* the newest, signed */
    uint64_t version;   /* of body, 0 none */
    uint64_t outside;   /* what the outside has */
    uint64_t sent;      /* the version in the push that is in flight */
    int64_t made_ms;    /* by the wall clock: tablet-api judges its age so */
    bool making, again, pushing, closing;
    struct signer_key log_keys[SIGNER_MAX_KEYS]; /* of whoever makes one: one at a time */
    size_t log_key_count;
};

static struct metric outside_version = {.name = "vrs_snapshot_outside_version",
                                        .help = "Version of the snapshot that tablet-api has",
                                        .type = METRIC_GAUGE};

enum vrs_err snapshot_read_key(const char *path, struct secret_key *out, struct vrs_fault *fault) {
    char hex[2 * sizeof out->bytes + 1] = "";
    struct stat st;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return err_fail(fault, ERR_CONFIG, "cannot open the key file %s", path);
    bool ok = fstat(fileno(f), &st) == 0 && (st.st_mode & 077) == 0 &&
              fread(hex, 1, sizeof hex - 1, f) == sizeof hex - 1 &&
              crypto_unhex(hex, out->bytes, sizeof out->bytes);
    (void)fclose(f);
    secret_wipe(hex, sizeof hex);
    return ok ? VRS_OK
              : err_fail(fault, ERR_CONFIG, "%s must hold 64 hex digits and be 0600", path);
}

/* --- made from the registry --- */

static json_t *words_array(const char *words) {
    json_t *array = json_array();
    char copy[1024];
    (void)snprintf(copy, sizeof copy, "%s", words);
    for (char *save, *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        (void)json_array_append_new(array, json_string(w));
    return array;
}

static bool has_word(const char *words, const char *word) {
    size_t n = strlen(word);
    for (const char *at = words; (at = strstr(at, word)) != NULL; at += n) {
        if ((at == words || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' '))
            return true;
    }
    return false;
}

static enum vrs_err add_user(struct account *a, void *arg) {
    if (a->state != ACCOUNT_ACTIVE || !has_word(a->roles, "site_staff"))
        return VRS_OK;
    json_t *user = json_pack("{s:s,s:s,s:o,s:o,s:s,s:s,s:s}", "user_id", a->user, "password_hash",
                             a->password_hash, "roles", words_array(a->roles), "rights",
                             words_array(a->rights), "municipality_code", a->municipality, "site",
                             a->section, "valid_until", a->valid_until);
    return user != NULL && json_array_append_new(arg, user) == 0 ? VRS_OK : ERR_MEMORY;
}

struct terminals {
    json_t *revoked, *registered, *clients;
};

static enum vrs_err add_terminal(struct terminal *t, void *arg) {
    struct terminals *all = arg;
    if (terminal_is_inside(t))
        return VRS_OK;
    if (t->state == TERMINAL_REVOKED)
        return json_array_append_new(all->revoked, json_string(t->serial)) == 0 ? VRS_OK
                                                                                : ERR_MEMORY;
    json_t *one = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "serial", t->serial, "name", t->name,
                            "kind", t->kind, "municipality_code", t->municipality, "site", t->site,
                            "binding", t->binding);
    if (one == NULL || json_array_append_new(all->registered, one) != 0)
        return ERR_MEMORY;
    if (t->works_until_ms != 0) {
        char until[25];
        clock_format_rfc3339(t->works_until_ms, until);
        (void)json_object_set_new(one, "works_until", json_string(until));
    }
    if (strcmp(t->kind, TERMINAL_SYSTEM) == 0 || strcmp(t->kind, TERMINAL_READER) == 0) {
        json_t *client = json_pack("{s:s,s:s,s:o}", "fingerprint", t->fingerprint, "name", t->name,
                                   "rights", words_array(t->rights));
        return client != NULL && json_array_append_new(all->clients, client) == 0 ? VRS_OK
                                                                                  : ERR_MEMORY;
    }
    return VRS_OK;
}

/* A version above everything the outside ever had, even when the registry was restored. */
static enum vrs_err next_version(struct partition *registry, uint64_t at_least, uint64_t *out) {
    int64_t last;
    enum vrs_err e = tally_get(registry, "snapshot_version", &last);
    if (e != VRS_OK)
        return e;
    *out = ((uint64_t)last > at_least ? (uint64_t)last : at_least) + 1;
    return tally_add(registry, "snapshot_version", (int64_t)*out - last);
}

static enum vrs_err sign_text(struct make_job *m, const char *text) {
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    char base64[4 * ((CRYPTO_SIGNATURE_BYTES + 2) / 3) + 1];
    enum vrs_err e = crypto_sign(&m->snapshot->sign_key, text, strlen(text), signature);
    if (e != VRS_OK)
        return e;
    crypto_base64(signature, sizeof signature, base64);
    json_t *body = json_pack("{s:s,s:s}", "signature", base64, "snapshot", text);
    bool ok = body != NULL && json_write(&m->body, body);
    json_decref(body);
    return ok ? VRS_OK : ERR_MEMORY;
}

/* The signer away: those that it last told. */
static json_t *log_keys(struct snapshot *s, unsigned worker_index) {
    struct signer_key keys[SIGNER_MAX_KEYS];
    size_t n;
    json_t *list = json_array();
    if (signer_keys(s->server->signer[worker_index], keys, &n) == VRS_OK) {
        memcpy(s->log_keys, keys, n * sizeof *keys);
        s->log_key_count = n;
        checkpoints_key_told(s->server->checkpoints, keys[0].key_id);
    }
    for (size_t i = 0; i < s->log_key_count; i++) {
        char text[4 * ((CRYPTO_ED25519_BYTES + 2) / 3) + 1];
        crypto_base64(s->log_keys[i].key, sizeof s->log_keys[i].key, text);
        (void)json_array_append_new(list, json_string(text));
    }
    return list;
}

static enum vrs_err make_run(struct pool_job *job, struct partition *registry) {
    struct make_job *m = (struct make_job *)job;
    struct snapshot *s = m->snapshot;
    json_t *users = json_array();
    struct terminals all = {
        .revoked = json_array(), .registered = json_array(), .clients = json_array()};
    char now[25];
    buffer_clear(&m->body);
    enum vrs_err e = next_version(registry, m->at_least, &m->version);
    if (e == VRS_OK)
        e = account_walk(registry, add_user, users);
    if (e == VRS_OK)
        e = terminal_walk(registry, add_terminal, &all);
    clock_format_rfc3339(clock_now_ms(), now);
    json_t *doc = json_pack(
        "{s:I,s:s,s:I,s:s,s:o,s:o,s:o,s:o,s:o}", "version", (json_int_t)m->version, "made_at", now,
        "max_age_s", (json_int_t)s->server->config.snapshot_max_age_s, "inbox_key",
        s->inbox_key_base64, "users", users, "revoked", all.revoked, "terminals", all.registered,
        "system_clients", all.clients, "log_keys", log_keys(s, job->worker_index));
    struct buffer text;
    buffer_init(&text, MAX_SNAPSHOT_BYTES);
    if (e == VRS_OK)
        e = doc != NULL && json_write(&text, doc) ? sign_text(m, buffer_cstr(&text)) : ERR_MEMORY;
    buffer_fini(&text);
    json_decref(doc);
    return e;
}

static void push(struct snapshot *s);
static void make(struct snapshot *s);

static void make_done(struct pool_job *job) {
    struct make_job *m = (struct make_job *)job;
    struct snapshot *s = m->snapshot;
    s->making = false;
    if (job->err == VRS_OK) {
        buffer_fini(&s->body);
        s->body = m->body;
        buffer_init(&m->body, 0);
        s->version = m->version;
        s->made_ms = clock_now_ms();
        push(s);
    } else {
        log_fault(LOG_ERROR, "snapshot.failed", &job->fault);
    }
    buffer_fini(&m->body);
    free(m);
    if (s->again) {
        s->again = false;
        make(s);
    }
}

static void make(struct snapshot *s) {
    if (s->closing)
        return;
    if (s->making) {
        s->again = true;
        return;
    }
    struct make_job *m = calloc(1, sizeof *m);
    if (m == NULL)
        return;
    m->snapshot = s;
    m->at_least = s->outside;
    buffer_init(&m->body, MAX_SNAPSHOT_BYTES);
    m->job.run = make_run;
    m->job.done = make_done;
    memcpy(m->job.municipality, REGISTRY, sizeof REGISTRY);
    m->job.flags = POOL_CREATE; /* the first start makes the registry */
    s->making = pool_submit(s->server->pool, &m->job) == VRS_OK;
    if (!s->making)
        free(m);
}

/* --- pushed over the line --- */

static void pushed(const struct client_reply *r, void *arg) {
    struct snapshot *s = arg;
    s->pushing = false;
    if (r->err == VRS_OK && r->status == 204) {
        s->outside = s->sent;
        metric_set(&outside_version, (int64_t)s->sent);
        log_event(LOG_INFO, "snapshot.pushed", LF_INT("version", s->sent));
        if (s->version >
            s->sent) /* made while that one was on its way: a revocation must not wait */
            push(s);
    } else {
        log_event(LOG_WARN, "snapshot.push_failed", LF_ERR(r->err), LF_INT("status", r->status));
    }
}

static void push(struct snapshot *s) {
    if (s->pushing || s->version == 0 || s->closing)
        return;
    const struct client_call call = {.method = "PUT",
                                     .path = "/line/v1/snapshot",
                                     .content_type = "application/json",
                                     .body = s->body.data,
                                     .len = s->body.len,
                                     .timeout_ms = 30000,
                                     .done = pushed,
                                     .arg = s};
    s->sent = s->version;
    s->pushing = client_start(s->line, &call) == VRS_OK;
}

void snapshot_outside_has(struct snapshot *s, uint64_t version) {
    int64_t age_ms = clock_now_ms() - s->made_ms;
    bool old = age_ms > s->server->config.snapshot_max_age_s * 1000 / 2 || age_ms < -CLOCK_BACK_MS;
    if (version > max_believed && version > s->version) {
        log_event(LOG_ERROR, "snapshot.version_not_believed", LF_INT("version", version));
        return;
    }
    s->outside = version;
    metric_set(&outside_version, (int64_t)version);
    if (s->version != 0 && (version > s->version || old))
        make(s);
    else if (version < s->version)
        push(s);
}

void snapshot_changed(struct snapshot *s) {
    make(s);
}

void snapshot_stop(struct snapshot *s) {
    if (s != NULL)
        s->closing = true;
}

enum vrs_err snapshot_open(struct server *server, struct client *line,
                           const struct secret_key *inbox_key, struct snapshot **out,
                           struct vrs_fault *fault) {
    struct snapshot *s = calloc(1, sizeof *s);
    uint8_t public_key[CRYPTO_X25519_BYTES];
    *out = s;
    if (s == NULL)
        return ERR_MEMORY;
    s->server = server;
    s->line = line;
    buffer_init(&s->body, MAX_SNAPSHOT_BYTES);
    enum vrs_err e = snapshot_read_key(server->config.snapshot_key_file, &s->sign_key, fault);
    if (e == VRS_OK)
        e = crypto_x25519_public(inbox_key, public_key);
    if (e != VRS_OK)
        return e;
    crypto_base64(public_key, sizeof public_key, s->inbox_key_base64);
    make(s);
    return VRS_OK;
}
