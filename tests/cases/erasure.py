#!/usr/bin/env python3
"""Erasing a person on real daemons: four eyes, no trace, a record that stays, the own municipality
only.  Sealed bytes, as they stood before, are looked for in every file afterwards."""
import base64
import glob
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time

from case import (erase, FUJISAWA, KAGOSHIMA, MINATO, Import, access_log, dose_row, doses_of, equal, find, inquiry, ok, one,
                  personal_number, post_dose, problem, record, register, resident, residents_csv, run,
                  stack_module, tag, until)
import residents

COUPON, ADDRESSEE = "5930000001", "消去-0001"


# ---- files as they stand on the disk


def files_of(stack, code=None):
    """{path: bytes} of everything that the programs of the inside keep (of one municipality)."""
    found = {}
    for program in ("vrs-server", "vrs-number"):
        for folder, _, names in os.walk(stack.path(program)):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and (code is None or code in name):
                    with open(path, "rb") as f:
                        found[path] = f.read()
    return found


def rows(stack, program, code, table, where=lambda row: True):
    """Rows of a copy of a file and its journal: what an operator could see of it."""
    source = stack.path(program, {"vrs-server": "partitions", "vrs-number": "files"}[program], code + ".db")
    work = tempfile.mkdtemp(dir=stack.home)
    for end in ("", "-wal"):
        if os.path.exists(source + end):
            shutil.copy(source + end, os.path.join(work, "copy.db" + end))
    db = sqlite3.connect(os.path.join(work, "copy.db"))
    try:
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name=?", (table,)).fetchone():
            return []
        db.row_factory = sqlite3.Row
        return [dict(r) for r in db.execute(f'SELECT * FROM "{table}"') if where(r)]
    finally:
        db.close()
        shutil.rmtree(work)


def seals_of(stack, code, resident_id):
    """The sealed blobs of all rows about the person, in both programs."""
    person = bytes.fromhex(resident_id)
    found = rows(stack, "vrs-server", code, "person", lambda r: r["id"] == person)
    for table, column in (("person_history", "i0"), ("coupon", "i1"), ("number_link", "i0"), ("claim", "i3"),
                          ("inquiry", "i0"), ("held_inquiry", "i0"), ("request", "i0")):
        found += rows(stack, "vrs-server", code, table, lambda r, c=column: r[c] == person)
    claims = {r["id"] for r in rows(stack, "vrs-server", code, "claim", lambda r: r["i3"] == person)}
    found += rows(stack, "vrs-server", code, "claim_history", lambda r: r["i0"] in claims)
    links = {r["id"] for r in rows(stack, "vrs-server", code, "number_link", lambda r: r["i0"] == person)}
    numbers = rows(stack, "vrs-number", code, "number", lambda r: r["id"] in links)
    blinds = [r["i0"] for r in numbers]
    return {r["blob"] for r in found}, {r["blob"] for r in numbers}, blinds


def holders(stack, needles, without=()):
    held = []
    for path, data in files_of(stack).items():
        if any(w in path for w in without):
            continue
        held += [f"{os.path.relpath(path, stack.home)}: {n[:8].hex()}" for n in needles if n in data]
    return held


def digest_of(stack, code):
    """All rows of a municipality, in both programs, but its log (which tells of look-ups)."""
    d = hashlib.sha256()
    for program, tables in (("vrs-server", ("person", "person_history", "coupon", "number_link", "claim", "tally",
                                            "claim_history", "inquiry", "provision", "import")), ("vrs-number", ("number",))):
        for table in tables:
            for r in sorted(rows(stack, program, code, table), key=lambda r: r["id"]):
                d.update(repr(sorted(r.items())).encode())
    return d.hexdigest()


# ---- the case


