"""C140: every rule is provoked on running daemons and arrives once within 60 s on two channels, past
a receiver that answers 500, is away, and is slow; ordinary work raises none."""
import glob
import json
import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from alert_receiver import SECRET, Receiver, journal, overrides
from case import (FUJISAWA, KAGOSHIMA, MINATO, ROOT, client_for, clerk_with_few_rights, equal, find, make_ca,
                  make_cert, ok, post_dose, run, until)

receiver = Receiver()
started = {}  # rule: when its provocation began
WITHIN = 60


def provoked(rule):
    started.setdefault(rule, time.monotonic())


def raised(stack, rule, subject="", seconds=WITHIN):
    """On both channels, once, in time."""
    began = started[rule]
    until(lambda: receiver.of(rule, subject, "raised") and
          any(a["rule"] == rule and subject in a["subject"] for a in journal(stack)),
          max(1, seconds - (time.monotonic() - began)))
    got = receiver.of(rule, subject, "raised")
    lines = [a for a in journal(stack) if a["rule"] == rule and subject in a["subject"]]
    took = f", {got[0]['heard_at'] - began:.0f} s" if got else ""
    each = {a["id"] for a in got}
    ok(got and lines and len(each) == len(got) and len({a["subject"] for a in got}) == len(got)
       and got[0]["heard_at"] - began < seconds,
       f"C140: {rule} is raised once on journal and webhook{took}",
       f"webhook {got}\njournal {lines}")
    return got


def over(rule, subject=""):
    ok(until(lambda: receiver.of(rule, subject, "over"), 30), f"C140: {rule}: its end is told")


# ---- ordinary work


def benign(stack):
    c, tablet = stack.staff(MINATO), stack.tablet()
    samples = [s for s in stack.demo["samples"] if s["municipality_code"] == MINATO] \
        if "municipality_code" in stack.demo["samples"][0] else stack.demo["samples"][:3]
    for s in samples[:3]:
        for r in find(c, coupon_number=s["coupon_number"]):
            c.get(f"/v1/residents/{r['resident_id']}")
            c.get(f"/v1/residents/{r['resident_id']}/doses")
    post_dose(tablet, stack.demo["samples"][0]["ocr_line"])
    for _ in range(3):  # typing errors
        stack.terminal(f"lgwan-{MINATO}").login("minato-1", "not the password")
        find(c, coupon_number="9999999999")
        c.get("/v1/no-such-thing")
    stack.staff(MINATO)
    with socket.create_connection(("127.0.0.1", stack.ports["terminals"])):
        pass  # somebody looks whether the port is there
    time.sleep(11)  # a turn of the conditions
    equal(receiver.got + journal(stack), [],
          "C140 control: ordinary work, with typing errors, raises nothing")


# ---- on LG-WAN


def bad_logins(stack):
    provoked("login_failed")
    terminal = stack.terminal(f"lgwan-{FUJISAWA}")
    for _ in range(9):
        terminal.login("fujisawa-1", "wrong wrong wrong")


def failing_receiver(stack):
    """The first alert meets 500, then nobody, then a slow one."""
    receiver.mode = "error"
    bad_logins(stack)
    until(lambda: receiver.calls >= 2, 10)
    ok(receiver.calls >= 2 and not receiver.got, "C140: refused by the receiver, tried again",
       receiver.calls)
    receiver.down()
    time.sleep(2)
    receiver.mode = "slow"
    receiver.up()
    got = raised(stack, "login_failed", "user fujisawa-1")
    receiver.mode = "ok"
    ok(got and got[0]["severity"] == "warning" and got[0]["count"] >= 8 and
       "ログイン" in got[0]["title"] and got[0]["todo"],
       "C140: an alert says what, who, how often and what to do, in Japanese", got)
    equal(receiver.bad_signatures, 0, "C140: every call is signed")
    names = glob.glob(stack.path("vrs-server", "alerts", "*.mail"))
    ok(any(b"fujisawa-1" in open(n, "rb").read() for n in names),
       "C140: the third channel: a message for the local MTA", names)


