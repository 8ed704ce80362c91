#!/usr/bin/env python3
"""S5: keys are rotated while clerks read, change and ask, and tablets post; every program is killed
with -9 in the middle.  No read may fail, no change may be refused as stale that nobody else made,
nothing may be lost; afterwards no row names an old key, the old keys are destroyed, and that is in
the log.  The control, an old key that went too early, must be seen by the same looks.

$VRS_ROTATION_KILLS: kills a rotation (2; in the long run 12).  $VRS_SEED repeats a run's choices."""
import glob
import http.client
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "dev"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import residents  # noqa: E402
from case import (FUJISAWA, KAGOSHIMA, MINATO, Import, access_log, equal, inquiry,  # noqa: E402
                  ok, resident, residents_csv, run, tag, until)
from stack import ORDER, TOWNS  # noqa: E402

LONG = bool(os.environ.get("VRS_LONG"))
KILLS = int(os.environ.get("VRS_ROTATION_KILLS", 12 if LONG else 2))
SEED = int(os.environ.get("VRS_SEED", time.time_ns() % 10**9))
COUNT = 12000 if LONG else 2500
LOG_TABLES = {"access_log", "access_log_subject", "access_log_tile", "access_log_erased",
              "checkpoint", "erasure", "log_review"}
NET = (OSError, http.client.HTTPException, ConnectionError)
AGAIN = {"storage_unavailable", "outcome_unknown", "busy", "number_away", "request_in_progress",
         "signer_away", "log_unwritable", "too_many_requests", "timeout", "inside_away"}


class Desk:
    """A person's session, shared by threads; made again when the server that knew it is gone."""

    def __init__(self, stack, code=None, tablet=None):
        self.stack, self.code, self.tablet = stack, code, tablet
        self.lock, self.token = threading.Lock(), None
        self.own = threading.local()

    def log_in(self, old):
        with self.lock:
            if self.token == old:
                c = self.stack.tablet(*self.tablet) if self.tablet else self.stack.staff(self.code)
                self.token = c.token
                c.close()

    def ask(self, method, path, body=None, key=None, headers=None, seconds=40):
        """The answer in the end, and whether an earlier attempt may have done it; None: there was
        none."""
        end, unsure = time.monotonic() + seconds, False
        while time.monotonic() < end:
            try:
                if self.token is None:
                    self.log_in(None)
                if not hasattr(self.own, "client"):
                    self.own.client = (self.stack.terminal(self.tablet[0]) if self.tablet else
                                       self.stack.terminal(f"lgwan-{self.code}"))
                self.own.client.token = token = self.token
                answer = self.own.client.request(method, path, body, headers, key)
                if answer.status == 401:
                    self.log_in(token)
                    continue
                if answer.code not in AGAIN:
                    return answer, unsure
                unsure = unsure or answer.code in ("outcome_unknown", "timeout")
            except NET:
                unsure = True
            except Exception as e:  # a log-in while a program is away
                if "log-in" not in str(e):
                    raise
            time.sleep(0.05)
        return None, unsure


