#!/usr/bin/env python3
"""Backups twice, an empty machine, a restore (C129, D8): no acknowledged dose is lost, what was
erased stays erased, the log goes on in a new epoch; C98 the hash list finds a seeded difference;
C54 a bulk export with approval."""
import csv
import glob
import hashlib
import io
import json
import os
import shutil
import subprocess

from case import (FUJISAWA, KAGOSHIMA, MINATO, access_log, dose_row, doses_of, equal, erase, find, ok, one,
                  personal_number, post_dose, problem, record, register, resident, run, stack_module, tag, until)
import residents


def rows_of(c):
    """宛名番号 → doses of everybody in the ledger."""
    return c.get("/v1/exports/reconciliation.csv").body


# ---- C98: what a municipality computes from its own register


def own_hash(row, coupons, doses):
    day = lambda d: f"{d[:4]}-{d[4:6]}-{d[6:]}" if d else ""  # noqa: E731
    kind = row["異動区分"]
    lines = [row["宛名番号"], row["氏名"], row["カナ"], day(row["生年月日"]), row["性別"], row["住所"],
             day(row["異動日"]) if kind == "1" else "", "", day(row["異動日"]) if kind == "2" else "",
             day(row["異動日"]) if kind == "3" else ""]
    lines += [f"coupon,{c}" for c in sorted(coupons)]
    lines += sorted(f"dose,{d},{turn},{town},{coupon},1,comirnaty,FF3620" for d, turn, town, coupon in doses)
    return hashlib.sha256("".join(line.replace("　", " ") + "\n" for line in lines).encode()).hexdigest()


def reconcile(c, own):
    """What differs: {宛名番号}."""
    got = {r["宛名番号"]: r["SHA-256"] for r in csv.DictReader(io.StringIO(c.get(
        "/v1/exports/reconciliation.csv").body.decode()))}
    return {a for a in own if got.get(a) != own[a]}


def reconciliation(c):
    rows = [resident(MINATO, f"C98-{i}", f"596000000{i}", 氏名=f"照合　{i}", 異動区分="2" if i == 3 else "0",
                     異動日="20210901" if i == 3 else "") for i in range(5)]
    register(c, rows)
    record(c, [dose_row(MINATO, r["接種券番号"], 1, "20210701") for r in rows])
    own = {r["宛名番号"]: own_hash(r, [r["接種券番号"]], [("2021-07-01", 1, MINATO, r["接種券番号"])]) for r in rows}
    equal(reconcile(c, own), set(), "C98 the hash list agrees with what the municipality computes itself")
    person = one(c, addressee_number="C98-2")
    dose = doses_of(c, person["resident_id"])[0]
    c.request("PUT", f"/v1/doses/{dose['dose_id']}", {"lot": "FF9999", "reason": "試験"}, headers=tag(dose["version"]))
    equal(reconcile(c, own), {"C98-2"}, "C98 a seeded difference is found, and nothing else")
    body = c.get("/v1/exports/reconciliation.csv").body.decode()
    ok("照合" not in body.replace("原本照合", "") and "596000000" not in body, "C98 the list shows nothing of a record", body[:300])


def approval(stack, c, approver):
    """C54."""
    now = approver.get("/v1/settings")
    approver.request("PUT", "/v1/settings", {"export_approval": 1}, headers={"If-Match": now.headers["etag"]})
    for name in ("ledger", "waiting", "reconciliation"):
        problem(c.get(f"/v1/exports/{name}.csv"), 403, "approval_required", f"C54 {name}.csv needs an approval now")
    asked = c.post("/v1/requests", {"kind": "export", "act": "ledger.csv", "reason": "台帳の更新"}, key=True).json["request_id"]
    problem(c.get("/v1/exports/ledger.csv"), 403, "approval_required", "C54 asked is not approved")
    approver.post(f"/v1/requests/{asked}:approve", {"reason": "可"}, key=True)
    problem(c.get("/v1/exports/waiting.csv"), 403, "approval_required", "C54 an approval is for one export")
    equal(c.get("/v1/exports/ledger.csv").status, 200, "C54 approved, it comes")
    problem(c.get("/v1/exports/ledger.csv"), 403, "approval_required", "C54 once")
    entries = [e for e in access_log(approver) if e["act"] == "export.ledger" and e["result"] == "ok"]
    ok(entries and entries[-1]["count"] > 0, "C54 with the rows counted in the log", entries[-1:])
    now = approver.get("/v1/settings")
    approver.request("PUT", "/v1/settings", {"export_approval": 0}, headers={"If-Match": now.headers["etag"]})


# ---- backup, empty machine, restore


def copies(stack, name):
    return sorted(os.path.relpath(p, stack.home) for program in ("vrs-server", "vrs-number")
                  for p in glob.glob(stack.path(program, "backup*", f"{MINATO}-{name}.*")))


