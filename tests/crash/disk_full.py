#!/usr/bin/env python3
"""D4: each state folder's disk is full in turn, under load: the inbox, the records, all of vrs-server's
state, the numbers, the signer's memory.  What is acknowledged stays, what cannot be stored is refused in
words and told to the operator, the program is killed and started again while there is no room, and all
goes on by itself once there is.  Needs root (small tmpfs).

`make check` has the short form: tests/cases/tablet_faults.py, tests/cases/lgwan_log_unwritable.py.
$VRS_SEED repeats a run's choices."""
import os
import random
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "tests/load", "dev"):
    sys.path.insert(0, os.path.join(ROOT, folder))
from acknowledged import AWAY, Work, felt, look  # noqa: E402
from case import (KAGOSHIMA, MINATO, Import, after_stop, client_for, log_of, ok, personal_number, resident,  # noqa: E402
                  residents_csv, run, skip, until)
from own_disk import private_mounts  # noqa: E402
from small_disk import fill  # noqa: E402
from stack import UIDS, StackError  # noqa: E402
import residents  # noqa: E402

SEED = int(os.environ.get("VRS_SEED", time.time_ns() % 10**9))
RATE = 200
FOLDERS = [("tablet-api",), ("vrs-server", "partitions"), ("vrs-server",), ("vrs-number",), ("vrs-signer",)]
MEGABYTES = {"tablet-api": 48, "vrs-server": 96, "vrs-number": 48, "vrs-signer": 2}
SETTINGS = {"tablet-api": {"answer_wait_ms": 300}, "vrs-server": {"checkpoint_s": 1}}


def mount(stack, folder):
    path, uid = stack.path(*folder), UIDS[folder[0]] if stack.separate else 0
    kept = stack.path("before-" + "-".join(folder))
    os.makedirs(path, exist_ok=True)
    subprocess.run(["cp", "-a", path, kept], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES[folder[0]]}m,mode=0700,uid={uid},gid={uid}",
                    "tmpfs", path], check=True)
    after_stop.insert(0, lambda: subprocess.run(["umount", "-l", path], check=False))
    subprocess.run(["cp", "-a", kept + "/.", path], check=True)


# ---- what people are told meanwhile: (holds, what was seen)


def good(answer, status, *codes):
    """A refusal in words, that says when to come back."""
    return answer.status == status and answer.code in codes and "retry-after" in answer.headers \
        and len(answer.json.get("detail", "")) > 10


def told_at_the_site(stack):
    t = next(t for t in stack.demo["terminals"] if t["name"] == "reader-1")
    c = client_for(stack, (t["cert"], t["key"]), "tablet_api")
    answer = c.post("/v1/doses", {"ocr_line": residents.ocr_line(MINATO, "0009999990", 9), "status": "given",
                                  "vaccinated_on": "2021-07-01", "product": "comirnaty", "lot": "FF3620",
                                  "site": "会場" * 20, "read_by": "ocr"}, key=True)
    return good(answer, 503, "storage_unavailable"), answer


def told_to_clerks(clerk):
    answer = clerk.post("/v1/residents:search", {"coupon_number": "0001000007"})
    return good(answer, 503, "log_unwritable", "outcome_unknown", "storage_unavailable"), answer


def told_to_registrars(it):
    """The numbers have no room: the file is not said to be committed."""
    it.patience_s = 10
    it.phase("commit")
    return it.answer.status in (200, 202, 503) and it.state["state"] != "committed", (it.answer, it.state)


def told_to_operators(stack):
    """What vrs-server keeps besides the partitions is written at such moments."""
    try:
        return False, stack.command("backup", municipality_code=MINATO, name=f"full-{time.monotonic_ns()}")
    except StackError as e:
        return "storage" in str(e), str(e)


def proofs_missing(stack):
    return "signer.heads_not_written" in stack.tail("vrs-signer", 20), stack.tail("vrs-signer", 3)


def full(stack, work, rng, folder):
    program, tag = folder[0], "D4 " + "/".join(folder)
    path = stack.path(*folder)
    clerks = {code: stack.staff(code) for code in (MINATO, KAGOSHIMA)}  # 142051 has the registrar's
    ok(work.grown(rng.randrange(50, 200)), f"{tag}: there is room")
    before = len(log_of(stack, "vrs-server"))
    waiting = None
    if program == "vrs-number":  # more people than its journal has written over before: what fits into that needs no room
        people = [resident(KAGOSHIMA, f"F-{i}", "", 個人番号=personal_number()) for i in range(4000)]
        waiting = Import(clerks[KAGOSHIMA], "residents", residents_csv(people)).check()
    ballast = fill(path)
    look_at = {("tablet-api",): lambda: told_at_the_site(stack),
               ("vrs-server", "partitions"): lambda: told_to_clerks(clerks[MINATO]),
               ("vrs-server",): lambda: told_to_operators(stack),
               ("vrs-number",): lambda: told_to_registrars(waiting),
               ("vrs-signer",): lambda: proofs_missing(stack)}[folder]
    seen = [None]

    def told():
        seen[0] = look_at()
        return seen[0][0]

    ok(until(told, 30), f"{tag} is full: {seen[0][1]!r:.160}" if seen[0] else f"{tag} is full", seen[0])
    raised = until(lambda: [line for line in log_of(stack, "vrs-server")[before:].splitlines()
                            if "alert.raised" in line], 30)
    rules = sorted({line.split('"rule":"')[1].split('"')[0] for line in raised or []})
    ok(set(rules) & {"disk_low", "storage_failing", "signer_away", "number_away"},
       f"{tag}: the operator is told: {' '.join(rules)}")
    ran_on = stack.processes[program].poll() is None
    ok(ran_on, f"{tag}: {program} runs on")
    stack.kill(program)
    stack.start_one(program)
    try:
        stack.wait_ready(program, 3)
        how = "ready"
    except StackError:
        how = "up" if stack.processes[program].poll() is None else "ended: " + stack.tail(program, 1)[-160:].strip()
    os.unlink(ballast)
    if stack.processes[program].poll() is not None:
        stack.start_one(program)  # as the supervisor does
    ok(until(lambda: stack.is_ready(program), 20), f"{tag}: killed and started without room it is {how};"
       " with room it serves without being touched")
    ok(work.grown(200), f"{tag}: with room again doses are acknowledged")
    for client in clerks.values():
        client.close()
    ok(until(lambda: all(served(stack, code) for code in clerks), 20), f"{tag}: and clerks are served")


def served(stack, code):
    try:
        c = stack.staff(code)
        status = c.post("/v1/residents:search", {"coupon_number": "0001000007"}).status
        c.close()
        return status == 200
    except AWAY:
        return False


def main():
    print(f"# seed {SEED}", flush=True)
    rng, why = random.Random(SEED), private_mounts()

    def all_of_it(stack):
        if why:
            skip("D4 full disks", why)
            return
        stack.claim()
        stack.make_files()
        for folder in sorted(FOLDERS, key=len):
            mount(stack, folder)
        stack.start()
        work = Work(stack, rate=RATE)
        for folder in FOLDERS:
            full(stack, work, rng, folder)
        felt(work.stop(), work.refused, "D4", "the full disks")
        look(stack, work, "D4")

    run(all_of_it, count=4000, start=False, overrides=SETTINGS)


if __name__ == "__main__":
    main()
