#!/usr/bin/env python3
"""C80 to C88: what an inquiry needs before any number is sent, what each side checks for itself, what
pending looks like, and that a result deletes itself without a trace in any file."""
import datetime
import os
import shutil
import signal
import sqlite3
import statistics
import time
import uuid

from case import (FUJISAWA, JST, KAGOSHIMA, MINATO, access_log, dose_row, equal, inquiry, ok, one,
                  personal_number, problem, record, register, resident, run, tag, together, until)


def ask(c, number, code=MINATO, key=True, **more):
    return c.post("/v1/inquiries", inquiry(number, code, **more), key=key)


def before_any_number(stack, c, number):
    """With vrs-number standing still, what is refused is refused at once: it was never asked."""
    number_area = stack.processes["vrs-number"]
    number_area.send_signal(signal.SIGSTOP)
    took = []

    def asked(**change):
        began = time.monotonic()
        answer = ask(c, number, **change)
        took.append(time.monotonic() - began)
        return answer

    for what, change, status, code in (
            ("no legal basis", {"basis": None}, 422, "basis_not_accepted"),
            ("consent without its document", {"basis": {"kind": "consent", "obtained_on": "2026-01-05"}},
             422, "basis_not_accepted"),
            ("consent that is dated tomorrow", {"basis": {
                "kind": "consent", "document": "x", "obtained_on": "2999-01-01"}}, 422, "basis_not_accepted"),
            ("identity not checked", {"identity": None}, 422, "identity_not_checked"),
            ("identity checked in the future", {"identity": {"method": "x", "checked_on": "2999-01-01"}},
             422, "identity_not_checked")):
        problem(asked(**change), status, code, f"C80 {what}: refused before any number is sent")
    for purpose in ("transfer_out_answer", "statistics", "", None):
        problem(asked(purpose=purpose), 422, "purpose_not_allowed",
                f"C83 the purpose {purpose!r} is not one that may ask")
    ok(max(took) < 4.5, "C80 vrs-number was not waited for", took)  # 5 s are its deadline
    number_area.send_signal(signal.SIGCONT)
    equal(ask(c, number).json["result"], "match", "control: with basis, identity and purpose it is asked")
    for entry in access_log(stack.staff(KAGOSHIMA, "kagoshima-approver")):
        if entry["act"] == "inquiry.ask" and entry["result"] == "identity_not_checked":
            break
    else:
        entry = None
    ok(entry, "C68 refusals before the number are entries of the asker")
    tablet = stack.tablet()
    problem(tablet.post("/v1/inquiries", inquiry(number, MINATO), key=True), 404, "not_found",
            "C82 the Internet side has no such route")


def provider_checks_again(stack, c, number):
    """C86: the asker's side lets it pass, the provider's own settings do not."""
    admin = stack.add_user("minato-settings", MINATO, ["municipal_approver"], "minato-personnel",
                           "minato-approver", "情報政策課", "設定 の人", "setting.manage")
    stack.demo["users"].append(admin)
    s = stack.staff(MINATO, "minato-settings")
    version = s.get("/v1/settings").json["version"]
    answer = s.request("PUT", "/v1/settings", {"purpose_transfer_out_answer": 0}, headers=tag(version))
    equal(answer.status, 200, "港区 switches its answers off")
    key = str(uuid.uuid4())
    problem(ask(c, number, key=key), 422, "purpose_not_allowed",
            "C86 the provider refuses by its own settings what the asker's side let pass")
    problem(ask(c, number, key=key), 409, "conflict", "the same key: it was cut off, to be asked anew")
    acts = [e for e in access_log(stack.staff(MINATO, "minato-approver")) if e["act"] == "inquiry.answer"]
    equal(ask(c, number, FUJISAWA).json["result"], "no_match", "another provider is not concerned")
    version = s.get("/v1/settings").json["version"]
    s.request("PUT", "/v1/settings", {"purpose_transfer_out_answer": 1}, headers=tag(version))
    equal(ask(c, number).json["result"], "match", "control: switched on it answers")
    after = [e for e in access_log(stack.staff(MINATO, "minato-approver")) if e["act"] == "inquiry.answer"]
    equal(len(after), len(acts) + 1, "C86 and nothing was provided meanwhile")


def permits(stack, c, number):
    """C85 on the running stack; the terms themselves: tests/unit/test_permit.c."""
    key = str(uuid.uuid4())
    before = len(stack.staff(MINATO).get("/v1/provisions").json["provisions"])
    answers = [ask(c, number, key=key) for _ in range(8)]
    equal({(a.status, a.body) for a in answers}, {(201, answers[0].body)},
          "C85 a request sent eight times is one inquiry")
    equal(len(stack.staff(MINATO).get("/v1/provisions").json["provisions"]), before + 1,
          "C85 its permit was used once: one provision")


