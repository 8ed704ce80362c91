#!/usr/bin/env python3
"""Rule 8, C61: no log entry, no data.  The records' disk is full: nothing personal is shown or
changed, tablets go on, and all heals without a restart."""
import os

from case import (MINATO, access_log, dose_row, doses_of, equal, ok, one, record,
                  register, resident, run, skip, tag, until)
import residents
from small_disk import fill, small_disk


def main(stack):
    folder = small_disk(stack)
    if folder is None:
        skip("C61 the records' disk is full", "no mount here: needs root")
        return
    c = stack.staff(MINATO)
    auditor = stack.staff(MINATO, "minato-approver")
    tablet = stack.tablet()
    done = register(c, [resident(MINATO, "U0001", "5000000001"), resident(MINATO, "U0002", "5000000002")])
    imported = done.url
    record(c, [dose_row(MINATO, "5000000001")])
    person = one(c, addressee_number="U0001")
    url = f"/v1/residents/{person['resident_id']}"
    dose = doses_of(c, person["resident_id"])[0]
    last = access_log(auditor)[-1]["sequence"]
    filler = fill(folder)
    # the journal may have room left that it uses again: ask until it has none
    shown = 0
    while shown < 5000:
        answer = c.get(url)
        if answer.status != 200:
            break
        shown += 1
    ok(answer.status == 503 and answer.code in ("log_unwritable", "outcome_unknown"),
       "C61 the first entry that finds no room is 503", answer)
    ok("試験" not in answer.body.decode(), "C61 and shows nothing of the resident", answer)
    answer = c.get(url)
    equal((answer.status, answer.code), (503, "log_unwritable"),
          "C61 with the disk full reading a resident is 503 log_unwritable")
    ok("retry-after" in answer.headers and "試験" not in answer.body.decode(),
       "C61 with Retry-After, and nothing of the resident", answer)
    refused = [
        ("search", lambda: c.post("/v1/residents:search", {"addressee_number": "U0001"})),
        ("doses", lambda: c.get(url + "/doses")),
        ("the work list", lambda: c.get("/v1/reviews")),
        ("the ledger", lambda: c.get("/v1/exports/ledger.csv")),
        ("a look-up", lambda: c.post("/v1/certificates:lookup", {"coupon_number": "5000000001",
                                                                 "purpose": "certificate"})),
        ("reveal", lambda: c.post(url + ":reveal-number", {"purpose": "transfer_in"})),
        ("a change", lambda: c.request("PATCH", url, {"address": "x", "reason": "x"}, headers=tag(1))),
        ("a correction", lambda: c.request("PUT", f"/v1/doses/{dose['dose_id']}",
                                           {"lot": "FF0001", "reason": "x"}, headers=tag(1))),
        ("a flag", lambda: c.post(url + ":flag", {"flag": "undisclosed"}, key=True, headers=tag(1))),
        ("the access log", lambda: auditor.get("/v1/access-log")),
        ("the access log as CSV", lambda: auditor.get("/v1/access-log", headers={"Accept": "text/csv"})),
        ("a person's list", lambda: auditor.get(url + "/access-log")),
        ("a report", lambda: auditor.get("/v1/log-reports")),
        ("the reviews", lambda: auditor.get("/v1/log-reviews")),
        ("a review", lambda: auditor.post("/v1/log-reviews", {
            "from": "2021-04-12", "to": "2021-05-12", "result": "no_irregularity"}, key=True)),
        ("held inquiries", lambda: auditor.get("/v1/held-inquiries")),
        ("the provisions", lambda: c.get("/v1/provisions")),
        ("the versions of a dose", lambda: c.get(f"/v1/doses/{dose['dose_id']}/history")),
        ("the waiting list", lambda: c.get("/v1/exports/waiting.csv")),
        ("the ledger of imports", lambda: c.get("/v1/imports")),
        ("an import", lambda: c.get(imported)),
        ("its results", lambda: c.get(imported + "/results")),
        ("accounts", lambda: auditor.get("/v1/users")),
        ("settings", lambda: auditor.get("/v1/settings")),
        ("a path that is none", lambda: c.get("/v1/nothing")),
        ("a request without log-in", lambda: stack.terminal(f"lgwan-{MINATO}").get(url)),
        ("erasure", lambda: c.request("DELETE", url, {"reason": "x"}, headers=tag(1))),
        ("a refusal", lambda: c.post("/v1/residents:search", {})),
    ]
    for what, ask in refused:
        answer = ask()
        ok(answer.status == 503 and not any(x in answer.body.decode() for x in ("試験　太郎", "5000000001")),
           f"C61 {what}: 503, and no data", answer)
    answer = stack.terminal(f"lgwan-{MINATO}").login("minato-1", next(
        u["password"] for u in stack.demo["users"] if u["user_id"] == "minato-1"))
    equal((answer.status, answer.code), (503, "log_unwritable"), "C65 a log-in that cannot be logged is refused")
    pending = tablet.post("/v1/doses", {
        "ocr_line": residents.ocr_line(MINATO, "5000000002", 1), "status": "given",
        "vaccinated_on": "2021-07-01", "product": "comirnaty", "lot": "FF3620", "site": "会場",
        "read_by": "ocr"}, key=True)
    equal((pending.status, pending.json.get("outcome")), (202, "pending"), "tablets go on: 202 pending")
    os.unlink(filler)
    ok(until(lambda: c.get(url).status == 200, 20), "with room again it heals without a restart", c.get(url))
    equal(stack.processes["vrs-server"].poll(), None, "vrs-server ran all the time")
    now = c.get(url).json
    equal((now["version"], now["address"], now["undisclosed"]), (1, person["address"], False),
          "what was refused has changed nothing")
    equal([(d["lot"], d["version"]) for d in doses_of(c, person["resident_id"])], [("FF3620", 1)],
          "nor has the correction")
    receipt = pending.json["receipt_id"]
    ok(until(lambda: tablet.get(f"/v1/doses/{receipt}").json["outcome"] == "recorded", 30),
       "the dose that was taken meanwhile is recorded", tablet.get(f"/v1/doses/{receipt}"))
    entries = [e for e in access_log(auditor) if e["sequence"] > last]
    reads = [e for e in entries if e["act"] == "resident.read"]
    healed = len(reads) - shown
    ok(1 <= healed <= 400 and not [e for e in entries if e["act"] in (
        "resident.change", "resident.erase", "number.reveal", "dose.correct")],
       f"C61 {shown} answers while the disk was full have {shown} entries, refused requests have none",
       [(e["act"], e["result"]) for e in entries][-20:])
    verified = stack.command("log.verify", municipality_code=MINATO)
    ok(verified["ok"], "the log verifies afterwards", verified)


run(main, count=20)
