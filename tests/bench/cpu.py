#!/usr/bin/env python3
"""CPU a dose of several builds, in turn, so that what else the machine does falls on all alike.

usage: cpu.py [-n ROUNDS] [-s SECONDS] BUILD…      folders with bin/; medians of the rounds

Builds that take the configuration of this dev/stack.py; an older one is measured from its own checkout.
The state lies in memory where there is a tmpfs: no disk waits, so commits are small and what each costs is
seen most. A row: ms of CPU a dose (user and system), commits a dose."""
import argparse
import os
import shutil
import statistics
import sys
import tempfile
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("dev", "tests/load"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import generator  # noqa: E402
from stack import ORDER, Stack  # noqa: E402

SHM = "/dev/shm"
COMMITS = "vrs_partition_commit_seconds_count "


def commits(stack):
    text = urllib.request.urlopen(stack.admin("vrs_server") + "/metrics").read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(COMMITS))


def measure(build, seconds):
    home = tempfile.mkdtemp(prefix="vrs-cpu-", dir=SHM if os.access(SHM, os.W_OK) else None)
    os.chmod(home, 0o711)
    stack = Stack(os.path.join(home, "stack"), build=os.path.abspath(build), count=8000, say=lambda text: None)
    try:
        stack.start()
        gen = generator.Generator(stack, home)
        gen.run("--connections", 64, "--seconds", 1)
        load = gen.start("--connections", 64, "--seconds", seconds, "--dose-first", 2, "--dose-last", 9)
        gen.wait_begin(load)
        before = {n: sum(generator.cpu_s(stack.processes[n].pid)) for n in ORDER}
        first = commits(stack)
        result = gen.finish(load)
        doses = max(result["acknowledged"], 1)
        used = {n: 1000 * (sum(generator.cpu_s(stack.processes[n].pid)) - before[n]) / doses
                for n in ORDER}
        return dict(used, all=sum(used.values()), commits=(commits(stack) - first) / doses)
    finally:
        stack.stop()
        shutil.rmtree(home, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("-n", type=int, default=5)
    p.add_argument("-s", type=int, default=4)
    p.add_argument("build", nargs="+")
    o = p.parse_args()
    rounds = {b: [] for b in o.build}
    for _ in range(o.n):
        for b in o.build:
            rounds[b].append(measure(b, o.s))
    base = None
    for b, rows in rounds.items():
        middle = {k: statistics.median(r[k] for r in rows) for k in rows[0]}
        base = base or middle["all"]
        print(f"{b}: {middle['all']:.3f} ms ({100 * middle['all'] / base:.0f} %): " + ", ".join(
            f"{n} {middle[n]:.3f}" for n in ORDER) + f"; {middle['commits']:.3f} commits")


if __name__ == "__main__":
    main()
