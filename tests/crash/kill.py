#!/usr/bin/env python3
"""D1: the whole stack under load, its programs killed with -9 at random, alone and all at once.

What must be there afterwards is tests/lib/acknowledged.py's look.  The control, a tablet-api that
acknowledges before its commit, must be caught by the same look, else the test says nothing.

$VRS_KILLS: how many in all (20; in the long run 1000: 200 of each program, 200 of all at once).
$VRS_SEED repeats a run's choices."""
import collections
import os
import random
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "tests/load", "dev"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import generator  # noqa: E402
from acknowledged import Load, Work, felt, look  # noqa: E402
from case import ok, run  # noqa: E402
from control_build import control_programs  # noqa: E402
from stack import ORDER, Stack  # noqa: E402

LONG = bool(os.environ.get("VRS_LONG"))
KINDS = ORDER + ["all"]
KILLS = int(os.environ.get("VRS_KILLS", 200 * len(KINDS) if LONG else 20))
SEED = int(os.environ.get("VRS_SEED", time.time_ns() % 10**9))
RESIDENTS = 2000 + 6 * KILLS  # a town: so many coupons that the doses do not run out
RATE = 300 if LONG else 600
OFTEN_202 = {"tablet-api": {"answer_wait_ms": 300}}  # so that both answers are seen


def kill(stack, names):
    for name in names:
        stack.processes[name].kill()
    for name in names:
        stack.processes[name].wait()


def kill_at_random(stack, work, rng, kills):
    """Each program and all of them equally often, in random order; how often each, None when the
    load stood still."""
    targets = [KINDS[i % len(KINDS)] for i in range(kills)]
    rng.shuffle(targets)
    for target in targets:
        if not work.grown(rng.randrange(1, 150)):
            return None
        dying = ORDER if target == "all" else [target]
        kill(stack, dying)
        if target in ("vrs-server", "vrs-number") and rng.randrange(2):
            work.grown(rng.randrange(1, 50), 3)  # tablets go on meanwhile
        for name in dying:
            stack.restart(name)
    return collections.Counter(targets) if work.grown(200) else None


def crash(stack, rng):
    began = time.monotonic()
    work = Work(stack, rate=RATE)
    done = kill_at_random(stack, work, rng, KILLS)
    ok(done is not None, f"D1 the load goes on after each of {KILLS} kills ({dict(done or {})})"
       f" in {time.monotonic() - began:.0f} s")
    felt(work.stop(), work.refused, "D1", "the kills")
    look(stack, work, "D1")


# ---- the control


def control(home, rng):
    """With answer_wait_ms 0 the inbox alone stands behind an answer: a 201 would rest on the inside's
    commit, too, and hide the mistake."""
    programs = control_programs(os.path.join(home, "control-programs"), {"tablet-api": {}})
    if programs is None:
        return
    stack = Stack(os.path.join(home, "control"), build=programs, count=500,
                  overrides={"tablet-api": {"test_ack_before_commit": True, "answer_wait_ms": 0}},
                  say=lambda text: None)
    kills, seen = 0, {}
    try:
        stack.start()
        gen = generator.Generator(stack, stack.home)
        while kills < KILLS and not seen.get("lost"):
            load = Load(gen, "--dose-first", kills % 8 + 1)
            load.grown(rng.randrange(50, 300))
            kill(stack, ["tablet-api"])
            kills += 1
            stack.restart("tablet-api")
            load.stop()
            seen = gen.verify(60)
    finally:
        stack.stop()
    ok(seen.get("lost"), f"D1 control: acknowledging before the commit is caught: {seen.get('lost')}"
       f" of {seen.get('receipts')} receipts lost after {kills} kills", seen)


def main():
    print(f"# seed {SEED}, {KILLS} kills", flush=True)
    rng = random.Random(SEED)

    def both(stack):
        crash(stack, rng)
        control(stack.home, rng)

    run(both, count=RESIDENTS, overrides=OFTEN_202)


if __name__ == "__main__":
    main()
