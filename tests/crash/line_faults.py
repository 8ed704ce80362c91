#!/usr/bin/env python3
"""D7: the line between vrs-server and tablet-api is down, slow, cut in the middle, delivers twice, answers
twice, and answers after the time-out, under load.  Each receipt ends final, exactly once.

The control, a line that says that outcomes are kept and drops them, must be caught by the same look.

$VRS_ROUNDS: changes of the line (14; in the long run 120, and late answers).  $VRS_SEED repeats a
run's choices."""
import os
import random
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "tests/load", "dev"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import generator  # noqa: E402
from acknowledged import Load, Work, felt, look  # noqa: E402
from case import metrics, ok, run, until  # noqa: E402
from line_proxy import MOSTLY, LineProxy  # noqa: E402

LONG = bool(os.environ.get("VRS_LONG"))
ROUNDS = int(os.environ.get("VRS_ROUNDS", 120 if LONG else 14))
SEED = int(os.environ.get("VRS_SEED", time.time_ns() % 10**9))
SETTINGS = {"tablet-api": {"answer_wait_ms": 300}, "vrs-server": {}}


def faults(proxy, work, rng):
    """Every mode equally often, in random order; False when the load stood still."""
    modes = [MOSTLY[i % len(MOSTLY)] for i in range(ROUNDS)]
    rng.shuffle(modes)
    for proxy.mode in modes:
        if not work.grown(rng.randrange(20, 200)):
            return False
        if proxy.mode == "down":
            proxy.mode = "through"
    return True


def late(stack, proxy, work):
    """One request of each kind is answered only when nobody waits for it any more."""
    proxy.mode = "late"
    ok(until(lambda: {"/line/v1/pull", "/line/v1/outcomes"} <= proxy.held, 30),
       "D7 late: a pull and outcomes are held", proxy.held)
    since = time.monotonic()
    until(lambda: time.monotonic() - since > proxy.late_s + 1, 100)
    return work.grown(100)


def line(stack, proxy, rng):
    began = time.monotonic()
    work = Work(stack)
    ok(faults(proxy, work, rng), f"D7 the load goes on over {ROUNDS} changes of the line, in"
       f" {time.monotonic() - began:.0f} s; requests that met them: {dict(proxy.felt)}")
    if LONG:
        ok(late(stack, proxy, work), "D7 and when answers come after their time-out")
    proxy.mode = "through"
    work.grown(100)
    felt(work.stop(), work.refused, "D7", "the faults")
    until(lambda: metrics(stack, "tablet_api").get("vrs_inbox_pending_entries") == 0, 30)
    look(stack, work, "D7")
    inside = metrics(stack)
    ok(inside.get("vrs_line_unreadable_total", 0) == 0 and all(
        p.poll() is None for p in stack.processes.values()),
       "D7 nothing that came over the line was taken for something else")


def control(stack, proxy):
    folder = os.path.join(stack.home, "control")
    os.mkdir(folder)
    gen = generator.Generator(stack, folder)
    load = Load(gen, "--dose-first", 8, rate=300)
    load.grown(20)
    proxy.mode = "lie"
    load.grown(50)
    load.stop()
    seen = gen.verify(3)
    ok(proxy.lied_about and seen.get("pending", 0) > 0,
       f"D7 control: a line that swallows outcomes is caught: {seen.get('pending')} of"
       f" {seen.get('receipts')} receipts are never final", (proxy.lied_about, seen))
    proxy.mode = "through"
    stack.kill("vrs-server")
    stack.restart("vrs-server")
    seen = gen.verify(30)
    ok(seen["ok"], "D7 a restart of vrs-server mends even that: all of them are final", seen)


def main():
    print(f"# seed {SEED}, {ROUNDS} changes", flush=True)
    rng = random.Random(SEED)

    def all_of_it(stack):
        proxy = LineProxy(stack, rng)
        SETTINGS["vrs-server"]["line_url"] = proxy.url
        stack.claim()
        stack.make_files()
        proxy.start()
        stack.start()
        try:
            line(stack, proxy, rng)
            control(stack, proxy)
        finally:
            proxy.stop()

    run(all_of_it, count=2000 + 30 * ROUNDS, start=False, overrides=SETTINGS)


if __name__ == "__main__":
    main()
