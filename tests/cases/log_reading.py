#!/usr/bin/env python3
"""Who reads the access log: filters and downloads, what a person may be shown, the monthly review
(C64), reports (C63), the auditor (C73, C74), the ledger of imports (C77), and what goes by itself."""
import csv
import hashlib
import io
import json
import signal
import sqlite3
import time

from case import (FUJISAWA, MINATO, Import, access_log, clerk_with_few_rights, day_in_japan, dose_row, doses_of,
                  equal, ok, one, problem, record, register, resident, residents_csv, run, tag, until)


def rows_of(answer):
    return list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"), newline="")))


# ---- the log by filters


def filters(approver, clerk):
    whole = access_log(approver)
    equal([e["sequence"] for e in whole], sorted(e["sequence"] for e in whole), "C71 the list is in order")
    get = lambda q: approver.get("/v1/access-log?" + q).json["entries"]  # noqa: E731
    mine = get("user=minato-1")
    ok(mine and all(e["user"] == "minato-1" for e in mine), "C78 by user")
    searches = get("act=resident.search")
    ok(searches and all(e["act"] == "resident.search" for e in searches), "C78 by act")
    doses = {e["act"] for e in get("act=dose.")}
    ok({"dose.list", "dose.record"} <= doses and all(a.startswith("dose.") for a in doses), "C78 by kind of act", doses)
    refused = get("result=not_found")
    ok(refused and all(e["result"] == "not_found" for e in refused), "C78 by result")
    equal(get("terminal=nowhere"), [], "C78 by terminal")
    today = day_in_japan()
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 33 * 3600))
    equal(len(get(f"from={today}&act=resident.search")), len(searches), "C78 from a day on")
    equal(get(f"from={tomorrow}"), [], "C78 tomorrow is empty")
    equal(get("to=2021-04-12"), [], "C78 up to a day")
    at = searches[0]["at"]
    equal([e["sequence"] for e in get(f"from={at}&to={at}&act=resident.search")][:1], [searches[0]["sequence"]],
          "C78 to the millisecond")
    for bad in ("from=yesterday", "to=2021-13-01", "after=-1", "after=x"):
        ok(approver.get("/v1/access-log?" + bad).status in (400, 422), f"C78 {bad} is refused")
    entry = whole[-1]
    ok(all(entry[k] and not entry[k].isascii() for k in ("act_name", "purpose_name", "result_name")),
       "C78 entries have words beside the codes", entry)
    reads = get("act=log.read")
    ok(any("user=minato-1" in e["detail"] for e in reads), "C73 reading the log is an entry with what was asked for",
       reads[-1:])
    answer = approver.get("/v1/access-log?act=dose.", headers={"Accept": "text/csv"})
    ok(answer.body.startswith(b"\xef\xbb\xbf") and answer.headers["content-type"].startswith("text/csv"),
       "C78 the log as a list for people", answer)
    rows = rows_of(answer)
    ok(rows and rows[0]["操作"] == "接種の記録" and rows[0]["日時（日本時間）"][:4].isdigit(), "C78 in Japanese", rows[:1])
    few = clerk.get("/v1/access-log?municipality_code=" + FUJISAWA)
    problem(few, 403, "forbidden", "C02 C73 another municipality's log is not to be had")


def pages(approver, clerk, url):
    for _ in range(520):
        clerk.get(url)
    first = approver.get("/v1/access-log?act=resident.read").json
    ok(len(first["entries"]) == 500 and first.get("next"), "C78 a page is full, and says where to go on")
    rest = approver.get("/v1/access-log?act=resident.read&after=" + first["next"]).json
    numbers = [e["sequence"] for e in first["entries"] + rest["entries"]]
    ok(len(numbers) >= 520 and numbers == sorted(set(numbers)), "C78 the next page goes on behind it", len(numbers))


# ---- what a person may be shown


def merkle(leaf, index, size, path):
    """RFC 9162 2.1.3.2; None when the path does not fit."""
    h = leaf
    fn, sn = index, size - 1
    for p in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            h = hashlib.sha256(b"\x01" + p + h).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            h = hashlib.sha256(b"\x01" + h + p).digest()
        fn, sn = fn >> 1, sn >> 1
    return h if sn == 0 else None


