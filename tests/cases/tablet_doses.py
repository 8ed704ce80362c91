#!/usr/bin/env python3
"""Readings over the Internet side of the running stack: what is refused and how, what the inside
makes of them, one effect for one key, batches, receipts, cancelling, and coupons:check."""
import datetime
import json
import os
import time
import uuid
from email.utils import format_datetime

from case import (FUJISAWA, KAGOSHIMA, MINATO, NEVER_REGISTERED, client_for, day_in_japan, doses_of,
                  equal, metrics, ok, one, problem, register, resident, run, tag, together, until)

DOSES = "/v1/doses"
OUTCOMES = {"recorded", "recorded_for_review", "waiting_for_coupon", "conflict", "duplicate"}
_coupons = iter(range(4000000001, 4000999999))


def line(coupon, dose=1, code=MINATO, kind=2):
    return f"{kind}{dose}{code}{coupon}"


def body(ocr_line, **changes):
    whole = {"ocr_line": ocr_line, "status": "given", "vaccinated_on": "2021-07-01",
             "product": "comirnaty", "lot": "FF3620", "site": "港区スポーツセンター", "read_by": "ocr"}
    whole.update(changes)
    return {k: v for k, v in whole.items() if v is not None}


def people(clerk, count, code=MINATO):
    """New residents; their coupons."""
    coupons = [f"{next(_coupons):010d}" for _ in range(count)]
    register(clerk, [resident(code, f"9{c[-9:]}", c) for c in coupons])
    return coupons


def post(t, ocr_line, **changes):
    """What is read again at once is meant."""
    return t.post(DOSES, body(ocr_line, confirmed_again=True, **changes), key=True)


def person_of(clerk, coupon):
    return one(clerk, coupon_number=coupon)["resident_id"]


def all_doses(clerk, coupon):
    return doses_of(clerk, person_of(clerk, coupon), everything=True)


# ---- form


