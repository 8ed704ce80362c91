#!/usr/bin/env python3
"""The coupon doctor and the pre-shot check: what a site may ask about its own municipality's coupons, and
what it is never told."""
from case import FUJISAWA, MINATO, access_log, equal, ok, one, post_dose, problem, register, resident, run

CHECK, PRE_SHOT = "/v1/coupons:check", "/v1/coupons:pre-shot"
QUOTA = 40


def line(n, dose=1, code=MINATO):
    return f"2{dose}{code}{n:010d}"


def check(t, text, **more):
    answer = t.post(CHECK, {"ocr_line": text, **more})
    assert answer.status == 200, answer
    ok(set(answer.json) == {"status", "candidates"} and len(answer.json["candidates"]) <= 3 + 5
       and all(set(c) == {"ocr_line", "changes"} for c in answer.json["candidates"]),
       "a status and candidates, never a name or a birth date", answer)
    return answer.json["status"], [c["ocr_line"] for c in answer.json["candidates"]]


def doctor(t):
    equal(check(t, line(7100000001)), ("ok", []), "an issued coupon: ok at once")
    equal(check(t, line(7100000004)), ("candidates", [line(7100000001)]),
          "1 read as 4: valid, unknown; the one issued coupon it may be is offered")
    equal(check(t, line(7100000044)), ("candidates", [line(7100000011)]),
          "two digits misread: also found")
    equal(check(t, line(7255555555)), ("unknown", []), "nothing like it is issued: unknown")
    status, lines = check(t, line(7100000001)[:17] + "I")
    equal((status, lines[0]), ("candidates", line(7100000001)), "a letter in the line: the issued one first")
    status, lines = check(t, line(7333333333))
    equal((status, lines), ("unknown", []), "more than five fit: none is shown")
    status, lines = check(t, line(7388888888), confidence=[255] * 18, second=[-1] * 18)
    equal((status, lines), ("unknown", []), "also with the reader's doubts")
    status, lines = check(t, line(7400000000))
    equal((status, len(lines)), ("candidates", 3), "five fit: three are shown")
    second = [-1] * 17 + [2]
    status, lines = check(t, line(7100000003), second=second, confidence=[255] * 17 + [90])
    equal((status, lines), ("candidates", [line(7100000002), line(7100000005)]),
          "the reader's second choice counts, though no table knows it")
    for bad in ({"confidence": [1] * 17}, {"confidence": [300] * 18}, {"second": ["1"] * 18},
                {"second": [10] * 18}):
        problem(t.post(CHECK, {"ocr_line": line(7100000004), **bad}), 422, "bad_field",
                f"doubts of another form: {list(bad)[0]}")


def own_only(stack, t):
    equal(check(t, line(7100000004, code=FUJISAWA)), ("unknown", []),
          "C02 of another municipality no candidates, though there is one")
    equal(check(t, line(7100000001, code=FUJISAWA)), ("ok", []), "only known or not, as ever")
    problem(t.post(PRE_SHOT, {"ocr_line": line(7100000001, code=FUJISAWA), "product": "comirnaty"}), 403,
            "other_municipality", "C02 no pre-shot check of another municipality")


def pre_shot(stack, t):
    def ask(n, product="comirnaty"):
        answer = t.post(PRE_SHOT, {"ocr_line": line(n), "product": product})
        assert answer.status == 200, answer
        return answer.json

    equal(ask(7100000001), {"doses_so_far": 0, "next_dose_number": 1, "earliest_next_on": None},
          "before the shot: none so far")
    post_dose(t, line(7100000001), vaccinated_on="2021-07-01")
    equal(ask(7100000001), {"doses_so_far": 1, "next_dose_number": 2, "earliest_next_on": "2021-07-19"},
          "after dose 1: the next number and the first day that the product allows")
    equal(ask(7100000001, "spikevax")["earliest_next_on"], "2021-07-21", "by the product that is meant")
    problem(t.post(PRE_SHOT, {"ocr_line": line(7255555555), "product": "comirnaty"}), 404, "not_found",
            "an unknown coupon")
    problem(t.post(PRE_SHOT, {"ocr_line": line(7100000001), "product": "x"}), 422, "R132", "an unknown product")
    problem(t.post(PRE_SHOT, {"ocr_line": "21", "product": "comirnaty"}), 422, "R104", "no coupon at all")