def somebody(stack, c, approver):
    """A person with a little of everything."""
    number = personal_number()
    register(c, [resident(MINATO, ADDRESSEE, COUPON, 個人番号=number, 氏名="消去　花子", カナ="ショウキョ ハナコ")])
    tablet = stack.tablet()
    receipt = post_dose(tablet, residents.ocr_line(MINATO, COUPON, 1))["receipt_id"]
    record(c, [dose_row(MINATO, COUPON, 2, "20210801")])
    person = one(c, coupon_number=COUPON)
    url = f"/v1/residents/{person['resident_id']}"
    c.request("PATCH", url, {"address": "新しい住所", "reason": "転居"}, headers=tag(1))
    d = doses_of(c, person["resident_id"])[0]
    c.request("PUT", f"/v1/doses/{d['dose_id']}", {"lot": "FF9942", "reason": "読み違い"}, headers=tag(d["version"]))
    known = personal_number()
    register(stack.staff(KAGOSHIMA), [resident(KAGOSHIMA, "消去-K", "5930000009", 個人番号=known)])
    c.post("/v1/inquiries", inquiry(known, KAGOSHIMA, addressee_number=ADDRESSEE), key=True)
    c.post(url + ":flag", {"flag": "no_auto_answer"}, key=True, headers=tag(2))  # its answer is kept
    left = resident(MINATO, ADDRESSEE, COUPON, 個人番号=number, 氏名="消去　花子")
    c_import = Import(c, "residents", residents_csv([left], encoding="cp932"))
    c_import.check()
    equal(c_import.state["state"], "checked", "an import that nobody committed holds the person, too")
    return number, url, c_import.url, receipt


def four_eyes(stack, c, approver, url):
    problem(approver.request("DELETE", url, {"reason": "本人の申出"}, headers=tag(3)), 403, "forbidden",
            "C53 who approves erasures does not ask for them")
    first = c.request("DELETE", url, {"reason": "本人の申出"}, headers=tag(3))
    equal((first.status, first.json.get("state")), (202, "waiting_for_approval"),
          "C47 the first DELETE files a request and erases nothing")
    request = first.json["request_id"]
    equal(c.request("DELETE", url, {"reason": "本人の申出"}, headers=tag(3)).json["request_id"], request,
          "the same again is the same request")
    equal(c.get(url).status, 200, "the resident is still there")
    problem(c.post(f"/v1/requests/{request}:approve", {"reason": "確認"}, key=True), 403, "forbidden",
            "C47 who asks does not approve")
    waiting = [r for r in approver.get("/v1/requests").json["requests"] if r["request_id"] == request]
    ok(len(waiting) == 1 and "消去　花子" in waiting[0]["content"] and "接種の記録2件" in waiting[0]["content"]
       and waiting[0]["may_decide"], "the approver sees in words what would go", waiting)
    other = stack.staff(FUJISAWA, "fujisawa-approver")
    problem(other.post(f"/v1/requests/{request}:approve", {"reason": "x"}, key=True), 404, "not_found",
            "C121 another municipality's approver does not find the request")
    problem(approver.post(f"/v1/requests/{request}:approve", {}, key=True), 422, "reason_required",
            "deciding needs a reason")
    equal(approver.post(f"/v1/requests/{request}:approve", {"reason": "本人確認済み"}, key=True).json["state"],
          "approved", "another person approves")
    problem(approver.post(f"/v1/requests/{request}:refuse", {"reason": "x"}, key=True), 409, "conflict",
            "a decision is made once")
    return request


def cross(stack, url):
    """C121: every way from another municipality."""
    other = stack.staff(FUJISAWA)
    before = len(access_log(stack.staff(FUJISAWA, "fujisawa-approver")))
    forged = url[:-1] + ("0" if url[-1] != "0" else "1")
    for what, path in (("its id", url), ("a forged id", forged)):
        problem(other.request("DELETE", path, {"reason": "x"}, headers=tag(3)), 404, "not_found",
                f"C121 from another municipality with {what}: not found")
    problem(other.post("/v1/requests", {"kind": "erase", "subject": url.split("/")[-1], "act": "resident.erase",
                                        "reason": "x"}, key=True), 404, "not_found",
            "C121 nor can it be asked for there")
    refused = [e for e in access_log(stack.staff(FUJISAWA, "fujisawa-approver"))[before:]
               if e["result"] == "not_found"]
    equal(len(refused), 3, "C121 each attempt stands in the log of who tried")


