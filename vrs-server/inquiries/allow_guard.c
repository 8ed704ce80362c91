/* The allow-list in force: read at the start and on command, swapped under a lock that every check
 * takes for reading. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "partitions/tally.h"
#include "vrs-server/inquiries/allow_list.h"
#include "vrs-server/server.h"

struct allow_guard {
    struct server *server;
    uint8_t key[CRYPTO_ED25519_BYTES];
    bool has_key;
    pthread_rwlock_t lock;
    struct allow_list *now; /* NULL: everything is refused */
};

static enum vrs_err read_file(const struct allow_guard *g, struct allow_list **out,
                              struct vrs_fault *fault) {
    const char *path = g->server->config.allow_list_file;
    struct buffer body;
    char part[8192];
    size_t n;
    *out = NULL;
    FILE *f = path[0] != '\0' && g->has_key ? fopen(path, "re") : NULL;
    if (f == NULL)
        return err_fail(fault, ERR_CONFIG, "allow-list: no file");
    buffer_init(&body, 2 * ALLOW_LIST_MAX_BYTES);
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        (void)buffer_put(&body, part, n);
    enum vrs_err e = ferror(f) != 0 || body.failed
                         ? err_fail(fault, ERR_CONFIG, "allow-list: cannot be read")
                         : allow_list_open(body.data, body.len, g->key, out, fault);
    (void)fclose(f);
    buffer_fini(&body);
    return e == VRS_OK || e == ERR_MEMORY ? e : ERR_CONFIG;
}

enum vrs_err allow_guard_load(struct allow_guard *g, struct partition *registry, uint64_t *version,
                              struct vrs_fault *fault) {
    static const char name[] = "allow_list_version";
    struct allow_list *l = NULL;
    int64_t last = 0;
    enum vrs_err e = read_file(g, &l, fault);
    if (e == VRS_OK)
        e = tally_get(registry, name, &last);
    if (e == VRS_OK && allow_list_version(l) < (uint64_t)last)
        e = err_fail(fault, ERR_CONFLICT, "allow-list: version %llu came after %lld",
                     (unsigned long long)allow_list_version(l), (long long)last);
    if (e == VRS_OK)
        e = tally_add(registry, name, (int64_t)allow_list_version(l) - last);
    if (e != VRS_OK) {
        allow_list_close(&l);
        return e;
    }
    *version = allow_list_version(l);
    (void)pthread_rwlock_wrlock(&g->lock);
    struct allow_list *old = g->now;
    g->now = l;
    (void)pthread_rwlock_unlock(&g->lock);
    allow_list_close(&old);
    log_event(LOG_INFO, "allow_list.in_force", LF_INT("version", *version));
    return VRS_OK;
}

enum vrs_err allow_guard_permits(struct allow_guard *g, const char *business, const char *asker,
                                 const char *provider, const char *item, struct civil_date on) {
    (void)pthread_rwlock_rdlock(&g->lock);
    enum vrs_err e = allow_list_permits(g->now, business, asker, provider, item, on);
    (void)pthread_rwlock_unlock(&g->lock);
    return e;
}

struct load_job {
    struct pool_job job; /* first */
    struct allow_guard *guard;
};

static enum vrs_err load_run(struct pool_job *job, struct partition *registry) {
    uint64_t version;
    struct vrs_fault fault = {0};
    enum vrs_err e = allow_guard_load(((struct load_job *)job)->guard, registry, &version, &fault);
    if (e == ERR_CONFIG || e == ERR_CONFLICT) { /* no reason to undo anything: all are refused */
        log_fault(LOG_ERROR, "allow_list.refused", &fault);
        return VRS_OK;
    }
    return e;
}

static void load_done(struct pool_job *job) {
    if (job->err != VRS_OK)
        log_fault(LOG_ERROR, "allow_list.refused", &job->fault);
    free(job);
}

enum vrs_err allow_guard_open(struct server *s, struct allow_guard **out, struct vrs_fault *fault) {
    struct allow_guard *g = calloc(1, sizeof *g);
    struct load_job *load = calloc(1, sizeof *load);
    *out = g;
    if (g == NULL || load == NULL) {
        free(load);
        return ERR_MEMORY;
    }
    g->server = s;
    (void)pthread_rwlock_init(&g->lock, NULL);
    const char *key = s->config.allow_list_key;
    g->has_key = key[0] != '\0';
    if (g->has_key && !crypto_unhex(key, g->key, sizeof g->key)) {
        free(load);
        return err_fail(fault, ERR_CONFIG, "allow_list_key must be 64 hex digits");
    }
    load->guard = g;
    load->job.run = load_run;
    load->job.done = load_done;
    load->job.flags = POOL_CREATE;
    memcpy(load->job.municipality, REGISTRY, sizeof REGISTRY);
    enum vrs_err e = pool_submit(s->pool, &load->job);
    if (e != VRS_OK)
        free(load);
    return e;
}

/* After the pool is closed. */
void allow_guard_close(struct allow_guard **g) {
    if (*g == NULL)
        return;
    allow_list_close(&(*g)->now);
    (void)pthread_rwlock_destroy(&(*g)->lock);
    free(*g);
    *g = NULL;
}
