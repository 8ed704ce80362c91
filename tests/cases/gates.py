#!/usr/bin/env python3
"""The three gates in their order — terminal, log-in, right — before anything of a request is read
(C149); one municipality's certificate and session open nothing of another's (C101); who may import
(C111); and nobody is less protected for having died or moved away (C12)."""
from case import (FUJISAWA, MINATO, access_log, clerk_with_few_rights, dose_row, equal, ok, one,
                  problem, record, register, resident, run, tag)

BROKEN = b"{not json"


def order_of_gates(stack, few):
    """Each request has every fault at once; the first gate that refuses is the one that answers."""
    lost = stack.add_terminal("lost-gate", "lgwan", MINATO)
    stack.demo["terminals"].append(lost)
    c = stack.terminal("lost-gate")
    stack.command("terminal.revoke", name="lost-gate")
    json = {"Content-Type": "application/json"}
    for name, client, token, want in (
            ("a revoked terminal", c, None, (403, "terminal_revoked")),
            ("a revoked terminal with another's token", c, few.token, (403, "terminal_revoked")),
            ("no log-in", stack.terminal(f"lgwan-{MINATO}"), None, (401, "login_required")),
            ("a token that is none", stack.terminal(f"lgwan-{MINATO}"), "x" * 43, (401, None)),
            ("a session without the right", few, few.token, (403, "forbidden"))):
        client.token = token
        a = client.request("POST", "/v1/imports", BROKEN, headers=json)
        ok(a.status == want[0] and want[1] in (None, a.code), f"C149 {name}: refused there, the body"
           " is not looked at", a)
    clerk = stack.staff(MINATO)
    a = clerk.request("POST", "/v1/imports", BROKEN, headers=json)
    problem(a, 400, "bad_json", "C149 behind the three gates it is")
    head = stack.staff(MINATO, "minato-approver")
    said = [e["result"] for e in access_log(head) if e["act"].startswith("request.")]
    ok({"forbidden", "terminal_revoked"} <= set(said), "C149 what a gate refuses is in the log",
       said[-20:])


def imports_by_right(few, approver):
    body = {"kind": "residents", "file_name": "c111.csv", "size": 3, "sha256": "0" * 64}
    problem(few.post("/v1/imports", body), 403, "forbidden", "C111 an import needs its right")
    problem(few.get("/v1/imports"), 403, "forbidden", "C111 so does the list of them")
    problem(approver.post("/v1/imports", body), 403, "forbidden", "C111 an approver has it not")


def another_town(stack, ours, theirs, resident_id):
    url = f"/v1/residents/{resident_id}"
    for what, path in (("resident", url), ("doses", url + "/doses")):
        problem(theirs.get(path), 404, "not_found", f"C101 another municipality's session: no {what}")
    stolen = stack.terminal(f"lgwan-{FUJISAWA}")
    stolen.token = ours.token
    answer = stolen.get(url)
    ok(answer.status in (401, 403), "C101 a session is worth nothing under another municipality's"
       " certificate", answer)


def the_same_for_all(ours, theirs, few, log_reader, people):
    """What may be seen, changed and found in the log: flagged or not."""
    seen = {}
    for what, r in people.items():
        url = f"/v1/residents/{r['resident_id']}"
        seen[what] = [a.status for a in (
            ours.get(url), few.get(url), theirs.get(url), few.request("PATCH", url, {"address": "x"},
                                                                     headers=tag(r["version"])),
            ours.get(url + "/doses"), theirs.get(url + "/doses"))]
        entries = log_reader.get(url + "/access-log").json["entries"]
        seen[what].append(sorted({e["act"] for e in entries if e["user"] in ("minato-1", "minato-few")}
                                 - {"resident.flag"}))
        ok(all(e["act"] and e["result"] for e in entries), f"C12 {what}: every look is in the log")
    want = seen.pop("alive")
    equal((want[:6], want[6] != []), ([200, 200, 404, 403, 200, 404], True),
          "C12 anybody: the own clerks read, another town's finds nobody, changing needs its right")
    for what, got in seen.items():
        equal(got, want, f"C12 {what}: the same rights, refusals and log as anybody")


def everything(stack):
    ours, theirs = stack.staff(MINATO), stack.staff(FUJISAWA)
    few = clerk_with_few_rights(stack, MINATO)
    register(ours, [resident(MINATO, f"G000{i}", f"770000000{i}") for i in range(3)])
    record(ours, [dose_row(MINATO, f"770000000{i}") for i in range(3)])
    people = {what: one(ours, addressee_number=f"G000{i}")
              for i, what in enumerate(("alive", "dead", "moved out"))}
    for what, flag in (("dead", {"flag": "dead", "since": "2021-08-01"}),
                       ("moved out", {"flag": "moved_out", "since": "2021-08-01",
                                      "to_municipality": FUJISAWA})):
        r = people[what]
        a = ours.post(f"/v1/residents/{r['resident_id']}:flag", flag, key=True,
                      headers=tag(r["version"]))
        people[what] = dict(r, version=a.json["version"])
    approver = stack.staff(MINATO, "minato-approver")
    the_same_for_all(ours, theirs, few, approver, people)
    another_town(stack, ours, theirs, people["alive"]["resident_id"])
    imports_by_right(few, approver)
    order_of_gates(stack, few)


if __name__ == "__main__":
    run(everything)
