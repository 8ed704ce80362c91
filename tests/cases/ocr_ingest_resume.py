#!/usr/bin/env python3
"""The program ocr-ingest against a small tablet-api of our own that misbehaves on purpose: killed at
any moment and started again, it neither loses nor doubles a reading."""

import http.server
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import uuid

from case import until

BUILD = os.environ.get("VRS_BUILD", "build")
PROGRAM = os.path.join(BUILD, "bin", "ocr-ingest")
SEED = int(os.environ.get("VRS_SEED", random.SystemRandom().randrange(1 << 32)))
KILLS = 60 if os.environ.get("VRS_LONG") else 20
failures = 0


def ok(condition, name, why=""):
    global failures
    print(("ok - " if condition else "not ok - ") + name, flush=True)
    if not condition:
        failures += 1
        print("# " + str(why).replace("\n", "\n# "), flush=True)


def openssl(*argv):
    subprocess.run(["openssl", *argv], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def make_pki(folder):
    """ca.pem signs server.pem, terminals.pem signs tablet.pem."""
    def path(name):
        return os.path.join(folder, name)
    for ca in ("ca", "terminals"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", f"/CN=test {ca}", "-keyout", path(ca + ".key"),
                "-out", path(ca + ".pem"), "-addext", "keyUsage=critical,keyCertSign")
    for name, ca, extra in (("server", "ca", "subjectAltName=IP:127.0.0.1\n"),
                            ("tablet", "terminals", "extendedKeyUsage=clientAuth\n")):
        with open(path(name + ".ext"), "w") as f:
            f.write(extra)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", f"/CN={name}-1/OU=tablet", "-keyout", path(name + ".key"),
                "-out", path(name + ".csr"))
        openssl("x509", "-req", "-in", path(name + ".csr"), "-CA", path(ca + ".pem"),
                "-CAkey", path(ca + ".key"), "-CAcreateserial", "-days", "2",
                "-extfile", path(name + ".ext"), "-out", path(name + ".pem"))


