#!/usr/bin/env python3
"""A municipality goes to another system (C131): sealed to that system's keys, signed, approved for it;
what arrives is what was sent, and a file that was changed changes nothing."""
import glob
import json
import os
import shutil
import subprocess
import tempfile

from case import (BUILD, FUJISAWA, KAGOSHIMA, MINATO, access_log, after_stop, dose_row, doses_of, equal, find, ok, one,
                  personal_number, problem, record, register, resident, run, stack_module)

TOWN = FUJISAWA


class Empty(stack_module.Stack):
    """Another system: the town's people work there, but nobody is registered yet."""

    def import_residents(self, demo, code, rows, name=None):
        return super().import_residents(demo, code, rows, name) if code != TOWN else None

    def protect(self, demo, code, samples):
        if code != TOWN:
            super().protect(demo, code, samples)


def other_stack():
    home = tempfile.mkdtemp(prefix="vrs-case-")
    os.chmod(home, 0o711)
    there = Empty(os.path.join(home, "run"), build=BUILD, count=20, say=lambda text: None)
    after_stop.append(lambda: (there.stop(), shutil.rmtree(home, ignore_errors=True)))
    there.start()
    return there


def refused(stack, code, what, verb, **values):
    try:
        answer = stack.command(verb, **values)
    except stack_module.StackError as e:
        return ok(code in str(e), what, e)
    return ok(False, what, answer)


def signer_key(stack):
    with open(sorted(glob.glob(stack.path("signer-keys", "log-*.pub")))[-1]) as f:
        return f.read().split()[-1]


def frames(data):
    """[(type, body)] of a migration file."""
    at, out = data.index(b"\n") + 1, []
    while at < len(data):
        n = int.from_bytes(data[at + 1:at + 5], "big")
        out.append((chr(data[at]), data[at + 5:at + 5 + n]))
        at += 5 + n
    return out


def joined(parts):
    return b"vrs-migration-1\n" + b"".join(
        t.encode() + len(body).to_bytes(4, "big") + body for t, body in parts)


def state_of(stack):
    """Every file of the town's partition, keys and numbers."""
    out = {}
    for program in ("vrs-server", "vrs-number"):
        for path in glob.glob(stack.path(program, "**", f"{TOWN}*"), recursive=True):
            if os.path.isfile(path) and not path.endswith(("-wal", "-shm", f"partitions/{TOWN}.db")):
                with open(path, "rb") as f:
                    out[os.path.relpath(path, stack.home)] = hash(f.read())
    log = stack.command("verify-log", municipality_code=TOWN)
    return out | {"log": (log["entries"], log["head"], log["epoch"])}


