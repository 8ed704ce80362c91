#!/usr/bin/env python3
"""Doses of a resident on LG-WAN: list, correct, cancel, move, history; the work list and how a
person settles it; what a tablet's receipt says afterwards."""
import uuid

from case import (FUJISAWA, MINATO, access_log, dose_row, doses_of, equal, metrics, ok, one,
                  post_dose, problem, record, register, resident, run, tag, together, until)
import residents

NOBODY = "0" * 32


def setting(c):
    """Five people; the first has two recorded doses."""
    register(c, [resident(MINATO, f"T000{i}", f"500000000{i}") for i in range(1, 10)])
    record(c, [dose_row(MINATO, "5000000001", 1, "20210701"),
               dose_row(MINATO, "5000000001", 2, "20210722")])
    return [one(c, addressee_number=f"T000{i}")["resident_id"] for i in range(1, 10)]


def listing(c, other, people):
    doses = doses_of(c, people[0])
    equal([(d["dose_number"], d["vaccinated_on"], d["state"], d["version"], d["maker"],
            d["municipality_code"], d["coupon_number"]) for d in doses],
          [(1, "2021-07-01", "recorded", 1, "ファイザー", MINATO, "5000000001"),
           (2, "2021-07-22", "recorded", 1, "ファイザー", MINATO, "5000000001")],
          "a resident's doses in order")
    ok(all(d["reasons"] and d["reasons"][0]["code"] == "registered_late"
           and d["reasons"][0]["detail"] for d in doses), "a warning says why in words", doses)
    equal(doses_of(c, people[1]), [], "nobody else has them")
    for client, what, resident_id in ((c, "an unknown resident", NOBODY), (c, "no id", "x"),
                                      (other, "another municipality's resident", people[0])):
        problem(client.get(f"/v1/residents/{resident_id}/doses"), 404, "not_found",
                f"doses of {what}: 404")
    return doses


def correcting(c, other, doses):
    dose = doses[1]
    url = f"/v1/doses/{dose['dose_id']}"
    body = {"lot": "FF9999", "reason": "シールと照合"}
    for what, headers, status, code in (
            ("without If-Match", {}, 428, "if_match_required"),
            ("with a stale version", tag(5), 412, "stale_version"),
            ("with a malformed version", {"If-Match": "x"}, 400, "bad_request")):
        problem(c.request("PUT", url, body, headers=headers), status, code, f"PUT {what}: {status}")
    for what, change, status, code in (
            ("no reason", {"reason": None}, 422, "reason_required"),
            ("an empty reason", {"reason": ""}, 422, "reason_required"),
            ("a future day", {"vaccinated_on": "2199-01-01"}, 422, "R112"),
            ("no such day", {"vaccinated_on": "2021-02-30"}, 422, "R111"),
            ("an unknown product", {"product": "aspirin"}, 422, "R132"),
            ("an empty lot", {"lot": ""}, 422, "R130"),
            ("dose 10", {"dose_number": 10}, 422, "R120"),
            ("dose 0", {"dose_number": 0}, 422, "R120"),
            ("another status", {"status": "maybe"}, 422, "bad_field"),
            ("another coupon", {"coupon_number": "5000000002"}, 400, "unknown_field"),
            ("a taken turn", {"dose_number": 1}, 409, "conflict"),
            ("a wrong type", {"lot": 5}, 422, "bad_field")):
        sent = {k: v for k, v in dict(body, **change).items() if v is not None}
        problem(c.request("PUT", url, sent, headers=tag(1)), status, code,
                f"PUT with {what} is refused")
    for client, what, dose_id in ((c, "an unknown dose", NOBODY), (c, "no id", "x"),
                                  (other, "another municipality's dose", dose["dose_id"])):
        problem(client.request("PUT", f"/v1/doses/{dose_id}", body, headers=tag(1)), 404,
                "not_found", f"PUT of {what}: 404")
    answer = c.request("PUT", url, dict(body, vaccinated_on="2021-07-23", site="別会場",
                                        product="spikevax", physician="医師 二"), headers=tag(1))
    equal((answer.status, answer.headers["etag"], answer.json["lot"], answer.json["vaccinated_on"],
           answer.json["maker"], answer.json["changed_by"], answer.json["change_reason"]),
          (200, '"2"', "FF9999", "2021-07-23", "武田/モデルナ", "minato-1", "シールと照合"),
          "C147 PUT makes a new version with who and why")
    history = c.get(url + "/history")
    equal([(v["version"], v["lot"], v["vaccinated_on"]) for v in history.json["versions"]],
          [(1, "FF3620", "2021-07-22"), (2, "FF9999", "2021-07-23")],
          "C74 the history keeps every version")
    for client, what, dose_id in ((c, "an unknown dose", NOBODY),
                                  (other, "another municipality's", dose["dose_id"])):
        problem(client.get(f"/v1/doses/{dose_id}/history"), 404, "not_found",
                f"history of {what}: 404")


