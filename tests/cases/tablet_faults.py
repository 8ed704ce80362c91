#!/usr/bin/env python3
"""What breaks while tablets work: full disks on either side, vrs-server killed between commit and
outcome, tablet-api killed between commit and answer, vrs-number away, a crash between number and
record.  Nothing acknowledged is lost or doubled, and what is not stored is not acknowledged."""
import glob
import http.client
import os
import random
import shutil
import sqlite3
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid

from case import (FUJISAWA, MINATO, Import, client_for, doses_of, equal, inquiry, ok, one,
                  personal_number, post_dose, problem, register, resident, residents_csv, run, skip, tag, until)

DOSES = "/v1/doses"
UIDS = {"tablet-api": 63003, "vrs-server": 63002}
_coupons = iter(range(6000000001, 6000999999))


def reading(coupon, **changes):
    return {"ocr_line": f"21{MINATO}{coupon}", "status": "given", "vaccinated_on": "2021-07-01",
            "product": "comirnaty", "lot": "FF3620", "site": "会場" * 10, "read_by": "ocr", **changes}


def people(clerk, count):
    coupons = [f"{next(_coupons):010d}" for _ in range(count)]
    register(clerk, [resident(MINATO, f"6{c[-9:]}", c) for c in coupons])
    return coupons


def reader(stack):
    """The system client: its certificate is enough, so that it goes on after a restart."""
    t = next(t for t in stack.demo["terminals"] if t["name"] == "reader-1")
    return client_for(stack, (t["cert"], t["key"]), "tablet_api")


def rows_of(stack, area, code, table):
    """Rows of a table in a copy of the file, as kill -9 left it (contents are sealed)."""
    work = os.path.join(stack.home, "copy")
    shutil.rmtree(work, ignore_errors=True)
    os.mkdir(work)
    folder = {"vrs-server": "partitions", "vrs-number": "files"}[area]
    for path in glob.glob(stack.path(area, folder, code + ".db*")):
        shutil.copy(path, work)
    db = sqlite3.connect(os.path.join(work, code + ".db"))
    try:
        made = db.execute("SELECT count(*) FROM sqlite_master WHERE name=?", (table,)).fetchone()[0]
        return db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] if made else 0
    finally:
        db.close()


def kill_when_written(stack, name, path, rng, most_us=400):
    """kill -9 of a program as soon as a file has been written; a thread."""
    def look():
        info = os.stat(path)
        return info.st_mtime_ns, info.st_size

    def wait():
        before, end = look(), time.monotonic() + 5
        while look() == before and time.monotonic() < end:
            pass
        end = time.monotonic() + rng.uniform(0, most_us) / 1e6
        while time.monotonic() < end:
            pass
        stack.kill(name)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def ready(stack, side):
    try:
        with urllib.request.urlopen(stack.admin(side) + "/readyz") as r:
            return r.status
    except urllib.error.HTTPError as e:
        return e.code


def claims(clerk, coupon):
    rid = one(clerk, coupon_number=coupon)["resident_id"]
    return doses_of(clerk, rid, everything=True)


# ---- D4: full disks


def fill(path, leave):
    """A file that takes all but so many bytes of the room that is left; the path."""
    ballast = os.path.join(path, "ballast")
    with open(ballast, "wb", buffering=0) as f:
        try:
            while f.write(b"x" * 4096):
                pass
        except OSError:
            pass
        f.truncate(f.tell() - leave)
    return ballast


