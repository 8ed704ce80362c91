#!/usr/bin/env python3
"""GET /v1/statistics: what a municipality counts of its own, what prefectures and the nation may see of it,
and that no answer of theirs tells anything of a person."""
import datetime

from case import (FUJISAWA, KAGOSHIMA, MINATO, dose_row, doses_of, equal, ok, one, personal_number, problem, record,
                  register, resident, run, tag, until)

KINDS = ("date", "product", "prefecture", "age")


def counts(client, by):
    answer = client.get(f"/v1/statistics?by={by}")
    if answer.status != 200:
        raise AssertionError(f"statistics {by}: {answer}")
    return {(c["key"], c["dose_number"]): c["count"] for c in answer.json["cells"]}


def fill(stack, code, people):
    """(birth, day, product) of each, all first doses."""
    c = stack.staff(code)
    first = 6_000_000_000 + int(code) * 1000
    register(c, [resident(code, f"統-{n}", str(first + n), 生年月日=birth) for n, (birth, _, _) in enumerate(people)])
    record(c, [dose_row(code, str(first + n), 1, day, 製品コード=product)
               for n, (_, day, product) in enumerate(people)])
    return c


def user(stack, name, role, scope=""):
    u = stack.add_user(name, "", [role], "operator-a", "operator-b", "県庁", f"{name} の人", scope=scope)
    stack.demo["users"].append(u)
    c = stack.terminal("lgwan-nation")
    equal(c.login(name, u["password"]).status, 201, f"C23 {name} logs in on a terminal without a municipality")
    return c


def own(stack, minato):
    equal(counts(minato, "date"), {("2021-07-01", 1): 14, ("2021-07-02", 1): 3}, "C08 a municipality's doses by date, as they are")
    equal(counts(minato, "product"), {("comirnaty", 1): 15, ("spikevax", 1): 2}, "by product")
    equal(counts(minato, "prefecture"), {("東京都", 1): 17}, "by prefecture")
    equal(counts(minato, "age"), {("20-29", 1): 2, ("60-69", 1): 12, ("100-", 1): 3}, "by age at the day of the dose")
    problem(minato.get("/v1/statistics?by=name"), 422, "bad_field", "C117 by nothing else")
    person = one(minato, addressee_number="統-0")
    d = doses_of(minato, person["resident_id"])[0]
    minato.post(f"/v1/doses/{d['dose_id']}:cancel", {"reason": "誤り"}, key=True, headers=tag(d["version"]))
    equal((counts(minato, "date")["2021-07-01", 1], counts(minato, "age")["60-69", 1]), (13, 11),
          "a cancelled dose is in no count")
    few = stack.add_user("minato-uncounted", MINATO, ["municipal_staff"], "x-applicant", "minato-approver", "課",
                         "数えない 人", "dose.read")
    stack.demo["users"].append(few)
    problem(stack.staff(MINATO, "minato-uncounted").get("/v1/statistics"), 403, "forbidden", "statistics are a right of their own")


def without_numbers(stack, minato):
    stack.kill("vrs-number")
    for by in KINDS:
        equal(minato.get(f"/v1/statistics?by={by}").status, 200, f"C08 statistics by {by} with the number program stopped")
    stack.restart("vrs-number")


def above(stack):
    nation = user(stack, "kuni-1", "nation")
    tokyo = user(stack, "tokyo-1", "prefecture", "13")
    kanagawa = user(stack, "kanagawa-1", "prefecture", "14")
    seen = counts(nation, "prefecture")
    equal(seen["鹿児島県", 1], "<10", "C117 a small cell is hidden")
    equal(seen["神奈川県", 1], "*", "C117 and beside a single one the next smallest, so that no total gives it away")
    equal(seen["東京都", 1], 16, "C06 larger ones are sums")
    equal(counts(nation, "date"), {("2021-07-01", 1): "*", ("2021-07-02", 1): "<10", ("2021-07-03", 1): "<10"},
          "C06 C117 over all municipalities; two small cells that add up to a small number are not left alone")
    equal(counts(tokyo, "age"), {("20-29", 1): "<10", ("60-69", 1): "*", ("100-", 1): "<10"}, "C06 a prefecture sees its own")
    equal(counts(kanagawa, "product"), {("comirnaty", 1): 12}, "C06 and no other's")
    equal(counts(kanagawa, "prefecture"), {("神奈川県", 1): 12}, "C06 nor its sum")
    as_of = nation.get("/v1/statistics").json["as_of"]
    record(stack.staff(FUJISAWA), [dose_row(FUJISAWA, str(6_000_000_000 + int(FUJISAWA) * 1000), 2, "20210801")])
    equal((nation.get("/v1/statistics").json["as_of"], ("2021-08-01", 2) in counts(nation, "date")), (as_of, False),
          "the sums of a day stay as they are for that day")
    stack.set_clock(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1))
    nation = stack.terminal("lgwan-nation")
    u = next(u for u in stack.demo["users"] if u["user_id"] == "kuni-1")
    until(lambda: nation.login("kuni-1", u["password"]).status == 201)
    equal(counts(nation, "date").get(("2021-08-01", 2)), "<10", "the next day they are new")
    stack.set_clock(None)
    return nation, tokyo


