#!/usr/bin/env python3
"""Keeping and ending (C123–C125, C132) under a moved clock: years after death or move-out, five at
the least, by itself only where the municipality wants it."""
import datetime

from case import (FUJISAWA, MINATO, access_log, dose_row, doses_of, equal, find, ok, one, post_dose, problem, record,
                  register, resident, run, tag, until)
import residents

UTC = datetime.timezone.utc
DIED = datetime.date(2021, 9, 1)


def at(day, hour=3):
    """Noon in Japan."""
    return datetime.datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def put_settings(c, **values):
    now = c.get("/v1/settings")
    answer = c.request("PUT", "/v1/settings", values,
                       headers={"If-Match": now.headers["etag"]})
    return answer


def expired(c):
    """Ours: the demonstration's people die and move, too."""
    return sorted(a for a in (r["resident"]["addressee_number"] for r in c.get("/v1/retention").json["residents"])
                  if a.startswith("R-"))


def main(stack):
    first = datetime.date(2021, 10, 1)
    stack.set_clock(at(first))
    c, approver = stack.staff(MINATO), stack.staff(MINATO, "minato-approver")
    other, other_approver = stack.staff(FUJISAWA), stack.staff(FUJISAWA, "fujisawa-approver")
    people = [("R-dead", "5940000001", "2", "20210901"), ("R-moved", "5940000002", "1", "20210901"),
              ("R-here", "5940000003", "0", ""), ("R-later", "5940000004", "2", "20210930")]
    for code, clerk in ((MINATO, c), (FUJISAWA, other)):
        register(clerk, [resident(code, a, coupon, 異動区分=kind, 異動日=day) for a, coupon, kind, day in people])
        record(clerk, [dose_row(code, coupon, 1, "20210701") for _, coupon, _, _ in people])
    # C132: what the flags change is so with the next request
    tablet = stack.tablet()
    line = residents.ocr_line(MINATO, "5940000003", 2)
    check = lambda: tablet.post("/v1/coupons:check", {"ocr_line": line}).json.get("status")  # noqa: E731
    equal(until(lambda: check() == "ok", 20) and check(), "ok", "a coupon of somebody who is here")
    person = one(c, addressee_number="R-here")
    url = f"/v1/residents/{person['resident_id']}"
    c.post(url + ":flag", {"flag": "moved_out", "since": "2021-09-15", "to_municipality": FUJISAWA}, key=True, headers=tag(1))
    equal(check(), "moved_out",
          "C132 moved out: the next check of the coupon says so")
    dose = post_dose(tablet, line, vaccinated_on="2021-09-20")
    equal(dose["outcome"], "recorded_for_review", "C132 and a dose after it is for review at once")
    c.post(url + ":flag", {"flag": "moved_out", "clear": True}, key=True, headers=tag(2))
    ok(check() in ("ok", "dose_already_recorded"),
          "C132 cleared: so is that")
    # settings: bounds
    for years in (1, 4):
        answer = put_settings(approver, retention_years=years)
        ok(answer.status == 422, f"C123 {years} years are fewer than the law's five: refused", answer)
    equal(c.get("/v1/retention").json["years"], 0, "C123 nothing ends by itself unless a municipality says so")
    equal(expired(c), [], "C123 so the work list is empty")
    equal([put_settings(a, retention_years=5).status for a in (approver, other_approver)], [200, 200], "C123 five years")
    equal(put_settings(other_approver, retention_automatic=1).status, 200, "C123 one municipality wants it by itself")
    # five years less a day: nothing
    stack.set_clock(at(datetime.date(2026, 8, 31)))
    c, other = fresh(stack)
    runs = lambda: [e for e in access_log(stack.staff(FUJISAWA, "fujisawa-approver")) if e["act"] == "retention.erase" and e["addressee_number"].startswith("R-")]  # noqa: E731
    equal([expired(c), expired(other)], [[], []], "C123 five years less a day: nothing has ended")
    waited(stack, 6)
    equal(len(runs()), 0, "C123 and nothing is erased")
    equal(len(find(other, addressee_number="R-dead")), 1, "C123 the resident is there")
    # five years: one by itself, the other as a list
    stack.set_clock(at(datetime.date(2026, 9, 1)))
    c, other = fresh(stack)
    ok(until(lambda: len(runs()) == 2, 30), "C123 five years: two are erased by themselves", runs())
    equal([len(find(other, addressee_number=a)) for a, _, _, _ in people], [0, 0, 1, 1],
          "C123 the dead and the moved out, nobody whose time is not over")
    chief = stack.staff(FUJISAWA, "fujisawa-approver")
    erasures = [e for e in chief.get("/v1/erasures").json["erasures"] if "2026-09-01" in e["reason"] and e["counts"].get("dose")]
    equal([(e["automatic"], e["by"], e["counts"]["dose"]) for e in erasures], [(True, "system:retention", 1)] * 2,
          "C75 C123 each has its record")
    ok(all("2026-09-01" in e["reason"] and "5年" in e["reason"] for e in erasures), "C123 with the reason in words", erasures)
    equal(chief.get(f"/v1/erasures/{erasures[0]['erasure_id']}/certificate").status, 200, "C128 and its certificate")
    equal(expired(c), ["R-dead", "R-moved"], "C124 where it is off, they stand in the work list")
    listed = c.get("/v1/retention").json["residents"]
    ok(all("満了" in r["reason"] for r in listed) and "2026-09-01" in [r["ended_on"] for r in listed], "C124 with the reason", listed)
    equal(len(find(c, addressee_number="R-dead")), 1, "C124 and nothing is erased")
    person = one(c, addressee_number="R-dead")
    problem(stack.staff(FUJISAWA).get(f"/v1/residents/{person['resident_id']}"), 404, "not_found", "C121 nor seen from elsewhere")
    # idempotent, and cut off in the middle
    before = len(runs())
    stack.kill("vrs-server")
    stack.restart("vrs-server")
    c, other = fresh(stack)
    waited(stack, 7)
    equal(len(runs()), before, "C125 the run again finds nothing to do")
    for town, clerk in ((FUJISAWA, other),):
        register(clerk, [resident(town, f"R-many{i}", f"59500{i:05d}", 異動区分="2", 異動日="20200101") for i in range(300)])
    stack.set_clock(at(datetime.date(2026, 9, 2)))
    until(lambda: len(runs()) > before + 20, 30)
    stack.kill("vrs-server")
    stack.restart("vrs-server")
    c, other = fresh(stack)
    ok(until(lambda: len(runs()) == before + 300, 40), "C125 killed in the middle, it goes on: each of 300 is erased once",
       len(runs()) - before)
    erased = stack.staff(FUJISAWA, "fujisawa-approver").get("/v1/erasures").json["erasures"]
    equal((len(erased), len({e["erasure_id"] for e in erased})), (200, 200), "C75 each has its own record, a page at a time")
    equal(stack.command("verify-log", municipality_code=FUJISAWA)["ok"], True, "the log verifies")
    equal(doses_of(c, one(c, addressee_number="R-later")["resident_id"])[0]["dose_number"], 1, "others keep their doses")


def fresh(stack):
    """Sessions end when the clock jumps by years."""
    return stack.staff(MINATO), stack.staff(FUJISAWA)


def waited(stack, seconds):
    """The run looks at the date every five seconds; there is nothing else to wait for."""
    import time
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, seconds + 1)


run(main, count=20, valid_from="2021-01-01")
