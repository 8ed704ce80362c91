/* D9: the state machines of a dose (inbox, idempotency, claims, the hand-shake of outcomes) and of an
 * inquiry under a seeded scheduler: messages are lost, doubled, late and out of order, workers and timers run when
 * they like, processes are killed and come back; the disk is well.  What must hold is in day.c while
 * answers come, and in truth.c at the end. */
#include "tests/sim/clerk.h"
#include "tests/sim/runs.h"

static void start_some(struct chance *c) {
    for (int part = 0; part < DISK_PARTS; part++)
        if (!town.up[part] && chance_one_in(c, 3) && town_start((enum disk_part)part) != VRS_OK)
            day_wrong("process %d does not start: %s", part, town.fault.text);
}

void run_states(uint64_t seed) {
    struct chance c = {chance_mix(seed)};
    const struct machine_network network = {.lose = 3 + (unsigned)chance_below(&c, 20),
                                            .twice = 3 + (unsigned)chance_below(&c, 20),
                                            .late = 3 + (unsigned)chance_below(&c, 10)};
    uint64_t deeds = 4 + chance_below(&c, 16), killing = 2 + chance_below(&c, 20);
    town_begin(seed, &network);
    day_begin(seed);
    clerk_begin();
    for (int part = DISK_PARTS - 1; part >= 0; part--)
        if (town_start((enum disk_part)part) != VRS_OK)
            day_wrong("process %d does not start: %s", part, town.fault.text);
    for (uint64_t i = 0; i < deeds && !day.wrong; i++) {
        if (chance_one_in(&c, 4))
            clerk_ask();
        else
            day_deed();
        for (uint64_t n = chance_below(&c, 24); n > 0; n--)
            (void)machine_step(true);
        if (chance_one_in(&c, killing)) /* mostly the one that everything goes through */
            town_kill(chance_one_in(&c, 2) ? DISK_SERVER
                                           : (enum disk_part)chance_below(&c, DISK_PARTS));
        start_some(&c);
    }
    if (!day.wrong && !day_settle())
        day_wrong("it does not come to rest");
    for (int n = 0; n < 1000 && machine_step(false); n++)
        continue;
    if (!day.wrong)
        day_truth();
    if (!day.wrong)
        clerk_truth();
    town_end();
}
