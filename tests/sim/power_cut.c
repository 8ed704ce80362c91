/* D3: the power goes at a random moment of a simulated day, what was not synced is lost, torn or out of
 * order (tests/sim/disk.h), and goes again while what is left is being mended; then the day's truth
 * is looked at (tests/sim/day.h). */
#include "tests/sim/day.h"
#include "tests/sim/runs.h"

enum { CUTS = 3, CHANGES = 260 };

static void run_day(struct chance *c) {
    uint64_t deeds = 3 + chance_below(c, 8);
    for (int part = DISK_PARTS - 1; part >= 0 && !disk_is_off(); part--)
        if (town_start((enum disk_part)part) != VRS_OK && !disk_is_off())
            day_wrong("process %d does not start: %s", part, town.fault.text);
    for (uint64_t i = 0; i < deeds && !disk_is_off(); i++) {
        day_deed();
        for (uint64_t n = chance_below(c, 16); n > 0 && !disk_is_off(); n--)
            (void)machine_step(true);
    }
}

void run_power_cut(uint64_t seed) {
    static const struct machine_network network = {.lose = 20, .twice = 20, .late = 10};
    struct chance c = {chance_mix(seed)};
    town_begin(seed, &network);
    day_begin(seed);
    disk_cut_at(1 + chance_below(&c, CHANGES));
    run_day(&c);
    for (int cut = 0; cut <= CUTS && !day.wrong; cut++) {
        town_power_loss();
        disk_cut_at(cut < CUTS && chance_one_in(&c, 2) ? 1 + chance_below(&c, 60) : 0);
        if (day_settle()) {
            disk_cut_at(0);
            day_truth();
            break;
        }
        if (!disk_is_off() && !day.wrong)
            day_wrong("it does not come to rest");
    }
    town_end();
}
