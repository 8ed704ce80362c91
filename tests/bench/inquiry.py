"""Scenario `inquiry`: municipalities ask each other by 個人番号, with records kept on both sides.

鹿児島市 asks 港区, 港区 藤沢市, 藤沢市 鹿児島市, at the same time, about other residents each time, who have a
dose.  A match counts; afterwards each is looked for in the records of both sides."""
import json
import os
import statistics
import time

import measure
from measure import load, median, together
from peak import roots, settled
from stand import stack_with_towns
import residents as people_of  # dev/residents.py

ASKERS = {"462012": "kagoshima-1", "131032": "minato-1", "142051": "fujisawa-1"}  # each asks the next
PER_S, RATE, P99_MS = 5000, 1000, 10
COUNT, CONNECTIONS = 8000, 64
MATCH = '"result":"match"'


def write_bodies(path, code, rows):
    seen = set()
    with open(path, "w") as f:
        for n, r in enumerate(rows):
            if r["宛名番号"] in seen or n == 13:  # one row a person; the protected one is held
                continue
            seen.add(r["宛名番号"])
            f.write(json.dumps({
                "from_municipality": code, "personal_number": r["個人番号"], "purpose": "transfer_in",
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


def ask_each_other(stack, asking, rate, seconds):
    """One run: all askers at once, as the result of one of them looks."""
    running = together([a + ["--connections", CONNECTIONS, "--rate", rate // len(asking), "--seconds", seconds] for a in asking],
                       lambda: roots(stack))
    results = [r.finish() for r in running]
    answers = [r["answers"] for r in results]
    return {"per_s": sum(r["per_s"] for r in results), "p50_ms": statistics.median(r["p50_ms"] for r in results),
            "p99_ms": max(r["p99_ms"] for r in results), "ok": all(r["ok"] for r in results), "answers": answers,
            "system_cpu_ms": 1000 * max(r["system_cpu_s"] for r in results) / max(sum(answers), 1)}


def measure_scenario(report, options, home):
    stack = stack_with_towns(home, count=COUNT)
    try:
        gen = stack.generator
        with open(gen.coupons_file) as f:
            count = sum(1 for _ in f)
        doses = load(gen.argv("--connections", 8, "--batch", 100, "--count", count, "--seconds", 60)[1:],
                     lambda: roots(stack))
        settled(stack, gen)
        report.check(doses["ok"] and doses["answers"] == count, "inquiry: doses to be asked for are missing")
        towns, asking = list(ASKERS), []
        for code, other in zip(towns, towns[1:] + towns[:1]):
            bodies = os.path.join(home, "inquiries-" + code)
            write_bodies(bodies, other, people_of.generate(other, COUNT)[0])
            asking.append(clerk(stack, home, ASKERS[code], code) + ["--post", "/v1/inquiries", "--bodies", bodies,
                                                                    "--expect", MATCH])
        report.raw["inquiry"] = runs = {"closed": [], "on time": []}
        ask_each_other(stack, asking, 0, 1)
        before = [provisions(stack, code) for code in towns]
        for _ in range(options.rounds):
            runs["closed"].append(ask_each_other(stack, asking, 0, options.seconds))
            runs["on time"].append(ask_each_other(stack, asking, RATE, options.seconds))
        report.figure("inquiry", f"{len(towns)} × {CONNECTIONS} connections, closed loop", median(runs["closed"], "per_s"), "/s",
                      target=PER_S, note=f"p50 {median(runs['closed'], 'p50_ms'):.1f} ms, p99 {median(runs['closed'], 'p99_ms'):.1f} ms, "
                      f"{median(runs['closed'], 'system_cpu_ms'):.3f} ms CPU each")
        report.figure("inquiry", f"p99 at {RATE:,}/s", median(runs["on time"], "p99_ms"), "ms", most=P99_MS,
                      note=f"p50 {median(runs['on time'], 'p50_ms'):.1f} ms, {median(runs['on time'], 'per_s'):,.0f}/s came")
        every = runs["closed"] + runs["on time"]
        report.check(all(r["ok"] for r in every), "inquiry: an answer was no match")
        asked = [sum(r["answers"][i] for r in every) for i in range(len(towns))]
        for i, code in enumerate(towns):  # it asked, and was asked by the one before
            now = provisions(stack, code) - before[i]
            report.check(now == asked[i] + asked[i - 1], f"inquiry: {now} records at {code} of {asked[i]} + {asked[i - 1]} answers")
    finally:
        stack.stop()