def operator(stack):
    """C122: the operator's role has no function that erases, and may not apply for one."""
    for rights in ("erase", "erase.approve"):
        try:
            stack.command("user.apply", user_id="erase-operator", person_name="運用 者", municipality_code="",
                          section="運用", roles="operator", valid_until=time.strftime("%Y-12-31"), by="somebody",
                          password="a-long-enough-passphrase", rights=rights)
        except stack_module.StackError as e:
            ok("forbidden" in str(e) or "bad_field" in str(e), f"C122 an operator cannot apply for {rights}", e)
        else:
            ok(False, f"C122 an operator cannot apply for {rights}")


def certificate(stack, c, erasure_id):
    answer = c.get(f"/v1/erasures/{erasure_id}/certificate")
    equal(answer.status, 200, "C128 the certificate")
    doc = answer.json
    text = doc["text"]
    ok(all(w in text for w in ("消去証明書", "港区（131032）", "接種の記録: 2件", "個人番号: 1件", "minato-approver",
                               "本人の申出", "操作記録の先頭", "バックアップ")), "C128 says what, how many, who, why, until when", text)
    ok("消去　花子" not in text and COUPON not in text and ADDRESSEE not in text,
       "C75 C128 without the erased data", text)
    keys = {}
    for path in glob.glob(stack.path("signer-keys", "log-*.pub")):
        with open(path) as f:
            raw = bytes.fromhex(f.read().split()[-1])
        keys[hashlib.sha256(raw).hexdigest()[:8]] = raw
    raw = keys.get(doc["key_id"]) or next(iter(keys.values()))
    message = b"erasure\n" + text.encode()
    equal(openssl_verifies(stack, raw, message, base64.b64decode(doc["signature"])), True,
          "C128 the certificate verifies offline with the public key")
    equal(openssl_verifies(stack, raw, message.replace("2件".encode(), "3件".encode()),
                           base64.b64decode(doc["signature"])), False, "control: one changed figure does not")
    for what, changed, want in (("verifies", doc, 0), ("with one changed figure does not", doc | {
            "text": text.replace("2件", "3件")}, 1), ("of another kind does not", doc | {"kind": "export"}, 1)):
        path = stack.path("certificate.json")
        with open(path, "w") as f:
            json.dump(changed, f)
        r = subprocess.run([stack.program("vrs-verify"), "statement", path, *(
            word for key in glob.glob(stack.path("signer-keys", "log-*.pub")) for word in ("--key", key))],
            capture_output=True, text=True)
        ok(r.returncode == want and ("消去証明書" in r.stdout) == (want == 0),
           f"C128 vrs-verify, an outsider's program: the certificate {what}", r.stdout + r.stderr)


def openssl_verifies(stack, raw, message, signature):
    work = tempfile.mkdtemp(dir=stack.home)
    paths = {n: os.path.join(work, n) for n in ("key", "message", "signature")}
    der = bytes.fromhex("302a300506032b6570032100") + raw
    for name, data in (("key", der), ("message", message), ("signature", signature)):
        with open(paths[name], "wb") as f:
            f.write(data)
    r = subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", paths["key"], "-rawin",
                        "-in", paths["message"], "-sigfile", paths["signature"]], capture_output=True)
    return r.returncode == 0


