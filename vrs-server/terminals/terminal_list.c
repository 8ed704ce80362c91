#include "vrs-server/terminals/terminal_list.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/tls.h"

enum { BUCKETS = 1 << 14, USED_BUCKETS = 1 << 12, FLUSH_MAX = 500 };

struct entry {
    struct listed_terminal terminal;
    struct entry *next;
};

/* When a name was last seen; its own table, because workers write it. */
struct used {
    char name[64];
    int64_t at_ms;
    struct used *next;
};

struct terminal_list {
    struct server *server;
    struct entry *bucket[BUCKETS];
    bool known;
    pthread_mutex_t lock; /* of `used` */
    struct used *used[USED_BUCKETS];
};

static size_t hash(const char *s, size_t buckets) {
    uint64_t h = 1469598103934665603U; /* FNV-1a: serials and names are ours, not a client's */
    for (; *s != '\0'; s++)
        h = (h ^ (uint8_t)*s) * 1099511628211U;
    return (size_t)(h % buckets);
}

/* --- the list --- */

static struct entry **slot(struct entry **buckets, const char *plain) {
    struct entry **at = &buckets[hash(plain, BUCKETS)];
    while (*at != NULL && strcmp((*at)->terminal.serial, plain) != 0)
        at = &(*at)->next;
    return at;
}

static enum vrs_err fill(struct entry **buckets, const struct terminal *t) {
    char plain[48];
    terminal_plain_serial(t->serial, plain);
    struct entry **at = slot(buckets, plain);
    if (*at == NULL && (*at = calloc(1, sizeof **at)) == NULL)
        return ERR_MEMORY;
    struct listed_terminal *l = &(*at)->terminal;
    l->id = t->id;
    l->state = t->state;
    memcpy(l->serial, plain, sizeof l->serial);
    memcpy(l->name, t->name, sizeof l->name);
    memcpy(l->kind, t->kind, sizeof l->kind);
    memcpy(l->municipality, t->municipality, sizeof l->municipality);
    l->works_until_ms = t->works_until_ms;
    l->last_used_ms = t->last_used_ms;
    return right_mask_parse(t->rights, &l->rights) ? VRS_OK : ERR_BAD_FIELD;
}

static void empty(struct entry **buckets) {
    for (size_t i = 0; i < BUCKETS; i++) {
        while (buckets[i] != NULL) {
            struct entry *gone = buckets[i];
            buckets[i] = gone->next;
            free(gone);
        }
    }
}

enum vrs_err terminal_list_put(struct terminal_list *l, const struct terminal *t) {
    return fill(l->bucket, t);
}

void terminal_list_revoke(struct terminal_list *l, const struct terminal *t) {
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct entry *e = l->bucket[i]; e != NULL; e = e->next) {
            struct listed_terminal *one = &e->terminal;
            if (strcmp(one->name, t->name) == 0 && strcmp(one->kind, t->kind) == 0 &&
                strcmp(one->municipality, t->municipality) == 0)
                one->state = TERMINAL_REVOKED;
        }
    }
}

const struct listed_terminal *terminal_list_find(const struct terminal_list *l,
                                                 const char *serial) {
    char plain[48];
    terminal_plain_serial(serial, plain);
    const struct entry *e = l->bucket[hash(plain, BUCKETS)];
    while (e != NULL && strcmp(e->terminal.serial, plain) != 0)
        e = e->next;
    return e != NULL ? &e->terminal : NULL;
}

bool terminal_list_ready(const struct terminal_list *l) {
    return l->known;
}

enum vrs_err terminal_list_check(struct terminal_list *l, const struct tls_peer *peer,
                                 const struct listed_terminal **out) {
    bool person = strcmp(peer->kind, "lgwan") == 0;
    *out = NULL;
    if (!person && strcmp(peer->kind, "system") != 0)
        return ERR_FORBIDDEN;
    if (!l->known)
        return ERR_BUSY;
    if (peer->expired)
        return ERR_TERMINAL_REVOKED;
    const struct listed_terminal *t = terminal_list_find(l, peer->serial);
    if (t == NULL || strcmp(t->kind, person ? TERMINAL_LGWAN : TERMINAL_LGWAN_SYSTEM) != 0 ||
        strcmp(t->name, peer->name) != 0 || strcmp(t->municipality, peer->municipality) != 0)
        return ERR_UNKNOWN_SYSTEM;
    if (t->state != TERMINAL_ACTIVE ||
        (t->works_until_ms != 0 && clock_now_ms() > t->works_until_ms))
        return ERR_TERMINAL_REVOKED;
    terminal_list_used(l, t->name);
    *out = t;
    return VRS_OK;
}

/* --- from the registry --- */

struct load_job {
    struct pool_job job; /* first */
    struct terminal_list *list;
    struct entry *bucket[BUCKETS];
};

static enum vrs_err load_one(struct terminal *t, void *arg) {
    return fill(arg, t);
}

