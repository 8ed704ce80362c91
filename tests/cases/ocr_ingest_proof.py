#!/usr/bin/env python3
"""A server may lie, and ocr-ingest is a terminal: it says “recorded” only of a row whose proof holds for
what was posted. Against a small tablet-api of our own with a log of its own; the proofs are made here
from docs/proof.md, with nothing of the system's."""
import base64
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
import receipt_check as check  # noqa: E402

spec = importlib.util.spec_from_file_location("resume", os.path.join(HERE, "ocr_ingest_resume.py"))
resume = importlib.util.module_from_spec(spec)
spec.loader.exec_module(resume)
ok, lines = resume.ok, resume.lines


class Key:
    """A log key; openssl signs."""

    def __init__(self, folder, name):
        self.path = os.path.join(folder, name)
        resume.openssl("genpkey", "-algorithm", "ed25519", "-out", self.path)
        der = subprocess.run(["openssl", "pkey", "-in", self.path, "-pubout", "-outform", "DER"],
                             check=True, capture_output=True).stdout
        self.raw = der[-32:]
        self.key_id = check.sha256(self.raw)[:4].hex()

    def sign(self, text):
        with tempfile.NamedTemporaryFile() as f:
            f.write(text)
            f.flush()
            return subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", self.path, "-rawin", "-in",
                                   f.name], check=True, capture_output=True).stdout


class Tablet(resume.Tablet):
    """With a log of one municipality: each receipt is the right leaf of a tree of two."""

    def __init__(self, key):
        super().__init__()
        self.key, self.proofs = key, {}
        self.forge = lambda key, answer: None  # what the server makes of an answer
        self.none_before = 0.0                 # monotonic: the signer is away until then
        self.town = "131032"

    def prove(self, answer, body):
        entry_hash = check.sha256(answer["receipt_id"].encode())
        dose = dict({"product": "", "lot": ""}, **body)
        leaf = check.leaf_of(check.statement(answer, dose), {"entry_hash": entry_hash.hex()})
        other = check.sha256(b"another entry")
        head = {"municipality_code": self.town, "epoch": "1", "size": 2,
                "root": check.sha256(b"\1" + other + leaf).hex(), "signed_at": "2021-07-01T01:02:03.004Z",
                "key_id": self.key.key_id}
        head["signature"] = base64.b64encode(self.key.sign(check.head_text(head))).decode()
        return dict(head, entry=2, entry_hash=entry_hash.hex(), path=[other.hex()])

    def answer(self, key, body, outcome):
        out = super().answer(key, body, outcome)
        if outcome == "pending":
            return out
        out["dose_id"] = uuid.uuid5(uuid.NAMESPACE_OID, key).hex
        if time.monotonic() >= self.none_before:
            if (key, outcome) not in self.proofs:
                self.proofs[key, outcome] = self.prove(out, body)
            out["proof"] = self.proofs[key, outcome]
        out = json.loads(json.dumps(out))
        self.forge(body["ocr_line"], out)
        return out


def world(name, key, *keys, text=None):
    """`keys`: what the terminal trusts; `text`: the file that says so."""
    w = resume.World(name)
    w.tablet = w.server.tablet = Tablet(key)
    w.keys = w.path("log.pub")
    with open(w.keys, "w") as f:
        f.write(text or "".join(k.raw.hex() + "\n" for k in keys))
    return w


def run(w, path, *more):
    status, err = w.run("--log-keys-file", w.keys, "--outcome-wait-s", "1", *more, path)
    return status, err, [r.split(",") for r in w.report()[1:]]


def test_good(key, old):
    answer = json.dumps({"keys": [{"key_id": k.key_id, "algorithm": "Ed25519",
                                   "key": base64.b64encode(k.raw).decode()} for k in (old, key)]})
    for name, text in (("hex", None), ("json", answer)):
        w = world("good-" + name, key, old, key, text=text)
        outcomes = {lines(1, 2)[0]: "duplicate"}
        w.tablet.outcome = w.tablet.later = lambda b, o=outcomes: o.get(b["ocr_line"], "recorded")
        path = w.write("\n".join(lines(5) + ["111310320000000010"]))
        status, err, rows = run(w, path)
        ok(status == 0 and rows == [] and "証明済み 6  証明待ち 0  証明不正 0" in err
           and "確認しません" not in err,
           f"C102: ocr-ingest takes rows as recorded with proofs that hold (keys as {name}, one of two)",
           f"{status} {err} {rows}")
        before = w.tablet.requests
        status, err, rows = run(w, path)
        ok(status == 0 and w.tablet.requests == before, "run again: nothing is asked again", err)


def flipped(hexes):
    return ("1" if hexes[0] == "0" else "0") + hexes[1:]