def cut_off(stack, c, approver):
    """What a crash or an absent vrs-number leaves is finished by itself."""
    number = personal_number()
    register(c, [resident(MINATO, "切断-1", "5930000021", 個人番号=number)])
    person = one(c, coupon_number="5930000021")["resident_id"]
    seals, number_seals, blinds = seals_of(stack, MINATO, person)
    url, mark = f"/v1/residents/{person}", stack.path("vrs-server", "tombstones", MINATO + ".unfinished")
    asked = c.request("DELETE", url, {"reason": "試験"}, headers=tag(1)).json["request_id"]
    approver.post(f"/v1/requests/{asked}:approve", {"reason": "確認"}, key=True)
    equal(os.path.exists(mark), False, "control: nothing is unfinished")
    stack.kill("vrs-number")
    equal(c.request("DELETE", url, {"reason": "試験"}, headers=tag(1)).status, 204, "without vrs-number the record goes")
    ok(os.path.exists(mark) and holders(stack, number_seals), "and what is left to do is marked: the number is still there")
    stack.restart("vrs-number")
    ok(until(lambda: not os.path.exists(mark), 30), "C126 when vrs-number is back the rest is done by itself")
    equal(holders(stack, seals | number_seals | set(blinds)), [], "C126 nothing is left in any file")
    file = stack.path("vrs-server", "partitions", MINATO + ".db")
    stack.kill("vrs-server")
    before = os.stat(file).st_ino
    open(mark, "w").close()  # as a crash before the look leaves it
    stack.restart("vrs-server")
    ok(until(lambda: not os.path.exists(mark), 30) and os.stat(file).st_ino != before,
       "C126 after a crash in between the file is written anew")
    c = stack.staff(MINATO)
    equal(one(c, coupon_number=COUPON)["addressee_number"], ADDRESSEE, "and has everybody else")


def undone(stack, c, approver):
    """Whoever has the files, and no key, drops the tombstones or hides them behind longer ones, and restores."""
    register(c, [resident(MINATO, f"墓石-{n}", f"594000000{n}") for n in (1, 2)])
    stack.command("backup", municipality_code=MINATO, name="with-them")
    here = stack.path("vrs-server", "tombstones", MINATO)
    beside = [stack.path("vrs-server", d, MINATO + ".tombstones") for d in ("backup", "backup-2")]

    def restored(n, what):
        stack.command("restore", municipality_code=MINATO, name="with-them")
        clerk = stack.staff(MINATO)
        equal([len(find(clerk, addressee_number=f"墓石-{i}")) for i in (1, 2)], [i > n for i in (1, 2)],
              f"C126 {what}: who was erased stays erased, others are there")
        return clerk, stack.staff(MINATO, "minato-approver")

    erase(c, approver, one(c, addressee_number="墓石-1")["resident_id"])
    for path in [here] + beside:
        os.unlink(path)
    c, approver = restored(1, "every copy of the tombstones is dropped")
    erase(c, approver, one(c, addressee_number="墓石-2")["resident_id"])
    with open(beside[1], "r+b") as f:
        f.write(bytes(1 << 20))
    restored(2, "one place of backups has a longer file of nothing")
    with open(beside[0], "rb") as f:
        good = f.read()
    with open(here, "r+b") as f:
        f.truncate(0)
        f.write(bytes(2 * len(good)))
    restored(2, "the file in use is overwritten with nothing")