def all_at_once(stack, c, dose_id):
    """100 concurrent PUTs on one version: exactly one success."""
    clients = [stack.terminal(f"lgwan-{MINATO}") for _ in range(100)]
    for x in clients:
        x.token = c.token
        x.get("/v1/vaccines")
    url = f"/v1/doses/{dose_id}"
    answers = together(100, lambda i: clients[i].request(
        "PUT", url, {"lot": f"FF{i:04d}", "reason": "同時"}, headers=tag(1)))
    equal(sorted(getattr(a, "status", repr(a)) for a in answers), [200] + [412] * 99,
          "100 PUTs on one version: exactly one success")
    versions = c.get(url + "/history").json["versions"]
    equal(len(versions), 2, "and one new version")
    key, body = str(uuid.uuid4()), {"reason": "同時取消"}
    answers = together(100, lambda i: clients[i].post(url + ":cancel", body, key=key,
                                                      headers=tag(2)))
    equal({(a.status, a.body) for a in answers}, {(200, answers[0].body)},
          "100 identical cancels with one key: one answer")
    equal(len(c.get(url + "/history").json["versions"]), 3, "and one effect")
    for x in clients:
        x.close()


def cancelling(stack, c, other, people):
    record(c, [dose_row(MINATO, "5000000002", 1), dose_row(MINATO, "5000000002", 2, "20210722")])
    first, second = doses_of(c, people[1])
    url = f"/v1/doses/{first['dose_id']}:cancel"
    reason = {"reason": "別人の接種券"}
    problem(c.post(url, reason, headers=tag(1)), 400, "idempotency_key_required",
            "cancel without Idempotency-Key is refused")
    problem(c.post(url, reason, key=True), 428, "if_match_required", "cancel without If-Match: 428")
    problem(c.post(url, reason, key=True, headers=tag(3)), 412, "stale_version",
            "cancel with a stale version: 412")
    problem(c.post(url, {"reason": ""}, key=True, headers=tag(1)), 422, "reason_required",
            "cancel without a reason is refused")
    problem(other.post(url, reason, key=True, headers=tag(1)), 404, "not_found",
            "C121 another municipality's dose cannot be cancelled")
    key = str(uuid.uuid4())
    answer = c.post(url, reason, key=key, headers=tag(1))
    equal((answer.status, answer.json["state"], answer.json["version"]), (200, "cancelled", 2),
          "cancel is a new version")
    again = c.post(url, reason, key=key, headers=tag(1))
    equal((again.status, again.body), (200, answer.body), "the same key gives the same answer")
    problem(c.post(url, {"reason": "別の理由"}, key=key, headers=tag(1)), 409,
            "idempotency_key_reused", "the same key with another body: 409")
    problem(c.post(f"/v1/doses/{second['dose_id']}:cancel", reason, key=key, headers=tag(1)), 409,
            "idempotency_key_reused", "the same key for another dose: 409")
    clerk = stack.add_user("minato-second-clerk", MINATO, ["municipal_staff"], "x-applicant", "minato-approver",
                           "窓口", "別の 担当", "resident.read dose.read dose.correct")
    stack.demo["users"].append(clerk)
    problem(stack.staff(MINATO, "minato-second-clerk").post(url, reason, key=key, headers=tag(1)), 409,
            "idempotency_key_reused", "C67 the same key and body from another person: no answer that was not theirs")
    problem(c.post(url, reason, key=True, headers=tag(2)), 409, "conflict",
            "a cancelled dose cannot be cancelled again")
    problem(c.request("PUT", f"/v1/doses/{first['dose_id']}", {"lot": "X", "reason": "x"},
                      headers=tag(2)), 409, "conflict", "nor corrected")
    equal([d["dose_number"] for d in doses_of(c, people[1])], [2], "it is in no list")
    equal([d["state"] for d in doses_of(c, people[1], True)], ["cancelled", "recorded"],
          "but kept, for who asks for everything")
    ok(b",20210701,5000000002," not in c.get("/v1/exports/ledger.csv").body
       and b",20210722,5000000002," in c.get("/v1/exports/ledger.csv").body,
       "a cancelled dose is in no export")
    look = c.post("/v1/certificates:lookup", {"coupon_number": "5000000002",
                                              "purpose": "certificate"}).json
    equal([d["dose_number"] for d in look["doses"]], [2], "nor in a certificate")
    record(c, [dose_row(MINATO, "5000000002", 1)])
    back = [d for d in doses_of(c, people[1]) if d["dose_number"] == 1]
    equal([(d["dose_id"], d["version"], d["state"], d["reasons"][0]["code"]) for d in back],
          [(first["dose_id"], 3, "review", "reinstated_after_cancel")],
          "the same dose again after the cancel: the same id, version + 1, for review")


