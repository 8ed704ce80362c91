#!/usr/bin/env python3
"""A terminal's span of time, or a lot that was wrong all morning, mended in one act that was seen before."""
import datetime
import uuid

from case import (MINATO, access_log, doses_of, equal, ok, one, post_dose, problem, register, resident, run, until)

MEND = "/v1/doses:mend"
_coupons = iter(range(7600000001, 7600999999))


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(coupon, dose=1):
    return f"2{dose}{MINATO}{coupon}"


def question(start, change, **more):
    return {k: v for k, v in {"terminal": "tablet-1", "from": start, "to": now(), "change": change, "dry_run": True,
                              **more}.items() if v is not None}


def act(asked, preview, **more):
    return {**asked, "dry_run": False, "preview": preview, "reason": "午前のロット入力誤り", **more}


def lots(clerk, coupons):
    return [doses_of(clerk, one(clerk, coupon_number=c)["resident_id"])[0]["lot"] for c in coupons]


def people(clerk, n):
    coupons = [f"{next(_coupons):010d}" for _ in range(n)]
    register(clerk, [resident(MINATO, f"8{c[-8:]}", c) for c in coupons])
    return coupons


def wrong_lot(stack, clerk, t):
    coupons = people(clerk, 5)
    before = now()
    for c in coupons[:3]:
        post_dose(t, line(c), lot="FF3622")
    post_dose(t, line(coupons[3]), lot="EY5422")
    post_dose(stack.tablet("tablet-2", "site-2"), line(coupons[4]), lot="FF3622")
    asked = question(before, {"lot": "FF3620"}, lot="ｆｆ3622")
    seen = clerk.post(MEND, asked)
    equal((seen.status, seen.json["count"], seen.json["dry_run"]), (200, 3, True),
          "the preview: this terminal's doses of that lot, however it is spelled")
    equal([(d["before"], d["after"]) for d in seen.json["doses"]], [({"lot": "FF3622"}, {"lot": "FF3620"})] * 3,
          "each with before and after")
    equal(lots(clerk, coupons[:3]), ["FF3622"] * 3, "and nothing is changed yet")
    preview = seen.json["preview"]
    problem(clerk.post(MEND, act(asked, preview)), 400, "idempotency_key_required", "the act needs a key")
    problem(clerk.post(MEND, act(asked, preview, reason=" "), key=True), 422, "reason_required", "and a reason")
    problem(clerk.post(MEND, act(asked, "0" * 64), key=True), 409, "preview_outdated", "and the preview")
    problem(clerk.post(MEND, act(dict(asked, change={"lot": "FF0000"}), preview), key=True), 409,
            "preview_outdated", "of this very change")
    key = str(uuid.uuid4())
    done = clerk.post(MEND, act(asked, preview), key=key)
    equal((done.status, done.json["count"]), (200, 3), "the act")
    equal(lots(clerk, coupons), ["FF3620"] * 3 + ["EY5422", "FF3622"], "these three have the right lot, no other")
    again = clerk.post(MEND, act(asked, preview), key=key)
    equal(again.json, done.json, "the same key again: the same answer")
    problem(clerk.post(MEND, act(asked, preview), key=True), 409, "preview_outdated", "not twice under another")
    history = clerk.get(f"/v1/doses/{done.json['doses'][0]['dose_id']}/history").json["versions"]
    equal([v["lot"] for v in history], ["FF3622", "FF3620"], "the old version stays")
    ok(history[1]["changed_by"] == "minato-1" and history[1]["change_reason"] == "午前のロット入力誤り"
       and history[1].get("changed_at"), "with who, when and why", history[1])
    entries = [e for e in access_log(stack.staff(MINATO, "minato-approver")) if e["act"] == "dose.mend"
               and e["result"] == "corrected"]
    ok(len(entries) == 1 and entries[0]["count"] == 3 and "理由: 午前のロット入力誤り" in entries[0]["detail"]
       and "tablet-1" in entries[0]["detail"], "C60 C74 one entry of the log with the count and what was changed",
       entries)
    person = one(clerk, coupon_number=coupons[1])["resident_id"]
    mine = stack.staff(MINATO, "minato-approver").get(f"/v1/residents/{person}/access-log")
    ok(mine.status == 200 and "一括訂正" in mine.body.decode(), "C60 found under every person that it was about", mine)
    return coupons