class Load:
    """Everything at once until stop(); `bad` is what must stay empty."""

    def __init__(self, stack, rng):
        self.stack, self.rng = stack, rng
        self.minato, self.kagoshima = Desk(stack, MINATO), Desk(stack, KAGOSHIMA)
        self.tablet = Desk(stack, tablet=("tablet-1", "site-1"))
        self.bad, self.done, self.acked = [], {}, []
        self.running, self.lock = True, threading.Lock()
        rows = residents.generate(MINATO, COUNT)[0]
        self.people = rng.sample(rows, 60)
        self.threads = []

    def note(self, what, good, why=""):
        with self.lock:
            self.done[what] = self.done.get(what, 0) + 1
            if not good:
                self.bad.append(f"{what}: {why}")

    def read(self, seed):
        rng = random.Random(seed)
        while self.running:
            row = rng.choice(self.people)
            terms = rng.choice([{"coupon_number": row["接種券番号"]},
                                {"addressee_number": row["宛名番号"]},
                                {"name_kana": row["カナ"], "birth_date": "-".join(
                                    (row["生年月日"][:4], row["生年月日"][4:6], row["生年月日"][6:]))}])
            a, _ = self.minato.ask("POST", "/v1/residents:search", terms)
            found = a.json["residents"] if a and a.status == 200 else []
            mine = [r for r in found if r["addressee_number"] == row["宛名番号"]]
            self.note("search", len(mine) == 1, f"{sorted(terms)} {a}")
            if not mine:
                continue
            url = f"/v1/residents/{mine[0]['resident_id']}"
            a, _ = self.minato.ask("GET", url)
            self.note("read", a and a.status == 200 and a.json["name_kana"] == mine[0]["name_kana"],
                      a)
            a, _ = self.minato.ask("GET", url + "/doses")
            self.note("doses", a and a.status == 200, a)

    def write(self, addressee):
        """One writer a resident: whatever is stale is falsely so."""
        a, _ = self.minato.ask("POST", "/v1/residents:search", {"addressee_number": addressee})
        if not a or a.status != 200 or len(a.json["residents"]) != 1:
            return self.note("write", False, a)
        url, turn = f"/v1/residents/{a.json['residents'][0]['resident_id']}", 0
        a, _ = self.minato.ask("GET", url)
        version = a.json["version"]
        while self.running:
            turn += 1
            address = f"{addressee}の{turn}番目の住所"
            a, unsure = self.minato.ask("PATCH", url, {"address": address, "reason": "転居"},
                                      headers=tag(version))
            if a and a.status == 412 and unsure:
                a, _ = self.minato.ask("GET", url)  # ours, cut off behind its commit?
            good = a is not None and a.status == 200 and a.json["version"] == version + 1 and \
                a.json["address"] == address
            self.note("write", good, f"from version {version}: {a}")
            if not good:
                return None
            version += 1
            time.sleep(0.01)
        return None

    def post(self, first):
        """A dose of every coupon in turn, each under its own key."""
        rows = residents.generate(MINATO, COUNT)[0]
        turn = first
        while self.running:
            row, number = rows[turn % COUNT], 1 + turn // COUNT % 5
            turn += 2
            body = {"ocr_line": residents.ocr_line(MINATO, row["接種券番号"], number),
                    "status": "given", "vaccinated_on": "2021-07-01", "product": "comirnaty",
                    "lot": "FF3620", "site": "試験会場", "read_by": "ocr",
                    "confirmed_again": True}  # in turn, again and again
            a, _ = self.tablet.ask("POST", "/v1/doses", body, key=str(uuid.uuid4()))
            good = a is not None and a.status in (201, 202)
            self.note("post", good, a)
            if good:
                with self.lock:
                    self.acked.append((a.json["receipt_id"], row["接種券番号"], number))
            time.sleep(0.01)

    def inquire(self):
        while self.running:
            row = random.choice([r for r in self.people if r["個人番号"]])
            for code, want in ((MINATO, ("match", "pending")), (FUJISAWA, ("no_match",))):
                for _ in range(5):  # one that a crash cut off is asked again
                    a, _ = self.kagoshima.ask("POST", "/v1/inquiries",
                                              inquiry(row["個人番号"], code), key=str(uuid.uuid4()))
                    if a and a.code != "conflict" and a.json.get("result") != "aborted":
                        break
                self.note("inquire", a and a.status < 300 and a.json["result"] in want,
                          f"{TOWNS[code]} {a}")

    def start(self):
        writers = [r["宛名番号"] for r in self.people[:2]]
        work = ([lambda s=s: self.read(s) for s in range(2)] + [lambda w=w: self.write(w)
                for w in writers] + [lambda i=i: self.post(i) for i in range(2)] + [self.inquire])

        def guarded(f):
            try:
                f()
            except Exception as e:
                self.note("thread", False, repr(e))

        self.threads = [threading.Thread(target=guarded, args=(w,)) for w in work]
        for t in self.threads:
            t.start()

    def stop(self):
        self.running = False
        for t in self.threads:
            t.join()


# ---- orders and what became of them