def moving(c, other, people):
    record(c, [dose_row(MINATO, "5000000003", 1), dose_row(MINATO, "5000000005", 1, "20210801")])
    dose = doses_of(c, people[2])[0]
    url = f"/v1/doses/{dose['dose_id']}:move"
    reason = {"reason": "券番号の読み違い"}
    for what, body, status, code in (
            ("no target", reason, 422, "missing_field"),
            ("two targets", dict(reason, to_resident_id=people[3], to_coupon_number="5000000004"),
             422, "missing_field"),
            ("an unknown coupon", dict(reason, to_coupon_number="9999999999"), 404, "not_found"),
            ("an unknown resident", dict(reason, to_resident_id=NOBODY), 404, "not_found"),
            ("no id", dict(reason, to_resident_id="x"), 404, "not_found"),
            ("no reason", {"to_coupon_number": "5000000004"}, 422, "reason_required")):
        problem(c.post(url, body, key=True, headers=tag(1)), status, code,
                f"move with {what} is refused")
    target = dict(reason, to_coupon_number="5000000004")
    problem(c.post(url, target, headers=tag(1)), 400, "idempotency_key_required",
            "move without Idempotency-Key is refused")
    problem(c.post(url, target, key=True), 428, "if_match_required", "move without If-Match: 428")
    problem(c.post(url, target, key=True, headers=tag(2)), 412, "stale_version",
            "move with a stale version: 412")
    problem(other.post(url, target, key=True, headers=tag(1)), 404, "not_found",
            "move of another municipality's dose: 404")
    answer = c.post(url, target, key=True, headers=tag(1))
    equal((answer.status, answer.json["state"], answer.json["coupon_number"],
           answer.json["resident_id"]), (200, "recorded", "5000000004", people[3]),
          "move gives the dose to the other coupon's holder")
    equal([doses_of(c, people[2]), [d["dose_id"] for d in doses_of(c, people[3])]],
          [[], [dose["dose_id"]]], "it left the one and is with the other")
    equal([v["coupon_number"] for v in c.get(url.replace(":move", "/history")).json["versions"]],
          ["5000000003", "5000000004"], "the history says from where")
    answer = c.post(url, dict(reason, to_resident_id=people[4]), key=True, headers=tag(2))
    equal((answer.status, answer.json["state"]), (200, "conflict"),
          "moved to someone who has that turn, it is a conflict: nothing is overwritten")
    conflicts = c.get("/v1/reviews?kind=conflict").json["reviews"]
    equal([(x["review_id"], x["against"]["vaccinated_on"]) for x in conflicts],
          [(dose["dose_id"], "2021-08-01")], "and on the work list beside what stands against it")