def inbox_full(stack, clerk):
    c, coupons = reader(stack), people(clerk, 400)
    ballast = fill(stack.path("tablet-api"), 96 << 10)
    answers = {}
    for coupon in coupons:
        key = str(uuid.uuid4())
        answers[coupon] = (key, c.post(DOSES, reading(coupon), key=key))
        if sum(a.status == 503 for _, a in answers.values()) == 20:
            break
    coupons = list(answers)
    bad = {k: a for k, (key, a) in answers.items() if a.status not in (201, 202)}
    good = {k: a for k, (key, a) in answers.items() if a.status in (201, 202)}
    ok(bad and good and all((a.status, a.code) == (503, "storage_unavailable") and "retry-after" in a.headers
                   for a in bad.values()),
       f"D4 the inbox's disk fills up: after {len(good)} posts {len(bad)} get 503 with Retry-After",
       [a.status for _, a in answers.values()])
    problem(c.post(DOSES, reading(coupons[-1]), key=True), 503, "storage_unavailable",
            "D4 in words that say that nothing is stored")
    t = stack.terminal("tablet-1")
    answer = t.login("site-1", next(u["password"] for u in stack.demo["users"]
                                    if u["user_id"] == "site-1"))
    ok(answer.status == 503 and "retry-after" in answer.headers,
       "D4 nor does anybody log in: what cannot be put on record does not happen", answer)
    equal(ready(stack, "tablet_api"), 503, "D4 /readyz says so")
    pid = stack.processes["tablet-api"].pid
    os.unlink(ballast)
    again = {k: c.post(DOSES, reading(k), key=key) for k, (key, _) in answers.items()}
    # 202 while the inside still waits to tell outcomes again that found no room
    ok({a.status for a in again.values()} <= {201, 202}, "D4 room again: the same keys are taken",
       {a.status for a in again.values()})
    equal((stack.processes["tablet-api"].poll(), stack.processes["tablet-api"].pid), (None, pid),
          "D4 without a restart")
    equal([k for k, a in good.items() if again[k].json["receipt_id"] != a.json["receipt_id"]], [],
          f"D4 the {len(good)} that were acknowledged have their receipts")
    final = until(lambda: all(c.get(f"{DOSES}/{a.json['receipt_id']}").json["outcome"] == "recorded"
                              for a in again.values()))
    ok(final, "D4 and every one is recorded")
    equal([len(claims(clerk, k)) for k in coupons], [1] * len(coupons), "D4 each is there once")
    equal(ready(stack, "tablet_api"), 200, "D4 /readyz: ready again")


def partitions_full(stack, clerk):
    """The inside's disk is full: tablets go on, nobody is shown anything, nothing is lost."""
    c, coupons = reader(stack), people(clerk, 1000)
    rid = one(clerk, coupon_number=coupons[0])["resident_id"]
    ballast = fill(stack.path("vrs-server", "partitions"), 0)
    posts = []
    while len(posts) < len(coupons) and sum(a.status == 202 for a in posts) < 10:
        posts.append(c.post(DOSES, reading(coupons[len(posts)]), key=True))
    coupons = coupons[:len(posts)]
    held = [a for a in posts if a.status == 202]
    ok(held and {a.status for a in posts} <= {201, 202},
       f"D4 the inside's disk is full: tablets go on, {len(held)} are pending",
       [a.status for a in posts])
    answers = until(lambda: (lambda a: a if a.status == 503 else None)(
        clerk.get(f"/v1/residents/{rid}/doses")))
    ok(answers and answers.status == 503 and "retry-after" in answers.headers
       and coupons[0] not in answers.body.decode(),
       "C61 the access log cannot be written: 503, and nothing is shown", answers)
    os.unlink(ballast)
    final = until(lambda: all(c.get(f"{DOSES}/{a.json['receipt_id']}").json["outcome"] == "recorded"
                              for a in posts), 20)
    ok(final, "D4 room again: every receipt becomes recorded without a restart")
    answer = until(lambda: (lambda a: a if a.status == 200 else None)(
        clerk.get(f"/v1/residents/{rid}/doses")))
    equal(answer and answer.status, 200, "C61 and people are served again")
    equal([len(claims(clerk, k)) for k in coupons], [1] * len(coupons), "D4 each is there once")


# ---- crashes at the seams


def commit_without_outcome(stack, clerk):
    """kill -9 until it has hit, three times, a claim that is committed inside and whose outcome the
    outside does not have."""
    rng = random.Random(7)
    c, hits, rounds, wrong = reader(stack), 0, 0, []
    coupons = people(clerk, 60)
    while hits < 3 and rounds < len(coupons):
        coupon = coupons[rounds]
        rounds += 1
        before = rows_of(stack, "vrs-server", MINATO, "claim")
        kill = kill_when_written(stack, "vrs-server",
                                 stack.path("vrs-server", "partitions", MINATO + ".db-wal"), rng)
        answer = c.post(DOSES, reading(coupon), key=True)
        kill.join()
        receipt = answer.json["receipt_id"]
        committed = rows_of(stack, "vrs-server", MINATO, "claim") == before + 1
        pending = c.get(f"{DOSES}/{receipt}").json["outcome"] == "pending"
        hits += committed and pending
        stack.restart("vrs-server")
        final = until(lambda: (lambda a: a if a["outcome"] != "pending" else None)(
            c.get(f"{DOSES}/{receipt}").json))
        if not final or final["outcome"] != "recorded":
            wrong.append((committed, pending, final))
        stack.staff(MINATO)  # touches the partition, so that its WAL is there to look at
    ok(hits >= 3, f"vrs-server killed between commit and outcome ({hits} of {rounds} kills)")
    ok(not wrong, "each receipt became recorded after the restart", wrong)
    clerk = stack.staff(MINATO)
    equal([len(claims(clerk, k)) for k in coupons[:rounds]], [1] * rounds,
          "each reading is one claim, though the inside saw it twice")
    equal(stack.command("log.verify", municipality_code=MINATO).get("ok", True), True,
          "the log chain verifies")
    return clerk