def mail_is_handed_over(stack):
    """The shipped script feeds each message to the MTA once, and keeps what it did not take."""
    script = os.path.join(ROOT, "deploy", "vrs-alert-mail")
    with tempfile.TemporaryDirectory() as work:
        taken, mta = os.path.join(work, "taken"), os.path.join(work, "mta")
        with open(mta, "w") as f:
            f.write(f"#!/bin/sh\ncat >>{taken}\n")
        os.chmod(mta, 0o755)
        folder = stack.path("vrs-server", "alerts")
        there = len(glob.glob(folder + "/*.mail"))
        failed = subprocess.run([script, folder, "/bin/false"], capture_output=True)
        ok(failed.returncode != 0 and len(glob.glob(folder + "/*.mail")) == there > 0,
           "C140: an MTA that refuses: the messages stay", failed)
        done = subprocess.run([script, folder, mta], capture_output=True)
        text = open(taken, encoding="utf-8").read() if os.path.exists(taken) else ""
        ok(done.returncode == 0 and not glob.glob(folder + "/*.mail") and
           text.count("\nMessage-ID: ") == there and "login_failed" in text,
           "C140: mail: each message is handed to the MTA once", (done, there, text[:500]))


def clerks(stack):
    c = stack.staff(MINATO)
    provoked("mass_reads")
    ids = []
    for s in stack.demo["samples"]:
        if s.get("municipality_code", MINATO) == MINATO:
            ids += [r["resident_id"] for r in find(c, coupon_number=s["coupon_number"])]
    for i in range(510 - len(ids)):
        c.get(f"/v1/residents/{ids[i % len(ids)]}")
    provoked("scanning")
    for i in range(31):
        c.get(f"/v1/residents/{i:032x}" if i % 2 else f"/v1/admin{i}.php")
    provoked("fishing")
    fisher = stack.staff(FUJISAWA)
    for i in range(20):
        fisher.post("/v1/residents:search", {"coupon_number": f"{7770000000 + i}"})
    provoked("refusals")
    few = clerk_with_few_rights(stack, MINATO)
    for _ in range(10):
        few.get("/v1/exports/ledger.csv")
    provoked("other_partition")
    elsewhere = stack.terminal(f"lgwan-{FUJISAWA}")
    password = next(u["password"] for u in stack.demo["users"] if u["user_id"] == "minato-1")
    for _ in range(3):
        elsewhere.login("minato-1", password)
    raised(stack, "mass_reads", "user minato-1")
    raised(stack, "scanning", "user minato-1")
    raised(stack, "fishing", "user fujisawa-1")
    raised(stack, "refusals", "user minato-few")
    raised(stack, "other_partition", "minato-1")


def terminals(stack):
    lost = stack.add_terminal("lgwan-lost", "lgwan", MINATO)
    stack.command("terminal.revoke", name="lgwan-lost")
    provoked("revoked_used")
    client_for(stack, (lost["cert"], lost["key"])).get("/v1/vaccines")
    provoked("unknown_terminal")
    cert = make_cert(stack.home, "never-registered", stack.path("pki", "ca-lgwan"),
                     f"/O={MINATO}/OU=lgwan/CN=never-registered")
    client_for(stack, cert).get("/v1/vaccines")
    provoked("certificate_error")
    foreign = make_ca(stack.home, "foreign")
    cert = make_cert(stack.home, "stranger", foreign, f"/O={MINATO}/OU=lgwan/CN=lgwan-{MINATO}")
    for side in ("vrs_server", "tablet_api"):
        for _ in range(3):
            try:
                client_for(stack, cert, side).get("/v1/vaccines")
            except (ssl.SSLError, OSError):
                pass
    raised(stack, "revoked_used", "lgwan-lost")
    raised(stack, "unknown_terminal", "never-registered")
    raised(stack, "certificate_error", "source 127.0.0.1")


# ---- on the Internet side


def outside(stack):
    """Slow ones and a crowd: connections above the cap, those below it stall until the deadline."""
    provoked("crowded")
    provoked("slow_clients")
    crowd = [socket.create_connection(("127.0.0.1", stack.ports["terminals"]))
             for _ in range(110)]
    public = client_for(stack, side="public")
    for i in range(40):
        public.get(f"/wp-login{i}.php")
    provoked("login_failed outside")
    return crowd