def root_of(line):
    p = line["proof"]
    leaf = hashlib.sha256(b"\x00" + bytes.fromhex(line["commitment"]) + bytes.fromhex(p["entry_hash"])).digest()
    got = merkle(leaf, p["entry"] - 1, p["size"], [bytes.fromhex(h) for h in p["path"]])
    return got.hex() if got else None


def of_a_person(stack, clerk, approver, person):
    url = f"/v1/residents/{person['resident_id']}/access-log"
    clerk.get("/v1/exports/ledger.csv")
    entries = approver.get(url).json["entries"]
    acts = [e["act"] for e in entries]
    ok({"resident.search", "resident.read", "dose.list", "import.commit_rows", "export.ledger"} <= set(acts),
       "C67 who looked, when, why: also imports and what was done with the whole register", sorted(set(acts)))
    equal([e["sequence"] for e in entries], sorted(e["sequence"] for e in entries), "C67 in order")
    export = next(e for e in entries if e["act"] == "export.ledger")
    ok("住民全体" in export["scope"] and entries[0]["scope"] == "本人の記録", "C67 which of both is said")
    refused = [e for e in entries if e["result"] == "stale_version"]
    ok(refused, "C67 what was tried and refused is in it", acts)
    shown = set(entries[0])
    equal(shown & {"detail", "four_items", "addressee_number", "count"}, set(),
          "C67 the person sees section and user id of an officer, and no inner detail")
    rows = rows_of(approver.get(url, headers={"Accept": "text/csv"}))
    ok(len(rows) >= len(entries) and rows[0]["操作"] and rows[0]["部署"] == "予防接種課" and
       not rows[0]["目的"].isascii(), "C67 as a list for people, in plain Japanese", rows[:1])
    names = {e["act_name"] for e in entries}
    ok(not [n for n in names if n.isascii()], "C67 every act has a Japanese name", names)
    clerk.get("/v1/exports/ledger.csv")  # one more entry about everybody, just before
    lines = [json.loads(x) for x in approver.get(url, headers={"Accept": "application/x-ndjson"}).body.splitlines()]
    proven = [x for x in lines if "proof" in x]
    ok(len(proven) == len(lines) > 5, "C78 the download has a proof of each entry", (len(proven), len(lines)))
    ok(all(root_of(x) == x["proof"]["root"] for x in proven), "C78 each leads to the root of a signed head")
    forged = json.loads(json.dumps(proven[0]))
    forged["proof"]["entry_hash"] = "00" * 32
    ok(root_of(forged) != forged["proof"]["root"], "C78 control: another entry does not")
    heads = {(x["proof"]["size"], x["proof"]["signature"]) for x in proven}
    ok(len(heads) == 1 and all(x["proof"]["key_id"] for x in proven), "C78 one signed head for all of them", heads)


# ---- the auditor


def auditor(stack, clerk, approver, person):
    user = stack.add_user("reading-audit", "", ["auditor"], "reading-applicant", "reading-approver",
                          "監査", "監査 員", scope=MINATO)
    stack.demo["users"].append(user)
    c = stack.terminal("lgwan-nation")
    equal(c.login("reading-audit", user["password"]).status, 201, "an auditor logs in on an own terminal")
    problem(c.get("/v1/access-log"), 422, "missing_field", "C73 an auditor names the log")
    problem(c.get(f"/v1/access-log?municipality_code={FUJISAWA}"), 403, "forbidden", "C73 and only those of the task")
    dose = doses_of(clerk, person["resident_id"])[0]
    clerk.request("PUT", f"/v1/doses/{dose['dose_id']}", {"lot": "FF9999", "reason": "読み違い"},
                  headers=tag(dose["version"]))
    entries = c.get(f"/v1/access-log?municipality_code={MINATO}&act=dose.correct").json["entries"]
    e = entries[-1]
    ok("lot: FF3620 → FF9999" in e["detail"] and "読み違い" in e["detail"] and e["user"] == "minato-1",
       "C74 the auditor reads the old value, the new one, who and why", e)
    history = clerk.get(f"/v1/doses/{dose['dose_id']}/history").json["versions"]
    equal([v["lot"] for v in history], ["FF3620", "FF9999"], "C74 and the old version stays in the record")
    for path in (f"/v1/residents/{person['resident_id']}", f"/v1/doses/{dose['dose_id']}/history", "/v1/reviews",
                 "/v1/exports/ledger.csv"):
        problem(c.get(path), 403, "forbidden", f"C73 the auditor reads logs, not {path.split('/')[2]}")
    reads = [e for e in access_log(approver) if e["user"] == "reading-audit"]
    ok(reads and all(e["act"] == "log.read" for e in reads),
       "C73 what the auditor reads is in the municipality's own log", reads[:2])


