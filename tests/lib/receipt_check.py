"""Checks a receipt's proof with nothing of the system's: hashlib, and openssl for Ed25519.  Written
from ocr-ingest/proof.h, so that the programs' own arithmetic is not asked whether it is right."""
import base64
import hashlib
import os
import subprocess
import tempfile


def sha256(data):
    return hashlib.sha256(data).digest()


def statement(receipt, dose):
    """The text that the terminal can write down itself: what it sent and what it was told."""
    lines = ["vrs-receipt/1", receipt["receipt_id"], receipt["dose_id"], receipt["outcome"],
             dose["ocr_line"], dose["status"], dose["vaccinated_on"], dose["product"], dose["lot"]]
    return "".join(line + "\n" for line in lines).encode()


def leaf_of(text, proof):
    return sha256(b"\0" + sha256(text) + bytes.fromhex(proof["entry_hash"]))


def root_of(leaf, index, size, path):
    """RFC 9162 2.1.3.2; None when the path has a wrong length."""
    at, last, root = index, size - 1, leaf
    for node in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            root = sha256(b"\1" + node + root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = sha256(b"\1" + root + node)
        at, last = at >> 1, last >> 1
    return root if last == 0 else None


def head_text(head):
    return "".join(f"{line}\n" for line in (
        "vrs-log/1", head["municipality_code"], head["epoch"], head["size"], head["root"],
        head["signed_at"])).encode()


def signed(text, signature, key):
    """Ed25519 by openssl; `key`: the 32 raw bytes."""
    der = bytes.fromhex("302a300506032b6570032100") + key
    with tempfile.TemporaryDirectory() as folder:
        names = {}
        for name, data in (("key", der), ("text", text), ("signature", signature)):
            names[name] = os.path.join(folder, name)
            with open(names[name], "wb") as f:
                f.write(data)
        return subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", names["key"],
             "-rawin", "-in", names["text"], "-sigfile", names["signature"]],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def head_holds(head, keys):
    """`keys`: answer of GET /v1/log/keys."""
    for k in keys["keys"]:
        raw = base64.b64decode(k["key"])
        if k["key_id"] == head["key_id"] == sha256(raw)[:4].hex():
            return signed(head_text(head), base64.b64decode(head["signature"]), raw)
    return False


def holds(receipt, dose, keys):
    """Statement → leaf → root → signature."""
    proof = receipt["proof"]
    root = root_of(leaf_of(statement(receipt, dose), proof), proof["entry"] - 1, proof["size"],
                   [bytes.fromhex(h) for h in proof["path"]])
    return root is not None and root.hex() == proof["root"] and head_holds(proof, keys)
