#!/usr/bin/env python3
"""照会許可用照合リスト: signed, with a version that only grows; checked by each side for itself;
without one, or with an empty one, every inquiry is refused."""
import json
import os
import subprocess

from case import (BUILD, FUJISAWA, KAGOSHIMA, MINATO, access_log, dose_row, equal, inquiry, ok,
                  personal_number, problem, record, register, resident, run, until)
import stack as stack_module

ITEMS = ["status", "dose_number", "vaccinated_on", "maker", "product", "lot", "municipality_code",
         "coupon_number", "site", "physician", "recorded_at"]
REFUSED = (403, "not_on_allow_list")


def entry(asker="*", provider="*", items=None, business="transfer_in", first="2021-04-12", to=None):
    return {"business": business, "asker": asker, "provider": provider, "from": first, "to": to,
            "items": ITEMS if items is None else items}


class Lists:
    def __init__(self, stack):
        self.stack, self.version = stack, 1
        self.live = stack.path("vrs-server", "allow-list.json")
        self.key = stack.path("pki", "allow-list.key")

    def text(self, entries, version=None):
        self.version = version or self.version + 1
        return {"format": "vrs-allow-list/1", "version": self.version, "entries": entries}

    def sign(self, document, key=None):
        path = os.path.join(self.stack.home, "list.json")
        with open(path, "w") as f:
            json.dump(document, f, ensure_ascii=False)
        return self.stack.vrsctl("allow-list.sign", path, key or self.key)

    def put(self, signed):
        with open(self.live, "w") as f:
            f.write(signed)

    def load(self):
        try:
            return self.stack.command("allow-list.load")
        except stack_module.StackError as e:
            return str(e)

    def in_force(self, entries):
        self.put(self.sign(self.text(entries)))
        return self.load()


def partners(lists, c, number):
    """C99: entries that name a partner decide alone."""
    def ask(provider=MINATO, **more):
        return c.post("/v1/inquiries", inquiry(number, provider, **more), key=True)

    few = ["dose_number", "vaccinated_on"]
    equal(lists.in_force([entry(), entry(asker=KAGOSHIMA, provider=MINATO, items=few)])["version"], 2,
          "C84 a newer list is loaded while the service runs")
    got = ask()
    equal((got.status, sorted(got.json["doses"][0])), (201, sorted(few)),
          "C92 C99 a partner with fewer items gets just those")
    lists.in_force([entry(), entry(asker=KAGOSHIMA, items=[])])
    problem(ask(), *REFUSED, "C99 one that is listed with nothing is refused, whatever * says")
    lists.in_force([entry(), entry(provider=FUJISAWA, items=[])])
    problem(ask(FUJISAWA), *REFUSED, "C84 the provider's entry counts as well")
    equal(ask().json["result"], "match", "control: others are answered")
    lists.in_force([entry(business="certificate")])
    problem(ask(), *REFUSED, "C84 a purpose that is not listed is refused")
    lists.in_force([entry(to="2021-12-31")])
    problem(ask(), *REFUSED, "C84 an entry whose time is over is none")
    lists.in_force([entry(asker=MINATO)])
    problem(ask(), *REFUSED, "C84 another asker's entry is not ours")


