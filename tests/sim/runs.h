/* The kinds of run that tests/crash/simulate.c offers.  Each begins a town and a day from a seed; what
 * was wrong is in `day`. */
#ifndef TESTS_SIM_RUNS_H
#define TESTS_SIM_RUNS_H

#include <stdint.h>

void run_power_cut(uint64_t seed);
void run_nth_failure(uint64_t seed);   /* every n: thousands of days */
void run_some_failures(uint64_t seed); /* every eleventh, another one with each seed */
void run_states(uint64_t seed);

#endif