# ---- reviews and reports


def reviews(stack, approver, clerk):
    problem(clerk.get("/v1/log-reviews"), 403, "forbidden", "C64 the review is a right of its own")
    first = approver.get("/v1/log-reviews").json
    equal((first["overdue"], first["reviews"], first["interval_days"]), (False, [], 31), "C64 nothing is overdue yet")
    post = lambda **body: approver.post("/v1/log-reviews", body, key=True)  # noqa: E731
    today, month, next_month = day_in_japan(), day_in_japan(-30), day_in_japan(31)
    for what, body, status in (("no result", {"from": month, "to": today}, 422),
                               ("a result that is none", {"from": month, "to": today, "result": "fine"}, 422),
                               ("a day to come", {"from": month, "to": "2099-01-01", "result": "no_irregularity"}, 422),
                               ("the end before the beginning", {"from": today, "to": month,
                                                                 "result": "no_irregularity"}, 422),
                               ("an irregularity without words", {"from": month, "to": today,
                                                                  "result": "irregularity"}, 422)):
        equal(post(**body).status, status, f"C64 {what} is refused")
    made = post(**{"from": month, "to": today, "result": "no_irregularity", "note": "異常なし"})
    equal((made.status, made.json["user"], made.json["from"]), (201, "minato-approver", month), "C64 a review is recorded")
    entry = access_log(approver)
    ok(any(e["act"] == "log.review" and month in e["detail"] for e in entry), "C64 and in the log")
    with open(stack.path("clock"), "w", encoding="ascii") as f:
        f.write(f"{40 * 86400}\n")
    until(lambda: approver.get("/v1/log-reviews").json.get("overdue") is True, 5)
    later = approver.get("/v1/log-reviews").json
    equal((later["overdue"], len(later["reviews"]), later["due_on"]),
          (True, 1, next_month), "C64 after 40 days the next is overdue")
    stack.kill("vrs-server", signal.SIGTERM)
    stack.restart("vrs-server")

    def alerts():
        with open(stack.path("log", "vrs-server.log"), encoding="utf-8") as f:
            found = [json.loads(x) for x in f if '"alert.raised"' in x]
        return [a for a in found if a["rule"] == "log_review_overdue" and a["subject"] == MINATO]

    ok(until(alerts, 10), "C64 C140 and an alert says so")


def reports(approver, clerk):
    problem(clerk.get("/v1/log-reports"), 403, "forbidden", "C63 reports are for those who review")
    for i in range(12):
        clerk.get("/v1/held-inquiries")
        clerk.post("/v1/residents:search", {"coupon_number": str(5500000100 + i)})
    report = approver.get("/v1/log-reports").json
    found = {f["rule"]: f for f in report["findings"]}
    ok(found.get("refusals", {}).get("user") == "minato-1" and found["refusals"]["count"] >= 12,
       "C63 repeated refusals are found", report["findings"])
    ok(found.get("coupon_sweep", {}).get("user") == "minato-1", "C63 and coupon numbers tried one after the other", found)
    ok(report["looked_at"] > 500 and report["rules_version"] >= 1 and not report["truncated"] and
       all(not f["rule_name"].isascii() and f["sequences"] for f in report["findings"]),
       "C63 with the rule's name, user, terminal, counts and the entries concerned", report["findings"][:1])
    old = approver.get("/v1/log-reports?from=2021-04-12&to=2021-05-12").json
    equal((old["looked_at"], old["findings"]), (0, []), "C63 of another month nothing")
    problem(approver.get("/v1/log-reports?from=2021-05-12&to=2021-04-12"), 400, "bad_request",
            "C63 a stretch that is none is refused")


