#!/usr/bin/env python3
"""D3, D5 and D9 at length (tests/sim): 10,000 power losses, every n-th call of the disk, 100,000 days
of state machines; and every planted mistake, each within a stated number of seeds.

$VRS_SEED: the first seed (1); $VRS_SIM_SHARE: that part of the counts, 0.01 for a look."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from runs_of_seeds import again, caught, report, seeds  # noqa: E402

SEED = int(os.environ.get("VRS_SEED", 1))
SHARE = float(os.environ.get("VRS_SIM_SHARE", 1))
JOBS = len(os.sched_getaffinity(0))


def some(count):
    return max(1, int(count * SHARE))


def main():
    again("power", SEED, 50, "a seed makes the same run again")
    for mistake, within in (("sync does nothing", 20), ("folders are not synced", 50),
                            ("synchronous=OFF", 20), ("synchronous=NORMAL", 20)):
        caught("power", mistake, within)
    caught("failure", "a failed sync is taken for one", 1)
    for mistake, within in (("a key stands for any body", 20), ("outcomes are forgotten", 300),
                            ("a turn is not looked up", 50),
                            ("a request is done again", 50),
                            ("nobody looks at the permit", 20)):
        caught("states", mistake, within)
    seeds("power", SEED, some(10000), "D3 after a power loss every answer stands, once, everywhere",
          JOBS)
    seeds("failure", SEED, some(10), "D5 whichever call of the disk fails, nothing answered is lost",
          JOBS, 1)
    seeds("states", SEED, some(100000),
          "D9 one effect a request, whatever the line and the processes do", JOBS, 2000)


if __name__ == "__main__":
    main()
    sys.exit(report())
