"""Scenario `inquiry`: one municipality asks another by 個人番号, with records kept on both sides.

鹿児島市 asks 港区 about other residents each time, who have a dose.  A match counts; afterwards each is
looked for in the records of both sides."""
import json
import os
import time

import measure
from measure import load, median
from peak import roots, settled
from stand import stack_with_towns
import residents as people_of  # dev/residents.py

FROM, TO = "131032", "462012"
PER_S, RATE, P99_MS = 5000, 1000, 10
COUNT = 20000
MATCH = '"result":"match"'


def write_bodies(path, rows):
    seen = set()
    with open(path, "w") as f:
        for n, r in enumerate(rows):
            if r["宛名番号"] in seen or n == 13:  # one row a person; the protected one is held
                continue
            seen.add(r["宛名番号"])
            f.write(json.dumps({
                "from_municipality": FROM, "personal_number": r["個人番号"], "purpose": "transfer_in",
                "basis": {"kind": "statute", "document": "番号法19条16号"},
                "identity": {"method": "個人番号カード", "checked_on": time.strftime("%Y-%m-%d")}},
                ensure_ascii=False) + "\n")


def clerk(stack, home, user, code):
    """The options of vrs-load as that clerk."""
    u = next(u for u in stack.demo["users"] if u["user_id"] == user)
    t = next(t for t in stack.demo["terminals"] if t["name"] == f"lgwan-{code}")
    password = os.path.join(home, "password-" + user)
    with open(os.open(password, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write(u["password"] + "\n")
    return ["--url", stack.demo["vrs_server"], "--ca", stack.demo["ca"], "--cert", t["cert"], "--key", t["key"],
            "--user", user, "--password-file", password]


def provisions(stack, code):
    """How many of its records stand there."""
    c, n, after = stack.staff(code), 0, ""
    while True:
        page = c.get("/v1/provisions" + (f"?after={after}" if after else "")).json
        n += len(page["provisions"])
        after = page["next"]
        if not after:
            return n


def measure_scenario(report, options, home):
    stack = stack_with_towns(home, count=COUNT)
    try:
        gen = stack.generator
        with open(gen.coupons_file) as f:
            rows = [line for line in f if line.startswith(FROM)]
        with open(gen.coupons_file, "w") as f:
            f.writelines(rows)
        doses = load(gen.argv("--connections", 8, "--batch", 100, "--count", len(rows), "--seconds", 60)[1:],
                     lambda: roots(stack))
        settled(stack, gen)
        report.check(doses["ok"] and doses["answers"] == len(rows), "inquiry: doses to be asked for are missing")
        bodies = os.path.join(home, "inquiries")
        write_bodies(bodies, people_of.generate(FROM, COUNT)[0])
        ask = clerk(stack, home, "kagoshima-1", TO) + ["--post", "/v1/inquiries", "--bodies", bodies, "--expect", MATCH]
        report.raw["inquiry"] = runs = {"closed": [], "on time": []}
        load(ask + ["--seconds", 1, "--connections", 64], lambda: roots(stack))
        before = provisions(stack, FROM), provisions(stack, TO)
        for _ in range(options.rounds):
            runs["closed"].append(load(ask + ["--connections", 64, "--seconds", options.seconds], lambda: roots(stack)))
            runs["on time"].append(load(ask + ["--connections", 64, "--rate", RATE, "--seconds", options.seconds],
                                        lambda: roots(stack)))
        report.figure("inquiry", "64 connections, closed loop", median(runs["closed"], "per_s"), "/s", target=PER_S,
                      note=f"p50 {median(runs['closed'], 'p50_ms'):.1f} ms, p99 {median(runs['closed'], 'p99_ms'):.1f} ms, "
                           f"{median(runs['closed'], 'system_cpu_ms'):.3f} ms CPU each")
        report.figure("inquiry", f"p99 at {RATE:,}/s", median(runs["on time"], "p99_ms"), "ms", most=P99_MS,
                      note=f"p50 {median(runs['on time'], 'p50_ms'):.1f} ms, {median(runs['on time'], 'per_s'):,.0f}/s came")
        every = runs["closed"] + runs["on time"]
        report.check(all(r["ok"] for r in every), "inquiry: an answer was no match")
        answers = sum(r["answers"] for r in every)
        after = provisions(stack, FROM), provisions(stack, TO)
        for side, was, now in zip(("the provider", "the asker"), before, after):
            report.check(now - was == answers, f"inquiry: {now - was} records at {side} of {answers} answers")
    finally:
        stack.stop()