def both_places(stack):
    """The lost one is filled again from the other, as an operator would."""
    for program in ("vrs-server", "vrs-number"):
        places = [stack.path(program, d) for d in ("backup", "backup-2")]
        for from_dir, to_dir in (places, places[::-1]):
            for path in glob.glob(os.path.join(from_dir, "*")):
                target = os.path.join(to_dir, os.path.basename(path))
                if not os.path.exists(target):
                    shutil.copy2(path, target)
                    os.chown(target, os.stat(path).st_uid, os.stat(path).st_gid)


def empty_the_machine(stack, keep_first):
    """The municipality's files are lost, and with them the first place of backups or the second."""
    for name in ("vrs-server", "vrs-number"):
        stack.kill(name)
    for program in ("vrs-server", "vrs-number"):
        for path in glob.glob(stack.path(program, "**", f"{MINATO}*"), recursive=True):
            lost = "backup-2" if keep_first else "backup"
            if "backup" not in path or os.path.basename(os.path.dirname(path)) == lost:
                os.unlink(path)
    for name in ("vrs-number", "vrs-server"):
        stack.restart(name)


def posted(tablet, coupon, turn, day="2021-07-01"):
    """A reading and its receipt with the proof, as a terminal keeps them."""
    line = residents.ocr_line(MINATO, coupon, turn)
    receipt = post_dose(tablet, line, vaccinated_on=day)["receipt_id"]
    final = until(lambda: (lambda a: a if a.get("proof") else None)(tablet.get(f"/v1/doses/{receipt}").json))
    return {"ocr_line": line, "status": "given", "vaccinated_on": day, "product": "comirnaty", "lot": "FF3620", **final}