def test_lies(key, stranger):
    def deep(*names):
        def forge(out):
            at = out
            for n in names[:-1]:
                at = at[n]
            at[names[-1]] = flipped(at[names[-1]])
        return forge

    def signature(out):
        raw = bytearray(base64.b64decode(out["proof"]["signature"]))
        raw[-10] ^= 1
        out["proof"]["signature"] = base64.b64encode(raw).decode()

    def set_to(name, value):
        return lambda out: out.update({name: value}) if name in out else out["proof"].update({name: value})

    lies = {"root": deep("proof", "root"), "entry_hash": deep("proof", "entry_hash"),
            "path": deep("proof", "path", 0), "dose_id": deep("dose_id"), "signature": signature,
            "outcome": set_to("outcome", "duplicate"), "entry": set_to("entry", 1),
            "signed_at": set_to("signed_at", "2021-07-02T01:02:03.004Z"),
            "municipality": set_to("municipality_code", "142051"), "no proof at all": set_to("proof", "x")}
    w = world("lies", key, key)
    at = dict(zip(lines(len(lies), 2), lies.values()))
    w.tablet.forge = lambda line, out: at[line](out) if line in at else None
    path = w.write("\n".join(lines(len(lies) + 1)))
    status, err, rows = run(w, path)
    ok(status == 1 and [(r[0], r[1], r[2]) for r in rows] ==
       [(str(i), "証明不正", "bad_proof") for i in range(2, len(lies) + 2)],
       f"C102: a server that changes one bit, or claims another result ({', '.join(lies)}): ocr-ingest "
       "does not call the row recorded", f"{status} {err} {rows}")
    ok("登録 1 " in err and f"証明不正 {len(lies)}" in err, "C102: and says how many", err)
    w.tablet.forge = lambda line, out: None
    status, err, rows = run(w, path)
    ok(status == 0 and rows == [], "negative control: the same rows with the truth are recorded", err)

    for name, signer, town in (("another key's", stranger, "131032"), ("another town's", key, "142051")):
        w = world(name.split("'")[0].replace(" ", "-"), signer, key)
        w.tablet.town = town
        status, err, rows = run(w, w.write(lines(1)[0]))
        ok(status == 1 and rows and rows[0][1] == "証明不正",
           f"C102: {name} signature under the right statement does not count", f"{err} {rows}")


def test_later(key):
    w = world("later", key, key)
    w.tablet.none_before = float("inf")
    w.tablet.outcome = lambda body: "pending" if body["ocr_line"].endswith("3") else "recorded"
    path = w.write("\n".join(lines(3)))
    status, err, rows = run(w, path)
    ok(status == 1 and [(r[0], r[1]) for r in rows] == [(str(i), "証明待ち") for i in (1, 2, 3)]
       and all(r[5] for r in rows) and "証明待ち 3" in err,
       "C102: the signer is away: recorded rows wait for their proof, exit 1", f"{status} {err} {rows}")
    w.tablet.none_before = 0.0
    stored = dict(w.tablet.receipts)
    status, err, rows = run(w, path)
    ok(status == 0 and rows == [] and w.tablet.receipts == stored,
       "C102: run again, they are asked for, not sent, and are done", f"{status} {err} {rows}")
    w = world("soon", key, key)
    w.tablet.none_before = time.monotonic() + 2
    status, err, rows = run(w, w.write(lines(1)[0]), "--outcome-wait-s", "20")
    ok(status == 0 and rows == [], "C102: a proof that comes while it waits is taken in the same run",
       f"{status} {err} {rows}")


def test_keys(key):
    w = world("no-keys", key, key)
    path = w.write("\n".join(lines(2)))
    w.tablet.none_before = float("inf")
    status, err = w.run(path)
    ok(status == 0 and err.count("登録の証明を確認しません") == 1,
       "without public keys the server is believed, and one line says so", err)
    status, err, rows = run(w, path)
    ok(status == 1 and [r[1] for r in rows] == ["証明待ち"] * 2,
       "C102: with keys, what an earlier run believed is asked for", f"{status} {err} {rows}")
    w.tablet.none_before = 0.0
    status, err, rows = run(w, path)
    ok(status == 0 and rows == [], "C102: and checked", f"{status} {err} {rows}")
    for name, text in (("empty", "\n"), ("short", "ab" * 31), ("another file's", '{"keys":[{"key":"AA=="}]}')):
        w = world("keys-" + name.split("'")[0].replace(" ", "-"), key, text=text)
        status, err = w.run("--log-keys-file", w.keys, w.write(lines(1)[0]))
        ok(status == 2 and not w.tablet.stored and "公開鍵" in err,
           f"{name} key file: nothing is sent", f"{status} {err}")


def main():
    resume.TOP = tempfile.mkdtemp(prefix="vrs-ocr-proof-")
    try:
        resume.make_pki(resume.TOP)
        key, old, stranger = (Key(resume.TOP, n) for n in ("log-1", "log-2", "log-3"))
        test_good(key, old)
        test_lies(key, stranger)
        test_later(key)
        test_keys(key)
    finally:
        shutil.rmtree(resume.TOP, ignore_errors=True)
    return resume.failures != 0


if __name__ == "__main__":
    sys.exit(main())
