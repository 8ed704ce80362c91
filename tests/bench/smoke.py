#!/usr/bin/env python3
"""`make bench-smoke`: what one small machine does, end to end, beside what it could do at most.

The real daemons on loopback with the demonstration's residents; 64 connections post single doses
behind mutual TLS.  A dose counts when its 201 with the outcome is there: then the inbox, the
partition (record and log entry) and the outcome outside have been synced.  The generator runs on the
same processors.  Exit 1 when a target is missed or a receipt is.

usage: smoke.py [SECONDS]      VRS_BUILD or BUILD: folder of the programs"""
import json
import os
import shutil
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("dev", "tests/load"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import generator  # noqa: E402
from stack import ORDER, Stack  # noqa: E402

BUILD = os.path.join(ROOT, os.environ.get("VRS_BUILD") or os.environ.get("BUILD") or "build")
SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
CONNECTIONS = 64
ON_TIME_PER_S = 1000
DOSES_PER_S, MEMORY_MB, READY_S = 3000, 150, 2.0


def memory_mb(stack):
    return {n: generator.pss_kb(stack.processes[n].pid) / 1024 for n in ORDER}


class Watch(threading.Thread):
    """Memory while the load runs; keeps the largest sum."""

    def __init__(self, stack):
        super().__init__(daemon=True)
        self.stack, self.most, self.over = stack, memory_mb(stack), threading.Event()

    def run(self):
        while not self.over.wait(0.5):
            now = memory_mb(self.stack)
            if sum(now.values()) > sum(self.most.values()):
                self.most = now

    def stop(self):
        self.over.set()
        self.join()
        return self.most


def load(stack, gen, *options):
    """A run of the generator and the seconds of CPU that each daemon used meanwhile."""
    process = gen.start("--connections", CONNECTIONS, "--seconds", SECONDS, *options)
    gen.wait_begin(process)
    before = {n: generator.cpu_s(stack.processes[n].pid) for n in ORDER}
    result = gen.finish(process)
    after = {n: generator.cpu_s(stack.processes[n].pid) for n in ORDER}
    return result, {n: (after[n][0] - before[n][0], after[n][1] - before[n][1]) for n in ORDER}


def second_start(stack):
    """Seconds until the daemons are ready, and until a tablet is logged in and served."""
    began = time.monotonic()
    stack.start()
    ready = time.monotonic() - began
    tablet = stack.tablet()
    assert tablet.get("/v1/vaccines").status == 200
    served = time.monotonic() - began
    tablet.close()
    return ready, served


def ceilings(stack, gen, home):
    """Answers of a route that does not exist, and bare commits, on this machine, now."""
    short = ["--seconds", 3]
    empty, cpu = load(stack, gen, "--get", "/v1/nothing", *short)
    sqlite = {}
    for rows in (1, 64):
        out = subprocess.run([stack.program("sqlite_ceiling"), home, "2", str(rows)], check=True,
                             capture_output=True, text=True).stdout
        sqlite[rows] = json.loads(out)
    return empty, sum(cpu["tablet-api"]) * 1000 / max(empty["answers"], 1), sqlite


def measure(home):
    stack = Stack(os.path.join(home, "stack"), build=BUILD, say=lambda text: None)
    targets = []

    def target(ok, text):
        targets.append(ok)
        print(f"{'met    ' if ok else 'NOT MET'}  {text}", flush=True)

    try:
        began = time.monotonic()
        stack.start()
        print(f"first start {time.monotonic() - began:.1f} s: keys, certificates, accounts, "
              f"3 × {stack.count:,} residents", flush=True)
        stack.stop()
        ready, served = second_start(stack)
        gen = generator.Generator(stack, home)
        empty, empty_ms, sqlite = ceilings(stack, gen, home)
        print(f"ceilings    {empty['per_s']:,.0f} empty TLS answers/s "
              f"(p50 {empty['p50_ms']} ms, {empty_ms:.3f} ms CPU each), "
              f"{sqlite[64]['rows_per_s']:,.0f} rows/s in synced commits of 64 "
              f"({sqlite[64]['commits_per_s']:,.0f} commits/s; {sqlite[1]['commits_per_s']:,.0f} "
              f"of one row) on {generator.filesystem(home)}", flush=True)
        idle = memory_mb(stack)
        watch = Watch(stack)
        watch.start()
        result, cpu = load(stack, gen)
        most = watch.stop()
        batch, batch_cpu = load(stack, gen, "--dose-first", 2, "--dose-last", 4, "--connections", 8,
                                "--batch", 100, "--seconds", max(SECONDS // 2, 1))
        on_time, _ = load(stack, gen, "--dose-first", 5, "--dose-last", 9, "--rate", ON_TIME_PER_S,
                          "--seconds", max(SECONDS // 2, 1))
        lost = gen.verify()

        acknowledged = max(result["acknowledged"], 1)
        rate = result["per_s"] * result["201"] / acknowledged
        used = {**{n: sum(v) for n, v in cpu.items()}, "generator": result["cpu_s"]}
        print(f"load        {result['201']:,} × 201, {result['202']:,} × 202 in "
              f"{result['seconds']:.1f} s at {CONNECTIONS} connections; p50 {result['p50_ms']} ms, "
              f"p99 {result['p99_ms']} ms, longest {result['max_ms']} ms")
        print(f"outcomes    {json.dumps(result['outcomes'])}")
        print(f"CPU a dose  {sum(used.values()) * 1000 / acknowledged:.3f} ms: " + ", ".join(
            f"{n} {s * 1000 / acknowledged:.3f}" for n, s in used.items())
            + f"; {sum(used.values()) / result['seconds']:.2f} of {os.cpu_count()} processors busy")
        print(f"batches     {batch['per_s']:,.0f} doses/s in NDJSON of 100 on 8 connections "
              f"(p50 {batch['p50_ms']} ms, "
              f"{sum(map(sum, batch_cpu.values())) * 1000 / max(batch['acknowledged'], 1):.3f} ms "
              f"CPU a dose in the daemons)")
        print(f"on time     {ON_TIME_PER_S:,} doses/s whatever comes back: p50 {on_time['p50_ms']} ms, "
              f"p99 {on_time['p99_ms']} ms, longest {on_time['max_ms']} ms")
        print("memory      " + ", ".join(f"{n} {mb:.1f}" for n, mb in most.items())
              + f" MB (PSS, the most under load); idle {sum(idle.values()):.1f} MB")
        print(f"receipts    {lost['receipts']:,} asked for again: {lost['lost']} lost, "
              f"{lost['pending']} pending, {lost['changed']} changed, {lost['doubled']} doubled; {lost['proven']} proofs of a sample hold, "
              f"{lost['bad_proofs']} do not")
        target(rate >= DOSES_PER_S, f"{rate:,.0f} acknowledged doses/s, at least {DOSES_PER_S:,}")
        target(sum(most.values()) <= MEMORY_MB,
               f"{sum(most.values()):.1f} MB in sum, at most {MEMORY_MB}")
        target(served <= READY_S, f"ready in {ready:.2f} s and a tablet served in {served:.2f} s "
                                  f"after the first time, at most {READY_S:.0f}")
        target(result["ok"] and batch["ok"] and on_time["ok"] and lost["ok"], "every acknowledged dose is there, once")
    finally:
        stack.stop()
    return all(targets)


def main():
    home = generator.folder("vrs-bench-")
    print(f"{os.cpu_count()} processors, state in {home} ({generator.filesystem(home)})")
    try:
        return 0 if measure(home) else 1
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
