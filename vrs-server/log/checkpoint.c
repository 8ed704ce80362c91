#include "vrs-server/log/checkpoint.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/text.h"
#include "tablet-api/line.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/doses/line_outcomes.h"
#include "vrs-server/request.h"
#include "vrs-server/server.h"

enum { PAGE = 200, THIN_AT_ONCE = 200, WEEK_HOURS = 7 * 24, HEAD_BYTES = 1024 };
#define HOUR_MS INT64_C(3600000)

/* ---- in a partition.  Order: size of the tree; state: the hour of its signature. */

static const char thinned_name[] =
    "checkpoint_thinned"; /* rows up to this order are looked through */

static uint32_t hour_of(int64_t ms) {
    return (uint32_t)(ms / HOUR_MS);
}

struct old_rows {
    struct {
        struct record_id id;
        uint64_t order;
        uint32_t hour;
    } row[THIN_AT_ONCE];
    size_t count;
};

static enum vrs_err see_row(const struct store_row *row, void *arg) {
    struct old_rows *o = arg;
    if (o->count == THIN_AT_ONCE)
        return VRS_OK;
    memcpy(o->row[o->count].id.bytes, row->id, sizeof o->row[o->count].id.bytes);
    o->row[o->count].order = row->order;
    o->row[o->count++].hour = row->state;
    return VRS_OK;
}

/* A row goes when the next one is of the same hour and both are older than a week. */
static enum vrs_err thin_out(struct partition *p) {
    const struct store_engine *engine = partition_engine(p);
    uint32_t young = hour_of(clock_now_ms()) - WEEK_HOURS;
    char text[24] = "0";
    struct old_rows rows = {.count = 0};
    enum vrs_err e = engine->meta_get(partition_store(p), thinned_name, text, sizeof text);
    if (e != VRS_OK && e != ERR_NOT_FOUND)
        return e;
    uint64_t done = strtoull(text, NULL, 10), before = done;
    e = engine->scan(partition_store(p), TABLE_CHECKPOINT, UINT32_MAX, done, THIN_AT_ONCE, see_row,
                     &rows);
    for (size_t i = 0; e == VRS_OK && i + 1 < rows.count && rows.row[i + 1].hour < young; i++) {
        if (rows.row[i].hour == rows.row[i + 1].hour)
            e = record_remove(p, TABLE_CHECKPOINT, &rows.row[i].id);
        done = rows.row[i].order;
    }
    if (e != VRS_OK || done == before)
        return e;
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)done);
    return engine->meta_set(partition_store(p), thinned_name, text);
}

enum vrs_err checkpoint_put(struct partition *p, const struct log_signed_head *h) {
    const struct store_engine *engine = partition_engine(p);
    uint64_t last = 0;
    struct record r;
    enum vrs_err e = engine->max_order(partition_store(p), TABLE_CHECKPOINT, &last);
    if (e != VRS_OK || last == h->size)
        return e;
    record_init(&r);
    record_id_new(&r.id);
    r.order = h->size;
    r.state = hour_of(h->signed_ms);
    proof_head_encode(h, &r.text);
    e = r.text.failed ? ERR_MEMORY : record_insert(p, TABLE_CHECKPOINT, &r);
    record_fini(&r);
    return e == VRS_OK ? thin_out(p) : e;
}

struct listing {
    checkpoint_fn *fn;
    void *arg;
};

static enum vrs_err see_head(struct record *r, void *arg) {
    const struct listing *l = arg;
    struct log_signed_head h;
    enum vrs_err e = proof_head_decode(r->text.data, r->text.len, &h);
    return e == VRS_OK ? l->fn(&h, l->arg) : e;
}

enum vrs_err checkpoint_list(struct partition *p, uint64_t after_size, uint64_t limit,
                             checkpoint_fn *fn, void *arg) {
    struct listing l = {.fn = fn, .arg = arg};
    return record_scan(p, TABLE_CHECKPOINT, UINT32_MAX, after_size, limit, see_head, &l);
}

/* ---- collecting */

struct latest {
    struct log_signed_head head;
    bool changed;
};

struct checkpoints {
    struct server *server;
    struct client *line;
    struct event *timer, *key_timer;
    pthread_mutex_t lock;  /* of the next five */
    struct latest *latest; /* sorted by municipality */
    size_t count, cap;
    char key_told[9];               /* the newest key in the last snapshot */
    bool key_is_new;                /* another one has signed */
    struct log_signed_head *posted; /* in the POST that is in flight */
    size_t posted_count;
    bool closing;
};