class Tablet:
    """What the server holds, and how it is to behave."""

    def __init__(self):
        self.lock = threading.Lock()
        self.stored = {}          # key → body
        self.receipts = {}        # receipt → key
        self.requests = 0
        self.logins = 0
        self.largest = 0
        self.outcome = lambda body: "recorded"
        self.later = lambda body: "recorded"  # what pending becomes
        self.warnings = []
        self.drop_after = set()   # request numbers whose answer is lost after storing
        self.drop_before = set()  # request numbers whose connection breaks before storing
        self.busy = set()         # request numbers answered 503
        self.expire = set()       # request numbers answered 401
        self.item_busy = 0.0      # part of the items answered 503
        self.refuse = {}          # ocr_line → code, answered 422
        self.revoked = False
        self.delay = 0.0
        self.random = random.Random(SEED)

    def answer(self, key, body, outcome):
        receipt = next(r for r, k in self.receipts.items() if k == key)
        out = {"receipt_id": receipt, "outcome": outcome, "idempotency_key": key,
               "status": 202 if outcome == "pending" else 201}
        if outcome != "pending":
            out["dose_id"] = str(uuid.uuid4())
            out["warnings"] = [{"code": c, "detail": ""} for c in self.warnings]
        return out

    def item(self, line):
        body = json.loads(line)
        key = body.pop("idempotency_key")
        if key in self.stored and self.stored[key] != body:
            return {"idempotency_key": key, "status": 409, "code": "idempotency_key_reused"}
        if body["ocr_line"] in self.refuse:
            return {"idempotency_key": key, "status": 422, "code": self.refuse[body["ocr_line"]]}
        if self.random.random() < self.item_busy:
            return {"idempotency_key": key, "status": 503, "code": "storage_unavailable"}
        if key not in self.stored:
            self.stored[key] = body
            self.receipts[uuid.uuid4().hex] = key
        return self.answer(key, body, self.outcome(body))

    def lines(self):
        return sorted(b["ocr_line"] for b in self.stored.values())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body, kind="application/json", headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def vanish(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def problem(self, status, code, headers=()):
        self.reply(status, {"status": status, "code": code, "title": code}, "application/problem+json",
                   headers)

    def do_POST(self):
        t = self.server.tablet
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if t.revoked:
            return self.problem(403, "terminal_revoked")
        if self.path == "/v1/sessions":
            t.logins += 1
            good = json.loads(body) == {"user_id": "site-1", "password": "secret"}
            return (self.reply(201, {"token": "t%d" % t.logins, "user_id": "site-1"}) if good
                    else self.problem(401, "bad_login"))
        if self.headers.get("Authorization") != "Bearer t%d" % t.logins:
            return self.problem(401, "login_required")
        with t.lock:
            t.requests += 1
            n = t.requests
            if n in t.expire:
                return self.problem(401, "session_ended")
            if n in t.busy:
                return self.problem(503, "busy", [("Retry-After", "0")])
            if n in t.drop_before:
                return self.vanish()
            lines = body.splitlines()
            t.largest = max(t.largest, len(lines))
            time.sleep(t.delay / 2)
            answers = [t.item(line) for line in lines]
        if n in t.drop_after:
            return self.vanish()
        time.sleep(t.delay / 2)
        self.reply(200, b"".join(json.dumps(a).encode() + b"\n" for a in answers),
                   "application/x-ndjson")

    def do_GET(self):
        t = self.server.tablet
        key = t.receipts.get(self.path.rsplit("/", 1)[1])
        if key is None:
            return self.problem(404, "not_found")
        self.reply(200, t.answer(key, t.stored[key], t.later(t.stored[key])))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


class World:
    """One server, one input, one journal."""

    def __init__(self, name):
        self.folder = os.path.join(TOP, name)
        os.mkdir(self.folder)
        self.tablet = Tablet()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.tablet = self.tablet
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(os.path.join(TOP, "server.pem"), os.path.join(TOP, "server.key"))
        context.load_verify_locations(os.path.join(TOP, "terminals.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                 do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.password = self.path("password")
        with open(self.password, "w") as f:
            f.write("secret\n")
        os.chmod(self.password, 0o600)
        self.config = self.path("ocr-ingest.conf")
        with open(self.config, "w") as f:
            f.write(f'url = "https://127.0.0.1:{self.server.server_port}";\n'
                    f'ca_file = "{TOP}/ca.pem";\ncert_file = "{TOP}/tablet.pem";\n'
                    f'key_file = "{TOP}/tablet.key";\nuser_id = "site-1";\n'
                    f'password_file = "{self.password}";\nproduct = "comirnaty";\nlot = "FF3620";\n'
                    'vaccinated_on = "2021-07-01";\nsite = "港区スポーツセンター";\n'
                    'batch_rows = 20;\ngive_up_s = 20;\noutcome_wait_s = 5;\n')

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, text, name="input.txt"):
        with open(self.path(name), "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return self.path(name)

    def command(self, *argv):
        return [PROGRAM, "--config", self.config, *argv]

    def run(self, *argv, stdin=None):
        done = subprocess.run(self.command(*argv), input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=120)
        return done.returncode, done.stderr.decode()

    def report(self, name="input.txt"):
        with open(self.path(name + ".report.csv"), "rb") as f:
            data = f.read()
        assert data.startswith(b"\xef\xbb\xbf") and data.count(b"\n") == data.count(b"\r\n")
        return data[3:].decode().replace("\r\n", "\n").splitlines()


def lines(n, first=1):
    return ["21131032%010d" % i for i in range(first, first + n)]


def test_all_recorded():
    w = World("plain")
    wanted = lines(150)
    path = w.write("\r\n".join(wanted))
    status, err = w.run(path)
    ok(status == 0 and w.tablet.lines() == wanted, "150 lines are recorded, exit 0", err)
    ok(w.tablet.largest == 20, "batches are bounded", w.tablet.largest)
    body = next(iter(w.tablet.stored.values()))
    ok(body == {"ocr_line": body["ocr_line"], "status": "given", "vaccinated_on": "2021-07-01",
                "site": "港区スポーツセンター", "read_by": "ocr", "product": "comirnaty",
                "lot": "FF3620"}, "what is given once is in every reading", body)
    ok(w.report() == ["行,状態,コード,内容,候補,受付番号"], "nothing to report", w.report())
    with open(path + ".journal") as f:
        journal = f.read()
    ok(stat.S_IMODE(os.stat(path + ".journal").st_mode) == 0o600
       and stat.S_IMODE(os.stat(path + ".report.csv").st_mode) == 0o600,
       "journal and report are readable by their owner only")
    ok(not any(x in journal for line in wanted for x in (line, line[8:])),
       "no coupon number stands in the journal")
    before = w.tablet.requests
    status, err = w.run(path)
    ok(status == 0 and w.tablet.requests == before, "run again: nothing is sent again", err)


def test_what_needs_a_person():
    w = World("person")
    t = w.tablet
    outcomes = {"21131032%010d" % 2: "recorded_for_review", "21131032%010d" % 3: "conflict",
                "21131032%010d" % 4: "waiting_for_coupon", "21131032%010d" % 5: "duplicate"}
    t.outcome = lambda b: outcomes.get(b["ocr_line"], "recorded")
    t.later = t.outcome
    t.warnings = ["interval_short"]
    t.refuse = {"21131032%010d" % 6: "R112"}
    path = w.write("\n".join(lines(6) + ["21131O320000000007", "", "211310330000000008",
                                         "0000000009", "111310320000000010", "x" * 9000, "２１"]))
    status, err = w.run(path)
    rows = [r.split(",") for r in w.report()[1:]]
    ok(status == 1, "exit 1", err)
    ok([(r[0], r[2]) for r in rows] ==
       [("2", "interval_short"), ("3", "interval_short"), ("4", "interval_short"), ("6", "R112"),
        ("7", "R104"), ("9", "R102"), ("10", "R104"), ("12", "R104"), ("13", "R104")],
       "each reading that needs a person is reported by its row", rows)
    ok("2-1-131032-0000000007" in rows[4][4] and "131032" in rows[5][4],
       "unreadable lines come with candidates", rows)
    ok(all(b["ocr_line"] in lines(6) or b["status"] == "not_given" for b in t.stored.values())
       and len(t.stored) == 6, "invalid lines are never sent; a visit is not_given", t.lines())
    t.refuse = {}
    outcomes["21131032%010d" % 4] = "recorded"
    path = w.write("\n".join(lines(6) + ["211310320000000007", "", "211310320000000008"]))
    status, err = w.run(path)
    rows = [r.split(",") for r in w.report()[1:]]
    ok([r[0] for r in rows] == ["2", "3"], "mended lines and later outcomes leave the report", rows)
    ok(sorted(set(t.lines())) == sorted(lines(8) + ["111310320000000010"])
       and len(t.stored) == 9, "mended lines are sent once", t.lines())


def kill_and_resume(w, path, kills, chooser, keep_journal=True):
    """Kills the program at random moments and runs it again, until it ends by itself."""
    killed = 0
    while True:
        p = subprocess.Popen(w.command(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if killed < kills:
            # Moments count from the first request of this run, so that they fall into the work.
            start, until = w.tablet.requests, time.monotonic() + 10
            while w.tablet.requests == start and p.poll() is None and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(chooser.uniform(0, 0.12))
        try:
            status = p.wait(None if killed >= kills else 0)
            return status, killed
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.wait()
            killed += 1
            if not keep_journal:
                os.unlink(path + ".journal")


def test_kill():
    w = World("kill")
    w.tablet.delay = 0.03
    chooser = random.Random(SEED)
    wanted = lines(1500)
    path = w.write("\n".join(wanted) + "\n")
    status, killed = kill_and_resume(w, path, KILLS, chooser)
    ok(status == 0 and killed >= KILLS // 2, f"killed {killed} times, then ends with exit 0", status)
    ok(sorted(set(w.tablet.lines())) == wanted, "no reading is lost")
    ok(len(w.tablet.stored) == len(wanted), "no reading is doubled", len(w.tablet.stored))

    w = World("control")
    w.tablet.delay = 0.03
    path = w.write("\n".join(wanted) + "\n")
    kill_and_resume(w, path, KILLS, chooser, keep_journal=False)
    ok(len(w.tablet.stored) > len(wanted), "control: without the journal there are doubles")


def is_locked(path):
    """Does a program hold it?  (Without trying for the lock: that could take it from the program.)"""
    try:
        inode = os.stat(path).st_ino
    except FileNotFoundError:
        return False
    with open("/proc/locks") as f:
        return any(" FLOCK " in line and f":{inode} " in line for line in f)


def test_torn_journal():
    w = World("torn")
    w.tablet.delay = 0.02
    chooser = random.Random(SEED + 1)
    wanted = lines(400)
    path = w.write("\n".join(wanted))
    for _ in range(8):
        p = subprocess.Popen(w.command(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chooser.uniform(0.05, 0.3))
        p.kill()
        p.wait()
        if os.path.exists(path + ".journal") and os.path.getsize(path + ".journal") > 0:  # its head is one write
            with open(path + ".journal", "ab") as f:
                f.write(b"K 77 torn"[:chooser.randrange(10)])
    status, err = w.run(path)
    ok(status == 0 and w.tablet.lines() == wanted, "an end torn off by a crash does no harm", err)
    with open(path + ".journal", "r+b") as f:
        f.seek(200)
        f.write(b"#")
    status, err = w.run(path)
    ok(status == 2 and "corrupt" in err and len(w.tablet.stored) == 400,
       "a journal damaged inside is refused", err)


def test_sync():
    """A key is on the disk before it leaves: when it cannot be put there, nothing is sent."""
    w = World("sync")
    path = w.write("\n".join(lines(60)))
    if shutil.which("strace") is None:
        ok(True, "a failing disk: nothing unsynced is sent # SKIP no strace")
        return
    trace = w.path("trace")
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")  # it cannot look while it is traced
    subprocess.run(["strace", "-f", "-o", trace, "-e", "trace=fdatasync,sendto,write",
                    *w.command(path)], stderr=subprocess.DEVNULL, env=env, timeout=120)
    with open(trace) as f:
        calls = re.findall(r"(fdatasync)\(|(?:write|sendto)\(\d+, \"(K )", f.read())
    ok(len(w.tablet.stored) == 60 and ("fdatasync", "") in calls, "the journal is synced", calls)
    for when in (2, 3):
        w = World(f"sync-{when}")
        path = w.write("\n".join(lines(60)))
        done = subprocess.run(["strace", "-f", "-o", trace, "-e", "trace=fdatasync", "-e",
                               f"inject=fdatasync:error=EIO:when={when}+", *w.command(path)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env,
                              timeout=120)
        sent = len(w.tablet.stored)
        ok(done.returncode == 2 and sent == 20 * (when - 2),
           f"sync {when} fails: nothing unsynced is sent, exit 2", (done.returncode, sent))
        status, err = w.run(path)
        ok(status == 0 and w.tablet.lines() == lines(60), "and run again it ends without doubles", err)


def test_lost_answers():
    w = World("lost")
    t = w.tablet
    t.drop_after, t.drop_before, t.busy, t.expire = {1, 4, 5}, {2, 9}, {3, 7}, {6}
    t.item_busy = 0.1
    wanted = lines(100)
    status, err = w.run(w.write("\n".join(wanted)))
    ok(status == 0 and t.lines() == wanted,
       "lost answers, broken connections, 503 as a whole and by item: repeated with the same keys", err)
    ok(t.logins == 2, "an ended session is opened anew", t.logins)


def test_pending():
    w = World("pending")
    t = w.tablet
    t.outcome = lambda b: "pending"
    status, err = w.run(w.write("\n".join(lines(30))))
    ok(status == 0, "pending outcomes are asked for until they are final", err)
    w = World("pending-long")
    w.tablet.outcome = w.tablet.later = lambda b: "pending"
    path = w.write("\n".join(lines(5)))
    status, err = w.run("--outcome-wait-s", "0", path)
    rows = w.report()[1:]
    ok(status == 2 and len(rows) == 5 and "結果待ち" in rows[0], "still pending: exit 2, listed", rows)
    w.tablet.later = lambda b: "recorded"
    requests = w.tablet.requests
    status, err = w.run(path)
    ok(status == 0 and w.tablet.requests == requests, "run again: only the outcomes are asked for", err)


def test_refusals():
    w = World("changed")
    path = w.write("\n".join(lines(10)))
    w.run(path)
    status, err = w.run("--lot", "FF9999", path)
    ok(status == 1 and len(w.tablet.stored) == 10 and ",R141," in "".join(w.report()),
       "another lot under the same journal is not sent", err)
    w.tablet.revoked = True
    w.write("\n".join(lines(12)))
    status, err = w.run(path)
    ok(status == 2 and "terminal_revoked" in err, "a revoked terminal ends the run with exit 2", err)
    w.tablet.revoked = False
    os.chmod(w.password, 0o644)
    status, err = w.run(path)
    ok(status == 2 and "chmod 600" in err, "a password that others can read is refused", err)
    os.chmod(w.password, 0o600)
    with open(w.password, "w") as f:
        f.write("wrong\n")
    status, err = w.run(path)
    ok(status == 2 and "bad_login" in err and "secret" not in err, "a wrong password: exit 2", err)
    w2 = World("away")
    w2.server.shutdown()
    w2.server.server_close()
    status, err = w2.run("--give-up-s", "1", w2.write("\n".join(lines(3))))
    rows = w2.report()[1:]
    ok(status == 2 and len(rows) == 3, "no server: given up, exit 2, everything listed as open", err)
    p = subprocess.Popen(w2.command(w2.path("input.txt")), stderr=subprocess.PIPE)
    ok(until(lambda: is_locked(w2.path("input.txt") + ".journal")), "control: the first holds its journal")
    second, err = w2.run(w2.path("input.txt"))
    ok(second == 2 and "busy" in err, "two runs on one journal: the second is refused", err)
    p.send_signal(signal.SIGTERM)
    ok(p.wait(10) == 2, "SIGTERM ends it with exit 2", p.returncode)
    p.stderr.close()


HEAD = "OCRライン,接種状況,接種日,ワクチンメーカー,ロット番号,会場,医師名,登録元\r\n"


def test_csv():
    w = World("csv")
    text = HEAD + "".join(
        f"{line},1,2021070{i % 9 + 1},{maker},{lot},会場{i},髙橋 一郎,パンチ\r\n"
        for i, (line, maker, lot) in enumerate(
            zip(lines(60), ["ファイザー", "武田/モデルナ"] * 30, ["FF3620", "3004215"] * 30)))
    for name, data in (("utf8.csv", text.encode()), ("bom.csv", b"\xef\xbb\xbf" + text.encode()),
                       ("cp932.csv", text.replace("\r\n", "\n").encode("cp932"))):
        w.tablet.stored.clear()
        w.tablet.receipts.clear()
        status, err = w.run(w.write(data, name))
        bodies = sorted(w.tablet.stored.values(), key=lambda b: b["ocr_line"])
        ok(status == 0 and len(bodies) == 60 and bodies[1] == {
            "ocr_line": lines(2)[1], "status": "given", "vaccinated_on": "2021-07-02",
            "site": "会場1", "read_by": "punch", "product": "spikevax", "lot": "3004215",
            "physician": "髙橋 一郎"}, f"{name}: a contractor's file", (err, bodies[1:2]))
    four = ("券種,回数,自治体コード,券番号,接種日\n2,1,131032,0000000001,2021-07-01\n"
            "2,1,11002,0000000001,2021-07-01\n2,1,131032,0000000001\n2,1,131032,1,2021/7/1\n"
            "2,1,131032,0000000003,2021-02-30\n1,1,131032,0000000004,\n")
    w.tablet.stored.clear()
    w.tablet.receipts.clear()
    status, err = w.run(w.write(four, "four.csv"))
    rows = [r.split(",") for r in w.report("four.csv")[1:]]
    ok(status == 1 and [(r[0], r[2]) for r in rows] ==
       [("3", "R102"), ("4", "F006"), ("5", "R101"), ("6", "R111")], "rows are named with reasons", rows)
    ok("2-1-011002-0000000001" in rows[0][4], "lost leading zeros become a candidate", rows)
    ok(len(w.tablet.stored) == 2, "the others are sent", w.tablet.lines())
    for name, data, code in (("order.csv", "OCRライン,知らない列\n1,2\n", "F006"),
                             ("missing.csv", "接種日\n2021-07-01\n", "F005"),
                             ("empty.csv", "", "F004")):
        status, err = w.run(w.write(data, name))
        ok(status == 2 and code in err, f"{name}: refused as a whole ({code})", err)


def test_stdin():
    w = World("stdin")
    p = subprocess.Popen(w.command("--journal-file", w.path("input.txt.journal"), "--report-file",
                                   w.path("input.txt.report.csv"), "-"),
                         stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdin.write((lines(1)[0] + "\n").encode())
    p.stdin.flush()
    until = time.monotonic() + 10
    while not w.tablet.stored and time.monotonic() < until:
        time.sleep(0.01)
    ok(w.tablet.lines() == lines(1), "a reader terminal's line is sent while more may come")
    _, err = p.communicate(("\n".join(lines(2, 2)) + "\n").encode(), timeout=30)
    ok(p.returncode == 0 and w.tablet.lines() == lines(3), "standard input to its end", err)
    status, err = w.run("-", stdin=b"")
    ok(status == 2 and "--journal-file" in err, "standard input needs a journal's name", err)


def test_progress():
    w = World("progress")
    w.tablet.delay = 0.2
    status, err = w.run("--progress-s", "1", w.write("\n".join(lines(240))))
    shown = re.findall(r"^([\d,]+)/240行 \(\d+\.\d%\)  登録 .* 毎秒\d+行  残り約\d+秒", err, re.M)
    ok(status == 0 and len(shown) >= 1, "progress with rate and remaining time", err)
    status, err = w.run("--check", w.path("input.txt"))
    ok(status == 0 and "検査のみ: 240行" in err, "--check sends nothing", err)


def main():
    global TOP
    print(f"# seed {SEED}")
    if not os.access(PROGRAM, os.X_OK):
        print(f"not ok - {PROGRAM} is built")
        return 1
    TOP = tempfile.mkdtemp(prefix="vrs-ocr-ingest-")
    try:
        make_pki(TOP)
        for test in (test_all_recorded, test_what_needs_a_person, test_kill, test_torn_journal, test_sync,
                     test_lost_answers, test_pending, test_refusals, test_csv, test_stdin,
                     test_progress):
            test()
    finally:
        shutil.rmtree(TOP, ignore_errors=True)
    return failures != 0


if __name__ == "__main__":
    sys.exit(main())
