/* What a process has beside its disk, without threads and without waiting: workers (lib/worker.h),
 * timers (libevent's), clock and random bytes, and the line's network (lib/client.h, and of
 * lib/http.h what line_in.c needs).  Everything that could happen next is on a list, and machine_step
 * lets the seed choose: so each order in which threads and messages may come is an order that some
 * seed makes, and makes again. */
#ifndef TESTS_SIM_MACHINE_H
#define TESTS_SIM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/chance.h"

/* How the network treats a message: one in so many; 0 never. */
struct machine_network {
    unsigned lose, twice, late;
};

/* Everything pending is forgotten; clock, random bytes and choices begin anew. */
void machine_reset(uint64_t seed, const struct machine_network *network);
extern struct chance machine_chance;
/* One thing that was pending happens.  False: nothing is, but for timers when `timers` is not set. */
bool machine_step(bool timers);
/* A faultless network from now on. */
void machine_calm(void);
void machine_advance_ms(int64_t ms);
int64_t machine_now_ms(void);

/* Timers that are made belong to tablet-api; else to vrs-server. */
extern bool machine_outside;
/* A process died: its timers never fire. */
void machine_drop_timers(bool outside);

struct tablet;
/* The door of the line (tablet.c); NULL: nobody listens. */
extern struct tablet *machine_door;

#endif
