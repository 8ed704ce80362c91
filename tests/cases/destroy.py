#!/usr/bin/env python3
"""A municipality leaves (C127, C76): with its own approver's approval its keys are destroyed; no copy
can be read again, its log stays, nobody else is touched."""
import glob
import os
import shutil
import time

from alert_receiver import journal
from case import (FUJISAWA, KAGOSHIMA, MINATO, equal, find, ok, one, personal_number, problem, register, resident,
                  post_dose, metrics, run, stack_module, until)
import residents

GONE = FUJISAWA


def refused(stack, code, what, verb, **values):
    try:
        answer = stack.command(verb, **values)
    except stack_module.StackError as e:
        return ok(code in str(e), what, e)
    return ok(False, what, answer)


def gone_doses(stack):
    """Doses for the town go on coming in: kept, told to people, no load, and nobody else waits."""
    tablet = stack.tablet()
    kept = [tablet.post("/v1/doses", {"ocr_line": residents.ocr_line(GONE, f"598000000{i}", 1), "status": "given",
                                      "vaccinated_on": "2021-07-01", "product": "comirnaty", "lot": "FF3620",
                                      "site": "試験会場", "read_by": "ocr"}, key=True).json["receipt_id"] for i in range(3)]
    told = lambda: [a for a in journal(stack) if a["rule"] == "town_gone" and GONE in a["subject"]]  # noqa: E731
    ok(until(told, 20), "C140 a dose for a town that left: a person is told", journal(stack))
    for turn in ("", " after a restart, too"):
        listed = lambda: {e["receipt"] for e in journal(stack, "line.town_gone")}  # noqa: E731
        ok(until(lambda: len(listed()) >= 3, 20), "each is listed by its receipt" + turn, listed())
        equal({tablet.get(f"/v1/doses/{r}").json["outcome"] for r in kept}, {"pending"}, "they are kept, and say that they wait" + turn)
        pulled = lambda: sum(v for k, v in metrics(stack).items() if k.startswith("vrs_line_entries_total"))  # noqa: E731
        before = pulled()
        time.sleep(3)
        ok(pulled() - before <= 40, "no busy loop" + turn, pulled() - before)
        failed = journal(stack, "line.batch_failed")
        equal(failed, [], "nothing is tried without end" + turn)
        other = post_dose(tablet, residents.ocr_line(MINATO, "5980000077", 1 if not turn else 2))["receipt_id"]
        ok(until(lambda: tablet.get(f"/v1/doses/{other}").json["outcome"] != "pending", 10), "doses of others pass" + turn)
        if not turn:
            stack.kill("vrs-server")
            stack.restart("vrs-server")


def main(stack):
    c, approver = stack.staff(GONE), stack.staff(GONE, "fujisawa-approver")
    number = personal_number()
    register(c, [resident(GONE, "X-0001", "5980000001", 個人番号=number)])
    person = one(c, addressee_number="X-0001")["resident_id"]
    stack.command("backup", municipality_code=GONE, name="old")
    kept = stack.path("kept")  # what somebody carried away: files, but not the keys
    os.makedirs(kept)
    for program in ("vrs-server", "vrs-number"):
        for path in glob.glob(stack.path(program, "backup", f"{GONE}-old.db")):
            shutil.copy(path, os.path.join(kept, program))
    other = {code: len(find(stack.staff(code), name_kana="シ", birth_date="1960-04-01")) for code in (MINATO, KAGOSHIMA)}
    refused(stack, "approval_required", "C127 an operator alone destroys nothing", "partition.destroy",
            municipality_code=GONE, by="運用 者")
    asked = c.post("/v1/requests", {"kind": "destroy", "act": "partition.destroy", "reason": "契約の終了"}, key=True)
    refused(stack, "approval_required", "C127 nor when it was only asked for", "partition.destroy",
            municipality_code=GONE, by="運用 者")
    waiting = approver.get("/v1/requests").json["requests"]
    ok("すべて読めなくする" in waiting[0]["content"], "the approver reads what it means", waiting)
    approver.post(f"/v1/requests/{asked.json['request_id']}:approve", {"reason": "議会の議決"}, key=True)
    equal(c.get(f"/v1/residents/{person}").status, 200, "control: until then everything can be read")
    done = stack.command("partition.destroy", municipality_code=GONE, by="運用 者")
    ok("この自治体の領域すべて" in done["text"] and "fujisawa-approver" in done["text"] and len(done["signature"]) == 88,
       "C128 the certificate of it, signed", done)
    ok("住民の記録: " in done["text"], "C76 with what was there, counted", done["text"])
    answer = c.get(f"/v1/residents/{person}")
    ok(answer.status >= 500 and b"X-0001" not in answer.body, "C127 nothing can be read", answer)
    equal(sorted(glob.glob(stack.path("vrs-*", "backup*", f"{GONE}-*.keys"))), [], "C127 the keys of the backups are gone, too")
    ok(glob.glob(stack.path("vrs-*", "backup*", f"{GONE}-*.db")), "control: their sealed files are there")
    stack.kill("vrs-server")
    stack.restart("vrs-server")
    refused(stack, "", "C127 a restore of the old backup fails", "restore", municipality_code=GONE, name="old")
    # even with every file put back by hand, and its name in the folder of keys
    for name in ("vrs-server", "vrs-number"):
        stack.kill(name)
    for program, folder in (("vrs-server", "partitions"), ("vrs-number", "files")):
        with open(os.path.join(kept, program), "rb") as f, open(stack.path(program, folder, GONE + ".db"), "r+b") as to:
            shutil.copyfileobj(f, to)
            to.truncate()
        wal = stack.path(program, folder, GONE + ".db-wal")
        if os.path.exists(wal):
            os.truncate(wal, 0)
    for name in ("vrs-number", "vrs-server"):
        stack.restart(name)
    again = stack.terminal(f"lgwan-{GONE}")
    user = next(u for u in stack.demo["users"] if u["user_id"] == "fujisawa-1")
    login = again.login(user["user_id"], user["password"])
    answer = again.get(f"/v1/residents/{person}")
    ok(answer.status != 200 and b"X-0001" not in answer.body, "C127 an old file put back by hand fails to decrypt", (login, answer))
    verified = stack.command("partition.destroy", municipality_code=GONE, by="運用 者")
    equal(verified["erasure_id"], done["erasure_id"], "the same command again finds the record of it")
    gone_doses(stack)
    # the others
    equal({code: len(find(stack.staff(code), name_kana="シ", birth_date="1960-04-01")) for code in other}, other,
          "C120 the other municipalities are as they were")
    equal(len(find(stack.staff(MINATO), addressee_number=next(
        s["addressee_number"] for s in stack.demo["samples"] if s["municipality_code"] == MINATO))), 1, "and serve")
    registry = stack.command("verify-log", municipality_code=MINATO)
    ok(registry["ok"], "their logs verify", registry)
    problem(stack.staff(MINATO).get(f"/v1/residents/{person}"), 404, "not_found", "C121 nor is anything seen from elsewhere")


run(main, count=20)
