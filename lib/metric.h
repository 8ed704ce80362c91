/* Counters, gauges and latency histograms, written as Prometheus text by the admin listener.
 * Updates are relaxed atomics, from any thread.  Metrics are static objects that register
 * themselves on first use; names end in their unit (_total, _seconds, _bytes). */
#ifndef VRS_LIB_METRIC_H
#define VRS_LIB_METRIC_H

#include <stdatomic.h>
#include <stdint.h>

#include "lib/buffer.h"

enum { METRIC_BUCKETS = 20 };

struct metric {
    const char *name;
    const char *help;
    const char *label; /* e.g. outcome="recorded", or NULL */
    enum { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM } type;
    _Atomic int64_t value;                  /* counter, gauge; histogram: count */
    _Atomic int64_t sum_us;                 /* histogram */
    _Atomic int64_t bucket[METRIC_BUCKETS]; /* le = 100 µs × 2^i, last +Inf */
    struct metric *next;                    /* registry */
    atomic_flag registered;
};

void metric_add(struct metric *m, int64_t n);
void metric_set(struct metric *m, int64_t v);
void metric_observe_us(struct metric *m, int64_t us);
void metric_register(struct metric *m); /* so that it shows as 0 before its first use */
void metric_write(struct buffer *out);  /* Prometheus text format 0.0.4 */

#endif
