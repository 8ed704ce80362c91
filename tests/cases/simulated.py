#!/usr/bin/env python3
"""The storage and the state machines on a simulated disk, machine and line (tests/sim): power losses
that tear and reorder what was not synced, a failing n-th call, lost and doubled messages.  Short, and
always the same seeds; tests/crash/simulated.py is the long run."""
import sys

from runs_of_seeds import again, caught, report, seeds


def main():
    seeds("power", 1, 120, "D3 after a power loss every answer stands, once, everywhere")
    seeds("some-failures", 8, 1, "D5 when a call of the disk fails nothing answered is lost")
    seeds("states", 1, 150, "D9 one effect a request, whatever the line and the processes do")
    again("power", 7, 20, "a seed makes the same run again")
    caught("power", "sync does nothing", 20)
    caught("power", "synchronous=NORMAL", 20)
    caught("some-failures", "a failed sync is taken for one", 1)
    caught("states", "a request is done again", 10)
    caught("states", "nobody looks at the permit", 10)


if __name__ == "__main__":
    main()
    sys.exit(report())
