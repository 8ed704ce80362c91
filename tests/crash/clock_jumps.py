#!/usr/bin/env python3
"""D6: the clocks jump under load: a day forward, a day back (before the last log entry), an hour back; on both
sides, then on one side only.  No dose is lost or doubled, the logs keep their order without a gap, sessions
go by the monotonic clock and stay, dates go by the server's day, an old snapshot lets nobody in, and the
operator is told.

$VRS_SEED repeats a run's choices."""
import os
import random
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "tests/load", "dev"):
    sys.path.insert(0, os.path.join(ROOT, folder))
from acknowledged import Work, felt, look  # noqa: E402
from case import KAGOSHIMA, access_log, client_for, day_in_japan, log_of, ok, run, until  # noqa: E402
from stack import TOWNS  # noqa: E402
import residents  # noqa: E402

SEED = int(os.environ.get("VRS_SEED", time.time_ns() % 10**9))
DAY, HOUR = 86400, 3600
BOTH, OUTSIDE, INSIDE = ("tablet-api", "inside"), ("tablet-api",), ("inside",)
JUMPS = [(BOTH, DAY, "a day forward"), (BOTH, 0, "a day back, before the last log entry"),
         (BOTH, -HOUR, "an hour back"), (BOTH, 0, "an hour forward"),
         (OUTSIDE, DAY, "tablet-api alone a day forward"), (OUTSIDE, -HOUR, "tablet-api alone a day and an hour back"),
         (OUTSIDE, 0, "tablet-api right again"), (INSIDE, DAY, "the inside alone a day forward"),
         (INSIDE, -HOUR, "the inside alone a day and an hour back"), (INSIDE, 0, "the inside right again")]
ELSEWHERE = ("134023", "0009999990")  # a town of nobody here: its readings wait for their coupon


def turn(stack, sides, offset):
    """In place: the sandboxes know these files."""
    for side in sides:
        with open(stack.path("clock-tablet" if side == "tablet-api" else "clock"), "r+") as f:
            f.write(f"{offset}\n")
            f.truncate()


def dated_tomorrow(stack):
    """What tablet-api says of a reading whose date is tomorrow's, by the real clock."""
    t = next(t for t in stack.demo["terminals"] if t["name"] == "reader-1")
    day = day_in_japan(1)
    return client_for(stack, (t["cert"], t["key"]), "tablet_api").post("/v1/doses", {
        "ocr_line": residents.ocr_line(*ELSEWHERE, 1), "status": "given", "vaccinated_on": day,
        "product": "comirnaty", "lot": "FF3620", "site": "会場", "read_by": "ocr", "confirmed_again": True},
        key=True).status


def log_in(stack):
    """A new session at the site: its status."""
    c = stack.terminal("tablet-2")
    try:
        return c.login("site-2", next(u["password"] for u in stack.demo["users"] if u["user_id"] == "site-2"))
    finally:
        c.close()


def jump(stack, work, clerk, tablet, sides, offset, what, rng):
    turn(stack, sides, offset)
    went_on = work.grown(rng.randrange(100, 300))
    receipt = work.gen.journal_rows()[-1][1]
    same = (clerk.get("/v1/vaccines").status, clerk.post("/v1/residents:search", {"coupon_number": "0001000007"}).status,
            tablet.get(f"/v1/doses/{receipt}").status)
    ok(went_on and same == (200, 200, 200), f"D6 {what}: doses go on, sessions stay", (went_on, same))
    forward = offset == DAY and "tablet-api" in sides
    want = {201, 202} if forward else {422}
    seen = until(lambda: dated_tomorrow(stack) in want, 5)
    ok(seen, f"D6 {what}: a reading dated tomorrow is {'taken' if forward else 'refused'}: the server's day counts")
    if sides == OUTSIDE and forward:
        answer = until(lambda: (lambda a: a if a.status == 503 else None)(log_in(stack)), 5)
        ok(answer and answer.code, f"D6 {what}: the snapshot is too old, nobody new logs in: {answer and answer.code}",
           answer)
    else:
        ok(until(lambda: log_in(stack).status == 201, 20), f"D6 {what}: log-ins go on", log_in(stack))


def order_of_logs(stack):
    count, wrong, back = 0, [], 0
    for code, town in TOWNS.items():
        entries = access_log(stack.staff(code, f"{town}-approver"))
        numbers = [e["sequence"] for e in entries]
        count += len(numbers)
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            wrong.append(code)
        back += sum(a["at"] > b["at"] for a, b in zip(entries, entries[1:]))
    ok(not wrong and back > 0, f"D6 C71 {count} log entries in order without a gap, though their times step back"
       f" {back} times", wrong)


def main():
    print(f"# seed {SEED}", flush=True)
    rng = random.Random(SEED)

    def all_of_it(stack):
        stack.claim()
        with open(stack.path("clock-tablet"), "w") as f:
            f.write("0\n")
        os.chmod(stack.path("clock-tablet"), 0o644)
        stack.overrides["tablet-api"]["clock_file"] = stack.path("clock-tablet")
        stack.start()
        work = Work(stack)
        clerk, tablet = stack.staff(KAGOSHIMA), stack.tablet()
        work.grown(200)
        before = [n for n in ("vrs-server", "tablet-api") if "clock_jump" in log_of(stack, n)
                  or "clock.jumped" in log_of(stack, n)]
        ok(not before, "D6 control: no jump is told before there was one", before)
        for sides, offset, what in JUMPS:
            jump(stack, work, clerk, tablet, sides, offset, what, rng)
        turn(stack, INSIDE, HOUR)  # and stays so until the next look, every ten seconds
        ok(until(lambda: '"rule":"clock_jump"' in log_of(stack, "vrs-server"), 30), "D6 the operator is told: clock_jump")
        turn(stack, INSIDE, 0)
        felt(work.stop(), work.refused, "D6", "restless clocks")
        order_of_logs(stack)
        look(stack, work, "D6")

    run(all_of_it, count=3000, start=False, valid_from="2020-01-01", overrides={"tablet-api": {"answer_wait_ms": 10}})


if __name__ == "__main__":
    main()
