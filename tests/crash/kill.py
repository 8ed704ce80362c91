#!/usr/bin/env python3
"""D1: the whole stack under load, its programs killed with -9 at random, alone and all at once.

Every acknowledged dose (201 or 202) must then be there exactly once: its receipt final, in the ledger
once, with one log entry, the log chain whole, and a repeated key must always have given the same
receipt.  The control, a tablet-api that acknowledges before its commit, must be caught by the same
look, else the test says nothing.

$VRS_KILLS: how many (20; in the long run 200).  $VRS_SEED repeats a run's choices."""
import collections
import csv
import io
import os
import random
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "tests/load", "dev"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import generator  # noqa: E402
import residents  # noqa: E402
from case import BUILD, access_log, equal, ok, run, until  # noqa: E402
from stack import ORDER, TOWNS, Stack  # noqa: E402

KILLS = int(os.environ.get("VRS_KILLS", 200 if os.environ.get("VRS_LONG") else 20))
SEED = int(os.environ.get("VRS_SEED", time.time_ns() % 10**9))
RESIDENTS = 2000
RATE = 600
OFTEN_202 = {"tablet-api": {"answer_wait_ms": 300}}  # so that both answers are seen


class Load:
    """The generator at work; moments are told by the growth of its journal, not by a clock."""

    def __init__(self, gen, *options):
        self.gen = gen
        self.process = gen.start("--seconds", 3600, "--drain", 60, "--rate", RATE,
                                 "--connections", 32, "--again", 20, "--timeout-ms", 3000,
                                 "--dose-last", 9, *options)
        gen.wait_begin(self.process)

    def size(self):
        return os.path.getsize(self.gen.journal) if os.path.exists(self.gen.journal) else 0

    def grown(self, rows, seconds=20):
        """Waits for so many acknowledgements more; False: they did not come."""
        want = self.size() + rows * 100  # a row has a little more bytes than that
        return until(lambda: self.size() >= want, seconds)

    def stop(self):
        self.process.terminate()
        return self.gen.finish(self.process)


def kill(stack, names):
    for name in names:
        stack.processes[name].kill()
    for name in names:
        stack.processes[name].wait()


def kill_at_random(stack, load, rng, kills):
    """Each program and all of them equally often, in random order; False when the load stood still."""
    names = ORDER + ["all"]
    targets = [names[i % len(names)] for i in range(kills)]
    rng.shuffle(targets)
    for target in targets:
        if not load.grown(rng.randrange(1, 300)):
            return False
        dying = ORDER if target == "all" else [target]
        kill(stack, dying)
        if target in ("vrs-server", "vrs-number") and rng.randrange(2):
            load.grown(rng.randrange(1, 50), 3)  # tablets go on meanwhile
        for name in dying:
            stack.restart(name)
    return load.grown(200)


# ---- what is there afterwards


def expected(gen):
    """{(municipality, coupon): doses} of what was acknowledged."""
    return collections.Counter((line[2:8], line[8:]) for *_, line in gen.journal_rows())


def in_ledgers(stack):
    found = collections.Counter()
    for code in TOWNS:
        text = stack.staff(code).get("/v1/exports/ledger.csv").body.decode("utf-8-sig")
        for row in csv.reader(io.StringIO(text, newline="")):
            found.update((row[at + 3], row[at + 2]) for at in range(1, len(row), 8) if row[at])
    return found


def in_logs(stack):
    """dose.record entries by 宛名番号."""
    found = collections.Counter()
    for code, town in TOWNS.items():
        entries = access_log(stack.staff(code, f"{town}-approver"))
        found.update((code, e["addressee_number"]) for e in entries if e["act"] == "dose.record")
    return found


def by_addressee(stack, doses):
    holder = {(code, row["接種券番号"]): (code, row["宛名番号"]) for code in TOWNS
              for row in residents.generate(code, stack.count)[0]}
    found = collections.Counter()
    for coupon, count in doses.items():
        found[holder[coupon]] += count
    return found


def difference(got, want):
    return f"{sum((want - got).values())} missing, {sum((got - want).values())} too many"


def look(stack, gen):
    """Everything that must hold, one line each."""
    seen = gen.verify(60)
    equal({k: seen.get(k) for k in ("lost", "pending", "changed", "doubled")},
          {"lost": 0, "pending": 0, "changed": 0, "doubled": 0},
          f"D1 {seen.get('receipts')} receipts: each is there, final, and stands for one dose")
    want = expected(gen)
    got = in_ledgers(stack)
    equal(difference(got, want), difference(want, want),
          f"D1 the ledgers hold {sum(got.values())} doses: each acknowledged one, once")
    got, want = in_logs(stack), by_addressee(stack, want)
    equal(difference(got, want), difference(want, want),
          f"D1 the access logs hold {sum(got.values())} entries: one for each dose")
    entries = [stack.command("log.verify", municipality_code=code)["entries"] for code in TOWNS]
    ok(min(entries) > 0, f"D1 the log chains verify ({sum(entries)} entries)", entries)


def crash(stack, rng):
    gen = generator.Generator(stack, stack.home)
    load = Load(gen)
    ok(kill_at_random(stack, load, rng, KILLS), f"D1 the load goes on after each of {KILLS} kills")
    result = load.stop()
    shown = {k: result.get(k) for k in ("acknowledged", "201", "202", "retried", "lost", "again")}
    ok(result["ok"], f"D1 every dose was settled with its key, no key got two receipts: {shown}",
       result)
    ok(result.get("201", 0) > 0 and result.get("202", 0) > 0 and result.get("retried", 0) > 0,
       "D1 the kills were felt: there are 201s, 202s and repeated doses", result)
    look(stack, gen)


# ---- the control


def control_programs(home):
    """A folder of programs in which tablet-api is built with the planted mistake."""
    build = os.path.join(BUILD, "controls")
    program = os.path.join(build, "bin", "tablet-api")
    made = subprocess.run(["make", "--no-print-directory", "-j2", f"BUILD={build}",
                           "DEFS=-DVRS_TEST_CONTROLS", program], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if not ok(made.returncode == 0, "the control is built", made.stdout[-2000:]):
        return None
    folder = os.path.join(home, "control-programs")
    os.makedirs(os.path.join(folder, "bin"))
    for name in os.listdir(os.path.join(BUILD, "bin")):
        source = program if name == "tablet-api" else os.path.join(BUILD, "bin", name)
        os.symlink(os.path.abspath(source), os.path.join(folder, "bin", name))
    return folder


def control(home, rng):
    """With answer_wait_ms 0 the inbox alone stands behind an answer: a 201 would rest on the inside's
    commit, too, and hide the mistake."""
    programs = control_programs(home)
    if programs is None:
        return
    stack = Stack(os.path.join(home, "control"), build=programs, count=RESIDENTS // 4,
                  overrides={"tablet-api": {"test_ack_before_commit": True, "answer_wait_ms": 0}},
                  say=lambda text: None)
    kills, seen = 0, {}
    try:
        stack.start()
        gen = generator.Generator(stack, stack.home)
        while kills < KILLS and not seen.get("lost"):
            load = Load(gen, "--dose-first", kills % 9 + 1)
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