def refused(t, coupon):
    good = line(coupon)
    problem(t.post(DOSES, body(good)), 400, "idempotency_key_required", "no Idempotency-Key: 400")
    problem(t.post(DOSES, body(good), key="abc"), 400, "idempotency_key_required",
            "a key that is no UUID: 400")
    tomorrow = day_in_japan(1)
    parts = {"kind": "2", "dose_number": "1", "municipality_code": MINATO, "coupon_number": coupon}
    for what, sent, status, code in (
            ("malformed JSON", b'{"ocr_line":', 400, "bad_json"),
            ("nothing", b"", 400, "bad_json"),
            ("not UTF-8", b'{"site":"\xff"}', 400, "bad_json"),
            ("a field twice", b'{"lot":"A","lot":"B"}', 400, "bad_json"),
            ("a list", [], 400, "bad_request"),
            ("deep JSON", b'{"coupon":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "json_too_deep"),
            ("an unknown field", body(good, name="山田 太郎"), 400, "unknown_field"),
            ("a 個人番号 field", body(good, personal_number="123456789018"), 400, "unknown_field"),
            ("a number for the lot", body(good, lot=3620), 422, "bad_field"),
            ("a list for the site", body(good, site=["x"]), 422, "bad_field"),
            ("null", body(good, physician=None) | {"physician": None}, 422, "bad_field"),
            ("no status", body(good, status=None), 422, "missing_field"),
            ("no date", body(good, vaccinated_on=None), 422, "missing_field"),
            ("another status", body(good, status="done"), 422, "bad_field"),
            ("another reader", body(good, read_by="eye"), 422, "bad_field"),
            ("line and parts", body(good, coupon=parts), 422, "bad_field"),
            ("neither line nor parts", body(None), 422, "missing_field"),
            ("17 digits", body(good[:17]), 422, "R104"),
            ("19 digits", body(good + "0"), 422, "R104"),
            ("the 10 digits of a barcode", body(coupon, read_by="nw7"), 422, "R104"),
            ("a wrong check digit", body(line(coupon, code="131033")), 422, "R102"),
            ("a municipality that is none", body(line(coupon, code="999997")), 422, "R105"),
            ("another kind of coupon", body(line(coupon, kind=9)), 422, "R106"),
            ("a shot with a 予診のみ coupon", body(line(coupon, kind=1)), 422, "R107"),
            ("dose number 0", body(line(coupon, dose=0)), 422, "R120"),
            ("an unknown product", body(good, product="nothing"), 422, "R132"),
            ("no product", body(good, product=None), 422, "R132"),
            ("an empty lot", body(good, lot=""), 422, "R130"),
            ("a lot of spaces", body(good, lot=" 　"), 422, "R130"),
            ("no lot", body(good, lot=None), 422, "R130"),
            ("no such day", body(good, vaccinated_on="2021-02-29"), 422, "R111"),
            ("a date in words", body(good, vaccinated_on="令和3年7月"), 422, "R110"),
            ("tomorrow by Japanese time", body(good, vaccinated_on=tomorrow), 422, "R112"),
            ("an empty site", body(good, site=""), 422, "R181"),
            ("a site of a novel's length", body(good, site="港" * 300), 422, "R180"),
            ("parts with an unknown one", body(None, coupon=parts | {"name": "x"}), 400,
             "unknown_field"),
            ("parts without the number", body(None, coupon={"kind": "2"}), 422, "missing_field"),
            ("an oversized body", body(good, site="x" * 60000), 413, "too_large")):
        answer = t.post(DOSES, sent, key=True)
        problem(answer, status, code, f"refused: {what} → {status} {code}")
        if status == 413:
            t.close()
    long = t.request("POST", DOSES, json.dumps(body(good)).encode(), key=True,
                     headers={"Content-Length": "99999999999"})
    equal(long.status, 413, "a promised oversized body is refused before it is sent")
    t.close()


def repairable(t, coupon):
    def found(text):
        answer = t.post(DOSES, body(text), key=True)
        return answer, [(c["ocr_line"], c["changes"]) for c in answer.json.get("candidates", [])]

    answer, candidates = found(line(coupon)[:17])
    ok(answer.code == "R104" and "candidates" in answer.json, "17 digits: candidates are named", answer)
    text = line(coupon)
    answer, candidates = found(text[:2] + "I" + text[3:])
    ok(answer.status == 422 and (text, 1) in candidates, "I for 1: the right line is a candidate",
       candidates)
    answer, candidates = found(text[:2] + "4" + text[3:])
    ok(answer.code in ("R102", "R105") and (text, 1) in candidates,
       "1 and 4 confused in the municipality: the right line is a candidate", candidates)


def accepted(t, coupons):
    wide = line(coupons[0]).translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    answer = post(t, f"　{wide[:8]} {wide[8:]} ")
    ok(answer.status == 201 and answer.json["outcome"] == "recorded", "full-width digits and spaces",
       answer)
    parts = {"kind": 2, "dose_number": 1, "municipality_code": MINATO, "coupon_number": coupons[1]}
    answer = t.post(DOSES, body(None, coupon=parts, read_by="manual"), key=True)
    ok(answer.status == 201 and answer.json["outcome"] == "recorded", "the four parts typed", answer)
    for read_by in ("ocr", "qr", "nw7", "manual", "punch"):
        answer = post(t, line(coupons[2]), read_by=read_by)
        ok(answer.status == 201, f"read by {read_by}", answer)
    answer = post(t, line(coupons[3]), vaccinated_on=day_in_japan())
    ok(answer.status == 201, "today by Japanese time is no future", answer)


def clock(stack, t, coupons):
    """The Japanese day of the server decides, and a terminal whose clock is wrong is told."""
    noon = datetime.datetime(2021, 7, 10, 14, 59, 30, tzinfo=datetime.timezone.utc)  # 23:59:30 there
    stack.set_clock(noon)
    problem(post(t, line(coupons[0]), vaccinated_on="2021-07-11"), 422, "R112",
            "at 23:59 in Japan the next day is the future")
    stack.set_clock(noon + datetime.timedelta(minutes=1))
    answer = post(t, line(coupons[0]), vaccinated_on="2021-07-11")
    ok(answer.status == 201 and answer.json["warnings"] == [],
       "a minute later it is today (15:00 UTC), and nothing is wrong with it", answer)
    now = noon + datetime.timedelta(minutes=1)
    right = format_datetime(now, usegmt=True)
    wrong = format_datetime(now - datetime.timedelta(hours=9), usegmt=True)
    later = (now + datetime.timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def codes(coupon, date, **changes):
        answer = t.post(DOSES, body(line(coupon), vaccinated_on="2021-07-11", **changes), key=True,
                        headers={"Date": date} if date else None)
        return answer.status, answer.json["outcome"], [w["code"] for w in answer.json["warnings"]]

    equal(codes(coupons[1], wrong), (201, "recorded", ["terminal_clock_wrong"]),
          "S17 a Date nine hours off: recorded, with a warning")
    equal(codes(coupons[2], right), (201, "recorded", []), "S17 a right Date: no warning")
    equal(codes(coupons[3], right, read_at=later), (201, "recorded", ["terminal_clock_wrong"]),
          "S17 a reading from the future against its own Date")
    equal(codes(coupons[4], None, read_at="2021-07-01T03:00:00Z"), (201, "recorded", []),
          "S17 read ten days ago: an outbox at work, not a wrong clock")
    stack.set_clock(None)


# ---- what the inside makes of it


def outcomes(stack, t, clerk, coupons):
    answer = post(t, line(coupons[0]), physician="医師 一")
    got = answer.json
    ok(answer.status == 201 and got["outcome"] == "recorded"
       and set(got) == {"receipt_id", "outcome", "dose_id", "warnings", "proof"}
       and len(got["receipt_id"]) == 32 and len(got["dose_id"]) == 32,
       "201 recorded, with receipt, dose and warnings", answer)
    equal([w["code"] for w in got["warnings"]], ["registered_late"], "what to look at is said")
    ok(all(w["detail"] for w in got["warnings"]), "in words", got)
    again = post(t, line(coupons[0]), lot="ＦＦ ３６２０", site="別の会場")
    ok(again.status == 201 and again.json["outcome"] == "duplicate"
       and again.json["dose_id"] == got["dose_id"] and again.json["receipt_id"] != got["receipt_id"],
       "the same dose by another request, lot written otherwise: duplicate of the first", again)
    for what, change in (("another lot", {"lot": "FG0001"}), ("another day",
                         {"vaccinated_on": "2021-07-02"}), ("another product",
                         {"product": "spikevax", "lot": "3004733"})):
        answer = post(t, line(coupons[0]), **change)
        ok(answer.status == 201 and answer.json["outcome"] == "conflict",
           f"the same turn with {what}: kept as a conflict", answer)
    rid = person_of(clerk, coupons[0])
    shown = doses_of(clerk, rid)
    everything = doses_of(clerk, rid, everything=True)
    ok(len([d for d in shown if d["dose_id"] == got["dose_id"]]) == 1
       and [d for d in everything if d["dose_id"] == got["dose_id"]][0]["physician"] == "医師 一",
       "C13 the first record stands as it was", shown)
    equal(len(everything), 5, "C13 nothing was dropped: five claims")
    visit = post(t, line(coupons[1]), status="not_given", product=None, lot=None)
    ok(visit.status == 201 and visit.json["outcome"] == "recorded", "a visit without a shot", visit)
    visit2 = post(t, line(coupons[1], kind=1), status="not_given", product=None, lot=None,
                  vaccinated_on="2021-07-02")
    ok(visit2.status == 201 and visit2.json["outcome"] == "recorded", "with a 予診のみ coupon", visit2)
    shot = post(t, line(coupons[1]))
    equal((shot.status, shot.json["outcome"]), (201, "recorded"),
          "a visit does not occupy the dose number")
    visit3 = post(t, line(coupons[1]), status="not_given", product=None, lot=None)
    equal(visit3.json["outcome"], "duplicate", "the same visit again: duplicate")
    other = post(t, line(people(stack.staff(KAGOSHIMA), 1, KAGOSHIMA)[0], code=KAGOSHIMA))
    equal((other.status, other.json["outcome"]), (201, "recorded"),
          "a coupon of another municipality may be posted at any site")


def waiting(stack, t, clerk):
    """A dose before its coupon: kept, matched later, final once."""
    coupon = f"{next(_coupons):010d}"
    first = post(t, line(coupon))
    ok(first.status == 201 and first.json["outcome"] == "waiting_for_coupon"
       and [w["code"] for w in first.json["warnings"]] == ["coupon_not_registered"],
       "S01 an unregistered coupon: kept, waiting", first)
    same = post(t, line(coupon))
    ok(same.status == 201, "the same once more while waiting", same)
    path = f"{DOSES}/{first.json['receipt_id']}"
    equal(t.get(path).json["outcome"], "waiting_for_coupon", "its receipt says so")
    register(clerk, [resident(MINATO, f"8{coupon[-9:]}", coupon)])
    final = until(lambda: (lambda a: a if a["outcome"] != "waiting_for_coupon" else None)(
        t.get(path).json))
    other = until(lambda: (lambda a: a if a["outcome"] != "waiting_for_coupon" else None)(
        t.get(f"{DOSES}/{same.json['receipt_id']}").json))
    equal(sorted((final["outcome"], other["outcome"])), ["duplicate", "recorded"],
          "the coupon was registered: recorded, the repetition a duplicate of it")
    equal(final["receipt_id"], first.json["receipt_id"], "under the same receipt")
    claims = all_doses(clerk, coupon)
    equal(len([d for d in claims if d["state"] == "recorded"]), 1, "the person has it once")
    unknown = post(t, line("0000000001", code=NEVER_REGISTERED))
    equal((unknown.status, unknown.json["outcome"]), (201, "waiting_for_coupon"),
          "a municipality without any resident: kept there, waiting")


def same_key(stack, t, clerk, coupons):
    key = str(uuid.uuid4())
    first = t.post(DOSES, body(line(coupons[0])), key=key)
    again = t.post(DOSES, json.dumps(body(line(coupons[0])), indent=3).encode(), key=key.upper())
    equal((again.status, again.json), (201, first.json), "same key, same content: the same answer")
    problem(t.post(DOSES, body(line(coupons[0]), lot="FG0001"), key=key), 409,
            "idempotency_key_reused", "same key, other body: 409")
    problem(t.post(DOSES, body(line(coupons[1])), key=key), 409, "idempotency_key_reused",
            "same key, other coupon: 409")
    other = stack.tablet("tablet-2", "site-2").post(DOSES, body(line(coupons[0])), key=key)
    ok(other.status == 201 and other.json["receipt_id"] != first.json["receipt_id"],
       "keys of two terminals never meet", other)
    doses = 'vrs_line_entries_total{kind="dose"}'
    before = metrics(stack)[doses]
    key = str(uuid.uuid4())
    token = t.token

    def one_of_them(i):
        c = stack.terminal("tablet-1")
        c.token = token
        return [c.post(DOSES, body(line(coupons[2])), key=key) for _ in range(10)]

    answers = [a for some in together(20, one_of_them) for a in some]
    equal((len(answers), {(a.status, a.body) for a in answers}),
          (200, {(201, answers[0].body)}), "200 identical posts at once: 200 identical answers")
    claims = all_doses(clerk, coupons[2])
    equal(len(claims), 1, "and one record")
    equal(metrics(stack)[doses] - before, 1, "and one entry travelled inwards")


# ---- receipts and cancelling


def receipts(stack, t, clerk, coupons):
    first = post(t, line(coupons[0])).json
    path = f"{DOSES}/{first['receipt_id']}"
    equal((t.get(path).status, t.get(path).json), (200, first), "a receipt says what the post said")
    other = stack.tablet("tablet-2", "site-2")
    problem(other.get(path), 404, "not_found", "another terminal's receipt is not there")
    problem(t.get(f"{DOSES}/{'0' * 32}"), 404, "not_found", "nor one that never was")
    problem(t.get(f"{DOSES}/{first['dose_id']}"), 404, "not_found", "nor a dose's own id")
    problem(other.post(path + ":cancel", {"reason": "x"}, key=True), 404, "not_found",
            "another terminal cannot cancel it")
    problem(t.post(path + ":cancel", {"reason": "x"}), 400, "idempotency_key_required",
            "cancel needs a key")
    problem(t.post(path + ":cancel", {"reason": " "}, key=True), 422, "reason_required",
            "cancel needs a reason")
    problem(t.post(path + ":cancel", {"reason": "x", "y": 1}, key=True), 400, "unknown_field",
            "cancel with an unknown field")
    second = post(t, line(coupons[0]), lot="FG0002").json
    equal(second["outcome"], "conflict", "a second claim of the same turn")
    key = str(uuid.uuid4())
    gone = t.post(f"{DOSES}/{second['receipt_id']}:cancel", {"reason": "読み違い"}, key=key)
    ok(gone.status == 201 and gone.json["outcome"] == "cancelled"
       and gone.json["cancels"] == second["receipt_id"], "the same terminal on the same day: cancelled",
       gone)
    again = t.post(f"{DOSES}/{second['receipt_id']}:cancel", {"reason": "読み違い"}, key=key)
    equal((again.status, again.json), (201, gone.json), "cancel again with its key: the same answer")
    problem(t.post(f"{DOSES}/{second['receipt_id']}:cancel", {"reason": "別"}, key=key), 409,
            "idempotency_key_reused", "its key with another reason: 409")
    problem(t.post(f"{DOSES}/{gone.json['receipt_id']}:cancel", {"reason": "x"}, key=True), 404,
            "not_found", "a cancellation's receipt cannot be cancelled")
    states = {d["dose_id"]: d["state"] for d in all_doses(clerk, coupons[0])}
    equal((states[first["dose_id"]], states[second["dose_id"]]), ("recorded", "cancelled"),
          "only that receipt's claim was touched")
    one_more = t.post(f"{path}:cancel", {"reason": "別人の券"}, key=True)
    equal((one_more.status, one_more.json["outcome"]), (201, "cancelled"), "the recorded one, too")
    equal(doses_of(clerk, person_of(clerk, coupons[0])), [],
          "C13 a cancelled dose is in no list that people work with")
    back = post(t, line(coupons[0]))
    ok(back.json["outcome"] == "recorded_for_review" and back.json["dose_id"] == first["dose_id"],
       "posted again after the cancellation: the same dose, for review", back)
    waits = post(t, line(f"{next(_coupons):010d}")).json
    gone = t.post(f"{DOSES}/{waits['receipt_id']}:cancel", {"reason": "読み違い"}, key=True)
    equal((gone.status, gone.json["outcome"]), (201, "cancelled"), "a waiting one can be cancelled")
    final = until(lambda: t.get(f"{DOSES}/{waits['receipt_id']}").json["outcome"] == "cancelled")
    ok(final, "and its receipt becomes final", t.get(f"{DOSES}/{waits['receipt_id']}"))


def next_day(stack, t, clerk, coupons):
    evening = datetime.datetime(2026, 11, 30, 14, 50, tzinfo=datetime.timezone.utc)
    stack.set_clock(evening)
    kept, late = post(t, line(coupons[0])).json, post(t, line(coupons[1])).json
    key = str(uuid.uuid4())
    path = f"{DOSES}/{kept['receipt_id']}:cancel"
    done = t.post(path, {"reason": "誤り"}, key=key)
    equal(done.status, 201, "ten minutes before midnight in Japan: cancelled")
    stack.set_clock(evening + datetime.timedelta(minutes=20))
    problem(t.post(f"{DOSES}/{late['receipt_id']}:cancel", {"reason": "誤り"}, key=True), 409,
            "cancel_not_allowed", "after midnight in Japan: the municipality must do it")
    again = t.post(path, {"reason": "誤り"}, key=key)
    equal((again.status, again.json), (201, done.json), "the old request repeated gets its answer")
    stack.set_clock(None)
    d = [d for d in all_doses(clerk, coupons[1]) if d["dose_id"] == late["dose_id"]][0]
    answer = clerk.post(f"{DOSES}/{d['dose_id']}:cancel", {"reason": "会場からの依頼"}, key=True,
                        headers=tag(d["version"]))
    equal(answer.status, 200, "and the municipality can")


# ---- batches


def batches(stack, t, coupons):
    def send(items):
        text = "\n".join(i if isinstance(i, str) else json.dumps(i, ensure_ascii=False)
                         for i in items).encode()
        answer = t.post("/v1/doses:batch", text, headers={"Content-Type": "application/x-ndjson"})
        return answer, [json.loads(row) for row in answer.body.splitlines()]

    def item(coupon, **changes):
        return body(line(coupon), idempotency_key=str(uuid.uuid4()), **changes)

    items = [item(c) for c in coupons[:20]]
    items[3] = item(coupons[3], lot="")
    items[5]["ocr_line"] = items[5]["ocr_line"][:17]
    items[7] = items[6]
    items[9] = dict(items[8], lot="FG0009")
    items[11] = "{broken"
    items[13].pop("idempotency_key")
    items[15]["surplus"] = 1
    items[17] = item(f"{next(_coupons):010d}")
    answer, rows = send(items)
    equal((answer.status, answer.headers["content-type"], len(rows)),
          (200, "application/x-ndjson", 20), "a batch: one answer a line, as NDJSON")
    want = {3: (422, "R130"), 5: (422, "R104"), 9: (409, "idempotency_key_reused"),
            11: (400, "bad_json"), 13: (422, "missing_field"), 15: (400, "unknown_field")}
    for i, (status, code) in want.items():
        ok((rows[i]["status"], rows[i].get("code")) == (status, code)
           and rows[i].get("detail"), f"a batch: line {i + 1} is refused alone: {code}", rows[i])
    equal([i for i, r in enumerate(rows) if r["status"] == 201],
          [i for i in range(20) if i not in want], "a batch: the others are stored")
    equal([r.get("idempotency_key") for r in rows[:3]],
          [i["idempotency_key"] for i in items[:3]], "a batch: in order, with their keys")
    ok("candidates" in rows[5], "a batch: candidates for the misread line", rows[5])
    equal(rows[7]["receipt_id"], rows[6]["receipt_id"], "a batch: the same item twice has one receipt")
    equal(rows[17]["outcome"], "waiting_for_coupon", "a batch: outcomes differ")
    answer, again = send(items)
    equal([r.get("receipt_id") for r in again], [r.get("receipt_id") for r in rows],
          "a batch again: the same receipts")
    single = dict(items[0])
    key = single.pop("idempotency_key")
    equal(t.post(DOSES, single, key=key).json["receipt_id"], rows[0]["receipt_id"],
          "an item of a batch, posted alone with its key")
    problem(t.post("/v1/doses:batch", b""), 400, "bad_request", "an empty batch")
    problem(t.post("/v1/doses:batch", b"{}\n" * 1001), 413, "too_large", "1001 lines are too many")
    answer, rows = send([item(coupons[i % 20], site=f"会場{i}") for i in range(1000)])
    ok(len(rows) == 1000 and all(r["status"] in (201, 202) for r in rows), "1000 lines are not",
       rows[:1])
    answer = t.post("/v1/doses:batch", b"{}", headers={"Content-Length": str(20 << 20)})
    problem(answer, 413, "too_large", "20 MB are too much, before they are sent")
    t.close()
    problem(client_for(stack, (stack.path("pki", "tablet-1.pem"), stack.path("pki", "tablet-1.key")),
                       "tablet_api").post("/v1/doses:batch", b"{}"), 401, "login_required",
            "a batch needs a log-in like a dose")


# ---- coupons:check


def checks(stack, t, clerk, coupons):
    def check(text, client=t):
        answer = client.post("/v1/coupons:check", {"ocr_line": text})
        return answer.status, answer.json.get("status", answer.code)

    equal(check(line(coupons[0])), (200, "ok"), "coupons:check of a registered coupon: ok")
    post(t, line(coupons[0]))
    equal(check(line(coupons[0])), (200, "dose_already_recorded"), "after its dose: already recorded")
    equal(check(line(coupons[0], dose=2)), (200, "ok"), "but not its second")
    equal(check(line("9123456712")), (200, "unknown"), "never registered: unknown")
    moved = one(clerk, coupon_number=coupons[1])
    answer = clerk.post(f"/v1/residents/{moved['resident_id']}:flag",
                        {"flag": "moved_out", "since": "2021-06-01", "to_municipality": FUJISAWA},
                        key=True, headers=tag(moved["version"]))
    equal(answer.status, 200, "a resident is flagged moved out")
    equal(check(line(coupons[1])), (200, "moved_out"), "moved out is told at the own site")
    answer = t.post("/v1/coupons:check", {"ocr_line": line(coupons[0])[:17] + "O"})
    ok(answer.json["status"] in ("invalid", "candidates") and answer.json["candidates"],
       "a misread line: invalid, with candidates", answer)
    answer = t.post("/v1/coupons:check", {"ocr_line": line(coupons[0])})
    equal(set(answer.json), {"status", "candidates"}, "nothing else is ever told: no name, no birth date")
    away = stack.staff(KAGOSHIMA)
    theirs = people(away, 2, KAGOSHIMA)
    post(t, line(theirs[0], code=KAGOSHIMA))
    person = one(away, coupon_number=theirs[1])
    away.post(f"/v1/residents/{person['resident_id']}:flag", {"flag": "moved_out", "since": "2021-06-01"},
              key=True, headers=tag(person["version"]))
    equal([check(line(c, code=KAGOSHIMA)) for c in theirs + [f"{next(_coupons):010d}"]],
          [(200, "ok"), (200, "ok"), (200, "unknown")],
          "of another municipality's coupons only ok and unknown are told")
    ok(not stack_has_file(stack, "011002") and check(line("0000000001", code="011002"))
       == (200, "unknown") and not stack_has_file(stack, "011002"), "and the question creates none")
    problem(t.post("/v1/coupons:check", {"coupon_number": "1"}), 400, "unknown_field",
            "coupons:check by another field")
    quota(stack, check, coupons)


def stack_has_file(stack, code):
    return any(code in name for folder in (stack.path("vrs-server", "partitions"),
                                           stack.path("vrs-number", "files"))
               for name in os.listdir(folder))


def quota(stack, check, coupons):
    second = stack.tablet("tablet-2", "site-2")
    answers = [check(line(coupons[2]), second)[0] for _ in range(62)]
    equal((answers[:60], answers[60:]), ([200] * 60, [429, 429]), "60 a minute for each terminal")
    answer = second.post("/v1/coupons:check", {"ocr_line": line(coupons[2])})
    ok(0 < int(answer.headers["retry-after"]) <= 60, "with Retry-After", answer.headers)
    equal(post(second, line(coupons[3])).status, 201, "posting is not part of the quota")


def away(stack, t, coupons):
    """The inside is away: 202, then final."""
    stack.kill("vrs-server")
    began = time.monotonic()
    answer = t.post("/v1/coupons:check", {"ocr_line": line(coupons[0])})
    problem(answer, 503, "inside_away", "coupons:check while the inside is away: 503 inside_away")
    ok("retry-after" in answer.headers and time.monotonic() - began < 25, "with Retry-After, in time")
    key = str(uuid.uuid4())
    first = t.post(DOSES, body(line(coupons[0])), key=key)
    ok(first.status == 202 and first.json["outcome"] == "pending"
       and set(first.json) == {"receipt_id", "outcome"}, "a dose while the inside is away: 202 pending",
       first)
    again = t.post(DOSES, body(line(coupons[0])), key=key)
    equal((again.status, again.json), (202, first.json), "the same again: the same receipt")
    path = f"{DOSES}/{first.json['receipt_id']}"
    equal(t.get(path).json["outcome"], "pending", "its receipt says pending")
    gone = post(t, line(coupons[1]))
    cancelled = t.post(f"{DOSES}/{gone.json['receipt_id']}:cancel", {"reason": "誤り"}, key=True)
    equal(cancelled.status, 202, "a cancellation, too, is kept: 202")
    stack.restart("vrs-server")
    final = until(lambda: (lambda a: a if a["outcome"] != "pending" else None)(t.get(path).json))
    ok(final and final["outcome"] == "recorded" and final["receipt_id"] == first.json["receipt_id"],
       "the inside is back: recorded under the same receipt", final)
    again = t.post(DOSES, body(line(coupons[0])), key=key)
    equal((again.status, again.json), (201, final), "the same again: 201 now")
    done = until(lambda: t.get(f"{DOSES}/{cancelled.json['receipt_id']}").json["outcome"]
                 == "cancelled")
    ok(done, "the cancellation took effect after its dose",
       t.get(f"{DOSES}/{cancelled.json['receipt_id']}"))
    clerk = stack.staff(MINATO)
    equal([(d["state"]) for d in all_doses(clerk, coupons[1])], ["cancelled"], "in this order")


def main(stack):
    t, clerk = stack.tablet(), stack.staff(MINATO)
    coupons = people(clerk, 60)
    refused(t, coupons[0])
    equal(all_doses(clerk, coupons[0]), [], "nothing half-done: refused readings left no claim")
    repairable(t, coupons[0])
    accepted(t, coupons[1:5])
    outcomes(stack, t, clerk, coupons[5:7])
    waiting(stack, t, clerk)
    same_key(stack, t, clerk, coupons[7:10])
    receipts(stack, t, clerk, coupons[10:11])
    batches(stack, t, coupons[11:31])
    checks(stack, t, clerk, coupons[31:36])
    clock(stack, t, coupons[36:42])
    next_day(stack, t, clerk, coupons[42:44])
    away(stack, t, coupons[44:46])
    total = {k: v for k, v in metrics(stack, "tablet_api").items()
             if k.startswith("vrs_outcomes_total")}
    ok(all(total[f'vrs_outcomes_total{{outcome="{o}"}}'] > 0 for o in OUTCOMES),
       "outcomes are counted by kind", total)


run(main, overrides={"tablet-api": {"answer_wait_ms": 4000}})