def interval(t):
    def ask(n, on, dose=2, product="comirnaty", **more):
        return t.post(CHECK, {"ocr_line": line(n, dose, **more), "product": product, "vaccinated_on": on}).json

    ok_, early = {"status": "ok", "candidates": []}, "2021-07-19"
    equal(ask(7100000001, "2021-07-10"), {**ok_, "earliest_on": early}, "too soon after dose 1: the first day that is not")
    equal(ask(7100000001, "20210718"), {**ok_, "earliest_on": early}, "to the last day before")
    equal(ask(7100000001, early), ok_, "on that day nothing is told")
    equal(ask(7100000001, "2021-07-20", product="spikevax"), {**ok_, "earliest_on": "2021-07-21"}, "by the product that is meant")
    equal(ask(7100000001, "2021-07-10", dose=3), ok_, "nor of a dose whose predecessor is not known")
    equal(ask(7100000001, "2021-07-01", dose=1), {"status": "dose_already_recorded", "candidates": []}, "nor of the one that is recorded")
    equal(ask(7100000011, "2021-07-10"), ok_, "nor of somebody without doses")
    equal(t.post(CHECK, {"ocr_line": line(7100000001, 2), "vaccinated_on": "2021-07-10"}).json, ok_, "nor without a product")
    equal(ask(7100000001, "2021-07-10", code=FUJISAWA), ok_, "C02 nor of another municipality's coupon")
    problem(t.post(CHECK, {"ocr_line": line(7100000001, 2), "product": "x"}), 422, "R132", "an unknown product")
    problem(t.post(CHECK, {"ocr_line": line(7100000001, 2), "vaccinated_on": "2021-02-30"}), 422, "R111", "no such day")


def logged(stack, t, clerk):
    person = one(clerk, coupon_number="7100000001")
    mine = clerk.get(f"/v1/residents/{person['resident_id']}/access-log")
    acts = [e["act"] for e in access_log(stack.staff(MINATO, "minato-approver"))]
    ok("coupon.doctor" in acts and "coupon.pre_shot" in acts,
       "C60 candidates shown and pre-shot checks are logged", acts[-20:])
    if mine.status == 200:
        entries = mine.json.get("entries", [])
        acts = {e.get("act") for e in entries}
        ok({"coupon.doctor", "coupon.pre_shot"} <= acts or not entries,
           "C60 and found under the person that they were about", acts)


def quota(stack):
    t = stack.tablet("tablet-2", "site-2")
    equal(t.post(CHECK, {"ocr_line": line(7100000001, 2)}).json["status"], "ok", "known coupons cost nothing")
    got = [t.post(CHECK, {"ocr_line": line(7200000000 + n)[:17] + "O"}) for n in range(0, 20 * QUOTA, 20)]
    equal([a.status for a in got], [200] * QUOTA, "as many as the quota of a day")
    problem(t.post(CHECK, {"ocr_line": line(7100000001)[:17] + "O"}), 429, "too_many_requests",
            "C14 then a line that fails gets none")
    problem(t.post(PRE_SHOT, {"ocr_line": line(7100000001), "product": "comirnaty"}), 429, "too_many_requests",
            "C14 nor is there a pre-shot check")
    equal(t.post(CHECK, {"ocr_line": line(7100000004)}).json, {"status": "unknown", "candidates": []},
          "a valid line is answered as ever, without candidates")
    equal(t.post(CHECK, {"ocr_line": line(7100000001, 2), "product": "comirnaty", "vaccinated_on": "2021-07-10"}).json,
          {"status": "ok", "candidates": []}, "C14 and no day is told")


def main(stack):
    clerk = stack.staff(MINATO)
    dense = [7388888888 - 3 * 10 ** i for i in range(9)]  # 8 → 5: what 73888… may be
    dense += [7333333333 + 5 * 10 ** i for i in range(9)]  # 3 → 8
    five = [7400000000 + d * 10 ** i for d, i in ((8, 0), (8, 1), (8, 2), (6, 3), (6, 4))]
    numbers = [7100000001, 7100000002, 7100000003 + 4, 7100000011] + dense + five
    register(clerk, [resident(MINATO, f"D-{i}", f"{n:010d}") for i, n in enumerate(numbers)]
             + [resident(MINATO, "D-q", "7100000005")])
    register(stack.staff(FUJISAWA), [resident(FUJISAWA, "D-1", "7100000001")])
    t = stack.tablet()
    doctor(t)
    own_only(stack, t)
    pre_shot(stack, t)
    interval(t)
    logged(stack, t, clerk)
    quota(stack)


run(main, count=20, overrides={"tablet-api": {"doctor_per_day": QUOTA}, "vrs-server": {"doctor_per_day": QUOTA}})