def vrsctl(stack, verb, code, **more):
    """(exit status, answer)"""
    words = [f"{k}={v}" for k, v in {"municipality_code": code, **more}.items()]
    r = subprocess.run([stack.program("vrsctl"), "-s", stack.control, verb, *words],
                       capture_output=True, text=True)
    try:
        return r.returncode, json.loads(r.stdout or r.stderr)
    except ValueError:
        return r.returncode, {"detail": r.stderr}


def order(stack, code, **what):
    return until(lambda: vrsctl(stack, "keys.rotate", code, by="minato-operator", **what)[0] == 0,
                 30)


def ended(stack, code, seconds=240):
    """The last status once nothing is under way; None when that does not come."""

    def look():
        status, answer = vrsctl(stack, "keys.status", code)
        return answer if status == 0 else None

    return until(look, seconds)


def kill_at_random(stack, rng, code, kills):
    """Each program equally often, while something is under way; how many there were."""
    done = 0
    for i in range(kills):
        time.sleep(rng.uniform(0.02, 0.3))
        if vrsctl(stack, "keys.status", code)[0] == 0:
            break  # it was quicker
        name = ["vrs-server", "vrs-number", "tablet-api"][i % 3]
        stack.kill(name)
        stack.restart(name)
        done += 1
    return done


def rotate(stack, load, rng, code, what):
    before = load.done.get("search", 0)
    ok(order(stack, code, what=what), f"S5 {what} keys of {code}: ordered")
    twice = again_under_another_number(stack, load)
    killed = kill_at_random(stack, rng, code, KILLS)
    status = ended(stack, code)
    ok(status is not None, f"S5 {what} keys of {code}: done, over {killed} kills",
       vrsctl(stack, "keys.status", code))
    ok(twice, f"S5 a 個人番号 that is held is refused under another 宛名番号 while {what} keys"
       " rotate")
    ok(load.done.get("search", 0) > before and not load.bad,
       f"S5 nothing failed meanwhile: {load.done}", "\n".join(map(str, load.bad[:5])))
    return status


def again_under_another_number(stack, load):
    """Uniqueness holds across both index keys."""
    row = next(r for r in load.people if r["個人番号"])
    twin = resident(MINATO, f"T{uuid.uuid4().hex[:10]}", "", 個人番号=row["個人番号"])
    for _ in range(3):
        try:
            done = Import(stack.staff(MINATO, "minato-2"), "residents",
                          residents_csv([twin])).commit()
            return done.state["state"] == "committed" and done.state["refused"] == 1
        except NET + (TypeError, AttributeError, KeyError):
            time.sleep(0.5)
    return False


KEKS = [("kek", "kek-records"), ("kek", "kek-log"), ("kek-number", "kek-numbers")]
old_keks = {}


def put_key(stack, folder, name, key):
    st = os.stat(stack.path(folder))
    path = stack.path(folder, name)
    with open(path + ".part", "wb") as f:
        f.write(key)
    os.chmod(path + ".part", 0o600)
    os.chown(path + ".part", st.st_uid, st.st_gid)
    os.rename(path + ".part", path)


def rotate_keks(stack, load, rng):
    for folder, name in KEKS:
        with open(stack.path(folder, name), "rb") as f:
            old_keks[name] = f.read()
        put_key(stack, folder, name + ".previous", old_keks[name])
        put_key(stack, folder, name, os.urandom(32))
    for name in ("vrs-number", "vrs-server"):
        stack.kill(name)
        stack.restart(name)
    ok(order(stack, "all", what="kek"), "S5 the KEKs of all municipalities: ordered")
    killed = kill_at_random(stack, rng, "all", KILLS)
    status = ended(stack, "all")
    equal(status and status["keys_under_previous_kek"], 0,
          f"S5 every key file is under the new KEK, over {killed} kills")
    for code in TOWNS:
        left = vrsctl(stack, "keys.status", code)[1]
        equal(left.get("keys_under_previous_kek"), 0, f"S5 {code}: nor is a number key under the old")
    for folder, name in KEKS:
        os.unlink(stack.path(folder, name + ".previous"))
    for name in ("vrs-number", "vrs-server"):
        stack.kill(name)
        stack.restart(name)
    before = load.done.get("inquire", 0)
    ok(until(lambda: load.done.get("inquire", 0) > before + 4 or load.bad, 30) and not load.bad,
       "S5 without the old KEKs everything goes on", "\n".join(map(str, load.bad[:5])))


