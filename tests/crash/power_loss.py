#!/usr/bin/env python3
"""D2: the power goes, under load, with all state on a loop device with ext4 and with xfs; what was not
synced is gone (the file system is shut down without flushing its journal).  Nothing acknowledged may
be missing, from the first moment on: the first loss comes right after the residents were registered.

The controls are builds that commit without a sync (synchronous=NORMAL), one program at a time: each
must be caught.  Needs root, loop devices, e2fsprogs and xfsprogs; says what it could not do.

$VRS_LOSSES: how many a file system (4; in the long run 20).  $VRS_SEED repeats a run's choices.
$VRS_FILE_SYSTEMS and $VRS_CONTROLS: which of them (all)."""
import os
import random
import sys
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "dev"):
    sys.path.insert(0, os.path.join(ROOT, folder))
from acknowledged import (AWAY, Work, acknowledged, felt, in_ledgers, look, numbers_and_records,  # noqa: E402
                          rows)
from client import Client  # noqa: E402
from case import BUILD, ok, run, skip  # noqa: E402
from control_build import control_programs  # noqa: E402
from own_disk import Disk, Machine, cannot_have, private_mounts  # noqa: E402
from stack import TOWNS, Stack  # noqa: E402

LOSSES = int(os.environ.get("VRS_LOSSES", 20 if os.environ.get("VRS_LONG") else 4))
SEED = int(os.environ.get("VRS_SEED", time.time_ns() % 10**9))
KINDS = os.environ.get("VRS_FILE_SYSTEMS", "ext4 xfs").split()
CONTROLS = os.environ.get("VRS_CONTROLS", "tablet-api vrs-server vrs-number").split()
CONTROL_LOSSES = 5  # each is expected to be enough by itself
MEGABYTES = 700
# Both answers are seen, and signed heads go to their second place all the time.
SETTINGS = {"tablet-api": {"answer_wait_ms": 100}, "vrs-server": {"checkpoint_s": 1}}


def machine(home, name, kind, count, build=BUILD):
    folder = os.path.join(home, name)
    os.makedirs(folder)
    os.chmod(folder, 0o711)
    stack = Stack(os.path.join(folder, "run"), build=build, count=count, overrides=SETTINGS,
                  say=lambda text: None)
    return Machine(stack, Disk(kind, folder, MEGABYTES))


def registered(stack):
    return sum(rows(stack, "vrs-server", code, "person") for code in TOWNS)


def second_place(stack, tag):
    """What was kept there before a loss is read after it, and more is added to it."""
    client = Client(stack.demo["public"], stack.demo["ca"])
    heads = {code: client.get(f"/v1/log/checkpoints/{code}").json.get("checkpoints", []) for code in TOWNS}
    with open(stack.path("log", "tablet-api.log"), errors="replace") as f:
        bad = [line for line in f if "checkpoints.unreadable" in line or "log.fork" in line]
    ok(not bad and all(len(h) > 1 for h in heads.values()),
       f"{tag} {sum(map(len, heads.values()))} signed heads are in the second place, and none contradicts another",
       "".join(bad[:5]) or heads)


def losses(home, kind, rng):
    it = machine(home, kind, kind, 1500 + 60 * LOSSES)
    stack, tag, began = it.stack, f"D2 {kind}:", time.monotonic()
    try:
        it.start()
        before = registered(stack)
        it.lose_power()
        for code, town in TOWNS.items():
            stack.staff(code, f"{town}-approver").close()
        ok(registered(stack) == before > 0, f"{tag} right after registering: {before} residents, their clerks and"
           " terminals are there", (before, registered(stack)))
        work = Work(stack)
        went_on = True
        for _ in range(LOSSES):
            went_on = went_on and work.grown(rng.randrange(1, 400))
            it.lose_power()
        ok(went_on and work.grown(200), f"{tag} the load goes on after each of {LOSSES + 1} power losses in"
           f" {time.monotonic() - began:.0f} s")
        felt(work.stop(), work.refused, tag, "the losses", both=LOSSES > 3)
        look(stack, work, tag)
        second_place(stack, tag)
    except Exception:  # the other file system is still to be tried
        ok(False, f"{tag} ran to its end", traceback.format_exc() + "".join(
            f"--- {n}\n{stack.tail(n, 8)}" for n in stack.processes))
    finally:
        it.stop()


# ---- the controls


def lost_by(program, stack, gen):
    """What is missing of what was acknowledged, in words; "" when nothing is."""
    if program == "tablet-api":
        seen = gen.verify(20)
        return f"{seen.get('lost')} of {seen.get('receipts')} receipts" if seen.get("lost") else ""
    if program == "vrs-server":
        want, got = len(acknowledged(gen)), sum(in_ledgers(stack).values())
        return f"{want - got} of {want} doses" if got < want else ""
    got = numbers_and_records(stack)
    less = sum(max(r - n, 0) for n, r in got)
    return f"{less} of {sum(r for _, r in got)} numbers" if less else ""


def control(home, program, kind):
    """The program syncs nothing when it commits."""
    name = f"control-{program}"
    programs = control_programs(os.path.join(home, name + "-programs"), {program: {"VRS_TEST_SYNC": "normal"}})
    if programs is None:
        return
    it = machine(home, name, kind, 600, build=programs)
    lost, cuts = "", 0
    try:
        it.start()
        it.sync()  # accounts and residents are there: what is lost, is lost by what comes now
        while not lost and cuts < CONTROL_LOSSES:
            work = Work(it.stack, None, "--dose-first", cuts + 1)
            try:
                work.grown(300)
                if program == "vrs-number":
                    work.registrar.stop()
                elif program == "vrs-server":
                    work.refused.stop()
                cuts += 1
                it.lose_power()
            finally:
                work.stop()
            lost = lost_by(program, it.stack, work.gen)
    except AWAY as e:  # it does not even come back
        lost = lost or f"it does not serve any more ({str(e)[-200:]})"
    finally:
        it.stop()
    ok(lost, f"D2 control: {program} committing without a sync is caught: {lost} lost after {cuts} losses")


def main():
    print(f"# seed {SEED}, {LOSSES} losses a file system", flush=True)
    why = private_mounts()

    def all_of_it(stack):
        home, kinds = os.path.dirname(stack.home), []
        for kind in KINDS:
            reason = why or cannot_have(kind, os.path.join(home, "probe-" + kind))
            if reason:
                skip(f"D2 {kind}", reason)
                continue
            kinds.append(kind)
            losses(home, kind, random.Random(SEED))
        for program in CONTROLS if kinds else ():
            control(home, program, kinds[0])

    run(all_of_it, start=False)


if __name__ == "__main__":
    main()
