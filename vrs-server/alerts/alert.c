#include "vrs-server/alerts/alert.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "partitions/fields.h"
#include "vrs-server/alerts/alert_out.h"
#include "vrs-server/alerts/alert_rules.h"

enum {
    QUEUE_MAX = 1000, /* alerts in memory that are not told everywhere or not yet kept */
    POST_MAX = 20,    /* in one call of the webhook */
    STORE_MAX = 64,   /* in one job */
    PAUSE_MIN_MS = 1000,
    PAUSE_MAX_MS = 20000, /* a receiver that came back hears of it well within a minute */
    STORE_PAUSE_MS = 3000,
    LABEL_BYTES = 48
};
#define KEPT_MS (INT64_C(400) * 86400000) /* delivered ones, for the yearly report */

enum alert_row_state { ROW_UNDELIVERED = 1, ROW_DELIVERED = 2 };

/* One alert on its way; in the queue until it is told everywhere and kept as such. */
struct outgoing {
    struct alert alert;
    bool stored; /* a row is there … */
    bool dirty;  /* … and does not say what is so */
    bool posting, storing;
    struct outgoing *next;
};

struct alerts {
    struct server *server;
    struct alert_rules rules;
    pthread_mutex_t lock; /* of the table */
    struct alert_table *table;
    bool loaded; /* what an earlier run told is known: nothing is told before */
    struct event *wake, *timer;
    struct outgoing *queue; /* oldest first */
    size_t queued;
    bool overflow; /* some are in the registry only */
    struct webhook *webhook;
    int64_t post_at_ms, post_pause_ms, store_at_ms, load_at_ms;
    bool store_busy, closing;
};

static struct metric m_raised[ALERT_RULE_COUNT]; /* in the order of the rules */
static char labels[ALERT_RULE_COUNT][LABEL_BYTES];

static struct metric m_undelivered = {.name = "vrs_alerts_undelivered",
                                      .help = "Raised alerts that a channel has not taken yet",
                                      .type = METRIC_GAUGE,
                                      .registered = ATOMIC_FLAG_INIT};
static struct metric m_failed = {.name = "vrs_alerts_post_failures_total",
                                 .help = "Calls of the webhook that were not taken",
                                 .type = METRIC_COUNTER,
                                 .registered = ATOMIC_FLAG_INIT};

/* --- noting, from any thread --- */

static void noted(struct alerts *a, bool due) {
    if (due)
        event_active(a->wake, EV_TIMEOUT, 0);
}

void alert_note_many(struct server *s, const char *rule, const char *subject, int64_t n) {
    struct alerts *a = s->alerts;
    if (a == NULL || n <= 0)
        return;
    const struct alert_rule *r = alert_rules_find(&a->rules, rule);
    assert(r != NULL && !r->state);
    (void)pthread_mutex_lock(&a->lock);
    bool due = alert_table_note(a->table, r, subject, n, clock_mono_ms());
    (void)pthread_mutex_unlock(&a->lock);
    noted(a, due);
}

void alert_note(struct server *s, const char *rule, const char *subject) {
    alert_note_many(s, rule, subject, 1);
}

void alert_state(struct server *s, const char *rule, const char *subject, bool on) {
    struct alerts *a = s->alerts;
    if (a == NULL)
        return;
    const struct alert_rule *r = alert_rules_find(&a->rules, rule);
    assert(r != NULL && r->state);
    (void)pthread_mutex_lock(&a->lock);
    bool due = alert_table_state(a->table, r, subject, on, clock_mono_ms());
    (void)pthread_mutex_unlock(&a->lock);
    noted(a, due);
}

const struct alert_rules *alerts_rules(const struct alerts *a) {
    return &a->rules;
}

/* --- the queue --- */

static bool told(const struct outgoing *o) {
    return o->alert.posted && o->alert.mailed;
}

static void enqueue(struct alerts *a, struct outgoing *o) {
    struct outgoing **last = &a->queue;
    while (*last != NULL)
        last = &(*last)->next;
    *last = o;
    a->queued++;
}