def settling(c, other, people):
    conflict = c.get("/v1/reviews?kind=conflict").json["reviews"][0]
    url = f"/v1/reviews/{conflict['review_id']}:settle"
    for what, body, status, code in (
            ("no decision", {"reason": "x"}, 422, "missing_field"),
            ("another decision", {"decision": "perhaps", "reason": "x"}, 422, "bad_field"),
            ("no reason", {"decision": "accept"}, 422, "reason_required")):
        problem(c.post(url, body, key=True), status, code, f"settle with {what} is refused")
    accept = {"decision": "accept", "reason": "予診票を確認"}
    problem(c.post(url, accept), 400, "idempotency_key_required",
            "settle without Idempotency-Key is refused")
    problem(other.post(url, accept, key=True), 404, "not_found",
            "settle of another municipality's: 404")
    problem(c.post(f"/v1/reviews/{NOBODY}:settle", accept, key=True), 404, "not_found",
            "settle of an unknown one: 404")
    key = str(uuid.uuid4())
    answer = c.post(url, accept, key=key)
    equal((answer.status, answer.json["state"]), (200, "recorded"), "accept: this claim is the dose")
    equal([(d["dose_id"] == conflict["review_id"], d["vaccinated_on"])
           for d in doses_of(c, people[4])], [(True, "2021-07-01")], "it is in force")
    equal(sorted(d["state"] for d in doses_of(c, people[4], True)), ["cancelled", "recorded"],
          "the other is cancelled, kept, with the reason")
    equal(c.post(url, accept, key=key).body, answer.body, "the same key: the same answer")
    problem(c.post(url, {"decision": "reject", "reason": "x"}, key=True), 409, "conflict",
            "a settled one cannot be settled again")
    record(c, [dose_row(MINATO, "5000000006", 2, "20210722")])
    review = [x for x in c.get("/v1/reviews?kind=review").json["reviews"]
              if x["dose"]["coupon_number"] == "5000000006"]
    equal([x["reasons"][0]["code"] for x in review], ["previous_dose_missing"],
          "a second dose without the first is listed with its reason")
    answer = c.post(f"/v1/reviews/{review[0]['review_id']}:settle",
                    {"decision": "reject", "reason": "別人"}, key=True)
    equal((answer.json["state"], doses_of(c, people[5])), ("cancelled", []), "reject: it is not")
    record(c, [dose_row(MINATO, "5900000001", 1)])
    waiting = c.get("/v1/reviews?kind=waiting_for_coupon").json["reviews"]
    equal([(x["kind"], x["reasons"][0]["code"]) for x in waiting],
          [("waiting_for_coupon", "coupon_not_registered")], "C116 a waiting dose is listed")
    problem(c.post(f"/v1/reviews/{waiting[0]['review_id']}:settle", accept, key=True), 409,
            "conflict", "a waiting one cannot be accepted: its coupon must be registered")
    problem(c.get("/v1/reviews?after=x"), 400, "bad_request", "a malformed cursor is refused")
    equal(other.get("/v1/reviews").json["reviews"], [], "C01 another municipality's list is its own")


def pages(c):
    """The work list comes in pages, each claim once."""
    record(c, [dose_row(MINATO, f"{5910000000 + i}", 1) for i in range(450)])
    record(c, [dose_row(MINATO, "5000000007", 3, "20220301")])
    seen, after, count = [], None, 0
    while count == 0 or after:
        page = c.get("/v1/reviews" + (f"?after={after}" if after else "")).json
        seen += [x["review_id"] for x in page["reviews"]]
        after, count = page["next"], count + 1
    total = len(seen)
    ok(total > 450 and len(set(seen)) == total and count >= 3,
       f"the work list of {total} comes in {count} pages, each claim once")


