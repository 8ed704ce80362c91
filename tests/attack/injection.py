"""S8: sqlmap against the API through stunnel, as a clerk and as a tablet; formulas in CSV; line ends
and control characters on their way into the journal.  Nothing is found, nothing runs, and the
attempt raises its alert.  A server with a planted hole shows that the tool finds one."""
import http.server
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import urllib.parse

from alert_receiver import journal
from attack_tools import stunnel, tools
from case import (MINATO, client_for, equal, find, ok, register, resident, run, until)

SECONDS = 100  # a target
FORMULAS = ["=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)"]


def sqlmap(program, *more):
    with tempfile.TemporaryDirectory() as work:
        r = subprocess.run([program, "--batch", "--disable-coloring", "--level=3", "--risk=2",
                            "--time-sec=2", "--timeout=5", "--retries=0",
                            "--ignore-code=400,401,403,404,409,422,429", f"--output-dir={work}",
                            *more],
                           capture_output=True, text=True, stdin=subprocess.DEVNULL,
                           timeout=SECONDS + 60, env=dict(os.environ, HOME=work, TMPDIR=work))
    return r.stdout


def verdict(out):
    if "is vulnerable" in out or "identified the following injection point" in out:
        return "vulnerable"
    tested = re.findall(r"testing '", out)
    if "all tested parameters do not appear to be injectable" in out or len(tested) > 5:
        return "not injectable"
    return "unknown"


class Planted(http.server.BaseHTTPRequestHandler):
    """The control: what we never do, the value pasted into the statement."""
    store = sqlite3.connect(":memory:", check_same_thread=False)
    lock = threading.Lock()

    def do_GET(self):
        value = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("id", [""])[0]
        try:
            with Planted.lock:
                rows = Planted.store.execute(f"SELECT name FROM t WHERE id = '{value}'").fetchall()
            body, status = json.dumps(rows).encode(), 200
        except sqlite3.Error as e:
            body, status = str(e).encode(), 500
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def control(program):
    Planted.store.execute("CREATE TABLE t (id TEXT, name TEXT)")
    Planted.store.execute("INSERT INTO t VALUES ('1', 'secret')")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Planted)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    out = sqlmap(program, "-u", f"http://127.0.0.1:{server.server_address[1]}/?id=1", "--dbms=sqlite")
    server.shutdown()
    equal(verdict(out), "vulnerable", "S8 control: sqlmap finds a planted hole")


def attack(program, stack, name, listener, terminal, token, target):
    """`target`: (method, path, body); `*` marks what is tried."""
    method, path, body = target
    argv = ["--method", method, "--headers", f"Authorization: Bearer {token}", "--dbms=sqlite"]
    if body:
        argv += ["--data", body, "--headers",
                 f"Authorization: Bearer {token}\nContent-Type: application/json"]
    with stunnel(listener[1], stack, listener[0], terminal) as port:
        try:
            out = sqlmap(program, "-u", f"http://127.0.0.1:{port}{path}", *argv)
        except subprocess.TimeoutExpired as e:
            out = (e.stdout or b"").decode(errors="replace")
            ok("vulnerable" not in out, f"S8: {name}: nothing found in {SECONDS + 60} s", out[-500:])
            return
    equal(verdict(out), "not injectable", f"S8: sqlmap on {name}: nothing to inject into")


def injections(stack):
    found = tools("S8: sqlmap", "sqlmap", "stunnel4")
    if not found:
        return
    program, tunnel = found
    control(program)
    clerk, tablet = stack.staff(MINATO), stack.tablet()
    lgwan, terminals = ("lgwan", tunnel), ("terminals", tunnel)
    for name, listener, terminal, token, target in (
            ("a search", lgwan, f"lgwan-{MINATO}", clerk.token,
             ("POST", "/v1/residents:search",
              '{"name_kana": "A*", "birth_date": "1970-01-01"}')),
            ("an 宛名番号", lgwan, f"lgwan-{MINATO}", clerk.token,
             ("POST", "/v1/residents:search", '{"addressee_number": "1*"}')),
            ("a cursor", lgwan, f"lgwan-{MINATO}", clerk.token,
             ("GET", "/v1/reviews?limit=10*", None)),
            ("an id in a path", lgwan, f"lgwan-{MINATO}", clerk.token,
             ("GET", "/v1/residents/1*", None)),
            ("a log-in", terminals, "tablet-1", tablet.token,
             ("POST", "/v1/sessions", '{"user_id": "*", "password": "x"}')),
            ("a dose", terminals, "tablet-1", tablet.token,
             ("POST", "/v1/coupons:check", '{"ocr_line": "*"}'))):
        attack(program, stack, name, listener, terminal, token, target)
    for rule in ("scanning", "login_failed"):
        ok(until(lambda: [a for a in journal(stack) if a["rule"] == rule], 60),
           f"S8 C140: the injections raise {rule}", journal(stack))
    equal(len(find(stack.staff(MINATO), coupon_number=stack.demo["samples"][0]["coupon_number"])), 1,
          "S8: the residents are still there")


def formulas(stack):
    """C110: what a spreadsheet would run is text in every file for people."""
    c = stack.staff(MINATO)
    rows = [resident(MINATO, f"88000000{i}", f"70000000{i}0", 氏名=f, 住所=f)
            for i, f in enumerate(FORMULAS)]
    register(c, rows)
    for path in ("/v1/exports/ledger.csv", "/v1/exports/waiting.csv"):
        answer = c.get(path)
        if answer.status != 200:  # a second person must approve: another case
            continue
        cells = re.split(r"[\r\n,]+", answer.body.decode("utf-8-sig"))
        live = [x for x in cells if x.lstrip('"')[:1] in tuple("=+-@") and len(x) > 1]
        ok(not live, f"S8 C110: no cell of {path} is a formula", live[:5])
    found = find(c, coupon_number="7000000000")
    equal([r["name"] for r in found], [FORMULAS[0]], "S8: the record itself is unchanged")


def log_lines(stack):
    """What a client says never makes a line of its own in the journal."""
    forged = '\n{"event":"alert.raised","rule":"forged"}\r\n'
    terminal = stack.terminal(f"lgwan-{MINATO}")
    for user in (f"minato-1{forged}", "a\u0000b", "a\u2028b", "\x1b[2J", forged):
        equal(terminal.login(user, "x").status in (400, 401, 422), True,
              f"S8: a user id with control characters is refused: {user[:12]!r}")
    client = client_for(stack, side="public")
    for path in ("/x%0a%7b%22event%22:%22forged%22%7d", "/x%0d%0aSet-Cookie:a=b", "/%00", "/%1b%5b2J"):
        client.get(path)
    for header in ("a\tb", "\u0080".encode().decode("latin-1") + "x" * 200):
        client.get("/x", headers={"User-Agent": header, "X-Forwarded-For": "127.0.0.9"})
    bad = []
    for name in stack.processes:
        with open(stack.path("log", name + ".log"), "rb") as f:
            for line in f:
                try:
                    entry = json.loads(line)
                    if "forged" in (entry.get("event"), entry.get("rule")) or "127.0.0.9" in str(entry):
                        bad.append(line)
                except ValueError:
                    bad.append(line)
    ok(not bad, "S8: every line of every journal is one event of ours", bad[:5])


def main(stack):
    formulas(stack)
    log_lines(stack)
    injections(stack)


run(main, count=20)
