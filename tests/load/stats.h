/* How long answers took, exactly: every sample is kept. */
#ifndef TESTS_LOAD_STATS_H
#define TESTS_LOAD_STATS_H

#include <stddef.h>
#include <stdint.h>

struct stats {
    uint32_t *us;
    size_t count, cap;
};

void stats_add(struct stats *s, int64_t us);
void stats_sort(struct stats *s);                          /* before stats_ms */
double stats_ms(const struct stats *s, double percentile); /* 0 without samples */
void stats_fini(struct stats *s);
double stats_cpu_s(void); /* of this process until now */

#endif