def verifies(stack, what, *words):
    done = subprocess.run([stack.program("vrs-verify"), what, *words, "--key", stack.log_keys], capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


def old_proofs(stack, approver, where, receipts):
    """An outsider holds receipts from before the backup and from after it, which the restore lost and replayed."""
    paths = []
    for i, receipt in enumerate(receipts):
        paths.append(stack.path(f"receipt-{i}.json"))
        with open(paths[-1], "w") as f:
            json.dump(receipt, f)
    export = stack.path("export.ndjson")
    with open(export, "wb") as f:
        f.write(approver.get("/v1/access-log/export").body)
    bad = [verifies(stack, "receipt", p)[1] for p in paths if not verifies(stack, "receipt", p)[0]]
    ok(not bad, f"D8 {where}: {len(paths)} proofs from before hold (vrs-verify receipt)", "".join(bad))
    good, said = verifies(stack, "log", export, *(w for p in paths for w in ("--checkpoint", p)))
    ok(good, f"D8 {where}: the log of the new epoch stands for their heads, lost ones owned up to (vrs-verify log)", said)
    with open(paths[-1], "w") as f:
        json.dump(dict(receipts[-1], proof=dict(receipts[-1]["proof"], root="00" * 32)), f)
    good, said = verifies(stack, "log", export, "--checkpoint", paths[-1])
    ok(not good, f"D8 {where} control: a head with another root is not", said)


def main(stack):
    c, approver = stack.staff(MINATO), stack.staff(MINATO, "minato-approver")
    reconciliation(c)
    approval(stack, c, approver)
    tablet = stack.tablet()
    number = personal_number()
    register(c, [resident(MINATO, "B-gone", "5970000001", 個人番号=number), resident(MINATO, "B-stay", "5970000002"),
                 resident(MINATO, "B-wait", "5970000003")])
    gone, stay, early = (one(c, addressee_number=a)["resident_id"] for a in ("B-gone", "B-stay", "B-wait"))
    kept = [posted(tablet, f"597000000{i}", 1) for i in (1, 2)]
    before = [r["receipt_id"] for r in kept]
    waiting = post_dose(tablet, residents.ocr_line(MINATO, "5970000009", 1))["receipt_id"]
    answer = stack.command("backup", municipality_code=MINATO, name="first")
    equal((answer.get("copies"), answer.get("log_entries", 0) > 0), (2, True), "C129 the backup stands in two places, read back")
    ends = [f"{MINATO}-first.db", f"{MINATO}-first.keys"]
    equal([os.path.basename(p) for p in copies(stack, "first")], ends * 4, "C129 records and numbers, each twice")
    same = [open(stack.path("vrs-server", d, ends[0]), "rb").read() for d in ("backup", "backup-2")]
    ok(same[0] == same[1] and number.encode() not in same[0], "C129 alike, and sealed")
    try:
        stack.command("backup", municipality_code=MINATO, name="first")
        ok(False, "the same name again is refused")
    except stack_module.StackError as e:
        ok("conflict" in str(e), "the same name again is refused", e)
    # what comes after the backup
    kept += [posted(tablet, f"597000000{i}", 2, "2021-08-01") for i in (1, 2)]
    after = [r["receipt_id"] for r in kept[2:]]
    register(c, [resident(MINATO, "B-late", "5970000009")])  # its waiting dose finds it
    ok(until(lambda: tablet.get(f"/v1/doses/{waiting}").json["outcome"].startswith("recorded")), "a waiting dose found its coupon")
    late = one(c, addressee_number="B-late")["resident_id"]
    erased = [erase(c, approver, person, "試験") for person in (gone, late)]
    last = approver.get("/v1/access-log").json["entries"]
    ok(last, "the log is read")
    others = rows_of(stack.staff(KAGOSHIMA))
    outcome = {r: tablet.get(f"/v1/doses/{r}").json["outcome"] for r in before + after + [waiting]}
    for turn, keep_first in enumerate((False, True)):
        both_places(stack)
        empty_the_machine(stack, keep_first)
        c, approver = stack.staff(MINATO), stack.staff(MINATO, "minato-approver")
        where = "first" if keep_first else "second"
        answer = stack.command("restore", municipality_code=MINATO, name="first")
        ok(answer["replayed"] >= 5, f"D8 restored from the {where} place alone; the inbox gives its readings again", answer)
        c, approver = stack.staff(MINATO), stack.staff(MINATO, "minato-approver")
        equal(sorted(d["dose_number"] for d in doses_of(c, stay)), [1, 2], f"D8 {where}: no acknowledged dose is lost")
        equal([find(c, addressee_number="B-gone"), find(c, coupon_number="5970000001"),
               find(c, personal_number=number, purpose="transfer_in")], [[], [], []],
              f"D8 {where}: who was erased stays erased, record and number")
        back = [r["dose"] for r in c.get("/v1/reviews").json["reviews"] if r["dose"]["coupon_number"] in (
            "5970000001", "5970000009") and r["dose"]["dose_number"] < 3]
        equal(back, [], f"D8 {where}: the inbox does not bring the erased doses back, nor one that was not yet theirs")
        equal({r: tablet.get(f"/v1/doses/{r}").json["outcome"] for r in outcome}, outcome, f"D8 {where}: receipts say what they said")
        equal(len(find(c, addressee_number="B-wait")), 1, f"D8 {where}: others are there")
        listed = {e["erasure_id"] for e in approver.get("/v1/erasures").json["erasures"]}
        ok(set(erased) <= listed, f"C75 {where}: the records of the erasures are there again", (erased, listed))
        equal(approver.get(f"/v1/erasures/{erased[0]}/certificate").status, 200, f"C128 {where}: and their certificates")
        acts = [(e["act"], e["count"]) for e in access_log(approver)]
        ok(("log.epoch" in [a for a, _ in acts]) and ("erasure.again", 2) in acts, f"D8 {where}: the log says so in a new epoch", acts[-6:])
        verified = stack.command("log.verify", municipality_code=MINATO)
        ok(verified["ok"], f"D8 {where}: the log verifies across the restore", verified)
        # The epoch's entry owns up to what this restore lost; the one that told of the restore before is lost, too.
        old_proofs(stack, approver, where, kept if turn == 0 else kept[:2])
        again = post_dose(tablet, residents.ocr_line(MINATO, "5970000001", 3 + turn), vaccinated_on="2021-09-01")
        equal(again["outcome"], "waiting_for_coupon", f"{where}: a new reading of an erased coupon waits, as any")
        outcome = {r: tablet.get(f"/v1/doses/{r}").json["outcome"] for r in outcome}
    equal(rows_of(stack.staff(KAGOSHIMA)), others, "C120 nothing of another municipality has changed")
    # a file put in place by hand
    both_places(stack)
    stack.kill("vrs-server")
    for end in (".db", ".keys"):
        source = stack.path("vrs-server", "backup", f"{MINATO}-first{end}")
        target = stack.path("vrs-server", {".db": "partitions", ".keys": "keys"}[end], MINATO + end)
        with open(source, "rb") as f, open(target, "r+b") as to:
            shutil.copyfileobj(f, to)
            to.truncate()
    wal = stack.path("vrs-server", "partitions", MINATO + ".db-wal")
    if os.path.exists(wal):
        os.truncate(wal, 0)
    stack.restart("vrs-server")
    c = stack.staff(MINATO)
    equal([find(c, addressee_number="B-gone"), len(find(c, addressee_number="B-stay"))], [[], 1],
          "D8 a file put in place by hand is erased before anything is served from it")
    for name, where in (("nothing-such", MINATO), ("../x", MINATO)):
        try:
            stack.command("restore", municipality_code=where, name=name)
            ok(False, f"restore of {name} is refused")
        except stack_module.StackError as e:
            ok("not_found" in str(e) or "bad_field" in str(e), f"restore of {name} is refused", e)
    problem(stack.staff(FUJISAWA).get(f"/v1/erasures/{erased[0]}/certificate"), 404, "not_found",
            "C121 another municipality has no such certificate")


run(main, count=30)