def main(stack):
    there = other_stack()
    c, approver = stack.staff(TOWN), stack.staff(TOWN, "fujisawa-approver")
    number = personal_number()
    register(c, [resident(TOWN, "M-0001", "5990000001", 個人番号=number, 氏名="移行　一郎")])
    record(c, [dose_row(TOWN, "5990000001", 1)])
    person = one(c, addressee_number="M-0001")["resident_id"]
    dose = doses_of(c, person)[0]
    c.request("PUT", f"/v1/doses/{dose['dose_id']}", {"lot": "FF9999", "reason": "訂正"},
              headers={"If-Match": f"\"{dose['version']}\""})
    key = there.command("migrate.key", municipality_code=TOWN, by="受取 担当")
    send = {"municipality_code": TOWN, "to": key["to"], "name": "move", "by": "運用 者"}
    # who allows it, and for whom
    refused(stack, "approval_required", "C131 an operator alone sends nothing away", "migrate.export", **send)
    act = "migrate.export " + key["fingerprint"]
    problem(c.post("/v1/requests", {"kind": "migrate", "act": "migrate.export ", "reason": "移行"}, key=True), 422,
            "bad_field", "C131 a request names the receiving key")
    asked = c.post("/v1/requests", {"kind": "migrate", "act": act, "reason": "新しいシステムへの移行"}, key=True)
    refused(stack, "approval_required", "C131 nor when it was only asked for", "migrate.export", **send)
    approver.post(f"/v1/requests/{asked.json['request_id']}:approve", {"reason": "契約による"}, key=True)
    stranger = stack.command("migrate.key", municipality_code=MINATO)["to"]
    refused(stack, "approval_required", "C131 the approval is for one recipient, no other key", "migrate.export",
            **(send | {"to": stranger}))
    refused(stack, "bad_field", "a key that is none", "migrate.export", **(send | {"to": "00"}))
    before = c.get("/v1/exports/reconciliation.csv").body
    done = stack.command("migrate.export", **send)
    refused(stack, "conflict", "the same name again is refused", "migrate.export", **send)
    refused(stack, "approval_required", "C131 an approval is used once", "migrate.export", **(send | {"name": "again"}))
    with open(done["file"], "rb") as f:
        data = f.read()
    parts = frames(data)
    kinds = "".join(t for t, _ in parts)
    ok(kinds[:2] == "HK" and "R" in kinds and "N" in kinds and kinds[-2:] == "MS", "one file: keys, records, numbers", kinds)
    ok(number.encode() not in data and "移行　一郎".encode() not in data and b"M-0001" not in data,
       "C131 sealed: nothing of a person can be read in it")
    manifest = json.loads(done["text"])
    people = manifest["counts"]["persons"]
    ok(people == 21 and manifest["counts"]["doses"] == 1 and manifest["counts"]["dose_versions"] >= 1 and
       manifest["approver"] == "fujisawa-approver" and manifest["recipient"] == key["fingerprint"] and
       manifest["log_after"]["size"] > manifest["log_before"]["size"], "the manifest counts and names", manifest)
    with open(stack.path("manifest.json"), "w") as f:
        json.dump(done, f)
    for signer, want in ((signer_key(stack), 0), (signer_key(there), 1)):
        with open(stack.path("signer.pub"), "w") as f:
            f.write(signer + "\n")
        r = subprocess.run([stack.program("vrs-verify"), "statement", stack.path("manifest.json"), "--key",
                            stack.path("signer.pub")], capture_output=True, text=True)
        equal(r.returncode, want, f"C131 vrs-verify statement: the manifest {'verifies' if not want else 'fails under another key'}")
    # what is refused over there
    folder = there.path("vrs-server", "migration")
    os.makedirs(folder, exist_ok=True)
    os.chown(folder, os.stat(there.path("vrs-server")).st_uid, os.stat(there.path("vrs-server")).st_gid)
    untouched = state_of(there)
    inside = [i for i, (t, _) in enumerate(parts) if t in "RN"]
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    records_bit = [(t, b[:-1] + bytes([b[-1] ^ 1])) if i == inside[0] else (t, b) for i, (t, b) in enumerate(parts)]
    swapped = list(parts)
    swapped[1], swapped[2] = swapped[2], swapped[1]
    bad = {"changed": bytes(flipped), "truncated": data[:-100], "without-end": joined(parts[:-2]),
           "without-numbers": joined([p for p in parts if p[0] != "N"]), "reordered": joined(swapped),
           "changed-record": joined(records_bit), "longer": data + b"x",
           "dropped": joined([p for i, p in enumerate(parts) if i != inside[0]])}
    take = {"municipality_code": TOWN, "signer": signer_key(stack), "by": "受取 担当"}
    for name, content in bad.items():
        put(there, folder, name, content)
        refused(there, "tampered", f"C131 a file that is {name} is refused", "migrate.import", file=name, **take)
    put(there, folder, "good", data)
    refused(there, "tampered", "C131 signed by another is refused", "migrate.import", file="good",
            **(take | {"signer": signer_key(there)}))
    refused(there, "conflict", "C131 never over people who are there", "migrate.import", file="good",
            **(take | {"municipality_code": KAGOSHIMA}))
    refused(there, "not_found", "no such file", "migrate.import", file="nothing", **take)
    refused(there, "bad_field", "a path is no name", "migrate.import", file="../good", **take)
    put(stack, stack.path("vrs-server", "migration"), "good", data)
    refused(stack, "conflict", "C131 nor where it came from", "migrate.import", file="good", **take)
    equal(state_of(there), untouched, "C131 what was refused has changed no file of the town")
    # and what is right
    taken = there.command("migrate.import", file="good", **take)
    ok("replayed" in taken, "the migration is taken in", taken)
    d, boss = there.staff(TOWN), there.staff(TOWN, "fujisawa-approver")
    equal(d.get("/v1/exports/reconciliation.csv").body, before, "C131 every person, coupon and dose is as it was: the hash lists are equal")
    equal(find(d, personal_number=number, purpose="transfer_in")[0]["resident_id"], person, "C131 the numbers came along, under the keys there")
    equal((doses_of(d, person)[0]["lot"], doses_of(d, person)[0]["version"]), ("FF9999", dose["version"] + 1), "with corrections")
    entries = [e["act"] for e in access_log(boss)]
    ok("migrate.export" in entries and "log.epoch" in entries and "dose.correct" in entries or "migrate.export" in entries,
       "C131 the log came along and goes on in a new epoch", entries[-8:])
    verified = there.command("verify-log", municipality_code=TOWN)
    ok(verified["ok"], "it verifies there", verified)
    register(d, [resident(TOWN, "M-0002", "5990000002")])
    equal(len(find(d, addressee_number="M-0002")), 1, "work goes on there")
    refused(there, "conflict", "C131 the same file again is refused", "migrate.import", file="good", **take)
    ok(glob.glob(there.path("vrs-server", "backup", f"{TOWN}-before-*.db")), "the log that was there is kept")
    equal(c.get("/v1/exports/reconciliation.csv").body, before, "the sender is as it was; partition.destroy is what ends it")
    for _ in range(2):
        there.kill("vrs-server")
        there.kill("vrs-number")
        there.restart("vrs-number")
        there.restart("vrs-server")
    d = there.staff(TOWN)
    equal(find(d, personal_number=number, purpose="transfer_in")[0]["resident_id"], person, "and after a restart of everything there")


def put(stack, folder, name, content):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(content)
    st = os.stat(stack.path("vrs-server"))
    os.chown(path, st.st_uid, st.st_gid)


run(main, count=20)
