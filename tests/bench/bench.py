#!/usr/bin/env python3
"""`make bench`: what the system does and costs, beside what a user would pick instead.

usage: bench.py [SCENARIO …] [--rounds N] [--seconds N] [--scale X] [--residents N] [--profile] [--long]
       VRS_BUILD or BUILD: folder of the programs

Without a name all scenarios run (README.md).  Every figure stands beside the target of docs/performance.md
as reached or not; a target missed is no failure, a lost dose or a wrong answer is (exit 1).  The table is
printed at the end; BUILD/bench/results.json has it with every single run."""
import argparse
import importlib
import os
import shutil
import signal
import sys
import time
import traceback

import measure  # first: it says where dev/ and tests/load/ are
import generator

SCENARIOS = ["dose", "bare", "peak", "inquiry", "register", "terminals"]


def machine():
    model = "?"
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return {"processors": os.cpu_count(), "model": model, "memory_gb": memory, "kernel": os.uname().release}


def run(name, report, options):
    home = generator.folder(f"vrs-bench-{name}-")
    began = time.monotonic()
    print(f"{name}: {importlib.import_module(name).__doc__.splitlines()[0]}", flush=True)
    try:
        importlib.import_module(name).measure_scenario(report, options, home)
    except Exception as e:  # the other scenarios go on; the run has failed
        traceback.print_exc()
        report.wrong(f"{name}: {e}")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"  {time.monotonic() - began:.0f} s", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("scenario", nargs="*", help="one of: " + " ".join(SCENARIOS))
    p.add_argument("--rounds", type=int, default=3, help="interleaved rounds [3]")
    p.add_argument("--seconds", type=int, default=5, help="of each run [5]")
    p.add_argument("--scale", type=float, default=0.05, help="part of the nation's peak day [0.05]")
    p.add_argument("--residents", type=int, default=1000000, help="of the import; fewer where they would take minutes [1000000]")
    p.add_argument("--profile", action="store_true", help="perf on the daemons: BUILD/bench/profile.txt")
    p.add_argument("--long", action="store_true", help="the whole peak day and 10 million residents")
    o = p.parse_args()
    unknown = set(o.scenario) - set(SCENARIOS)
    if unknown:
        p.error(f"no scenario {' '.join(unknown)}: {' '.join(SCENARIOS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # everything started is stopped, too
    if o.profile:
        measure.PROFILE = os.path.join(measure.BUILD, "bench", "profile.txt")
        os.makedirs(os.path.dirname(measure.PROFILE), exist_ok=True)
        open(measure.PROFILE, "w").close()
    report, where = measure.Report(), machine()
    where["filesystem"] = generator.filesystem(os.environ.get("TMPDIR", "/tmp"))
    print(", ".join(f"{k} {v}" for k, v in where.items()), flush=True)
    for name in o.scenario or SCENARIOS:
        run(name, report, o)
    path = os.path.join(measure.BUILD, "bench", "results.json")
    report.save(path, where)
    print("\n" + report.table() + f"\n\n{path} has every run")
    for fault in report.faults:
        print("WRONG:", fault)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