# ---- the ledger of imports, and what goes by itself


def parts(stack):
    """Rows of uploaded files in the closed partition."""
    db = sqlite3.connect(f"file:{stack.path('vrs-server', 'partitions', MINATO + '.db')}?mode=ro", uri=True)
    try:
        return db.execute("SELECT count(*) FROM import_part").fetchone()[0]
    finally:
        db.close()


def announce(c, data, name, **more):
    return c.post("/v1/imports", dict({"kind": "residents", "file_name": name, "size": len(data),
                                       "sha256": hashlib.sha256(data).hexdigest()}, **more))


def ledger(stack, clerk):
    data = residents_csv([resident(MINATO, "ML001", "5600000001")])
    for what, who in (("the own id", "minato-1"), ("nobody", "there-is-none"), ("another town's", "fujisawa-1")):
        problem(announce(clerk, data, "m.csv", approved_by=who), 422, "bad_field", f"C77 {what} cannot be the approver")
    made = announce(clerk, data, "medium.csv", medium_id="USB-2026-07", approved_by="minato-approver")
    equal((made.status, made.json["medium_id"], made.json["approved_by"], made.json["operator"],
           made.json["terminal"]), (201, "USB-2026-07", "minato-approver", "minato-1", f"lgwan-{MINATO}"),
          "C77 the ledger has medium, approver, operator and terminal")
    url = "/v1/imports/" + made.json["import_id"]
    clerk.request("PUT", url + "/content", data, headers={"Content-Type": "text/csv"})
    problem(clerk.post(url + ":confirm-deletion", {"method": "消去"}), 409, "conflict",
            "C77 the medium is not wiped before the import is over")
    for verb, state in (("check", "checked"), ("commit", "committed")):
        clerk.post(f"{url}:{verb}")
        until(lambda state=state: clerk.get(url).json["state"] == state)
    done = clerk.post(url + ":confirm-deletion", {"method": "専用ソフトで消去"})
    equal((done.status, done.json["deletion"]["confirmed_by"], done.json["deletion"]["method"]),
          (200, "minato-1", "専用ソフトで消去"), "C77 the deletion on the medium is confirmed")
    listed = clerk.get("/v1/imports").json["imports"]
    mine = next(m for m in listed if m["import_id"] == made.json["import_id"])
    ok(mine["sha256"] == hashlib.sha256(data).hexdigest() and mine["rows"] == 1 and mine["committed_at"] and
       mine["deletion"]["confirmed_at"], "C77 the ledger lists hash, rows, commit and deletion", mine)
    ok(all(a["announced_at"] >= b["announced_at"] for a, b in zip(listed, listed[1:])), "C77 newest first")
    equal([m for m in stack.staff(FUJISAWA).get("/v1/imports").json["imports"] if m["file_name"] == "medium.csv"], [],
          "C02 another municipality's ledger is its own")


def quota(clerk):
    # what is open from before belongs to it
    left = 0
    while announce(clerk, b"x%d" % left, f"open-{left}.csv").status == 201:
        left += 1
    answer = announce(clerk, b"one more", "one-more.csv")
    ok(left <= 20 and answer.status == 429 and "破棄" in answer.json["detail"],
       "C114 a municipality has twenty open files at most", (left, answer))
    for m in clerk.get("/v1/imports").json["imports"]:
        if m["file_name"].startswith("open-"):
            clerk.post(f"/v1/imports/{m['import_id']}:discard")
    big = lambda n: clerk.post("/v1/imports", {  # noqa: E731
        "kind": "residents", "file_name": f"big-{n}.csv", "size": 1 << 30, "sha256": f"{n:064x}"})
    made = [big(1), big(2)]
    equal([m.status for m in made], [201, 201], "C114 a discarded file makes room")
    problem(big(3), 429, "too_many_requests", "C114 and two GiB together")
    for m in made:
        clerk.post(f"/v1/imports/{m.json['import_id']}:discard")