def empty_and_missing(stack, lists, c, number):
    ask = lambda: c.post("/v1/inquiries", inquiry(number, MINATO), key=True)  # noqa: E731
    lists.in_force([])
    problem(ask(), *REFUSED, "C84 an empty list refuses everything")
    acts = access_log(stack.staff(KAGOSHIMA, "kagoshima-approver"))
    equal((acts[-2]["act"], acts[-2]["result"]) if acts[-1]["act"].startswith(("session", "log"))
          else (acts[-1]["act"], acts[-1]["result"]), ("inquiry.ask", "not_on_allow_list"),
          "C68 and the refusal is an entry of the asker")
    lists.in_force([entry()])
    equal(ask().json["result"], "match", "control: listed again it is answered")
    good = open(lists.live).read()
    for what, text in (("missing", None), ("empty", ""), ("not signed by its key", None)):
        lists.put(good)
        lists.load()
        if what == "missing":
            os.unlink(lists.live)
        elif what == "empty":
            lists.put("")
        else:
            other = os.path.join(stack.home, "other.key")
            with open(os.open(other, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
                f.write("11" * 32)
            lists.put(lists.sign(lists.text([entry()], lists.version + 1), other))
        ok("config" in str(lists.load()), f"a list that is {what} is not loaded")
        equal(ask().json["result"], "match", "and the one in force stays")
        stack.kill("vrs-server")
        stack.restart("vrs-server")
        c = stack.staff(KAGOSHIMA)
        ask = lambda: c.post("/v1/inquiries", inquiry(number, MINATO), key=True)  # noqa: E731,B023
        problem(ask(), *REFUSED, f"C84 started with a list that is {what}: every inquiry is refused")
    flipped = json.loads(good)
    flipped["allow_list"] = flipped["allow_list"].replace('"*"', f'"{KAGOSHIMA}"', 1)
    lists.put(json.dumps(flipped, ensure_ascii=False))
    ok("config" in str(lists.load()), "C93 a list with one changed entry does not verify")
    lists.put(good)
    ok(isinstance(lists.load(), dict), "control: the good one is loaded")
    equal(ask().json["result"], "match", "and inquiries are answered")
    return c


def held_ones(stack, lists, c):
    """C86: an answer that waits for approval goes by the list of the day on which it is approved."""
    minato, approver = stack.staff(MINATO), stack.staff(MINATO, "minato-approver")
    number = personal_number()
    register(minato, [resident(MINATO, "L-2", "8100000002", 個人番号=number)])
    record(minato, [dose_row(MINATO, "8100000002", 1)])
    person = minato.post("/v1/residents:search", {"addressee_number": "L-2"}).json["residents"][0]
    minato.post(f"/v1/residents/{person['resident_id']}:flag", {"flag": "no_auto_answer"}, key=True,
                headers={"If-Match": f'"{person["version"]}"'})
    got = c.post("/v1/inquiries", inquiry(number, MINATO), key=True).json
    equal(got["result"], "pending", "C87 an inquiry waits for approval")
    held = approver.get("/v1/held-inquiries").json["held_inquiries"][0]["held_inquiry_id"]
    lists.in_force([])
    problem(approver.post(f"/v1/held-inquiries/{held}:approve", {"reason": "確認済"}, key=True), *REFUSED,
            "C86 meanwhile the list permits nothing: approving is refused")
    lists.in_force([entry()])
    equal(approver.post(f"/v1/held-inquiries/{held}:approve", {"reason": "確認済"}, key=True).status, 200,
          "control: permitted again it can be approved")
    equal(c.get(f"/v1/inquiries/{got['inquiry_id']}").json["result"], "match", "and the asker has it")


def versions(stack, lists, c, number):
    old = lists.sign(lists.text([entry()], 1))
    lists.version = 50
    lists.in_force([entry(items=["lot"])])
    lists.put(old)
    ok("conflict" in str(lists.load()), "C84 an older version, well signed, is not loaded")
    stack.kill("vrs-server")
    stack.restart("vrs-server")
    c = stack.staff(KAGOSHIMA)
    problem(c.post("/v1/inquiries", inquiry(number, MINATO), key=True), *REFUSED,
            "C84 nor at the start: the registry knows the version")
    for document, why in (({"format": "vrs-allow-list/1", "version": 0, "entries": []}, "no version"),
                          ({"format": "x", "version": 99, "entries": []}, "another format"),
                          (lists.text([dict(entry(), only_on="monday")], 98), "a word not understood"),
                          (lists.text([dict(entry(), asker="13")], 97), "half a municipality")):
        r = subprocess.run([os.path.join(BUILD, "bin", "vrsctl"), "allow-list.sign", "/dev/stdin",
                            lists.key], input=json.dumps(document), capture_output=True, text=True)
        ok(r.returncode == 1 and r.stdout == "", f"vrsctl signs no list with {why}", r)


def main(stack):
    lists = Lists(stack)
    minato, c = stack.staff(MINATO), stack.staff(KAGOSHIMA)
    number = personal_number()
    register(minato, [resident(MINATO, "L-1", "8100000001", 個人番号=number)])
    record(minato, [dose_row(MINATO, "8100000001", 1)])
    equal(c.post("/v1/inquiries", inquiry(number, MINATO), key=True).json["result"], "match",
          "C84 by the list of the demonstration it is answered")
    partners(lists, c, number)
    c = empty_and_missing(stack, lists, c, number)
    held_ones(stack, lists, c)
    versions(stack, lists, c, number)


run(main, count=20)