static enum vrs_err load_run(struct pool_job *job, struct partition *registry) {
    struct load_job *load = (struct load_job *)job;
    empty(load->bucket); /* it may run again */
    return terminal_walk(registry, load_one, load->bucket);
}

static void load_done(struct pool_job *job) {
    struct load_job *load = (struct load_job *)job;
    struct terminal_list *l = load->list;
    if (job->err == VRS_OK) {
        empty(l->bucket);
        memcpy(l->bucket, load->bucket, sizeof l->bucket);
        memset(load->bucket, 0, sizeof load->bucket);
        l->known = true;
    } else {
        log_fault(LOG_ERROR, "terminals.not_loaded", &job->fault);
    }
    empty(load->bucket);
    free(load);
}

void terminal_list_reload(struct terminal_list *l) {
    struct load_job *load = calloc(1, sizeof *load);
    if (load == NULL)
        return;
    load->list = l;
    load->job.run = load_run;
    load->job.done = load_done;
    load->job.flags = POOL_CREATE; /* the first start makes the registry */
    memcpy(load->job.municipality, REGISTRY, sizeof REGISTRY);
    if (pool_submit(l->server->pool, &load->job) != VRS_OK)
        free(load);
}

enum vrs_err terminal_list_open(struct server *s, struct terminal_list **out) {
    struct terminal_list *l = calloc(1, sizeof *l);
    *out = l;
    if (l == NULL)
        return ERR_MEMORY;
    l->server = s;
    (void)pthread_mutex_init(&l->lock, NULL);
    terminal_list_reload(l);
    return VRS_OK;
}

/* After the pool is closed: no job names the list any more. */
void terminal_list_close(struct terminal_list **list) {
    struct terminal_list *l = *list;
    if (l == NULL)
        return;
    empty(l->bucket);
    for (size_t i = 0; i < USED_BUCKETS; i++) {
        while (l->used[i] != NULL) {
            struct used *gone = l->used[i];
            l->used[i] = gone->next;
            free(gone);
        }
    }
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
    *list = NULL;
}

/* --- last use --- */

void terminal_list_used(struct terminal_list *l, const char *name) {
    size_t b = hash(name, USED_BUCKETS);
    if (name[0] == '\0' || strlen(name) >= sizeof l->used[0]->name)
        return;
    (void)pthread_mutex_lock(&l->lock);
    struct used *u = l->used[b];
    while (u != NULL && strcmp(u->name, name) != 0)
        u = u->next;
    if (u == NULL && (u = calloc(1, sizeof *u)) != NULL) {
        memcpy(u->name, name, strlen(name) + 1);
        u->next = l->used[b];
        l->used[b] = u;
    }
    if (u != NULL)
        u->at_ms = clock_now_ms();
    (void)pthread_mutex_unlock(&l->lock);
}

int64_t terminal_list_last_used(struct terminal_list *l, const char *name) {
    int64_t at_ms = 0;
    (void)pthread_mutex_lock(&l->lock);
    for (const struct used *u = l->used[hash(name, USED_BUCKETS)]; u != NULL; u = u->next) {
        if (strcmp(u->name, name) == 0)
            at_ms = u->at_ms;
    }
    (void)pthread_mutex_unlock(&l->lock);
    return at_ms;
}

struct flush_job {
    struct pool_job job; /* first */
    size_t count;
    struct {
        struct record_id id;
        int64_t at_ms;
    } one[FLUSH_MAX];
};

static enum vrs_err flush_run(struct pool_job *job, struct partition *registry) {
    struct flush_job *f = (struct flush_job *)job;
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; i < f->count && e == VRS_OK; i++) {
        e = terminal_touch(registry, &f->one[i].id, f->one[i].at_ms);
        if (e == ERR_NOT_FOUND)
            e = VRS_OK;
    }
    return e;
}

static void flush_done(struct pool_job *job) {
    free(job);
}

/* What was not written is seen again: a lost minute of "last used" is no harm. */
void terminal_list_sweep(struct terminal_list *l) {
    struct flush_job *f = calloc(1, sizeof *f);
    if (f == NULL)
        return;
    (void)pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < BUCKETS && f->count < FLUSH_MAX; i++) {
        for (struct entry *e = l->bucket[i]; e != NULL && f->count < FLUSH_MAX; e = e->next) {
            struct used *u = l->used[hash(e->terminal.name, USED_BUCKETS)];
            while (u != NULL && strcmp(u->name, e->terminal.name) != 0)
                u = u->next;
            if (u == NULL || u->at_ms <= e->terminal.last_used_ms)
                continue;
            e->terminal.last_used_ms = u->at_ms;
            f->one[f->count].id = e->terminal.id;
            f->one[f->count++].at_ms = u->at_ms;
        }
    }
    (void)pthread_mutex_unlock(&l->lock);
    f->job.run = flush_run;
    f->job.done = flush_done;
    memcpy(f->job.municipality, REGISTRY, sizeof REGISTRY);
    if (f->count == 0 || pool_submit(l->server->pool, &f->job) != VRS_OK)
        free(f);
}