def tablet_api_killed(stack, clerk):
    """kill -9 of tablet-api under four readers that repeat until they are answered."""
    coupons = people(clerk, 400)
    results, kills, stop = {}, 0, threading.Event()
    given = iter(coupons)
    lock = threading.Lock()

    def work():
        c = reader(stack)
        while True:
            with lock:
                coupon = next(given, None)
            if coupon is None:
                return
            key, seen = str(uuid.uuid4()), []
            while not stop.is_set():
                try:
                    answer = c.post(DOSES, reading(coupon), key=key)
                    seen.append(answer)
                    if answer.status in (201, 202):
                        break
                except (OSError, ssl.SSLError, http.client.HTTPException):
                    c.close()
                    time.sleep(0.02)
            if not stop.is_set():
                results[coupon] = (key, seen)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    rng = random.Random(11)
    while any(t.is_alive() for t in threads) and kills < 6:
        time.sleep(rng.uniform(0.03, 0.12))
        stack.kill("tablet-api")
        stack.restart("tablet-api")
        kills += 1
    end = time.monotonic() + 40
    for t in threads:
        t.join(max(0.0, end - time.monotonic()))
    stop.set()
    for t in threads:
        t.join()
    if not equal(len(results), len(coupons),
                 f"tablet-api killed {kills} times: every reading was answered"):
        return
    c = reader(stack)
    final, doubled, lost = {}, [], []
    for coupon, (key, seen) in results.items():
        receipt = seen[-1].json["receipt_id"]
        final[coupon] = until(lambda: (lambda a: a if a.get("outcome") != "pending" else None)(
            c.get(f"{DOSES}/{receipt}").json))
        again = c.post(DOSES, reading(coupon), key=key)
        if not final[coupon] or final[coupon].get("outcome") != "recorded":
            lost.append((coupon, final[coupon]))
        if again.json.get("receipt_id") != receipt or again.json != final[coupon]:
            doubled.append((coupon, again, final[coupon]))
    ok(not lost, "each acknowledged reading is recorded", lost[:3])
    ok(not doubled, "each key has the one receipt and the final answer", doubled[:3])
    equal({len(claims(clerk, k)) for k in coupons[::10]}, {1}, "each is one claim inside")
    stack.kill("tablet-api")
    stack.restart("tablet-api")
    c = reader(stack)
    changed = [k for k, a in final.items() if c.get(f"{DOSES}/{a['receipt_id']}").json != a]
    equal(changed, [], "receipts keep their final state over one more kill -9")


# ---- C08: without the number area


def number_away(stack, clerk):
    coupons = people(clerk, 3)
    numbers = next(s for s in stack.demo["samples"] if s["municipality_code"] == MINATO)
    stack.kill("vrs-number")
    t = stack.tablet()
    check = {"ocr_line": f"21{MINATO}{coupons[0]}"}
    until(lambda: t.post("/v1/coupons:check", check).status == 200)  # the line is there again
    equal(post_dose(t, f"21{MINATO}{coupons[0]}")["outcome"], "recorded", "C08 doses are posted")
    equal(t.post("/v1/coupons:check", check).json["status"],
          "dose_already_recorded", "C08 coupons are checked")
    who = one(clerk, coupon_number=coupons[0])
    d = doses_of(clerk, who["resident_id"])[0]
    equal(d["lot"], "FF3620", "C08 residents are found by coupon, doses listed")
    answer = clerk.request("PUT", f"{DOSES}/{d['dose_id']}", {"lot": "FG0001", "reason": "読み違い"},
                           headers=tag(d["version"]))
    equal(answer.status, 200, "C08 doses are corrected")
    equal(clerk.get(f"{DOSES}/{d['dose_id']}/history").status, 200, "C08 history is shown")
    equal(clerk.get("/v1/reviews").status, 200, "C08 the work list is shown")
    for name in ("ledger", "waiting"):
        equal(clerk.get(f"/v1/exports/{name}.csv").status, 200, f"C08 {name}.csv is given out")
    equal(clerk.get(f"/v1/residents/{who['resident_id']}").status, 200, "C08 a resident is shown")
    answer = clerk.post("/v1/certificates:lookup", {"coupon_number": coupons[0],
                                                    "purpose": "certificate"})
    equal(answer.status, 200, "C08 a certificate is looked up by coupon")
    equal(clerk.get("/v1/statistics?by=date").status, 200, "C08 statistics are shown")
    version = one(clerk, coupon_number=coupons[0])["version"]
    for what, ask in (
            ("search by number", lambda: clerk.post("/v1/residents:search", {
                "personal_number": numbers["personal_number"], "purpose": "certificate"})),
            ("reveal", lambda: clerk.post(f"/v1/residents/{who['resident_id']}:reveal-number",
                                          {"purpose": "certificate"})),
            ("look-up by number", lambda: clerk.post("/v1/certificates:lookup", {
                "personal_number": numbers["personal_number"], "purpose": "certificate"})),
            ("inquiry", lambda: clerk.post("/v1/inquiries", inquiry(personal_number(), FUJISAWA),
                                           key=True))):
        answer = ask()
        ok(answer.status == 503 and answer.code == "number_away" and "retry-after" in answer.headers,
           f"C08 {what} waits for the number area: 503 number_away", answer)
    ok(version, "the resident is as before")
    stack.restart("vrs-number")
    found = until(lambda: clerk.post("/v1/residents:search", {
        "personal_number": numbers["personal_number"], "purpose": "certificate"}).status == 200)
    ok(found, "the number area is back: vrs-server finds it again by itself")


