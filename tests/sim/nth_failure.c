/* D5: the same short day again and again, in which the n-th write, truncation, sync, open, change of a
 * name or read fails, for n = 1 … until the day passes without coming to an n-th: with an I/O error or
 * a full disk, that once or from then on.  Then the disk is well again and everything must come to
 * its end without a restart; then the power goes, so that what a failed sync left in memory alone is
 * lost.  Half the time the power goes first. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/day.h"
#include "tests/sim/runs.h"

enum { DEEDS = 6, SECONDS = 60, SOME = 11 };

static const struct {
    const char *name;
    enum disk_call call;
    int error;
} failures[] = {
    {"write, EIO", DISK_WRITE, EIO},       {"write, ENOSPC", DISK_WRITE, ENOSPC},
    {"truncate, EIO", DISK_TRUNCATE, EIO}, {"sync, EIO", DISK_SYNC, EIO},
    {"sync, ENOSPC", DISK_SYNC, ENOSPC},   {"open, EIO", DISK_OPEN, EIO},
    {"name, EIO", DISK_NAME, EIO},         {"name, ENOSPC", DISK_NAME, ENOSPC},
    {"read, EIO", DISK_READ, EIO},
};

static void start_down(void) {
    for (int part = DISK_PARTS - 1; part >= 0; part--)
        if (!town.up[part] && town_start((enum disk_part)part) != VRS_OK)
            continue; /* tried again after the next deed */
}

static void settle_and_look(const char *when) {
    if (!day.wrong && !day_settle())
        day_wrong("%s: it does not come to rest", when);
    if (!day.wrong)
        day_truth();
}

/* False: the day has no n-th such call. */
static bool one_day(uint64_t seed, size_t failure, uint64_t n, bool stay) {
    static const struct machine_network none;
    struct chance c = {chance_mix(seed)};
    town_begin(seed, &none);
    day_begin(seed);
    disk_fail(failures[failure].call, n, failures[failure].error, stay);
    (void)alarm(SECONDS); /* no endless loop */
    for (int i = 0; i < DEEDS; i++) {
        start_down();
        day_deed();
        for (uint64_t k = 4 + chance_below(&c, 16); k > 0; k--)
            (void)machine_step(true);
    }
    bool came = disk_failed();
    disk_fail(0, 0, 0, false);
    if (came) {
        if (n % 2 == 0)
            town_power_loss();
        settle_and_look("after the failure");
        town_power_loss();
        settle_and_look("after the power loss");
    }
    (void)alarm(0);
    town_end();
    return came;
}

static void sweep(uint64_t seed, uint64_t first, uint64_t stride) {
    for (size_t f = 0; f < sizeof failures / sizeof *failures; f++) {
        for (int stay = 0; stay < 2; stay++) {
            uint64_t n = first;
            while (one_day(seed, f, n, stay != 0) && !day.wrong)
                n += stride;
            if (day.wrong) {
                size_t len = strlen(day.why);
                (void)snprintf(day.why + len, sizeof day.why - len, " (%s, the %llu.%s)",
                               failures[f].name, (unsigned long long)n,
                               stay != 0 ? ", for good" : "");
                return;
            }
        }
    }
}

void run_nth_failure(uint64_t seed) {
    sweep(seed, 1, 1);
}

void run_some_failures(uint64_t seed) {
    sweep(seed, 1 + seed % SOME, SOME);
}