static struct metric posts_failed = {.name = "vrs_checkpoint_posts_failed_total",
                                     .help = "Posts of checkpoints that were not taken",
                                     .type = METRIC_COUNTER};
static struct metric kept_total = {.name = "vrs_checkpoints_stored_total",
                                   .help = "Checkpoints stored in their partitions",
                                   .type = METRIC_COUNTER};

static struct latest *latest_of(struct checkpoints *c, const char *municipality, bool make) {
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int k = strcmp(c->latest[mid].head.municipality, municipality);
        if (k == 0)
            return &c->latest[mid];
        if (k < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (!make)
        return NULL;
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 64 : 2 * c->cap;
        struct latest *grown = realloc(c->latest, cap * sizeof *grown);
        if (grown == NULL)
            return NULL;
        c->latest = grown;
        c->cap = cap;
    }
    memmove(&c->latest[low + 1], &c->latest[low], (c->count - low) * sizeof *c->latest);
    c->count++;
    memset(&c->latest[low], 0, sizeof c->latest[low]);
    return &c->latest[low];
}

void checkpoint_note(struct checkpoints *c, const struct log_signed_head *h) {
    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&c->lock);
    struct latest *l = latest_of(c, h->municipality, true);
    if (l != NULL) {
        l->head = *h;
        l->changed = true;
    }
    c->key_is_new |= strcmp(c->key_told, h->key_id) != 0;
    (void)pthread_mutex_unlock(&c->lock);
}

/* Those that changed, new memory; the marks are taken off. */
static size_t collect(struct checkpoints *c, struct log_signed_head **out) {
    size_t n = 0;
    (void)pthread_mutex_lock(&c->lock);
    *out = calloc(c->count + 1, sizeof **out);
    for (size_t i = 0; *out != NULL && i < c->count && n < LINE_MAX_ENTRIES; i++) {
        if (!c->latest[i].changed)
            continue;
        c->latest[i].changed = false;
        (*out)[n++] = c->latest[i].head;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return n;
}

/* Not taken: with the next turn again, in its newest form. */
static void mark_again(struct checkpoints *c, const struct log_signed_head *heads, size_t n) {
    (void)pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < n; i++) {
        struct latest *l = latest_of(c, heads[i].municipality, false);
        if (l != NULL)
            l->changed = true;
    }
    (void)pthread_mutex_unlock(&c->lock);
}

/* ---- the municipality's own place */

struct put_job {
    struct pool_job job; /* first */
    struct log_signed_head head;
};

static enum vrs_err put_run(struct pool_job *job, struct partition *p) {
    const struct put_job *j = (const struct put_job *)job;
    return checkpoint_put(p, &j->head);
}

static void put_done(struct pool_job *job) {
    if (job->err == VRS_OK)
        metric_add(&kept_total, 1);
    else
        log_fault(LOG_WARN, "checkpoint.not_stored", &job->fault);
    free(job);
}

static void put_away(struct checkpoints *c, const struct log_signed_head *h) {
    struct put_job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return;
    j->head = *h;
    j->job.run = put_run;
    j->job.done = put_done;
    memcpy(j->job.municipality, h->municipality, sizeof j->job.municipality);
    if (pool_submit(c->server->pool, &j->job) != VRS_OK)
        free(j);
}

/* ---- the second place */

static void posted(const struct client_reply *r, void *arg) {
    struct checkpoints *c = arg;
    if (!line_reply_ok(r)) {
        metric_add(&posts_failed, 1);
        log_event(LOG_WARN, "checkpoint.post_failed", LF_ERR(r->err), LF_INT("status", r->status));
        mark_again(c, c->posted, c->posted_count);
    }
    line_watch(c->server, r);
    free(c->posted);
    c->posted = NULL;
}

static void post(struct checkpoints *c, struct log_signed_head *heads, size_t n) {
    struct buffer body, head;
    buffer_init(&body, LINE_MAX_BODY);
    buffer_init(&head, HEAD_BYTES);
    line_checkpoints_begin(&body);
    for (size_t i = 0; i < n; i++) {
        buffer_clear(&head);
        proof_head_encode(&heads[i], &head);
        line_checkpoints_add(head.data, head.len, &body);
    }
    c->posted = heads;
    c->posted_count = n;
    if (line_post(c->line, "/line/v1/checkpoints", &body, 30000, posted, c) != VRS_OK) {
        mark_again(c, heads, n);
        free(heads);
        c->posted = NULL;
    }
    buffer_fini(&head);
    buffer_fini(&body);
}