def swept(stack, clerk):
    refused = Import(clerk, "residents", "見出しが違う,ファイル\r\n1,2\r\n".encode(), name="refused.csv").check()
    equal(refused.state["state"], "refused", "a file that is refused whole")
    stay = residents_csv([resident(MINATO, f"SW{i:03d}", str(5700000000 + i)) for i in range(50)])
    made = announce(clerk, stay, "stays.csv")
    url = "/v1/imports/" + made.json["import_id"]
    clerk.request("PUT", url + "/content", stay, headers={"Content-Type": "text/csv"})
    gone = announce(clerk, stay + b"\r\n", "gone.csv").json["import_id"]
    clerk.request("PUT", f"/v1/imports/{gone}/content", stay + b"\r\n", headers={"Content-Type": "text/csv"})
    discarded = clerk.post(f"/v1/imports/{gone}:discard")
    equal((discarded.status, discarded.json["state"]), (200, "removed"), "C114 a file can be thrown away")
    problem(clerk.post(f"/v1/imports/{gone}:check"), 409, "conflict", "C114 and is not there any more")
    stack.kill("vrs-server", signal.SIGTERM)
    before = parts(stack)
    db = sqlite3.connect(f"file:{stack.path('vrs-server', 'partitions', MINATO + '.db')}?mode=ro", uri=True)
    keys = db.execute("SELECT count(*) FROM idempotency").fetchone()[0]
    db.close()
    for days, staged, what in ((5, True, "after five days it is there"), (9, False, "C114 after a week it is gone"),
                               (100, False, "after a hundred")):
        with open(stack.path("clock"), "w", encoding="ascii") as f:
            f.write(f"{days * 86400}\n")
        stack.restart("vrs-server")
        c = stack.staff(MINATO)
        state = until(lambda c=c, staged=staged: (lambda s: s if (s == "received") == staged else None)(
            c.get(url).json["state"]), 10)
        equal(state, "received" if staged else "removed", f"what nobody commits: {what}")
        if days == 9:
            entries = [e for e in access_log(stack.staff(MINATO, "minato-approver")) if e["act"] == "import.sweep"]
            ok(len(entries) >= 1 and entries[-1]["user"] == "system:sweep", "C75 C114 its removal is an entry", entries)
            again = announce(c, stay, "stays.csv")
            equal((again.status, again.json["state"]), (200, "created"), "and the same file may be announced again")
        if days == 100:
            until(lambda c=c: c.get(url).json["state"] == "removed", 10)
        stack.kill("vrs-server", signal.SIGTERM)
    after = parts(stack)
    db = sqlite3.connect(f"file:{stack.path('vrs-server', 'partitions', MINATO + '.db')}?mode=ro", uri=True)
    left = db.execute("SELECT count(*) FROM idempotency").fetchone()[0]
    db.close()
    ok(0 < before and after < before, "C114 no part of it is left", (before, after))
    ok(keys > 0 and left < keys, "keys of requests go after their 90 days", (keys, left))
    with open(stack.path("clock"), "w", encoding="ascii") as f:
        f.write("0\n")
    stack.restart("vrs-server")


def main(stack):
    clerk, approver = stack.staff(MINATO), stack.staff(MINATO, "minato-approver")
    register(clerk, [resident(MINATO, "LR001", "5500000001"), resident(MINATO, "LR002", "5500000002")])
    record(clerk, [dose_row(MINATO, "5500000001")])
    person = one(clerk, addressee_number="LR001")
    url = f"/v1/residents/{person['resident_id']}"
    clerk.get(url)
    clerk.get(url + "/doses")
    clerk.get("/v1/residents/" + "0" * 32)
    clerk.request("PATCH", url, {"address": "x", "reason": "x"}, headers=tag(7))
    problem(clerk_with_few_rights(stack, MINATO).get("/v1/access-log"), 403, "forbidden",
            "C73 reading the log is a right of its own")
    filters(approver, clerk)
    of_a_person(stack, clerk, approver, person)
    auditor(stack, clerk, approver, person)
    pages(approver, clerk, url)
    reports(approver, clerk)
    ledger(stack, clerk)
    quota(clerk)
    swept(stack, clerk)
    reviews(stack, stack.staff(MINATO, "minato-approver"), stack.staff(MINATO))


run(main, count=20)
