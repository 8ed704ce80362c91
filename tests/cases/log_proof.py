#!/usr/bin/env python3
"""A receipt's proof: checked by arithmetic of its own, given later when the signer was away, and
what a signer, a partition or a second place that lies cannot do."""
import base64
import copy
import glob
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import urllib.error
import urllib.request

import receipt_check as check
from case import (BUILD, KAGOSHIMA, MINATO, equal, metrics, ok, problem, register,
                  resident, run, until)

from stack import UIDS  # noqa: E402  (case has put dev/ on the path)

_coupons = iter(range(5100000001, 5100999999))


def reading(coupon, code=MINATO, **more):
    dose = {"ocr_line": f"21{code}{coupon}", "status": "given", "vaccinated_on": "2021-07-01",
            "product": "comirnaty", "lot": "FF3620", "site": "港区スポーツセンター", "read_by": "ocr"}
    return dict(dose, **more)


def people(stack, count, code=MINATO):
    coupons = [str(next(_coupons)) for _ in range(count)]
    register(stack.staff(code), [resident(code, f"8{c[-8:]}", c) for c in coupons])
    return coupons


def public(stack, path):
    tls = ssl.create_default_context(cafile=stack.demo["ca"])
    try:
        with urllib.request.urlopen(stack.demo["public"] + path, context=tls) as r:
            return r.status, json.load(r)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def keys(stack):
    return public(stack, "/v1/log/keys")[1]


def receipt_of(tablet, receipt_id, wanted=lambda r: "proof" in r, seconds=15):
    """The receipt now, as soon as it is as wanted."""
    def now():
        answer = tablet.get(f"/v1/doses/{receipt_id}").json
        return answer if wanted(answer) else None
    return until(now, seconds) or tablet.get(f"/v1/doses/{receipt_id}").json


# ---- what a proof is


def flipped(hexes):
    return f"{int(hexes[0], 16) ^ 1:x}" + hexes[1:]


def arithmetic(stack, tablet):
    coupons = people(stack, 3)
    dose = reading(coupons[0], lot="ＦＦ3620 ")
    answer = tablet.post("/v1/doses", dose, key=True)
    known, receipt = keys(stack), answer.json
    ok(answer.status == 201 and "proof" in receipt and check.holds(receipt, dose, known),
       "C102: a 201 carries its proof, and another's arithmetic finds it good", answer)
    equal(receipt["proof"]["municipality_code"], MINATO, "C102: the proof is of the coupon's town")
    wrong = 0
    for spoil in (
            lambda r, d: r["proof"].update(entry_hash=flipped(r["proof"]["entry_hash"])),
            lambda r, d: r["proof"].update(root=flipped(r["proof"]["root"])),
            lambda r, d: r["proof"]["path"].__setitem__(0, flipped(r["proof"]["path"][0])),
            lambda r, d: r["proof"]["path"].pop(),
            lambda r, d: r["proof"].update(size=r["proof"]["size"] + 1),
            lambda r, d: r["proof"].update(entry=r["proof"]["entry"] - 1),
            lambda r, d: r["proof"].update(municipality_code=KAGOSHIMA),
            lambda r, d: r["proof"].update(signature=r["proof"]["signature"][::-1][2:] + "=="),
            lambda r, d: r.update(dose_id=flipped(r["dose_id"])),
            lambda r, d: r.update(outcome="duplicate"),
            lambda r, d: d.update(vaccinated_on="2021-07-02"),
            lambda r, d: d.update(lot="FF3621")):
        r, d = copy.deepcopy(receipt), dict(dose)
        spoil(r, d)
        try:
            wrong += bool(check.holds(r, d, known))
        except ValueError:
            pass
    equal(wrong, 0, "C102: one changed bit of proof, answer or dose, and it does not hold (12 ways)")
    got = tablet.get(f"/v1/doses/{receipt['receipt_id']}").json
    equal(got.get("proof"), receipt["proof"], "C102: the receipt has it whenever it is asked for")
    other = reading(coupons[1])
    lines = [dict(other, idempotency_key="6ba7b810-9dad-41d1-80b4-00c04fd430c8"),
             dict(reading("1234567890"), idempotency_key="6ba7b811-9dad-41d1-80b4-00c04fd430c8")]
    batch = tablet.request("POST", "/v1/doses:batch", "\n".join(map(json.dumps, lines)),
                           headers={"Content-Type": "application/x-ndjson"})
    answers = [json.loads(line) for line in batch.body.decode().splitlines()]
    ok(all(check.holds(a, d, known) for a, d in zip(answers, lines)) and len(answers) == 2,
       "C102: answers of a batch carry theirs, also that of a dose that waits for its coupon", batch)
    again = tablet.post("/v1/doses", dict(other, site="別の会場"), key=True).json
    ok(again["outcome"] == "duplicate" and check.holds(again, other, known),
       "C102: so does a duplicate, which names the dose it repeats", again)
    mine = tablet.post("/v1/doses", reading(coupons[2]), key=True).json
    gone = tablet.post(f"/v1/doses/{mine['receipt_id']}:cancel", {"reason": "読み誤り"}, key=True).json
    ok(gone["outcome"] == "cancelled" and check.holds(gone, reading(coupons[2]), known),
       "C102: a cancellation's own receipt is proven, too", gone)
    by_program(stack, os.path.join(BUILD, "bin", "vrs-verify"), receipt, dose, known)
    return receipt, dose


