#!/usr/bin/env python3
"""Where the daemons' CPU goes while 64 connections post doses: perf, by process.

usage: profile.py [SECONDS [PART]]     needs perf (Debian: linux-perf) and the right to use it

PART: over 1,741 municipalities with that part of the peak day's residents (0.02) instead of three towns.
For each daemon: which library, which function by itself, which function with all that it calls.
Shares of that daemon's CPU in percent; functions without a name are only in their library's share."""
import os
import re
import shutil
import subprocess
import sys

import measure  # noqa: F401  says where dev/ and tests/load/ are
import generator
import nation
from stack import ORDER
from stand import stack_with_towns

TOP = 30
FLAT, CALLS = ["-F", "2000"], ["-F", "400", "--call-graph", "dwarf,8192"]


def record(stack, home, how, seconds, turn):
    """{daemon: perf's file}, with CPU a dose and the generator's result."""
    gen = stack.generator
    load = gen.start("--connections", 64, "--seconds", seconds + 2,
                     "--dose-first", turn, "--dose-last", turn + 2)
    gen.wait_begin(load)
    before = {n: sum(generator.cpu_s(stack.processes[n].pid)) for n in ORDER}
    files = {n: os.path.join(home, f"perf-{turn}-{n}") for n in ORDER}
    running = [subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", *how, "-o", files[n], "-p",
                                 str(stack.processes[n].pid), "--", "sleep", str(seconds)], stderr=subprocess.DEVNULL)
               for n in ORDER]
    for p in running:
        p.wait()
    result = gen.finish(load)
    doses = max(result["acknowledged"], 1)
    return files, result, {n: 1000 * (sum(generator.cpu_s(stack.processes[n].pid)) - before[n]) / doses for n in ORDER}


def rows(path, sort, children=False):
    """(share, name) of perf report."""
    out = subprocess.run(["perf", "report", "-i", path, "--stdio", "-g", "none", "--percent-limit", "0.7", "--sort", sort,
                          "--children" if children else "--no-children"], capture_output=True, text=True).stdout
    for line in out.splitlines():
        m = re.match(r"^\s*([\d.]+)%(?:\s+[\d.]+%)?\s+(.*?)\s*$", line)
        if m:
            name = re.sub(r"\s+-\s+-$", "", re.sub(r"^\[[.k]\] ", "", m[2])).replace(" (inlined)", "")
            if "0x" not in name:
                yield float(m[1]), name


def top(title, found):
    print(f"  {title}")
    seen = set()
    for share, name in found:
        if name not in seen and len(seen) < TOP:
            seen.add(name)
            print(f"    {share:5.1f}  {name}")


def main():
    if shutil.which("perf") is None:
        sys.exit("profile: perf is not installed (Debian: linux-perf)")
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    home = generator.folder("vrs-profile-")
    stack = stack_with_towns(home, 20000 if len(sys.argv) < 3 else 2000)
    try:
        if len(sys.argv) > 2:
            people = nation.shares(round(nation.PEAK_DAY * float(sys.argv[2])))
            stack.stop()
            nation.fill_nation(stack, people)
            stack.generator.coupons_file = os.path.join(home, "nation")
            nation.write_coupons(stack.generator.coupons_file, people, stack.count)
            stack.start()
            nation.wait_open(stack)
        flat, result, used = record(stack, home, FLAT, seconds, 1)
        calls, _, _ = record(stack, home, CALLS, seconds, 4)
        print(f"{result['per_s']:.0f} doses/s, p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms, "
              f"{sum(used.values()):.3f} ms CPU a dose (with perf)")
        for n in ORDER:
            print(f"\n{n}: {used[n]:.3f} ms a dose")
            top("library", rows(flat[n], "dso"))
            top("itself", rows(flat[n], "symbol"))
            top("with what it calls", rows(calls[n], "symbol", True))
    finally:
        stack.stop()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
