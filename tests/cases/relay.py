#!/usr/bin/env python3
"""POST /v1/doses:relay: readings that a tablet sealed because they had to wait (sealed here by the
app's own code).  One effect with the same key in the clear, from another terminal a duplicate; who
read it survives; what is wrong inside is kept for a person; what cannot be opened never passes."""
import base64
import json
import os
import subprocess
import uuid

from case import MINATO, ROOT, doses_of, equal, ok, one, problem, register, resident, run, until


def reading(coupon, **more):
    return dict({"ocr_line": f"21{MINATO}{coupon}", "status": "given", "vaccinated_on": "2021-07-01",
                 "product": "comirnaty", "lot": "FF3620", "site": "会場", "read_by": "ocr",
                 "read_at": "2021-07-01T01:00:00Z"}, **more)


def seal(inbox_key, key, dose, municipality=MINATO):
    line = json.dumps({"key": key, "municipality": municipality, "dose": dose})
    r = subprocess.run(["node", "--no-warnings", os.path.join(ROOT, "tests/lib/seal_reading.mjs"), inbox_key],
                       input=line, text=True, capture_output=True, check=True)
    return {"idempotency_key": key, "municipality_code": municipality, "sealed": r.stdout.strip()}


def main(stack):
    clerk, t = stack.staff(MINATO), stack.tablet()
    coupons = [f"83000000{n:02d}" for n in range(12)]
    register(clerk, [resident(MINATO, f"R{n}", c) for n, c in enumerate(coupons)])
    inbox_key = t.get("/v1/app-state").json["inbox_key"]

    def doses(coupon):
        return doses_of(clerk, one(clerk, coupon_number=coupon)["resident_id"])

    def sealed(coupon, key=None, **more):
        dose = dict(reading(coupon, **more), terminal=more.get("terminal", "tablet-1"), staff=more.get("staff", "site-1"))
        return seal(inbox_key, key or str(uuid.uuid4()), dose)

    def settled(answer):
        receipt = answer.json["receipt_id"]
        until(lambda: t.get(f"/v1/doses/{receipt}").json["outcome"] != "pending")
        return t.get(f"/v1/doses/{receipt}").json["outcome"]

    body = sealed(coupons[0], staff="site-9")
    a = t.post("/v1/doses:relay", body)
    equal(settled(a), "recorded", "a sealed reading is recorded")
    d = doses(coupons[0])
    equal([(x["lot"], x["origin"], x["state"]) for x in d], [("FF3620", "relay", "recorded")], "marked as relayed")
    again = t.post("/v1/doses:relay", body)
    equal(again.json["receipt_id"], a.json["receipt_id"], "the same key again has the same receipt")

    key = str(uuid.uuid4())
    plain = t.post("/v1/doses", reading(coupons[1]), key=key)
    lost = t.post("/v1/doses:relay", sealed(coupons[1], key=key))
    equal(lost.json["receipt_id"], plain.json["receipt_id"],
          "a reading whose answer was lost, relayed after the restart: the first receipt")
    equal(len(doses(coupons[1])), 1, "and one dose")

    two = stack.tablet("tablet-2", "site-2")
    other = two.post("/v1/doses:relay", body)
    until(lambda: two.get(f"/v1/doses/{other.json['receipt_id']}").json["outcome"] != "pending")
    equal(two.get(f"/v1/doses/{other.json['receipt_id']}").json["outcome"], "duplicate",
          "brought by a second tablet as well: a duplicate")

    wrong = {"product": "unknown", "lot": " ", "site": "", "vaccinated_on": "2021-02-31"}
    for n, (name, value) in enumerate(wrong.items()):
        answer = t.post("/v1/doses:relay", sealed(coupons[2 + n], **{name: value}))
        equal(settled(answer), "recorded_for_review", f"{name} is wrong inside: kept for a person, not refused")
        d = doses(coupons[2 + n])
        ok(d and "relayed_reading_wrong" in json.dumps(d), f"… and the work list says why ({name})", d)

    before = json.dumps(clerk.get("/v1/reviews").json)
    junk = dict(body, idempotency_key=str(uuid.uuid4()))
    a = t.post("/v1/doses:relay", junk)  # sealed under another key: its AAD does not fit
    raw = bytearray(base64.b64decode(body["sealed"]))
    raw[-1] ^= 1
    b = t.post("/v1/doses:relay", dict(body, idempotency_key=str(uuid.uuid4()), sealed=base64.b64encode(raw).decode()))
    moved = t.post("/v1/doses:relay", dict(sealed(coupons[7]), municipality_code="142051"))
    equal([x.status for x in (a, b, moved)], [202, 202, 202], "what cannot be opened stays pending (and raises an alert)")
    equal([t.get(f"/v1/doses/{x.json['receipt_id']}").json["outcome"] for x in (a, b, moved)], ["pending"] * 3,
          "moved to another key, changed, or sent to another town: never recorded")
    equal(json.dumps(clerk.get("/v1/reviews").json), before, "nothing of it reaches a person's list")

    for change, code in (({"sealed": "x"}, "bad_field"), ({"sealed": ""}, "bad_field"),
                         ({"municipality_code": "999999"}, "R105")):
        problem(t.post("/v1/doses:relay", dict(body, **change)), 422, code, f"refused at the door: {change}")
    problem(t.post("/v1/doses:relay", dict(body, idempotency_key="x")), 400, "idempotency_key_required",
            "a key of another form")


run(main, overrides={"tablet-api": {"answer_wait_ms": 4000}})