def outside_raised(stack, crowd):
    until(lambda: receiver.of("scanning", "source 127.0.0.1"), 30)
    ok(receiver.of("scanning", "source 127.0.0.1"),
       "C140: scanning of the public listener comes over the line")
    raised(stack, "crowded", "tablet-api")
    raised(stack, "slow_clients", "source 127.0.0.1")
    for s in crowd:
        s.close()
    tablet = stack.terminal("tablet-1")
    began = time.monotonic()
    for _ in range(10):
        tablet.login("site-2", "wrong wrong wrong")
    ok(until(lambda: receiver.of("login_failed", "user site-2"), WITHIN),
       f"C140: wrong log-ins on the Internet side come over the line, {time.monotonic() - began:.0f} s")


# ---- conditions


def data_with(stack, **limits):
    """A copy of data/ with other limits; the next start of vrs-server reads it."""
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


def tamper_log(stack, town):
    """One bit of one sealed entry."""
    db = sqlite3.connect(stack.path("vrs-server", "partitions", town + ".db"))
    row = db.execute("SELECT rowid, blob FROM access_log ORDER BY \"order\" LIMIT 1 OFFSET 2")
    rowid, blob = row.fetchone()
    blob = blob[:40] + bytes([blob[40] ^ 1]) + blob[41:]
    db.execute("UPDATE access_log SET blob = ? WHERE rowid = ?", (blob, rowid))
    db.commit()
    db.close()


def conditions(stack):
    stack.kill("vrs-server", 15)
    tamper_log(stack, FUJISAWA)
    tamper_log(stack, KAGOSHIMA)
    data_with(stack, disk_low=100, certificate_ending=400, line_silent=4)
    for rule in ("disk_low", "certificate_ending", "number_away", "line_silent", "log_break"):
        provoked(rule)
    before = len(receiver.of("login_failed", "user fujisawa-1"))
    stack.restart("vrs-server")
    subprocess.run([stack.program("vrsctl"), "-s", stack.control, "log.verify",
                    f"municipality_code={FUJISAWA}"], capture_output=True)
    stack.kill("vrs-number")
    stack.kill("tablet-api")
    raised(stack, "disk_low", "vrs-server")
    raised(stack, "certificate_ending", "vrs-server")
    raised(stack, "log_break", FUJISAWA)
    raised(stack, "number_away")
    raised(stack, "line_silent")
    stack.restart("vrs-number")
    stack.restart("tablet-api")
    over("number_away")
    over("line_silent")
    raised(stack, "log_break", KAGOSHIMA, 120)  # nobody asked: the look in the background, a town each 10 s
    equal(len(receiver.of("login_failed", "user fujisawa-1")), before,
          "C140: a restart tells nothing twice")


def clock(stack):
    provoked("clock_jump")
    with open(stack.path("clock"), "r+") as f:
        f.write("-30\n")
        f.truncate()
    raised(stack, "clock_jump", "vrs-server")
    ok(until(lambda: receiver.of("clock_jump", "tablet-api"), WITHIN),
       "C140: clock_jump of the Internet side comes over the line")


def figures(stack):
    from case import metrics
    m = {}

    def delivered():
        m.update(metrics(stack))
        return m["vrs_alerts_undelivered"] == 0

    told = until(delivered, WITHIN)
    rules = [r["name"] for r in json.load(open(os.path.join(ROOT, "data", "alerts.json")))["rules"]]
    missing = [r for r in rules if f'vrs_alerts_total{{rule="{r}"}}' not in m]
    ok(not missing and told,
       "C140: metrics by rule; nothing is undelivered at the end", (missing, m))


def main(stack):
    benign(stack)
    failing_receiver(stack)
    mail_is_handed_over(stack)
    crowd = outside(stack)
    clerks(stack)
    terminals(stack)
    clock(stack)
    outside_raised(stack, crowd)
    conditions(stack)
    figures(stack)


secret = tempfile.NamedTemporaryFile("wb", prefix="vrs-secret-")
secret.write(SECRET)
secret.flush()
os.chmod(secret.name, 0o644)
run(main, overrides={"vrs-server": dict(overrides(receiver, secret.name), pull_wait_ms=1000),
                     "tablet-api": {"connections": 40}})