def number_without_record(stack, clerk):
    """kill -9 in the middle of imports: a number whose record was not committed goes at the start."""
    rng = random.Random(5)
    orphaned, coupons, rounds = 0, [], 0
    for _ in range(12):
        rounds += 1
        fresh = [f"{next(_coupons):010d}" for _ in range(600)]
        rows = [resident(MINATO, f"5{k[-9:]}", k) for k in fresh]
        coupons.append(rows)
        links = rows_of(stack, "vrs-server", MINATO, "number_link")
        numbers = rows_of(stack, "vrs-number", MINATO, "number")
        if numbers != links:
            break
        i = Import(clerk, "residents", residents_csv(rows)).check()
        kill = kill_when_written(stack, "vrs-server",
                                 stack.path("vrs-number", "files", MINATO + ".db-wal"), rng, 3000)
        try:
            clerk.post(f"{i.url}:commit")
        except (OSError, ssl.SSLError, http.client.HTTPException):
            pass
        kill.join()
        links = rows_of(stack, "vrs-server", MINATO, "number_link")
        numbers = rows_of(stack, "vrs-number", MINATO, "number")
        orphaned += numbers > links
        stack.restart("vrs-server")
        clerk = stack.staff(MINATO)
        until(lambda: rows_of(stack, "vrs-number", MINATO, "number")
              == rows_of(stack, "vrs-server", MINATO, "number_link"), 5)
        if orphaned >= 2:
            break
    ok(orphaned > 0, f"vrs-server killed between number and record ({orphaned} of {rounds} kills)")
    equal(rows_of(stack, "vrs-number", MINATO, "number"),
          rows_of(stack, "vrs-server", MINATO, "number_link"),
          "after the restart every number has its record: orphans are swept")
    done = Import(clerk, "residents", residents_csv(coupons[-1], line_end="\n")).commit()
    ok(done.state["state"] == "committed" and done.state["refused"] == 0,
       "the same rows again are all taken", (done.state, done.results()[:2]))
    row = coupons[-1][-1]
    found = clerk.post("/v1/residents:search", {"personal_number": row["個人番号"],
                                                "purpose": "certificate"})
    equal([r["addressee_number"] for r in found.json.get("residents", [])], [row["宛名番号"]],
          "and a number finds its one person")
    return clerk


def main(stack):
    mounts = []
    stack.claim()
    stack.make_files()
    if os.geteuid() == 0:
        for name, folder, size in (("tablet-api", ("tablet-api",), "32m"),
                                   ("vrs-server", ("vrs-server", "partitions"), "64m")):
            path = stack.path(*folder)
            os.makedirs(path, exist_ok=True)
            owner = UIDS[name] if stack.separate else 0
            options = f"size={size},mode=700,uid={owner},gid={owner}"
            if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=False,
                              stderr=subprocess.DEVNULL).returncode == 0:
                mounts.append(path)
    try:
        stack.start()
        clerk = stack.staff(MINATO)
        clerk = commit_without_outcome(stack, clerk)
        tablet_api_killed(stack, clerk)
        number_away(stack, clerk)
        if len(mounts) == 2:
            inbox_full(stack, clerk)
            partitions_full(stack, clerk)
        else:
            skip("D4 full disks", "mounting a small tmpfs needs root")
        number_without_record(stack, clerk)
    finally:
        stack.stop()
        for path in mounts:
            subprocess.run(["umount", path], check=False)


run(main, start=False, overrides={"tablet-api": {"answer_wait_ms": 300}})