/* ---- the signer's keys: the outside must know one before what it signed gets there */

void checkpoints_key_told(struct checkpoints *c, const char *key_id) {
    (void)pthread_mutex_lock(&c->lock);
    (void)snprintf(c->key_told, sizeof c->key_told, "%s", key_id);
    c->key_is_new = false;
    (void)pthread_mutex_unlock(&c->lock);
}

static void look_at_key(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct checkpoints *c = arg;
    (void)pthread_mutex_lock(&c->lock);
    bool is_new = c->key_is_new;
    c->key_is_new = false;
    (void)pthread_mutex_unlock(&c->lock);
    if (is_new && !c->closing && c->server->line != NULL)
        line_out_snapshot_changed(c->server->line);
}

static void tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct checkpoints *c = arg;
    struct log_signed_head *heads;
    if (c->closing || c->posted != NULL)
        return;
    size_t n = collect(c, &heads);
    for (size_t i = 0; i < n; i++)
        put_away(c, &heads[i]);
    if (n > 0)
        post(c, heads, n);
    else
        free(heads);
}

/* ---- life */

enum vrs_err checkpoints_open(struct server *s, struct checkpoints **out) {
    struct checkpoints *c = calloc(1, sizeof *c);
    *out = c;
    if (c == NULL)
        return ERR_MEMORY;
    c->server = s;
    metric_register(&posts_failed);
    metric_register(&kept_total);
    return pthread_mutex_init(&c->lock, NULL) == 0 ? VRS_OK : ERR_INTERNAL;
}

enum vrs_err checkpoints_start(struct checkpoints *c, struct client *line) {
    const struct timeval every = {.tv_sec = (time_t)c->server->config.checkpoint_s};
    const struct timeval second = {.tv_sec = 1};
    c->line = line;
    c->timer = event_new(c->server->base, -1, EV_PERSIST, tick, c);
    c->key_timer = event_new(c->server->base, -1, EV_PERSIST, look_at_key, c);
    return c->timer != NULL && event_add(c->timer, &every) == 0 && c->key_timer != NULL &&
                   event_add(c->key_timer, &second) == 0
               ? VRS_OK
               : ERR_MEMORY;
}

void checkpoints_stop(struct checkpoints *c) {
    if (c == NULL)
        return;
    c->closing = true;
    if (c->timer != NULL)
        event_free(c->timer);
    if (c->key_timer != NULL)
        event_free(c->key_timer);
    c->timer = c->key_timer = NULL;
}

void checkpoints_close(struct checkpoints **cp) {
    struct checkpoints *c = *cp;
    if (c == NULL)
        return;
    (void)pthread_mutex_destroy(&c->lock);
    free(c->latest);
    free(c->posted);
    free(c);
    *cp = NULL;
}

/* ---- GET /v1/access-log/checkpoints */

struct page {
    json_t *rows;
    uint64_t last, count;
};

static enum vrs_err add_head(const struct log_signed_head *h, void *arg) {
    struct page *page = arg;
    page->last = h->size;
    page->count++;
    json_t *one = proof_head_json(h);
    return one != NULL && json_array_append_new(page->rows, one) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err list_run(struct inside_request *in, struct partition *p) {
    struct page page = {.rows = json_array()};
    const char *after = http_query(in->rq, "after");
    uint64_t from = 0;
    char next[24];
    enum vrs_err e = after == NULL || (text_u64(&after, INT64_MAX, &from) && *after == '\0')
                         ? VRS_OK
                         : ERR_BAD_REQUEST;
    if (e == VRS_OK)
        e = checkpoint_list(p, from, PAGE, add_head, &page);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, page.count, "ok", NULL);
    (void)snprintf(next, sizeof next, "%llu", (unsigned long long)page.last);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:O,s:s?}", "checkpoints", page.rows, "next",
                                      page.count >= PAGE ? next : NULL));
    json_decref(page.rows);
    return e;
}

void checkpoints_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "log.checkpoints";
    in->purpose = "log_review";
    if (inside_scope(in))
        inside_run(in, list_run);
}