def changed_meanwhile(clerk, t):
    coupons = people(clerk, 2)
    before = now()
    for c in coupons:
        post_dose(t, line(c), lot="FC3661")
    asked = question(before, {"vaccinated_on": "2021-07-02"})
    seen = clerk.post(MEND, asked).json
    equal(seen["count"], 2, "a wrong date of two doses")
    dose = seen["doses"][0]["dose_id"]
    fixed = clerk.request("PUT", f"/v1/doses/{dose}", {"physician": "医師 花子", "reason": "追記"},
                          headers={"If-Match": '"1"'})
    equal(fixed.status, 200, "somebody corrects one of them meanwhile")
    problem(clerk.post(MEND, act(asked, seen["preview"]), key=True), 409, "preview_outdated",
            "then the act is refused")
    days = {doses_of(clerk, one(clerk, coupon_number=c)["resident_id"])[0]["vaccinated_on"] for c in coupons}
    equal(days, {"2021-07-01"}, "and none of them is changed")


def cancel_all(clerk, t):
    coupons = people(clerk, 3)
    before = now()
    for c in coupons:
        post_dose(t, line(c))
    waiting = post_dose(t, line("7699999999"))
    equal(waiting["outcome"], "waiting_for_coupon", "one of them misread: its coupon is not registered")
    asked = question(before, {"cancel": True})
    seen = clerk.post(MEND, asked).json
    equal((seen["count"], {d["after"]["state"] for d in seen["doses"]}), (4, {"cancelled"}),
          "a misreading tablet's afternoon: all four, the waiting one too")
    done = clerk.post(MEND, act(asked, seen["preview"], reason="端末の読み取り不良"), key=True)
    equal(done.status, 200, "cancelled in one act")
    equal([doses_of(clerk, one(clerk, coupon_number=c)["resident_id"]) for c in coupons], [[], [], []],
          "no dose is left")
    final = until(lambda: t.get(f"/v1/doses/{waiting['receipt_id']}").json["outcome"] == "cancelled")
    ok(final, "the waiting one's receipt has become final")


def refused(stack, clerk):
    start = "2021-07-01T00:00:00+09:00"
    one_day = {"terminal": "tablet-1", "from": start, "to": "2021-07-02T00:00:00+09:00", "dry_run": True}
    for change, code in (({"lot": ""}, "R130"), ({"product": "x"}, "R132"), ({"vaccinated_on": "2999-01-01"}, "R112"),
                         ({"vaccinated_on": "x"}, "R110"), ({}, "bad_field"), ({"cancel": False}, "bad_field"),
                         ({"lot": "A", "cancel": True}, "bad_field")):
        problem(clerk.post(MEND, {**one_day, "change": change}), 422, code, f"a change of {change}")
    problem(clerk.post(MEND, {**one_day, "change": {"site": "x"}}), 400, "unknown_field", "of another field")
    problem(clerk.post(MEND, {**one_day, "to": start, "change": {"cancel": True}}), 422, "bad_field", "an empty span")
    problem(clerk.post(MEND, {**one_day, "to": "2021-08-01T00:00:00+09:00", "change": {"cancel": True}}), 422,
            "bad_field", "a month")
    problem(clerk.post(MEND, {k: v for k, v in {**one_day, "change": {"cancel": True}}.items() if k != "terminal"}),
            422, "missing_field", "everybody's")
    problem(stack.staff(MINATO, "minato-approver").post(MEND, {**one_day, "change": {"cancel": True}}), 403,
            "forbidden", "C40 not without the right dose.correct")


def main(stack):
    clerk = stack.staff(MINATO)
    t = stack.tablet()
    wrong_lot(stack, clerk, t)
    changed_meanwhile(clerk, t)
    cancel_all(clerk, t)
    refused(stack, clerk)


run(main, count=20)
