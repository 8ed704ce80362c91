/* Chances of a run, all from its seed: the same seed makes the same run. */
#ifndef TESTS_SIM_CHANCE_H
#define TESTS_SIM_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

struct chance {
    uint64_t state;
};

/* splitmix64: every seed is as good as any other, neighbours too. */
static inline uint64_t chance_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint64_t chance_next(struct chance *c) {
    c->state += UINT64_C(0x9e3779b97f4a7c15);
    return chance_mix(c->state);
}

/* 0 … n - 1 */
static inline uint64_t chance_below(struct chance *c, uint64_t n) {
    return chance_next(c) % n;
}

static inline bool chance_one_in(struct chance *c, uint64_t n) {
    return chance_below(c, n) == 0;
}

#endif