def receipts(stack, c, people):
    """What a tablet is told: outcomes of its receipts, moved once when a person or a coupon settles
    them."""
    tablet = stack.tablet()
    line = lambda coupon, dose=1: residents.ocr_line(MINATO, coupon, dose)  # noqa: E731
    first = post_dose(tablet, line("5000000008"))
    equal(first["outcome"], "recorded", "a reading is recorded")
    equal(post_dose(tablet, line("5000000008"), site="別会場")["outcome"], "duplicate",
          "the same dose again is a duplicate, whatever the site")
    equal(post_dose(tablet, line("5000000008"), lot=" ｆｆ－3620")["outcome"], "duplicate",
          "lots are compared after normalisation")
    clash = post_dose(tablet, line("5000000008"), lot="FF1111")
    equal(clash["outcome"], "conflict", "another lot is a conflict, kept as a second claim")
    equal(post_dose(tablet, line("5000000008"), status="not_given")["outcome"], "recorded",
          "a visit without a shot does not occupy the turn")
    equal(post_dose(tablet, line("5000000008", 3), vaccinated_on="2022-03-01")["outcome"],
          "recorded_for_review", "a third dose without the second is kept for review")
    equal(post_dose(tablet, line("5000000009"), vaccinated_on="1950-01-01")["outcome"],
          "recorded_for_review", "a dose before birth is kept for review, not refused")
    dose = next(d for d in doses_of(c, people[7]) if d["dose_id"] == first["dose_id"])
    equal((dose["terminal"], dose["staff"]), ("tablet-1", "site-1"), "who read it, and on which terminal")
    equal((dose["read_by"], dose["origin"], dose["state"]), ("ocr", "tablet", "recorded"),
          "it is on the record with its origin")
    waiting = post_dose(tablet, line("5920000001"))
    doomed = post_dose(tablet, line("5920000002"))
    rejected = post_dose(tablet, line("5920000003"))
    equal([w["outcome"] for w in (waiting, doomed, rejected)], ["waiting_for_coupon"] * 3,
          "doses of coupons not yet registered wait")
    register(c, [resident(MINATO, "T0920", "5920000001")])

    def now(receipt):
        return tablet.get(f"/v1/doses/{receipt['receipt_id']}").json["outcome"]

    ok(until(lambda: now(waiting) == "recorded"), "registration of the coupon makes it recorded",
       now(waiting))
    held = {x["dose"]["coupon_number"]: x["dose"] for x in
            all_reviews(c) if x["kind"] == "waiting_for_coupon"}
    c.post(f"/v1/doses/{held['5920000002']['dose_id']}:cancel", {"reason": "読み違い"}, key=True,
           headers=tag(1))
    ok(until(lambda: now(doomed) == "cancelled"), "a waiting dose that is cancelled is final",
       now(doomed))
    c.post(f"/v1/reviews/{held['5920000003']['dose_id']}:settle",
           {"decision": "reject", "reason": "読み違い"}, key=True)
    ok(until(lambda: now(rejected) == "cancelled"), "so is one that is rejected", now(rejected))
    conflict = next(x for x in all_reviews(c) if x["kind"] == "conflict"
                    and x["dose"]["coupon_number"] == "5000000008")
    c.post(f"/v1/reviews/{conflict['review_id']}:settle",
           {"decision": "accept", "reason": "予診票"}, key=True)
    equal([(d["lot"], d["state"]) for d in doses_of(c, people[7])
           if d["dose_number"] == 1 and d["status"] == "given"], [("FF1111", "recorded")],
          "the settled conflict is the dose")
    equal(now(clash), "conflict", "a final outcome of a receipt never moves again")


def all_reviews(c):
    found, after = [], None
    while True:
        page = c.get("/v1/reviews" + (f"?after={after}" if after else "")).json
        found += page["reviews"]
        after = page["next"]
        if not after:
            return found


def logged(stack):
    log = access_log(stack.staff(MINATO, "minato-approver"))
    for act, result in (("dose.list", "ok"), ("dose.correct", "corrected"),
                        ("dose.correct", "stale_version"), ("dose.cancel", "cancelled"),
                        ("dose.move", "moved"), ("dose.history", "ok"), ("review.list", "ok"),
                        ("review.settle", "accepted"), ("review.settle", "rejected"),
                        ("review.settle", "conflict"), ("dose.record", "recorded"),
                        ("dose.record", "waiting_for_coupon")):
        ok(any((e["act"], e["result"]) == (act, result) for e in log),
           f"C67 logged: {act} {result}")
    ok(metrics(stack)['vrs_outcomes_total{outcome="conflict"}'] >= 1, "outcomes are counted by kind")


def main(stack):
    c, other = stack.staff(MINATO), stack.staff(FUJISAWA)
    people = setting(c)
    doses = listing(c, other, people)
    correcting(c, other, doses)
    all_at_once(stack, c, doses[0]["dose_id"])
    cancelling(stack, c, other, people)
    moving(c, other, people)
    settling(c, other, people)
    receipts(stack, c, people)
    pages(c)
    logged(stack)


run(main, count=20)