# ---- what is there afterwards


def census(path, tables_of_log):
    """({encrypt key: rows}, {index key: columns}) of a stopped partition."""
    keys, indexes = {}, {}
    db = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    tables = [t for (t,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table'")
              if t != "meta" and not t.startswith("sqlite_") and (t in LOG_TABLES) == tables_of_log]
    for t in tables:
        for key, n in db.execute(f'SELECT key_id,count(*) FROM "{t}" GROUP BY 1'):
            keys[key] = keys.get(key, 0) + n
        for i in range(4):
            for key, n in db.execute(f'SELECT hex(substr(i{i},1,2)),count(*) FROM "{t}" '
                                     f'WHERE length(i{i})=18 GROUP BY 1'):
                indexes[int(key, 16)] = indexes.get(int(key, 16), 0) + n
    db.close()
    return keys, indexes


def present(status, area):
    return {purpose: next(k["key_id"] for k in status["keys"] if k["area"] == area
                          and k["purpose"] == purpose and k["state"] == "active")
            for purpose in ("encrypt", "index")}


def rows_name_new_keys(stack, status):
    """With everything stopped."""
    new = present(status, "records")
    keys, indexes = census(stack.path("vrs-server", "partitions", f"{MINATO}.db"), False)
    ok(set(keys) == {new["encrypt"]} and sum(keys.values()) > 3 * COUNT,
       f"S5 all {sum(keys.values())} rows name the new data key", (keys, new))
    ok(set(indexes) == {new["index"]} and sum(indexes.values()) > 3 * COUNT,
       f"S5 all {sum(indexes.values())} blind columns name the new index key", (indexes, new))
    keys, indexes = census(stack.path("vrs-number", "files", f"{MINATO}.db"), False)
    to = {r["what"]: r["to_key_id"] for r in status["rotations"] if r["area"] == "numbers"}
    ok(set(keys) == {to["data"]} and set(indexes) == {to["index"]} and sum(keys.values()) > COUNT / 2,
       f"S5 all {sum(keys.values())} rows of vrs-number name its new keys", (keys, indexes, to))
    keys, _ = census(stack.path("vrs-server", "partitions", f"{MINATO}.db"), True)
    ok(len(keys) >= 2, f"S5 the log is not sealed anew: its rows stand under {len(keys)} keys", keys)


def destroyed(stack, status):
    old = [k for k in status["keys"] if k["area"] == "records" and k["state"] != "active"]
    ok(len(old) >= 2 and all(k["state"] == "destroyed" for k in old),
       "C76 the old keys of the records are destroyed", status["keys"])
    kept = [k["state"] for k in status["keys"] if k["area"] == "log" and k["purpose"] == "encrypt"]
    ok(sorted(kept)[0] == "active" and set(kept) == {"active", "decrypt-only"},
       "S5 those of the log open its older entries", kept)
    notes = [e for e in access_log(stack.staff(MINATO, "minato-approver"))
             if e["act"] == "keys.destroy"]
    found = {(e["detail"].split(":")[0], e["result"]) for e in notes}
    want = {("numbers encrypt", "ordered"), ("numbers index", "ordered"), ("records encrypt", "ok"),
            ("records index", "ok")}
    ok(want <= found and all("key_id" in e["detail"] and e["user"] == "minato-operator" and e["at"]
                             for e in notes),
       "C76 each destruction is in the log: date, who ordered it, which key", (want - found, notes))


def nothing_lost(stack, load):
    final = 0
    for receipt, *_ in load.acked:
        a, _ = load.tablet.ask("GET", f"/v1/doses/{receipt}")
        final += a is not None and a.status == 200 and a.json["outcome"] not in ("pending", "lost")
    equal(final, len(load.acked), f"S5 each of {len(load.acked)} acknowledged doses has its outcome")
    text = stack.staff(MINATO).get("/v1/exports/ledger.csv").body.decode("utf-8-sig")
    missing = [a for a in load.acked if a[1] not in text]
    ok(not missing, "S5 and stands in the ledger", missing[:5])


def control(stack, load):
    """The partition as it was before, and only the keys of now: the old key went too early."""
    copies = glob.glob(stack.path("**", f"*{MINATO}-before*.db"), recursive=True)
    old = next(c for c in copies if "number" not in c)
    live = stack.path("vrs-server", "partitions", f"{MINATO}.db")
    for end in ("-wal", "-shm"):
        if os.path.exists(live + end):
            os.unlink(live + end)
    shutil.copyfile(old, live)  # its owner stays
    for name in ORDER:
        stack.restart(name)
    seen = Load(stack, random.Random(1))
    row = seen.people[0]
    a = stack.staff(MINATO).post("/v1/residents:search", {"addressee_number": row["宛名番号"]})
    found = a.json.get("residents", []) if a.status == 200 else []
    ok(a.status != 200 or not found, "S5 control: with the old key gone too early reads fail, and"
       " the look sees it", a)


def restored(stack, load):
    """A backup from before all that: with the KEKs of its day as the previous ones it comes back."""
    status, answer = vrsctl(stack, "restore", MINATO, name="before")
    ok(status != 0, "S5 control: a backup under an old KEK does not open without it", answer)
    for folder, name in KEKS:
        put_key(stack, folder, name + ".previous", old_keks[name])
    for name in ("vrs-number", "vrs-server"):
        stack.kill(name)
        stack.restart(name)
    status, answer = vrsctl(stack, "restore", MINATO, name="before")
    ok(status == 0, "S5 with it as the previous one it is restored", answer)
    row = next(r for r in load.people if r["個人番号"])
    found = stack.staff(MINATO).post("/v1/residents:search",
                                     {"addressee_number": row["宛名番号"]}).json["residents"]
    asked = stack.staff(KAGOSHIMA).post("/v1/inquiries", inquiry(row["個人番号"], MINATO), key=True)
    ok(len(found) == 1 and asked.json.get("result") in ("match", "pending"),
       "S5 and its records and numbers are found, under the keys of now", (found, asked))
    left = ended(stack, MINATO)
    equal(left and left["keys_under_previous_kek"], 0, "S5 its keys stand under the present KEK again")


def everything(stack):
    rng = random.Random(SEED)
    stack.demo["users"].append(stack.add_user(
        "minato-2", MINATO, ["municipal_staff"], "minato-personnel", "minato-approver", "予防接種課",
        "minato 担当2"))
    code, answer = vrsctl(stack, "backup", MINATO, name="before")
    ok(code == 0, "a copy of before, for the control", answer)
    load = Load(stack, rng)
    load.start()
    try:
        rotate(stack, load, rng, MINATO, "data")
        rotate(stack, load, rng, MINATO, "index")
        rotate_keks(stack, load, rng)
        ok(order(stack, "all", what="index", area="records"),
           "S5 index keys of all, the registry with its accounts among them: ordered")
        ok(ended(stack, "all"), "S5 and done", vrsctl(stack, "keys.status", "all"))
        if LONG:
            for what in ("data", "index") * 3:
                rotate(stack, load, rng, MINATO, what)
    finally:
        load.stop()
    ok(not load.bad and min(load.done.values()) > 0,
       f"S5 0 failed reads, 0 false 412, 0 refused writes: {load.done}",
       "\n".join(map(str, load.bad[:20])))
    nothing_lost(stack, load)
    status = ended(stack, MINATO)
    destroyed(stack, status)
    code, answer = vrsctl(stack, "log.verify", MINATO)
    ok(code == 0, "S5 the log verifies", answer)
    stack.stop()
    rows_name_new_keys(stack, status)
    stack.stopping = False
    control(stack, load)
    restored(stack, load)


def main():
    print(f"# seed {SEED}, {KILLS} kills a rotation", flush=True)
    run(everything, count=COUNT)


if __name__ == "__main__":
    main()