def by_subtraction(stack):
    """Each dose number has a total, that another answer adds up to: what an answer hides of it must not follow."""
    first = 7_000_000_000
    c = stack.staff(FUJISAWA)
    people = [(n, turn, "20211001", product) for turn, product, few in ((3, "comirnaty", 0), (4, "spikevax", 40))
              for n in range(few, few + 15)]
    people += [(n, 3, "20211001", "spikevax") for n in range(15, 19)] + [(n, 4, "20211001", "comirnaty") for n in range(55, 57)]
    register(c, [resident(FUJISAWA, f"差-{n}", str(first + n)) for n, _, _, _ in people])
    record(c, [dose_row(FUJISAWA, str(first + n), turn, day, 製品コード=product) for n, turn, day, product in people])
    stack.set_clock(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2))
    kanagawa = stack.terminal("lgwan-nation")
    u = next(u for u in stack.demo["users"] if u["user_id"] == "kanagawa-1")
    until(lambda: kanagawa.login("kanagawa-1", u["password"]).status == 201)
    totals, product = counts(kanagawa, "prefecture"), counts(kanagawa, "product")
    equal((totals["神奈川県", 3], totals["神奈川県", 4]), (19, 17), "control: the totals of a dose number are known")
    for turn, cells in ((3, 4), (4, 2)):
        seen = [n for (_, t), n in product.items() if t == turn and isinstance(n, int)]
        ok(totals["神奈川県", turn] - sum(seen) != cells,
           f"C117 dose {turn}: its one small cell is not what is left of the total", product)
    stack.set_clock(None)


def nothing_else(stack, nation, tokyo, marks):
    """C06: every field of every answer that is open to them."""
    for name, c in (("nation", nation), ("prefecture", tokyo)):
        texts, fields = "", set()
        for by in KINDS:
            answer = c.get(f"/v1/statistics?by={by}")
            texts += answer.body.decode()
            fields |= set(answer.json) | {f for cell in answer.json["cells"] for f in cell}
            ok(all(v in ("<10", "*") or v >= 10 for v in counts(c, by).values()), f"C117 {name} by {by}: no count below ten")
        equal(fields, {"by", "scope", "as_of", "cells", "key", "dose_number", "count"}, f"C06 {name}: fields of counts only")
        ok(not [m for m in marks if m in texts], f"C06 {name}: nothing of a person")
        for path in ("/v1/reviews", "/v1/access-log", "/v1/exports/ledger.csv", "/v1/users", "/v1/settings", "/v1/provisions"):
            problem(c.get(path), 403, "forbidden", f"C06 {name}: {path}")
        problem(c.post("/v1/residents:search", {"coupon_number": "6131032000"}), 403, "forbidden", f"C06 {name}: no search")
    entries = [e for e in stack.command("user.list")["users"] if e["user_id"] in ("kuni-1", "tokyo-1")]
    equal({e["rights"] for e in entries}, {"statistics"}, "C06 they hold one right")


def main(stack):
    old = [("19600401", "20210701", "comirnaty")] * 12
    minato = fill(stack, MINATO, old + [("19990401", "20210701", "spikevax")] * 2 + [("19180401", "20210702", "comirnaty")] * 3)
    fill(stack, FUJISAWA, [("19600401", "20210701", "comirnaty")] * 12)
    fill(stack, KAGOSHIMA, [("19600401", "20210701", "comirnaty")] * 3 + [("19600401", "20210703", "comirnaty")] * 2)
    minato = stack.staff(MINATO)
    own(stack, minato)
    without_numbers(stack, stack.staff(MINATO))
    nation, tokyo = above(stack)
    by_subtraction(stack)
    nation = stack.terminal("lgwan-nation")
    nation.login("kuni-1", next(u for u in stack.demo["users"] if u["user_id"] == "kuni-1")["password"])
    tokyo = stack.terminal("lgwan-nation")
    u = next(u for u in stack.demo["users"] if u["user_id"] == "tokyo-1")
    tokyo.login("tokyo-1", u["password"])
    person = one(stack.staff(MINATO), addressee_number="統-1")
    nothing_else(stack, nation, tokyo, ["統-", "試験", person["resident_id"], personal_number()])


run(main, count=20)