def main(stack):
    c, approver = stack.staff(MINATO), stack.staff(MINATO, "minato-approver")
    number, url, import_url, receipt = somebody(stack, c, approver)
    person = url.split("/")[-1]
    request = four_eyes(stack, c, approver, url)
    cross(stack, url)
    operator(stack)
    seals, number_seals, blinds = seals_of(stack, MINATO, person)
    ok(len(seals) >= 10 and len(number_seals) == 1, f"{len(seals)} sealed records and {len(number_seals)} number are known",
       (len(seals), len(number_seals)))
    ok(len(holders(stack, seals | number_seals)) >= len(seals),
       "control: the look finds every one of them before the erasure")
    others = {code: digest_of(stack, code) for code in (FUJISAWA, KAGOSHIMA)}
    mine = digest_of(stack, MINATO)
    problem(c.request("DELETE", url, {"reason": "本人の申出"}, headers=tag(2)), 412, "stale_version",
            "an approval does not make a stale version fresh")
    answer = c.request("DELETE", url, {"reason": "本人の申出"}, headers=tag(3))
    equal((answer.status, answer.body), (204, b""), "the approved DELETE erases")
    erasure = answer.headers.get("location", "").split("/")[-1]
    # nothing is left
    left = holders(stack, seals)
    equal(left, [], "C126 no sealed byte of the records is in any file, journal or free page")
    left = holders(stack, number_seals | set(blinds))
    equal(left, [], "C126 nor one of the number, sealed or indexed, in vrs-number's file and journal")
    planted = stack.path("vrs-server", "planted")
    with open(planted, "wb") as f:
        f.write(os.urandom(5000) + next(iter(seals)) + os.urandom(77))
    equal(len(holders(stack, seals)), 1, "control: one that is planted is found")
    os.unlink(planted)
    equal(rows(stack, "vrs-server", MINATO, "request", lambda r: r["i0"] == bytes.fromhex(person)), [],
          "C126 nor is the request about the person")
    problem(c.get(url), 404, "not_found", "the resident is gone")
    equal(c.get(import_url).json["state"], "removed", "so is the content of the import that held the person")
    equal([find(c, coupon_number=COUPON), find(c, personal_number=number, purpose="transfer_in")], [[], []],
          "no search finds the person")
    equal({code: digest_of(stack, code) for code in others}, others,
          "C120 every row of the other municipalities is as it was")
    ok(digest_of(stack, MINATO) != mine, "control: the own municipality's digest has changed")
    # the record of it
    listed = approver.get("/v1/erasures").json["erasures"]
    equal([(e["erasure_id"], e["by"], e["approver"], e["reason"], e["counts"]["dose"], e["counts"]["number"],
            e["automatic"]) for e in listed], [(erasure, "minato-1", "minato-approver", "本人の申出", 2, 1, False)],
          "C75 the record says who, who approved, why and how many")
    ok(listed[0]["log_after"]["size"] > listed[0]["log_before"]["size"], "C128 and where the log stood", listed)
    entries = [e for e in access_log(approver) if e["act"].startswith(("resident.erase", "request."))]
    ok({"approval_asked", "erased"} <= {e["result"] for e in entries}
       and {"request.list", "request.approve"} <= {e["act"] for e in entries}, "C75 every step is in the log",
       [(e["act"], e["result"]) for e in entries])
    certificate(stack, approver, erasure)
    # the tablet's receipt, and a new reading of the same coupon
    tablet = stack.tablet()
    ok(tablet.get(f"/v1/doses/{receipt}").json["outcome"].startswith("recorded"), "the receipt of the erased dose stays as it was")
    again = post_dose(tablet, residents.ocr_line(MINATO, COUPON, 3))
    equal(again["outcome"], "waiting_for_coupon", "a new reading of the coupon waits for it, as any")
    problem(c.request("DELETE", url, {"reason": "x"}, headers=tag(3)), 404, "not_found", "a second DELETE is 404")
    register(c, [resident(MINATO, ADDRESSEE, COUPON, 個人番号=number)])
    ok(request and len(doses_of(c, one(c, coupon_number=COUPON)["resident_id"])) == 1,
       "registered anew, the person has the new reading alone")
    # a refused request does nothing, and an approval is used once
    person2 = one(c, coupon_number=COUPON)
    url2 = f"/v1/residents/{person2['resident_id']}"
    asked = c.request("DELETE", url2, {"reason": "誤り"}, headers=tag(1)).json["request_id"]
    approver.post(f"/v1/requests/{asked}:refuse", {"reason": "対象が違う"}, key=True)
    equal(c.request("DELETE", url2, {"reason": "誤り"}, headers=tag(1)).status, 202,
          "after a refusal the next DELETE asks anew")
    cut_off(stack, c, approver)
    undone(stack, stack.staff(MINATO), stack.staff(MINATO, "minato-approver"))
    verified = stack.command("log.verify", municipality_code=MINATO)
    ok(verified["ok"], "the log verifies", verified)


run(main, count=40)