def pending_tells_nothing(stack, c, plain, held):
    """C87: shape and time of held, against an answer."""
    def timed(number):
        began = time.perf_counter()
        answer = ask(c, number)
        return (time.perf_counter() - began) * 1000, answer

    pairs = [(timed(plain), timed(held)) for _ in range(25)]
    match, pending = [p[0][0] for p in pairs], [p[1][0] for p in pairs]
    shapes = {(a.status, tuple(sorted(a.json)), a.json["result"]) for _, (_, a) in pairs}
    equal(shapes, {(201, ("asked_at", "from_municipality", "inquiry_id", "purpose", "result"), "pending")},
          "C87 a held inquiry shows pending and nothing else")
    a, b = statistics.median(match), statistics.median(pending)
    ok(abs(a - b) < max(a, b) / 2, "C87 held takes the time of an answer"
       f" (medians {a:.1f} and {b:.1f} ms)", (match, pending))
    approver = stack.staff(MINATO, "minato-approver")
    work = approver.get("/v1/held-inquiries").json["held_inquiries"]
    ok(work and all(w["doses"] and w["resident"]["addressee_number"] == "H-1" for w in work),
       "C87 the approver sees for each what would be sent")
    mine = pairs[0][1][1].json["inquiry_id"]
    equal(c.get(f"/v1/inquiries/{mine}").json["result"], "pending", "the asker still sees pending")
    for w in work[:2]:
        approver.post(f"/v1/held-inquiries/{w['held_inquiry_id']}:refuse", {"reason": "本人が拒否"}, key=True)
    ended = [c.get(f"/v1/inquiries/{p[1][1].json['inquiry_id']}").json for p in pairs[:2]]
    equal([e["result"] for e in ended], ["no_match"] * 2,
          "C87 refused it ends as no match, like a person who is unknown")
    approver.post(f"/v1/held-inquiries/{work[2]['held_inquiry_id']}:approve", {"reason": "確認済"}, key=True)
    equal(c.get(f"/v1/inquiries/{pairs[2][1][1].json['inquiry_id']}").json["result"], "match",
          "C87 approved it ends as a match")


def full_queue(stack, c, number):
    """An inquiry whose second step meets a full queue ends; it does not stay open."""
    stack.processes["vrs-number"].send_signal(signal.SIGSTOP)
    keys = [str(uuid.uuid4()) for _ in range(24)]
    clients = [stack.terminal(f"lgwan-{KAGOSHIMA}") for _ in keys]
    for x in clients:
        x.token = c.token
    answers = together(len(keys), lambda i: clients[i].post("/v1/inquiries", inquiry(number, MINATO),
                                                            key=keys[i]))
    stack.processes["vrs-number"].send_signal(signal.SIGCONT)
    codes = {getattr(a, "code", None) for a in answers}
    ok("busy" in codes, "some of many inquiries meet a full queue: 503 busy", codes)

    def states():
        return {clients[i].post("/v1/inquiries", inquiry(number, MINATO), key=keys[i]).code or "answered"
                for i in range(len(keys))}

    ok(until(lambda: "request_in_progress" not in states(), 20),
       "C70 and none of them stays open: aborted, or asked anew with its key", states())
    last = []
    ok(until(lambda: (last.append(ask(c, number)), last[-1].json.get("result") == "match")[1], 15),
       "then inquiries are answered again", last[-1])


def blobs(stack, code):
    """Sealed forms of the results that the municipality holds, from a copy of its file."""
    folder = os.path.join(stack.home, "look")
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    for ending in ("", "-wal"):
        path = stack.path("vrs-server", "partitions", code + ".db" + ending)
        if os.path.exists(path):
            shutil.copy(path, os.path.join(folder, "it.db" + ending))
    db = sqlite3.connect(os.path.join(folder, "it.db"))
    found = [bytes(row[0]) for row in db.execute("SELECT blob FROM inquiry WHERE state IN (2, 6)")]
    db.close()
    shutil.rmtree(folder)
    return found


def files_that_hold(stack, parts):
    held = set()
    for top in (stack.path("vrs-server"), stack.path("vrs-number"), stack.path("log")):
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    with open(path, "rb") as f:
                        data = f.read()
                    held |= {os.path.relpath(path, stack.home) for p in parts if p in data}
    return held


def results_delete_themselves(stack, c, number):
    answer = ask(c, number)
    kept = blobs(stack, KAGOSHIMA)
    ok(len(kept) >= 2, "results are there, sealed", len(kept))
    parts = [b[:32] for b in kept] + [b[len(b) // 2:len(b) // 2 + 24] for b in kept]
    ok(files_that_hold(stack, parts), "C88 control: their bytes are found in the asker's file")
    log = stack.path("log", "vrs-server.log")
    stack.set_clock(datetime.datetime.now(JST) + datetime.timedelta(days=31))
    ok(until(lambda: '"event":"inquiry.expired"' in open(log, errors="replace").read(), 20),
       "C88 thirty-one days later they delete themselves, nobody looked")
    problem(c.get(f"/v1/inquiries/{answer.json['inquiry_id']}"), 410, "result_expired", "C88 gone for the asker")
    ok(until(lambda: not files_that_hold(stack, parts), 20),
       "C88 no byte of them is left in any file: row, journal, free pages", files_that_hold(stack, parts))
    equal(blobs(stack, KAGOSHIMA), [], "C88 no row holds a result")
    stack.set_clock(None)


def main(stack):
    minato, c = stack.staff(MINATO), stack.staff(KAGOSHIMA)
    plain, held = personal_number(), personal_number()
    register(minato, [resident(MINATO, "P-1", "8300000001", 個人番号=plain),
                      resident(MINATO, "H-1", "8300000002", 個人番号=held)])
    record(minato, [dose_row(MINATO, "8300000001", 1), dose_row(MINATO, "8300000002", 1)])
    person = one(minato, addressee_number="H-1")
    minato.post(f"/v1/residents/{person['resident_id']}:flag", {"flag": "no_auto_answer"}, key=True,
                headers=tag(person["version"]))
    before_any_number(stack, c, plain)
    provider_checks_again(stack, c, plain)
    permits(stack, c, plain)
    pending_tells_nothing(stack, c, plain, held)
    full_queue(stack, c, plain)
    results_delete_themselves(stack, c, plain)


run(main, count=20, overrides={"vrs-server": {"queue_max": 8}})
