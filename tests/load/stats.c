#include "tests/load/stats.h"

#include <stdlib.h>
#include <sys/resource.h>

enum { SAMPLES_MAX = 20000000 };

void stats_add(struct stats *s, int64_t us) {
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 65536 : 2 * s->cap;
        uint32_t *grown = cap <= SAMPLES_MAX ? realloc(s->us, cap * sizeof *grown) : NULL;
        if (grown == NULL)
            return;
        s->us = grown;
        s->cap = cap;
    }
    s->us[s->count++] = us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void stats_sort(struct stats *s) {
    if (s->count > 0)
        qsort(s->us, s->count, sizeof *s->us, by_size);
}

double stats_ms(const struct stats *s, double percentile) {
    if (s->count == 0)
        return 0;
    size_t at = (size_t)(percentile / 100 * (double)(s->count - 1));
    return s->us[at] / 1000.0;
}

void stats_fini(struct stats *s) {
    free(s->us);
    *s = (struct stats){0};
}

double stats_cpu_s(void) {
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}