/* Takes out what is told everywhere and kept. */
static void tidy(struct alerts *a) {
    int64_t undelivered = 0;
    for (struct outgoing **at = &a->queue; *at != NULL;) {
        struct outgoing *o = *at;
        if (told(o) && o->stored && !o->dirty && !o->posting && !o->storing) {
            *at = o->next;
            a->queued--;
            free(o);
            continue;
        }
        undelivered += !told(o);
        at = &o->next;
    }
    metric_set(&m_undelivered, undelivered);
}

/* --- keeping them in the registry --- */

static const struct field members[] = {
    FIELD(1, FIELD_TEXT, struct alert, rule),   FIELD(2, FIELD_TEXT, struct alert, subject),
    FIELD(3, FIELD_I32, struct alert, kind),    FIELD(4, FIELD_I64, struct alert, count),
    FIELD(5, FIELD_I64, struct alert, at_ms),   FIELD(6, FIELD_BOOL, struct alert, posted),
    FIELD(7, FIELD_BOOL, struct alert, mailed), {0}};

struct store_item {
    struct outgoing *of;
    struct alert alert;
    bool stored;
};

struct store_job {
    struct pool_job job; /* first */
    struct alerts *alerts;
    size_t count;
    struct store_item item[STORE_MAX];
};

static enum vrs_err put_row(struct partition *registry, struct store_item *item) {
    struct alert *a = &item->alert;
    struct record r;
    char key[sizeof a->rule + sizeof a->subject];
    (void)snprintf(key, sizeof key, "%s %s", a->rule, a->subject);
    record_init(&r);
    enum vrs_err e = VRS_OK;
    if (item->stored)
        e = record_get(registry, TABLE_ALERT, &a->id, &r);
    r.id = a->id;
    r.state = a->posted && a->mailed ? ROW_DELIVERED : ROW_UNDELIVERED;
    buffer_clear(&r.text);
    fields_encode(members, a, &r.text);
    if (e == VRS_OK && !item->stored)
        e = partition_next_order(registry, TABLE_ALERT, &r.order);
    if (e == VRS_OK)
        e = partition_blind(registry, "alert", key, strlen(key), &r.index[0]);
    if (e == VRS_OK)
        e = item->stored ? record_update(registry, TABLE_ALERT, &r)
                         : record_insert(registry, TABLE_ALERT, &r);
    record_fini(&r);
    return e;
}

/* On the worker, because the mail's file is synced.  A run that is repeated writes the same file. */
static enum vrs_err store_run(struct pool_job *job, struct partition *registry) {
    struct store_job *j = (struct store_job *)job;
    const struct server *s = j->alerts->server;
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; i < j->count && e == VRS_OK; i++) {
        struct alert *a = &j->item[i].alert;
        if (!a->mailed)
            a->mailed = alert_spool(&s->config, &j->alerts->rules, a) == VRS_OK;
        e = put_row(registry, &j->item[i]);
    }
    return e;
}

static void go_on(struct alerts *a);

static void store_done(struct pool_job *job) {
    struct store_job *j = (struct store_job *)job;
    struct alerts *a = j->alerts;
    a->store_busy = false;
    for (size_t i = 0; i < j->count && !a->closing; i++) {
        struct outgoing *o = j->item[i].of;
        o->storing = false;
        o->alert.mailed = j->item[i].alert.mailed; /* the file is there, commit or not */
        if (job->err != VRS_OK)
            continue;
        o->stored = true;
        o->dirty = o->alert.posted != j->item[i].alert.posted || !o->alert.mailed;
    }
    if (job->err != VRS_OK)
        log_event(LOG_ERROR, "alert.not_kept", LF_ERR(job->err));
    if (a->closing) {
        free(j);
        return;
    }
    bool all = job->err == VRS_OK;
    for (const struct outgoing *o = a->queue; o != NULL; o = o->next)
        all &= o->alert.mailed;
    a->store_at_ms = all ? 0 : clock_mono_ms() + STORE_PAUSE_MS;
    free(j);
    go_on(a);
}

