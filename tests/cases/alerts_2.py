#!/usr/bin/env python3
"""C140, the rest of the rules: each is provoked on running daemons and arrives within 60 s on journal
and webhook; what is a state tells its end, too."""
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import time

from alert_receiver import SECRET, Receiver, journal, overrides
from case import FUJISAWA, KAGOSHIMA, MINATO, ROOT, client_for, metrics, ok, openssl, run, skip, until
import residents
from small_disk import fill, small_disk

receiver = Receiver()
WITHIN = 60


def raised(stack, rule, began, subject=""):
    """On both channels, in time."""
    def lines():
        return [a for a in journal(stack) if a["rule"] == rule and subject in a["subject"]]
    until(lambda: receiver.of(rule, subject, "raised") and lines(), max(1, WITHIN - (time.monotonic() - began)))
    got = receiver.of(rule, subject, "raised")
    took = got[0]["heard_at"] - began if got else WITHIN
    ok(got and lines() and took < WITHIN and got[0]["title"] and got[0]["todo"],
       f"C140: {rule} is raised on journal and webhook, {took:.0f} s", f"webhook {got}\njournal {lines()}")


def over(rule, subject=""):
    ok(until(lambda: receiver.of(rule, subject, "over"), 40), f"C140: {rule}: its end is told")


def nothing_yet(rule):
    ok(not receiver.of(rule), f"control: {rule} was not raised before", receiver.of(rule))


def guessing(stack):
    began = time.monotonic()
    nothing_yet("enrolment_guessing")
    public = client_for(stack, None, "public")
    key = os.path.join(stack.home, "guess.key")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    request = openssl("req", "-new", "-key", key, "-subj", "/CN=x").decode()
    for _ in range(6):
        public.post("/v1/enrolments", {"code": "7" * 20, "request_pem": request})
    raised(stack, "enrolment_guessing", began)


def signer(stack):
    nothing_yet("signer_away")
    began = time.monotonic()
    stack.kill("vrs-signer")
    raised(stack, "signer_away", began, "vrs-signer")
    stack.restart("vrs-signer")
    over("signer_away")


def data_with(stack, **limits):
    folder = stack.path("data")
    shutil.copytree(os.path.join(ROOT, "data"), folder, dirs_exist_ok=True)
    path = os.path.join(folder, "alerts.json")
    document = json.load(open(path))
    for rule in document["rules"]:
        if rule["name"] in limits:
            rule["limit"] = limits[rule["name"]]
    json.dump(document, open(path, "w"), ensure_ascii=False)
    os.chmod(folder, 0o755)
    stack.overrides["vrs-server"]["data_dir"] = folder
    stack.configurations()


def dose(tablet, line):
    return tablet.post("/v1/doses", {"ocr_line": line, "status": "given", "vaccinated_on": "2021-07-01",
                                     "product": "comirnaty", "lot": "FF3620", "site": "試験会場", "read_by": "ocr"},
                       key=True).json["receipt_id"]


def replace(path, content):
    """The same file with the same owner and mode."""
    with open(path, "r+b") as f:
        before = f.read()
        f.seek(0)
        f.write(content)
        f.truncate()
    return before


def wrong_key(stack):
    """A restore brought back an old inbox key: what came meanwhile cannot be opened."""
    for rule in ("line_unreadable", "pending_old"):
        nothing_yet(rule)
    tablet = stack.tablet()
    stack.kill("vrs-server", 15)
    receipt = dose(tablet, residents.ocr_line(MINATO, "5710000001", 1))
    data_with(stack, pending_old=2)
    key = stack.path("pki", "inbox.key")
    right = replace(key, secrets.token_hex(32).encode() + b"\n")
    began = time.monotonic()
    stack.restart("vrs-server")
    raised(stack, "line_unreadable", began, "tablet-api")
    raised(stack, "pending_old", began, "tablet-api")
    stack.kill("vrs-server", 15)
    replace(key, right)
    stack.restart("vrs-server")
    ok(until(lambda: tablet.get(f"/v1/doses/{receipt}").json["outcome"] != "pending", 20),
       "control: with the right key again the dose is taken; it was never lost")
    over("pending_old")


def stuck(stack):
    """A row does not open: its key cannot be replaced, and somebody must be told."""
    nothing_yet("rotation_stuck")
    stack.kill("vrs-server", 15)
    db = sqlite3.connect(stack.path("vrs-server", "partitions", KAGOSHIMA + ".db"))
    rowid, blob = db.execute("SELECT rowid, blob FROM person LIMIT 1").fetchone()
    db.execute("UPDATE person SET blob = ? WHERE rowid = ?", (blob[:40] + bytes([blob[40] ^ 1]) + blob[41:], rowid))
    db.commit()
    db.close()
    stack.restart("vrs-server")
    began = time.monotonic()
    for code in (KAGOSHIMA, MINATO):
        stack.command("keys.rotate", municipality_code=code, what="data", by="operator")
    raised(stack, "rotation_stuck", began, KAGOSHIMA)
    ok(not receiver.of("rotation_stuck", MINATO), "control: a rotation that goes on raises nothing")


def fork(stack):
    """An older file is put in the place of the log, past the restore that there is for it."""
    nothing_yet("log_fork")
    path = stack.path("vrs-server", "partitions", FUJISAWA + ".db")
    stack.kill("vrs-server", 15)
    with open(path, "rb") as f:
        older = f.read()
    stack.restart("vrs-server")
    c = stack.staff(FUJISAWA)
    for _ in range(20):
        c.get("/v1/reviews")
    stack.kill("vrs-server", 15)
    for end in ("-wal", "-shm"):
        if os.path.exists(path + end):
            os.unlink(path + end)
    replace(path, older)
    began = time.monotonic()
    stack.restart("vrs-server")
    stack.staff(FUJISAWA).get("/v1/reviews")
    raised(stack, "log_fork", began, FUJISAWA)


def overdue(stack):
    """Forty days later, and nobody has reviewed the log."""
    nothing_yet("log_review_overdue")
    stack.kill("vrs-server", 15)
    replace(stack.path("clock"), b"3456000\n")
    began = time.monotonic()
    stack.restart("vrs-server")
    raised(stack, "log_review_overdue", began, KAGOSHIMA)


def full_disk(stack):
    nothing_yet("storage_failing")
    folder = small_disk(stack)
    if folder is None:
        skip("C140: storage_failing", "no mount here: needs root")
        return
    c = stack.staff(MINATO)
    began = time.monotonic()
    filler = fill(folder)
    until(lambda: c.get("/v1/reviews").status >= 500, 30)
    raised(stack, "storage_failing", began, MINATO)
    os.unlink(filler)
    ok(until(lambda: c.get("/v1/reviews").status == 200, 20), "control: with room again all goes on")


def main(stack):
    guessing(stack)
    signer(stack)
    wrong_key(stack)
    full_disk(stack)
    stuck(stack)
    fork(stack)
    overdue(stack)
    ok(until(lambda: metrics(stack)["vrs_alerts_undelivered"] == 0, 20), "C140: nothing is undelivered at the end")


secret = tempfile.NamedTemporaryFile("wb", prefix="vrs-secret-")
secret.write(SECRET)
secret.flush()
os.chmod(secret.name, 0o644)
run(main, count=20, overrides={"vrs-server": dict(overrides(receiver, secret.name), pull_wait_ms=1000)})
