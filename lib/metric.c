#include "lib/metric.h"

#include <pthread.h>
#include <string.h>

static struct {
    pthread_mutex_t lock; /* the list; values are atomic */
    struct metric *first;
    struct metric **last;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

void metric_register(struct metric *m) {
    if (atomic_flag_test_and_set(&m->registered))
        return;
    (void)pthread_mutex_lock(&registry.lock);
    if (registry.last == NULL)
        registry.last = &registry.first;
    m->next = NULL;
    *registry.last = m;
    registry.last = &m->next;
    (void)pthread_mutex_unlock(&registry.lock);
}

void metric_add(struct metric *m, int64_t n) {
    metric_register(m);
    (void)atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

void metric_set(struct metric *m, int64_t v) {
    metric_register(m);
    atomic_store_explicit(&m->value, v, memory_order_relaxed);
}

void metric_observe_us(struct metric *m, int64_t us) {
    metric_register(m);
    int i = 0;
    for (int64_t le = 100; i < METRIC_BUCKETS - 1 && us > le; le *= 2)
        i++;
    (void)atomic_fetch_add_explicit(&m->bucket[i], 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&m->sum_us, us, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&m->value, 1, memory_order_relaxed);
}

static int64_t load(const _Atomic int64_t *v) {
    return atomic_load_explicit(v, memory_order_relaxed);
}

/* Microseconds as seconds, exactly. */
static void put_seconds(struct buffer *out, int64_t us) {
    (void)buffer_printf(out, "%lld.%06lld", (long long)(us / 1000000), (long long)(us % 1000000));
}

static void write_histogram(struct buffer *out, const struct metric *m) {
    const char *label = m->label == NULL ? "" : m->label, *comma = m->label == NULL ? "" : ",";
    int64_t below = 0, le = 100;
    for (int i = 0; i < METRIC_BUCKETS; i++, le *= 2) {
        below += load(&m->bucket[i]);
        (void)buffer_printf(out, "%s_bucket{%s%sle=\"", m->name, label, comma);
        if (i == METRIC_BUCKETS - 1)
            (void)buffer_puts(out, "+Inf");
        else
            put_seconds(out, le);
        (void)buffer_printf(out, "\"} %lld\n", (long long)below);
    }
    const char *open = m->label == NULL ? "" : "{", *close = m->label == NULL ? "" : "}";
    (void)buffer_printf(out, "%s_sum%s%s%s ", m->name, open, label, close);
    put_seconds(out, load(&m->sum_us));
    /* The count is the sum of the buckets just read, so that the two always agree. */
    (void)buffer_printf(out, "\n%s_count%s%s%s %lld\n", m->name, open, label, close,
                        (long long)below);
}

static void write_one(struct buffer *out, const struct metric *m) {
    if (m->type == METRIC_HISTOGRAM)
        write_histogram(out, m);
    else if (m->label == NULL)
        (void)buffer_printf(out, "%s %lld\n", m->name, (long long)load(&m->value));
    else
        (void)buffer_printf(out, "%s{%s} %lld\n", m->name, m->label, (long long)load(&m->value));
}

/* The format wants all lines of one name together: the first of a name writes the others too. */
void metric_write(struct buffer *out) {
    static const char *const types[] = {"counter", "gauge", "histogram"};
    (void)pthread_mutex_lock(&registry.lock);
    for (const struct metric *m = registry.first; m != NULL; m = m->next) {
        const struct metric *before = registry.first;
        while (before != m && strcmp(before->name, m->name) != 0)
            before = before->next;
        if (before != m)
            continue;
        (void)buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                            types[m->type]);
        for (const struct metric *same = m; same != NULL; same = same->next)
            if (strcmp(same->name, m->name) == 0)
                write_one(out, same);
    }
    (void)pthread_mutex_unlock(&registry.lock);
}