static void store(struct alerts *a) {
    if (a->store_busy || clock_mono_ms() < a->store_at_ms)
        return;
    struct store_job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return;
    for (struct outgoing *o = a->queue; o != NULL && j->count < STORE_MAX; o = o->next) {
        if (o->stored && !o->dirty)
            continue;
        j->item[j->count++] = (struct store_item){.of = o, .alert = o->alert, .stored = o->stored};
        o->storing = true;
    }
    j->alerts = a;
    (void)snprintf(j->job.municipality, sizeof j->job.municipality, "%s", REGISTRY);
    j->job.flags = POOL_CREATE;
    j->job.run = store_run;
    j->job.done = store_done;
    if (j->count > 0 && pool_submit(a->server->pool, &j->job) == VRS_OK) {
        a->store_busy = true;
        return;
    }
    for (size_t i = 0; i < j->count; i++)
        j->item[i].of->storing = false;
    free(j);
}

/* --- the webhook --- */

static void post_done(bool taken, void *arg) {
    struct alerts *a = arg;
    for (struct outgoing *o = a->queue; o != NULL; o = o->next) {
        if (o->posting && taken) {
            o->alert.posted = true;
            o->dirty = true;
        }
        o->posting = false;
    }
    if (taken) {
        a->post_pause_ms = PAUSE_MIN_MS;
        a->post_at_ms = 0;
    } else {
        metric_add(&m_failed, 1);
        log_event(LOG_WARN, "alert.webhook_failed", LF_INT("again_in_ms", a->post_pause_ms));
        a->post_at_ms = clock_mono_ms() + a->post_pause_ms;
        a->post_pause_ms =
            2 * a->post_pause_ms < PAUSE_MAX_MS ? 2 * a->post_pause_ms : PAUSE_MAX_MS;
    }
    go_on(a);
}

static void post(struct alerts *a) {
    const struct alert *list[POST_MAX];
    size_t count = 0;
    struct buffer body;
    if (a->webhook == NULL || clock_mono_ms() < a->post_at_ms)
        return;
    for (const struct outgoing *o = a->queue; o != NULL; o = o->next) {
        if (o->posting)
            return; /* one call at a time */
    }
    for (struct outgoing *o = a->queue; o != NULL && count < POST_MAX; o = o->next) {
        if (o->alert.posted)
            continue;
        list[count++] = &o->alert;
        o->posting = true;
    }
    if (count == 0)
        return;
    buffer_init(&body, 256 << 10);
    enum vrs_err e = alert_json(&a->rules, list, count, &body);
    if (e == VRS_OK)
        e = webhook_post(a->webhook, &body, post_done, a);
    buffer_fini(&body);
    if (e != VRS_OK) {
        for (struct outgoing *o = a->queue; o != NULL; o = o->next)
            o->posting = false;
        a->post_at_ms = clock_mono_ms() + PAUSE_MIN_MS;
    }
}

static void go_on(struct alerts *a) {
    post(a);
    store(a);
    tidy(a);
}

/* --- raising, on the loop --- */

static void raise_one(struct alerts *a, const struct alert_told *t) {
    struct outgoing *o = calloc(1, sizeof *o);
    bool over = t->kind == ALERT_OVER;
    bool critical = strcmp(t->rule->severity, "critical") == 0;
    metric_add(&m_raised[t->rule - a->rules.rule], over ? 0 : 1);
    log_event(over       ? LOG_INFO
              : critical ? LOG_ERROR
                         : LOG_WARN,
              over ? "alert.over" : "alert.raised", LF_STR("rule", t->rule->name),
              LF_STR("severity", t->rule->severity), LF_STR("subject", t->subject),
              LF_STR("kind", alert_kind_name(t->kind)), LF_INT("count", t->count));
    if (o == NULL)
        return; /* the journal has it */
    record_id_new(&o->alert.id);
    (void)snprintf(o->alert.rule, sizeof o->alert.rule, "%s", t->rule->name);
    memcpy(o->alert.subject, t->subject, sizeof o->alert.subject);
    o->alert.kind = t->kind;
    o->alert.count = t->count;
    o->alert.at_ms = clock_now_ms();
    o->alert.posted = a->webhook == NULL;
    o->alert.mailed = a->server->config.alert_mail_to[0] == '\0';
    enqueue(a, o);
}