def by_program(stack, verify, receipt, dose, known):
    """The separate program says the same."""
    def status(r, d):
        folder = os.path.join(stack.home, "proof")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "receipt.json"), "w") as f:
            json.dump(dict(d, **r), f, ensure_ascii=False)
        with open(os.path.join(folder, "log.pub"), "w") as f:
            f.writelines(base64.b64decode(k["key"]).hex() + "\n" for k in known["keys"])
        done = subprocess.run([verify, "receipt", os.path.join(folder, "receipt.json"), "--key",
                               os.path.join(folder, "log.pub")], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr
    good, bad = status(receipt, dose), status(receipt, dict(dose, lot="FF3621"))
    ok(good[0] == 0 and bad[0] != 0, "C102: vrs-verify agrees, and finds a changed lot", f"{good}\n{bad}")


# ---- later than the receipt


def later(stack, tablet):
    known = keys(stack)
    stack.kill("vrs-server")
    coupon = str(next(_coupons))
    dose = reading(coupon)
    answer = tablet.post("/v1/doses", dose, key=True)
    ok(answer.status == 202 and "proof" not in answer.json, "C102: a 202 has no proof yet", answer)
    stack.restart("vrs-server")
    waits = receipt_of(tablet, answer.json["receipt_id"])
    ok(waits["outcome"] == "waiting_for_coupon" and check.holds(waits, dose, known),
       "C102: it comes with the outcome", waits)
    register(stack.staff(MINATO), [resident(MINATO, f"8{coupon[-8:]}", coupon)])
    final = receipt_of(tablet, answer.json["receipt_id"],
                       lambda r: r["outcome"] == "recorded" and "proof" in r)
    ok(final["outcome"] == "recorded" and check.holds(final, dose, known) and
       final["proof"]["entry"] > waits["proof"]["entry"],
       "C102: what waited gets the proof of its final entry", final)


def away(stack, tablet):
    """kill -9 of the signer under load: commits stand, proofs come later."""
    coupons = people(stack, 120)
    doses = [reading(c) for c in coupons]
    answers, lock = [], threading.Lock()

    def post(part):
        c = stack.tablet()
        for d in part:
            a = c.post("/v1/doses", d, key=True)
            with lock:
                answers.append((d, a))

    threads = [threading.Thread(target=post, args=(doses[i::4],)) for i in range(4)]
    for t in threads:
        t.start()
    until(lambda: len(answers) > 20)
    stack.kill("vrs-signer")
    for t in threads:
        t.join()
    without = [a.json["receipt_id"] for d, a in answers if "proof" not in a.json]
    ok(len(answers) == 120 and all(a.status in (201, 202) for d, a in answers),
       "C102: the signer killed under load: every dose is acknowledged all the same",
       [a for d, a in answers if a.status not in (201, 202)][:3])
    ok(without, "C102: those after it go without a proof", len(answers))
    ok(until(lambda: '"signer.away"' in open(stack.path("log", "vrs-server.log")).read()),
       "C140: that the signer is away is an event")
    # a restart of vrs-server does not forget which ones lack it
    stack.kill("vrs-server")
    stack.restart("vrs-signer")
    stack.restart("vrs-server")
    known = keys(stack)
    bad = []
    for d, a in answers:
        r = receipt_of(tablet, a.json["receipt_id"])
        if r["outcome"] != "recorded" or "proof" not in r or not check.holds(r, d, known):
            bad.append(r)
    equal(bad, [], f"C102: all 120 receipts have a proof that holds, {len(without)} of them later")


# ---- the signer asked directly


def wire(tag, data):
    return struct.pack(">BI", tag, len(data)) + data


def head_request(municipality, epoch, size, root):
    fields = (wire(1, struct.pack(">Q", 1)) + wire(3, epoch.encode()) +
              wire(4, struct.pack(">Q", size)) + wire(5, root) + wire(10, municipality.encode()))
    return struct.pack(">I", len(fields)) + fields


def ask_signer(stack, uid, message):
    """From a process of that uid: the error's name, or None when the connection was ended."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b""
        try:
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(stack.path("sock", "signer.sock"))
                s.sendall(message)
                answer = s.recv(4096)
        except OSError:
            pass
        os.write(into, answer or b"\0")
        os._exit(0)
    os.close(into)
    answer = os.read(out, 4096)
    os.close(out)
    os.waitpid(child, 0)
    if len(answer) < 17:
        return None
    size = struct.unpack(">I", answer[18:22])[0]
    return answer[22:22 + size].decode()


def forger(stack, tablet, receipt):
    """Whoever has vrs-server's uid can ask; what contradicts what was signed is not signed."""
    uid = stack_uids(stack, "vrs-server")
    newest = tablet.post("/v1/doses", reading(people(stack, 1)[0]), key=True).json["proof"]
    size, root = newest["size"], bytes.fromhex(newest["root"])
    epoch = newest["epoch"]
    equal(ask_signer(stack, uid, head_request(MINATO, epoch, size, bytes(32))), "tampered",
          "C78: another root at a signed size is not signed")
    equal(ask_signer(stack, uid, head_request(MINATO, epoch, receipt["proof"]["size"], root)),
          "tampered", "C78: a smaller tree is not signed")
    equal(ask_signer(stack, uid, b"\0\0\0\5hello"), None, "C78: garbage ends the connection")
    if uid is not None:
        equal(ask_signer(stack, None, head_request(MINATO, epoch, size, root)), None,
              "C78: nobody but vrs-server may ask, not even root")


def stack_uids(stack, name):
    return UIDS[name] if stack.separate else None


# ---- two places


def both_places(stack):
    clerk = stack.staff(MINATO, "minato-approver")

    def inside():
        found, after = [], 0
        while True:
            page = clerk.get(f"/v1/access-log/checkpoints?after={after}").json
            found += page["checkpoints"]
            if "next" not in page or page["next"] is None:
                return found
            after = page["next"]

    def outside():
        found, since = [], "2000-01-01T00:00:00Z"
        while since:
            status, page = public(stack, f"/v1/log/checkpoints/{MINATO}?since={since}")
            found += page["checkpoints"]
            since = page.get("next")
        return found

    first = outside()[-1]["size"]
    until(lambda: outside()[-1]["size"] > first, 10)  # the reading itself made entries
    seen = outside()
    kept = {json.dumps(c, sort_keys=True) for c in inside()}
    ok(len(seen) >= 2 and all(json.dumps(c, sort_keys=True) in kept for c in seen),
       "C78: what stands in the second place stands in the municipality's own, too",
       f"{len(seen)} outside, {len(kept)} inside")
    known = keys(stack)
    ok(all(check.head_holds(c, known) for c in (seen[0], seen[-1])) and
       all(a["size"] < b["size"] for a, b in zip(seen, seen[1:])),
       "C78: each is signed, and they only grow", seen[-2:])
    if stack.separate:
        folder = stack.path("tablet-api", "checkpoints")
        equal({os.stat(p).st_uid for p in glob.glob(folder + "/*")}, {stack_uids(stack, "tablet-api")},
              "C78: the second place is another uid's than the signer")
    status, answer = public(stack, "/v1/log/checkpoints/999999")
    equal(status, 404, "C78: a town without checkpoints has none")
    status, answer = public(stack, f"/v1/log/checkpoints/{MINATO}?since=yesterday")
    equal((status, answer["code"]), (422, "bad_field"), "C78: since is a time")
    problem(stack.staff(MINATO).get("/v1/access-log/checkpoints"), 403, "forbidden",
            "C73: checkpoints inside need their right")


def files_of(stack, code):
    return glob.glob(stack.path("vrs-server", "partitions", code + ".db*"))


def fork(stack, tablet):
    """An older copy of a partition put in its place, past the restore: it grows another history."""
    coupons = people(stack, 6, KAGOSHIMA)
    post = lambda i: tablet.post("/v1/doses", reading(coupons[i], KAGOSHIMA), key=True)  # noqa: E731
    post(0)
    stack.kill("vrs-server", signal.SIGTERM)
    copy_of = stack.path("copy")
    os.makedirs(copy_of, exist_ok=True)
    for path in files_of(stack, KAGOSHIMA):
        shutil.copy2(path, copy_of)
    stack.restart("vrs-server")
    last = post(1).json["proof"]["size"]
    post(2)
    until(lambda: public(stack, f"/v1/log/checkpoints/{KAGOSHIMA}")[1]["checkpoints"][-1]["size"] >
          last, 10)
    before = public(stack, f"/v1/log/checkpoints/{KAGOSHIMA}")[1]["checkpoints"]
    stack.kill("vrs-server", signal.SIGTERM)
    for path in files_of(stack, KAGOSHIMA):
        os.unlink(path)
    for path in glob.glob(copy_of + "/*"):
        there = stack.path("vrs-server", "partitions", os.path.basename(path))
        shutil.copy2(path, there)
        os.chown(there, os.stat(stack.path("vrs-server")).st_uid, -1)
    stack.restart("vrs-server")
    answer = post(3)
    ok(answer.status in (201, 202) and "proof" not in answer.json,
       "S3: a partition put back past the restore gets no signature", answer)
    signer_log = stack.path("log", "vrs-signer.log")
    ok(until(lambda: '"signer.head_refused"' in open(signer_log).read()),
       "S3: the signer says so")
    ok(until(lambda: alerts_of(stack, "log_fork")), "S3: and it is an alert inside")
    equal(public(stack, f"/v1/log/checkpoints/{KAGOSHIMA}")[1]["checkpoints"], before,
          "S3: the second place is as it was")
    # the signer's memory taken away as well: it signs, but the second place remembers
    stack.kill("vrs-signer")
    os.unlink(stack.path("vrs-signer", "heads"))
    stack.restart("vrs-signer")
    until(lambda: "proof" in (post(4).json or {}), 5)
    outside = stack.path("log", "tablet-api.log")
    ok(until(lambda: '"log.fork"' in open(outside).read(), 15),
       "S3: with the signer's memory gone the second place finds the fork")
    seen = public(stack, f"/v1/log/checkpoints/{KAGOSHIMA}")[1]["checkpoints"]
    equal(seen[:len(before)], before, "S3: and what it has, it keeps")


def alerts_of(stack, rule):
    return any('"alert.raised"' in line and f'"{rule}"' in line
               for line in open(stack.path("log", "vrs-server.log")))


def restored(stack, tablet):
    """The same by the operator's command: a new epoch says so, and is signed."""
    coupons = people(stack, 4)
    stack.command("backup", municipality_code=MINATO, name="before")
    doses = [reading(c) for c in coupons]
    kept = [tablet.post("/v1/doses", d, key=True).json for d in doses[:3]]
    stack.command("restore", municipality_code=MINATO, name="before")
    fresh = tablet.post("/v1/doses", doses[3], key=True).json
    fresh = receipt_of(tablet, fresh["receipt_id"])
    known = keys(stack)
    ok(check.holds(fresh, doses[3], known) and fresh["proof"]["epoch"] != kept[0]["proof"]["epoch"],
       "C78: after a restore proofs are of a new epoch of the log", fresh)
    ok(all(check.holds(r, d, known) and tablet.get(f"/v1/doses/{r['receipt_id']}").json == r
           for r, d in zip(kept, doses)),
       "C78: what was proven before it is told and holds as before")
    seen = until(lambda: (lambda p: p if p[-1]["epoch"] == fresh["proof"]["epoch"] else None)(
        public(stack, f"/v1/log/checkpoints/{MINATO}")[1]["checkpoints"]))
    ok(seen and kept[0]["proof"]["epoch"] in {c["epoch"] for c in seen},
       "C78: the second place has both epochs")


# ---- another key


def rotation(stack, tablet, receipt, dose):
    subprocess.run([stack.program("vrsctl"), "signer.new-key", stack.path("signer-keys")], check=True,
                   stdout=subprocess.DEVNULL)
    if stack.separate:
        for path in glob.glob(stack.path("signer-keys", "log-2.*")):
            os.chown(path, stack_uids(stack, "vrs-signer"), stack_uids(stack, "vrs-signer"))
    stack.kill("vrs-signer", signal.SIGTERM)
    stack.restart("vrs-signer")
    fresh = reading(people(stack, 1)[0])
    answer = tablet.post("/v1/doses", fresh, key=True).json
    known = until(lambda: len(keys(stack)["keys"]) == 2 and keys(stack))
    now = receipt_of(tablet, answer["receipt_id"])
    ok(known and check.holds(now, fresh, known) and now["proof"]["key_id"] != receipt["proof"]["key_id"],
       "C78: after a rotation the new key signs, and is published", now)
    ok(known and check.holds(receipt, dose, known), "C78: what the old key signed still verifies")


def main(stack):
    tablet = stack.tablet()
    receipt, dose = arithmetic(stack, tablet)
    later(stack, tablet)
    away(stack, tablet)
    forger(stack, tablet, receipt)
    both_places(stack)
    restored(stack, tablet)
    rotation(stack, tablet, receipt, dose)
    fork(stack, tablet)
    m = metrics(stack)
    ok(m["vrs_proofs_total"] > 0 and m["vrs_log_heads_unsigned_total"] > 0,
       "what is signed, proven and not signed is counted")
    equal(metrics(stack, "tablet_api").get("vrs_proofs_bad_total", 0), 0.0,
          "no proof that the inside sent was bad")


if __name__ == "__main__":
    run(main, count=60, overrides={"vrs-server": {"checkpoint_s": 1}})
