"""C148: the monthly report that the machine makes of each municipality: exact counts of acts and
refusals, people, imports, inquiries and alerts; nobody's data in it, nothing of other towns."""

from alert_receiver import journal
from case import (FUJISAWA, MINATO, day_in_japan, equal, find, inquiry, ok, personal_number,
                  problem, register, resident, run, until)


def act(report, name):
    return next((a for a in report["acts"] if a["act"] == name), {"count": 0, "refused": 0})


def main(stack):
    approver, clerk = stack.staff(MINATO, "minato-approver"), stack.staff(MINATO)
    before = approver.get("/v1/operation-report").json
    month = day_in_japan()[:7]
    equal((before["month"], before["municipality_code"]), (month, MINATO),
          "C148 the present month of the own municipality")
    for _ in range(5):
        find(clerk, coupon_number=stack.demo["samples"][0]["coupon_number"])
    clerk.get("/v1/settings")  # no right
    register(clerk, [resident(MINATO, f"5{i:09d}", f"5{i:09d}") for i in range(7)])
    clerk.post("/v1/inquiries", inquiry(personal_number(), FUJISAWA), key=True)
    for _ in range(8):
        stack.terminal(f"lgwan-{MINATO}").login("minato-1", "wrong wrong wrong")
    until(lambda: any(a["rule"] == "login_failed" and a["subject"].startswith(MINATO)
                      for a in journal(stack)), 20)
    now = {}

    def looked():
        now.update(approver.get("/v1/operation-report?month=" + month).json)
        return now["alerts"]
    until(looked)
    equal(act(now, "resident.search")["count"] - act(before, "resident.search")["count"], 5,
          "C148 five searches are five")
    equal(now["imported_rows"] - before["imported_rows"], 7, "C148 rows imported")
    equal(now["inquiries_asked"] - before["inquiries_asked"], 1, "C148 inquiries")
    ok(now["refused"] - before["refused"] >= 9, "C148 refusals: eight log-ins, one without the right",
       (before["refused"], now["refused"]))
    ok(sum(a["count"] for a in now["alerts"] if a["rule"] == "login_failed") >= 1 and
       all(any("ぁ" <= c <= "ん" for c in a["name"]) for a in now["alerts"]),
       "C148 alerts, with what they mean in Japanese", now["alerts"])
    ok(now["users"] >= 2 and now["entries"] == sum(a["count"] for a in now["acts"]),
       "C148 people; the acts sum up to all entries", now)
    equal(stack.staff(FUJISAWA, "fujisawa-approver").get("/v1/operation-report").json["imported_rows"],
          before["imported_rows"], "C148 C01 another town's report knows nothing of it")
    old = approver.get("/v1/operation-report?month=2020-01").json
    equal((old["entries"], old["acts"], old["alerts"]), (0, [], []), "C148 a month without anything")
    for wrong in ("2020-13", "2020", "2020-1-1", "x"):
        ok(approver.get("/v1/operation-report?month=" + wrong).status == 422,
           f"C148 no such month: {wrong}")
    problem(clerk.get("/v1/operation-report"), 403, "forbidden", "C148 a right of its own")


run(main)