static void take_all(struct alerts *a) {
    struct alert_told t;
    /* A full queue leaves them in the table, where they are few: one for each subject. */
    while (a->loaded && a->queued < QUEUE_MAX) {
        (void)pthread_mutex_lock(&a->lock);
        bool any = alert_table_take(a->table, clock_mono_ms(), &t);
        (void)pthread_mutex_unlock(&a->lock);
        if (!any)
            break;
        raise_one(a, &t);
    }
    go_on(a);
}

/* --- what an earlier run left --- */

struct load_job {
    struct pool_job job; /* first */
    struct alerts *alerts;
    struct outgoing *undelivered; /* newest first */
    struct record_id old[STORE_MAX];
    size_t olds, count;
    int64_t now_ms, now_mono_ms;
};

static void load_reset(struct load_job *j) {
    while (j->undelivered != NULL) {
        struct outgoing *o = j->undelivered;
        j->undelivered = o->next;
        free(o);
    }
    j->olds = j->count = 0;
}

static enum vrs_err load_one(struct record *r, void *arg) {
    struct load_job *j = arg;
    struct alerts *a = j->alerts;
    struct outgoing *o = calloc(1, sizeof *o);
    enum vrs_err e = o != NULL ? fields_decode(members, &r->text, &o->alert) : ERR_MEMORY;
    const struct alert_rule *rule = e == VRS_OK ? alert_rules_find(&a->rules, o->alert.rule) : NULL;
    if (rule != NULL) {
        int64_t left_ms = o->alert.at_ms + rule->quiet_ms - j->now_ms;
        if (left_ms > rule->quiet_ms)
            left_ms = rule->quiet_ms; /* the clock was set back meanwhile */
        (void)pthread_mutex_lock(&a->lock);
        if (left_ms > 0 || rule->state)
            alert_table_restore(a->table, rule, o->alert.subject, o->alert.kind != ALERT_OVER,
                                j->now_mono_ms + left_ms, j->now_mono_ms);
        (void)pthread_mutex_unlock(&a->lock);
    }
    if (rule != NULL && r->state == ROW_UNDELIVERED && j->count < QUEUE_MAX / 2) {
        o->alert.id = r->id;
        o->stored = true;
        o->dirty = true;
        o->next = j->undelivered;
        j->undelivered = o;
        j->count++;
        return VRS_OK;
    }
    if (e == VRS_OK && r->state == ROW_DELIVERED && o->alert.at_ms + KEPT_MS < j->now_ms &&
        j->olds < STORE_MAX)
        j->old[j->olds++] = r->id;
    free(o);
    return e;
}

static enum vrs_err load_run(struct pool_job *job, struct partition *registry) {
    struct load_job *j = (struct load_job *)job;
    load_reset(j);
    j->now_ms = clock_now_ms();
    j->now_mono_ms = clock_mono_ms();
    enum vrs_err e = record_scan(registry, TABLE_ALERT, UINT32_MAX, 0, UINT32_MAX, load_one, j);
    for (size_t i = 0; i < j->olds && e == VRS_OK; i++)
        e = record_remove(registry, TABLE_ALERT, &j->old[i]);
    return e;
}

static void load_done(struct pool_job *job) {
    struct load_job *j = (struct load_job *)job;
    struct alerts *a = j->alerts;
    if (!a->closing && job->err == VRS_OK) {
        while (j->undelivered != NULL) { /* newest first: each goes to the front */
            struct outgoing *o = j->undelivered;
            j->undelivered = o->next;
            o->alert.posted |= a->webhook == NULL;
            o->alert.mailed |= a->server->config.alert_mail_to[0] == '\0';
            o->next = a->queue;
            a->queue = o;
            a->queued++;
        }
    }
    /* A registry that cannot be read is itself told of: no reason to be silent. */
    if (job->err != VRS_OK)
        log_event(LOG_ERROR, "alert.not_loaded", LF_ERR(job->err));
    a->loaded = true;
    load_reset(j);
    free(j);
    if (!a->closing)
        take_all(a);
}

struct counting {
    const struct alert_rules *rules;
    const char *prefix;
    int64_t from_ms, to_ms;
    int64_t *counts;
};

