#!/usr/bin/env python3
"""S3: the log as an outsider checks it, and what somebody with the files can do to it.  Exports and
copies of a partition are flipped, cut, swapped and written anew; each must be found by the separate
program with the last head that the second place holds — and a cut end must not be without it."""
import datetime
import json
import os
import random
import shutil
import sqlite3
import ssl
import subprocess
import urllib.request

from case import BUILD, FUJISAWA, MINATO, access_log, equal, ok, one, problem, register, resident, run, until

FILL = 300  # entries beyond a whole tile


class Outsider:
    """Somebody with the public keys, the public checkpoints and vrs-verify, and nothing else."""

    def __init__(self, stack):
        self.stack, self.folder = stack, stack.path("outsider")
        os.makedirs(self.folder)
        self.keep("log.pub", self.public("/v1/log/keys"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def public(self, path):
        tls = ssl.create_default_context(cafile=self.stack.demo["ca"])
        with urllib.request.urlopen(self.stack.demo["public"] + path, context=tls) as r:
            return json.load(r)

    def checkpoints(self, code=MINATO):
        return self.public(f"/v1/log/checkpoints/{code}")["checkpoints"]

    def keep(self, name, content):
        with open(self.path(name), "w") as f:
            f.write(content if isinstance(content, str) else json.dumps(content))
        return self.path(name)

    def verify(self, *exports, checkpoint=None, what="log"):
        """(exit status, what it says)"""
        more = ["--checkpoint", checkpoint] if checkpoint else []
        done = subprocess.run([os.path.join(BUILD, "bin", "vrs-verify"), what, *exports, "--key",
                               self.path("log.pub"), *more], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


def export(client, query=""):
    answer = client.get("/v1/access-log/export" + query)
    if answer.status != 200:
        raise AssertionError(f"export: {answer}")
    return answer.body.decode()


def head_reached(out, size, code=MINATO):
    """The last outside checkpoint, once it is over so many entries."""
    def last():
        heads = out.checkpoints(code)
        return heads[-1] if heads and heads[-1]["size"] >= size else None
    return until(last, 15)


# ---- C78: export and check


def exports(stack, chief, out):
    lines = export(chief).splitlines()
    head = json.loads(lines[0])
    entries = [json.loads(x) for x in lines if '"entry_hash"' in x]
    equal((head["from"], [e["entry"] for e in entries]), (1, list(range(1, head["to"] + 1))),
          "C78: the export has every entry from the first on")
    ok(head["size"] > head["to"] and '"head"' in lines[-2],
       "C78: under a signed head, which is over the export's own entry already", lines[0])
    ok(all(set(e) <= {"entry", "entry_hash", "commitment", "text"} for e in entries),
       "C78: with hashes only, no word of an entry")
    ok(any("commitment" in e for e in entries) and not any(
        word in "\n".join(lines) for word in ("minato", "試験", "resident.")),
       "C78: nothing in it says what an entry is about")
    whole = out.keep("all.ndjson", "\n".join(lines) + "\n")
    status, said = out.verify(whole)
    ok(status == 0 and "cut off at the end cannot be noticed" in said,
       "C78: vrs-verify finds it in order, and says what it cannot see", said)
    kept = head_reached(out, head["size"] - 5)
    checkpoint = out.keep("checkpoint.json", kept)
    status, said = out.verify(whole, checkpoint=checkpoint)
    ok(status == 0, "C78: so it does with a head from the second place", said)
    status, said = out.verify(whole, checkpoint=out.keep("many.json", {
        "checkpoints": out.checkpoints()}))
    ok(status == 0, "C78: and with all of them", said)

    log = access_log(chief)
    ok(any(e["act"] == "log.export" and e["user"] == "minato-approver" and e["count"] == head["to"]
           for e in log), "C73: the export is itself an entry, with its count")
    middle = head["to"] // 2
    part = [out.keep("1.ndjson", export(chief, f"?to={middle}")),
            out.keep("2.ndjson", export(chief, f"?from={middle + 1}"))]
    status, said = out.verify(*part, checkpoint=checkpoint)
    ok(status == 0 and "entries 1 to" in said, "C78: in parts, which go on from one another", said)
    status, said = out.verify(part[1], checkpoint=checkpoint)
    ok(status == 0, "C78: a part alone, for a head that falls into it", said)
    early = out.keep("early.json", out.checkpoints()[0])
    size = out.checkpoints()[0]["size"]
    status, said = out.verify(part[1], checkpoint=early)
    if size < middle:
        ok(status == 1 and f"checkpoints={size}" in said,
           "C78: for one before it the program says what to ask for", said)
    proven = out.keep("3.ndjson", export(chief, f"?from={middle + 1}&checkpoints={size}"))
    status, said = out.verify(proven, checkpoint=early)
    ok(status == 0, "C78: and with that it is proven to be a prefix", said)
    words = export(chief, "?entries=1&from=1&to=3")
    ok('"act"' in words and out.verify(out.keep("words.ndjson", words))[0] == 0,
       "C78: who may read the log gets the words, too")
    for query in ("?from=x", "?to=0x1", "?from=5&to=4", f"?from={head['to'] + 1000}",
                  "?checkpoints=1,x", "?entries=2"):
        problem(chief.get("/v1/access-log/export" + query), 422, "bad_field",
                f"an export of {query} is refused")
    return whole, lines


def person(chief, out, resident_id):
    """The list that a person takes home."""
    lines = chief.get(f"/v1/residents/{resident_id}/access-log",
                      headers={"Accept": "application/x-ndjson"}).body.decode()
    status, said = out.verify(out.keep("mine.ndjson", lines), what="entries")
    ok(status == 0 and '"proof"' in lines, "C67: a person's list proves each of its entries", said)
    entry = json.loads(lines.splitlines()[0])
    for name, change in (("sequence", 1), ("commitment", "ab" * 32)):
        status, said = out.verify(out.keep("mine.ndjson", dict(entry, **{name: change})),
                                  what="entries")
        ok(status == 1 and "does not verify" in said, f"C67: with another {name} it does not hold",
           said)


def rights(stack, chief, out):
    ours = export(chief, "?to=1")
    theirs = export(stack.staff(FUJISAWA, "fujisawa-approver"), "?to=1")
    ok(f'"{MINATO}"' in ours and f'"{FUJISAWA}"' in theirs, "C02: each exports its own log")
    problem(chief.get(f"/v1/access-log/export?municipality_code={FUJISAWA}"), 403, "forbidden",
            "C02: not another municipality's")
    for user, role, has in (("minato-proof", "municipal_approver", "log.proof"),
                            ("minato-desk", "municipal_staff", "dose.read")):
        stack.demo["users"].append(stack.add_user(user, MINATO, [role], "minato-personnel",
                                                  "minato-approver", "窓口", f"{user} の人", has))
    proof, desk = stack.staff(MINATO, "minato-proof"), stack.staff(MINATO, "minato-desk")
    equal(proof.get("/v1/access-log/export?to=1").status, 200,
          "C73: log.proof is enough for hashes")
    problem(proof.get("/v1/access-log/export?entries=1"), 403, "forbidden",
            "C73: not for the words")
    problem(desk.get("/v1/access-log/export"), 403, "forbidden", "C73: without either, nothing")
    user = stack.add_user("audit-one", "", ["auditor"], "somebody", "audit-second", "検査院", "検査 人",
                          "log.read log.proof", MINATO)
    auditor = stack.terminal("lgwan-nation")
    auditor.login("audit-one", user["password"])
    text = export(auditor, f"?municipality_code={MINATO}")
    status, said = out.verify(out.keep("audit.ndjson", text))
    seen = [(e["user"], e["act"]) for e in access_log(chief)]
    ok(status == 0 and ("audit-one", "log.export") in seen,
       "C78: an auditor exports and checks without the municipality's help, and it sees that", said)
    for query, code in ((f"?municipality_code={FUJISAWA}", "forbidden"), ("", "missing_field")):
        ok(auditor.get("/v1/access-log/export" + query).code == code,
           f"C73: within its scope only ({code})")


# ---- S3 on the export


def spoil_exports(out, lines):
    """Every way to change what is shown; each must be found even without an outside head."""
    dice = random.Random(20211121)
    entries = [i for i, x in enumerate(lines) if '"entry_hash"' in x]

    def flip(x):
        i = dice.choice(entries)
        at = x[i].index('"entry_hash":"') + 14 + dice.randrange(64)
        x[i] = x[i][:at] + ("0" if x[i][at] != "0" else "1") + x[i][at + 1:]

    def delete(x):
        del x[dice.choice(entries)]

    def delete_renumbered(x):
        gone = dice.choice(entries[:-1])
        del x[gone]
        for i in range(gone, entries[-1]):
            e = json.loads(x[i])
            x[i] = json.dumps(dict(e, entry=e["entry"] - 1), separators=(",", ":"))
        h = json.loads(x[0])
        x[0] = json.dumps(dict(h, to=h["to"] - 1, size=h["size"] - 1))
        x[-1] = json.dumps({"end": len(entries) - 1})

    def insert(x):
        i = dice.choice(entries)
        x.insert(i, x[i])

    def swap(x):
        i, j = dice.sample(entries, 2)
        a, b = json.loads(x[i]), json.loads(x[j])
        a["entry"], b["entry"] = b["entry"], a["entry"]
        x[i], x[j] = json.dumps(b), json.dumps(a)

    def truncate(x):
        del x[dice.choice(entries):]

    def forge(x):
        for i in entries[len(entries) // 2:]:
            e = json.loads(x[i])
            x[i] = json.dumps(dict(e, entry_hash=os.urandom(32).hex()))

    for name, spoil in (("one digit flipped", flip), ("an entry deleted", delete),
                        ("deleted and renumbered", delete_renumbered), ("inserted", insert),
                        ("two swapped", swap), ("cut off", truncate),
                        ("written anew from the middle", forge)):
        missed = 0
        for _ in range(10):
            x = list(lines)
            spoil(x)
            status, said = out.verify(out.keep("bad.ndjson", "\n".join(x) + "\n"))
            missed += status != 1 or "NG" not in said
        equal(missed, 0, f"S3: an export with {name} is found, ten times of ten")


# ---- S3 on the partition's file


def rows(db, sql, *values):
    changed = db.execute(sql, values).rowcount
    if changed == 0:
        raise AssertionError("changed nothing: " + sql)


def flip(db, size):
    blob = bytearray(db.execute("SELECT blob FROM access_log WHERE ord=?", (size // 2,)).fetchone()[0])
    blob[60] ^= 1
    rows(db, "UPDATE access_log SET blob=? WHERE ord=?", bytes(blob), size // 2)


def unseal_commitment(db, size):
    rows(db, "UPDATE access_log SET i1=? WHERE ord=?", os.urandom(32), size // 2)


def delete(db, size):
    rows(db, "DELETE FROM access_log WHERE ord=?", size // 3)


def insert(db, size):
    rows(db, "INSERT INTO access_log SELECT ?,version,generation,key_id,state,?,i0,i1,i2,i3,blob"
         " FROM access_log WHERE ord=?", (size + 1).to_bytes(16, "big"), size + 1, size)


def swap(db, size):
    a, b = size // 3, size // 3 + 1
    blobs = [db.execute("SELECT blob FROM access_log WHERE ord=?", (n,)).fetchone()[0] for n in (a, b)]
    rows(db, "UPDATE access_log SET blob=? WHERE ord=?", blobs[1], a)
    rows(db, "UPDATE access_log SET blob=? WHERE ord=?", blobs[0], b)


def truncate(db, size):
    rows(db, "DELETE FROM access_log WHERE ord>?", size - 10)
    db.execute("DELETE FROM access_log_subject WHERE ord>?", (size - 10,))


def tile(db, size):
    rows(db, "DELETE FROM access_log WHERE ord<=256")
    db.execute("DELETE FROM access_log_subject WHERE ord<=256")


def verify_inside(stack, head=None):
    known = {"known_size": head["size"], "known_root": head["root"],
             "known_epoch": head["epoch"]} if head else {}
    words = [f"{k}={v}" for k, v in known.items()]
    done = subprocess.run([stack.program("vrsctl"), "-s", stack.control, "log.verify",
                           f"municipality_code={MINATO}", *words], capture_output=True, text=True)
    return json.loads(done.stdout or done.stderr)


def settled(path):
    """What a killed daemon left in its journal goes into the file."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def spoil_files(stack, out, early):
    """`early`: a copy of the file from before."""
    live = stack.path("vrs-server", "partitions", MINATO + ".db")
    good = stack.path("outsider", "good.db")
    head = out.checkpoints()[-1]
    stack.kill("vrs-server")
    settled(live)
    shutil.copyfile(live, good)
    owner = os.stat(live)

    def put(source):
        shutil.copyfile(source, live)
        for more in ("-wal", "-shm"):
            if os.path.exists(live + more):
                os.unlink(live + more)

    def look(name, attack, known=True):
        db = sqlite3.connect(live)
        attack(db, size)
        db.commit()
        db.close()
        os.chown(live, owner.st_uid, owner.st_gid)
        stack.restart("vrs-server")
        said = verify_inside(stack, head)
        ok(said.get("ok") is not True and said.get("bad_sequence", 0) > 0,
           f"S3: a file with {name} is found with the last outside head, and where", said)
        if not known:
            said = verify_inside(stack)
            ok(said.get("ok") is True, f"S3 control: without that head {name} is not found", said)
        stack.kill("vrs-server")
        put(good)

    db = sqlite3.connect(live)
    size = db.execute("SELECT max(ord) FROM access_log").fetchone()[0]
    db.close()
    for name, attack in (("one bit flipped", flip), ("another commitment", unseal_commitment),
                         ("an entry deleted", delete), ("an entry inserted", insert),
                         ("two entries swapped", swap), ("the first tile taken", tile)):
        look(name, attack)
    look("its end cut off", truncate, known=False)

    # An older copy put back, on which the service then writes another history.
    put(early)
    os.chown(live, owner.st_uid, owner.st_gid)
    stack.restart("vrs-server")
    chief = stack.staff(MINATO, "minato-approver")
    for _ in range(30):
        chief.get("/v1/settings")
    said = verify_inside(stack)
    ok(said.get("ok") is True, "S3 control: another history verifies by itself", said)
    ok(verify_inside(stack, head).get("ok") is not True,
       "S3: but not with the last outside head: written anew from the middle")
    answer = chief.get("/v1/access-log/export")
    status, said = out.verify(out.keep("rewritten.ndjson", answer.body.decode()),
                              checkpoint=out.keep("last.json", head))
    ok(status == 1, "S3: nor does its export, for which there is no signature either", said)
    stack.kill("vrs-server")
    put(good)
    os.chown(live, owner.st_uid, owner.st_gid)
    stack.restart("vrs-server")
    said = verify_inside(stack, head)
    ok(said.get("ok") is True and "異常はありません" in said["result"],
       "S3 control: the untouched file verifies with it", said)


# ---- a restore


def restored(stack, chief, out):
    """What a restore loses is owned up to in the log itself; a head beyond that is a fork."""
    size = stack.command("backup", municipality_code=MINATO, name="before")["ok"] and \
        verify_inside(stack)["entries"]
    for _ in range(20):
        chief.get("/v1/settings")
    head = head_reached(out, size + 20)
    stack.command("restore", municipality_code=MINATO, name="before")
    chief = stack.staff(MINATO, "minato-approver")
    text = export(chief)
    epoch = next(json.loads(x)["text"] for x in text.splitlines() if "vrs-epoch/1" in x).split("\n")
    ok(epoch[1] == MINATO and epoch[3] == head["epoch"] and int(epoch[4]) >= head["size"],
       "C78: after a restore the log says which head it knew", epoch)
    whole = out.keep("restored.ndjson", text)
    status, said = out.verify(whole, checkpoint=out.keep("lost.json", head))
    ok(status == 0 and "restored from a backup" in said,
       "C78: an outsider with a head that was lost is told so: a restore, no fork", said)
    bad = text.replace(f"\\n{epoch[4]}\\n", f"\\n{int(epoch[4]) - 30}\\n")
    status, said = out.verify(out.keep("bad.ndjson", bad), checkpoint=out.path("lost.json"))
    ok(bad != text and status == 1, "S3: a restore that claims to have lost less is found", said)
    return chief


# ---- C62 on the clock


def seven_years(stack, out, chief):
    head = head_reached(out, 257)
    kept = out.keep("before-purge.json", head)
    log = stack.path("log", "vrs-server.log")
    size = verify_inside(stack)["entries"]
    year = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=7 * 365.25 + 3)
    stack.set_clock(year)

    def purged():
        with open(log, errors="replace") as f:
            return any('"log.purged"' in line and MINATO in line for line in f)

    ok(until(purged, 20), "C62: what is older than seven years is purged by itself")
    stack.set_clock(None)
    said = verify_inside(stack, head)
    ok(said.get("ok") is True and said["entries"] > size,
       "C62: the log verifies after it, with the head from before", said)
    chief = stack.staff(MINATO, "minato-approver")
    problem(chief.get("/v1/access-log/export?from=1"), 404, "not_found",
            "C62: what was purged is not there any more")
    text = export(chief, f"?checkpoints={head['size']}")
    first = json.loads(text.splitlines()[0])["from"]
    status, said = out.verify(out.keep("purged.ndjson", text), checkpoint=kept)
    ok(status == 0 and first > 256 and "purged after seven years" in said,
       "C62: an outsider sees that it was a purge, and checks the rest", said)


def main(stack):
    chief, clerk = stack.staff(MINATO, "minato-approver"), stack.staff(MINATO)
    out = Outsider(stack)
    coupons = [f"58000000{i:02}" for i in range(3)]
    register(clerk, [resident(MINATO, f"T000{i}", c) for i, c in enumerate(coupons)])
    tablet = stack.tablet()
    for c in coupons:
        tablet.post("/v1/doses", {
            "ocr_line": f"21{MINATO}{c}", "status": "given", "vaccinated_on": "2021-07-01",
            "product": "comirnaty", "lot": "FF3620", "site": "試験会場", "read_by": "ocr"}, key=True)
    for _ in range(FILL):
        chief.get("/v1/settings")
    live = stack.path("vrs-server", "partitions", MINATO + ".db")
    stack.kill("vrs-server")
    settled(live)
    early = shutil.copyfile(live, stack.path("outsider", "early.db"))
    stack.restart("vrs-server")
    chief = stack.staff(MINATO, "minato-approver")
    whole, lines = exports(stack, chief, out)
    spoil_exports(out, lines)
    person(chief, out, one(chief, coupon_number=coupons[0])["resident_id"])
    rights(stack, chief, out)
    chief = restored(stack, stack.staff(MINATO, "minato-approver"), out)
    for _ in range(30):
        chief.get("/v1/settings")
    head_reached(out, verify_inside(stack)["entries"] - 5)
    spoil_files(stack, out, early)
    seven_years(stack, out, stack.staff(MINATO, "minato-approver"))


run(main, overrides={"vrs-server": {"checkpoint_s": 1}})