static enum vrs_err count_row(struct record *r, void *arg) {
    const struct counting *c = arg;
    struct alert a = {0};
    enum vrs_err e = fields_decode(members, &r->text, &a);
    const struct alert_rule *rule = e == VRS_OK ? alert_rules_find(c->rules, a.rule) : NULL;
    if (rule != NULL && a.kind != ALERT_OVER && a.at_ms >= c->from_ms && a.at_ms < c->to_ms &&
        strncmp(a.subject, c->prefix, strlen(c->prefix)) == 0)
        c->counts[rule - c->rules->rule]++;
    return e;
}

enum vrs_err alerts_count(struct partition *registry, const struct alert_rules *rules_of,
                          const char *prefix, int64_t from_ms, int64_t to_ms, int64_t *counts) {
    struct counting c = {rules_of, prefix, from_ms, to_ms, counts};
    memset(counts, 0, ALERT_RULE_COUNT * sizeof *counts);
    return record_scan(registry, TABLE_ALERT, UINT32_MAX, 0, UINT32_MAX, count_row, &c);
}

static enum vrs_err load(struct alerts *a) {
    struct load_job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return ERR_MEMORY;
    j->alerts = a;
    (void)snprintf(j->job.municipality, sizeof j->job.municipality, "%s", REGISTRY);
    j->job.flags = POOL_CREATE;
    j->job.run = load_run;
    j->job.done = load_done;
    enum vrs_err e = pool_submit(a->server->pool, &j->job);
    if (e != VRS_OK)
        free(j);
    return e;
}

/* --- the whole --- */

static void on_turn(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    take_all(arg);
}

static void make_metrics(const struct alerts *a) {
    for (size_t i = 0; i < ALERT_RULE_COUNT; i++) {
        (void)snprintf(labels[i], sizeof labels[i], "rule=\"%s\"", a->rules.rule[i].name);
        m_raised[i].name = "vrs_alerts_total";
        m_raised[i].help = "Alerts raised";
        m_raised[i].label = labels[i];
        m_raised[i].type = METRIC_COUNTER;
        metric_register(&m_raised[i]);
    }
    metric_register(&m_undelivered);
    metric_register(&m_failed);
}

enum vrs_err alerts_open(struct server *s, struct alerts **out, struct vrs_fault *fault) {
    const struct timeval second = {.tv_sec = 1};
    char path[512];
    struct alerts *a = calloc(1, sizeof *a);
    *out = NULL;
    if (a == NULL)
        return err_fail(fault, ERR_MEMORY, "alerts");
    (void)pthread_mutex_init(&a->lock, NULL);
    a->server = s;
    a->post_pause_ms = PAUSE_MIN_MS;
    (void)snprintf(path, sizeof path, "%s/alerts.json", s->config.data_dir);
    enum vrs_err e = alert_rules_load(path, &a->rules, fault);
    if (e == VRS_OK)
        e = webhook_open(s, &a->webhook, fault);
    a->table = alert_table_open(&a->rules);
    a->wake = event_new(s->base, -1, 0, on_turn, a);
    a->timer = event_new(s->base, -1, EV_PERSIST, on_turn, a);
    if (e == VRS_OK && (a->table == NULL || a->wake == NULL || a->timer == NULL ||
                        event_add(a->timer, &second) != 0))
        e = err_fail(fault, ERR_MEMORY, "alerts");
    if (e == VRS_OK)
        e = load(a);
    if (e == VRS_OK)
        make_metrics(a);
    *out = a;
    return e;
}

/* What was not told is in the registry. */
void alerts_close(struct alerts *a) {
    if (a == NULL)
        return;
    if (a->timer != NULL && a->wake != NULL)
        take_all(a);
    a->closing = true;
    webhook_close(&a->webhook);
    if (a->timer != NULL)
        event_free(a->timer);
    a->timer = NULL;
}

void alerts_free(struct alerts **ap) {
    struct alerts *a = *ap;
    if (a == NULL)
        return;
    if (a->wake != NULL)
        event_free(a->wake);
    while (a->queue != NULL) {
        struct outgoing *o = a->queue;
        a->queue = o->next;
        free(o);
    }
    alert_table_close(&a->table);
    (void)pthread_mutex_destroy(&a->lock);
    free(a);
    *ap = NULL;
}
