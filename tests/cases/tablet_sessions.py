#!/usr/bin/env python3
"""Who gets into the Internet side of the running stack: certificates, log-in, its throttles, the end
of accounts, sessions and terminals, and what does not exist on this side."""
import datetime
import socket
import ssl
import subprocess
import time
import warnings

from case import (BUILD, MINATO, client_for, day_in_japan, equal, handshake_fails, make_ca,
                  make_cert, metrics, ok, problem, run, together, until)

CHECK = "/v1/coupons:check"
NO_RECEIPT = "/v1/doses/" + "0" * 32
IDLE_S = 10


def password_of(stack, user):
    return next(u["password"] for u in stack.demo["users"] if u["user_id"] == user)


def cert_of(stack, name):
    return next((t["cert"], t["key"]) for t in stack.demo["terminals"] if t["name"] == name)


def new_tablet(stack, name, **more):
    """Waits until the Internet side knows it."""
    t = stack.add_terminal(name, "tablet", MINATO, **more)
    c = client_for(stack, (t["cert"], t["key"]), "tablet_api")
    if not until(lambda: c.get(NO_RECEIPT).code != "system_not_registered"):
        raise AssertionError(f"{name} is not known outside")
    return c


def new_staff(stack, user):
    """A new person at a site; waits until the Internet side knows the account."""
    u = stack.add_user(user, MINATO, ["site_staff"], "minato-personnel", "minato-approver",
                       "接種会場", f"{user} の人")
    version = metrics(stack)["vrs_snapshot_outside_version"]
    until(lambda: metrics(stack)["vrs_snapshot_outside_version"] > version, 1)
    return u["password"]


def told_outside(stack, change):
    """Does `change` and waits until the snapshot with it is outside."""
    before = metrics(stack)["vrs_snapshot_outside_version"]
    change()
    if not until(lambda: metrics(stack)["vrs_snapshot_outside_version"] > before):
        raise AssertionError("no newer snapshot was pushed")


def certificates(stack):
    ca = stack.path("pki", "ca-tablets")
    foreign = make_cert(stack.home, "foreign", make_ca(stack.home, "somebody"),
                        f"/CN=tablet-1/O={MINATO}/OU=tablet")
    line = (stack.path("pki", "line-client.pem"), stack.path("pki", "line-client.key"))
    for what, cert in (("no certificate", None), ("a foreign certificate", foreign),
                       ("an LG-WAN certificate", cert_of(stack, f"lgwan-{MINATO}")),
                       ("a certificate of the line", line)):
        handshake_fails(client_for(stack, cert, "tablet_api"), f"C21 {what} fails in the handshake")
    handshake_fails(client_for(stack, cert_of(stack, "tablet-1"), "vrs_server"),
                    "C20 a tablet's certificate fails in the handshake of the LG-WAN side")
    tomorrow = (datetime.datetime.now(datetime.timezone.utc)
                + datetime.timedelta(days=1)).strftime("%Y%m%d%H%M%SZ")
    for name, times in (("old", {"end": "20210101000000Z"}), ("early", {"begin": tomorrow})):
        cert = make_cert(stack.home, name, ca, f"/CN={name}/O={MINATO}/OU=tablet", **times)
        c = client_for(stack, cert, "tablet_api")
        for method, path in (("POST", "/v1/sessions"), ("GET", "/v1/vaccines"), ("POST", CHECK),
                             ("POST", "/v1/doses"), ("GET", NO_RECEIPT)):
            problem(c.request(method, path, {} if method == "POST" else None, key=True), 403,
                    "terminal_revoked", f"C21 a certificate out of its time ({name}): {method} {path}")
        problem(c.login("site-1", password_of(stack, "site-1")), 403, "terminal_revoked",
                f"C21 out of its time ({name}), with the right password")


def not_on_this_side(stack):
    """C82, C05: every route of the inside, asked of the Internet side with a full session."""
    routes = subprocess.run([BUILD + "/bin/vrs-server", "--print-routes"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.split("\n")
    own = subprocess.run([BUILD + "/bin/tablet-api", "--print-routes"], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    t = stack.tablet()
    public = client_for(stack, None, "public")
    asked, wrong = 0, []
    for line in routes:
        listener, method, path = (line.split() + ["", "", ""])[:3]
        here = path.replace("{id}", "{receipt_id}")
        if listener != "lgwan" or f" {method} {here} " in own:
            continue
        filled = path.replace("{id}", "0" * 32)
        for c in (t, public):
            answer = c.request(method, filled, {} if method not in ("GET", "DELETE") else None,
                               key=True, headers={"If-Match": '"1"'})
            asked += 1
            if (answer.status, answer.code) not in ((404, "not_found"), (405, "method_not_allowed")):
                wrong.append(f"{method} {filled}: {answer}")
            elif answer.status == 405 and not path.startswith("/v1/doses/"):
                wrong.append(f"{method} {filled}: {answer}")
    ok(not wrong and asked > 40, f"C82 no LG-WAN route exists on the Internet side ({asked} asked)",
       "\n".join(wrong))
    for path in ("/v1/inquiries", f"/v1/residents/{'0' * 32}:reveal-number", "/v1/certificates:lookup"):
        problem(t.post(path, {"personal_number": "123456789018"}, key=True), 404, "not_found",
                f"C82 {path.split('/0')[0]} is 404, not 403")
    for path in ("/line/v1/pull", "/metrics", "/healthz", "/readyz"):
        problem(t.get(path), 404, "not_found", f"not on the terminals' listener: {path}")
        problem(public.get(path), 404, "not_found", f"not on the public listener: {path}")
    equal(public.get("/v1/vaccines").status, 200, "public: the list of vaccines needs no certificate")
    problem(public.post("/v1/sessions", {"user_id": "a", "password": "b"}), 404, "not_found",
            "public: nobody logs in there")


def log_in(stack):
    c = stack.terminal("tablet-1")
    stack.tablet()
    right = password_of(stack, "site-1")
    for method, path in (("POST", "/v1/doses"), ("POST", "/v1/doses:batch"), ("GET", NO_RECEIPT),
                         ("POST", NO_RECEIPT + ":cancel"), ("POST", CHECK),
                         ("DELETE", "/v1/sessions/current")):
        problem(c.request(method, path, {} if method == "POST" else None, key=True), 401,
                "login_required", f"C21 certificate without log-in: {method} {path[:20]}")
    wrong = c.login("site-1", right + "x")
    nobody = c.login("nobody-at-all", right)
    clerk = c.login("minato-1", password_of(stack, "minato-1"))
    problem(wrong, 401, "bad_login", "C24 a wrong password is refused")
    equal((nobody.status, nobody.body), (wrong.status, wrong.body),
          "C24 an unknown user gets the same answer")
    equal((clerk.status, clerk.body), (wrong.status, wrong.body),
          "a clerk of the LG-WAN side is nobody here, even with the right password")
    for what, body, status, code in (
            ("no password", {"user_id": "site-1"}, 422, "missing_field"),
            ("another field", {"user_id": "a", "password": "b", "x": "c"}, 400, "unknown_field"),
            ("broken JSON", b"{", 400, "bad_json"),
            ("wrong types", {"user_id": 1, "password": True}, 422, "bad_field"),
            ("a deep body", b'{"a":' * 200, 400, "json_too_deep"),
            ("an oversized body", b'{"user_id":"' + b"x" * 9000 + b'"}', 413, "too_large")):
        problem(c.post("/v1/sessions", body), status, code, f"log-in with {what} is refused")
        c.close()
    answer = c.login("site-1", right)
    equal(answer.status, 201, "the right password opens a session")
    s = answer.json
    equal((s["user_id"], s["roles"], s["municipality_code"]), ("site-1", ["site_staff"], MINATO),
          "the session says who, where and what")
    ok(len(s["token"]) == 64 and s["expires_at"].endswith("Z"), "a token of 256 bits and an end", s)
    ok("no-store" in answer.headers.get("cache-control", ""), "no answer may be kept: no-store",
       answer.headers)
    problem(c.get(NO_RECEIPT), 404, "not_found", "and works")
    other = stack.terminal("tablet-2")
    other.token = c.token
    problem(other.get(NO_RECEIPT), 401, "session_ended", "a token is worth nothing on another terminal")
    equal(c.request("DELETE", "/v1/sessions/current").status, 204, "log-out")
    problem(c.get(NO_RECEIPT), 401, "session_ended", "C28 the old token after log-out")
    c.token = "f" * 64
    problem(c.get(NO_RECEIPT), 401, "session_ended", "an invented token")
    problem(c.request("GET", NO_RECEIPT, headers={"Authorization": "Basic c2l0ZTpwYXNz"}), 401,
            "session_ended", "another kind of Authorization")
    rights(stack)


def rights(stack):
    reader = client_for(stack, cert_of(stack, "reader-1"), "tablet_api")
    problem(reader.post(CHECK, {"ocr_line": "x"}), 403, "forbidden",
            "C30 a system client has its functions only")
    problem(reader.get(NO_RECEIPT), 404, "not_found", "C30 reading its receipts is one of them")
    problem(reader.post(NO_RECEIPT + ":cancel", {"reason": "x"}, key=True), 403, "forbidden",
            "C30 cancelling was not given to it")
    body = {"ocr_line": stack.demo["samples"][3]["ocr_line"], "status": "given", "read_by": "ocr",
            "vaccinated_on": "2021-07-01", "product": "comirnaty", "lot": "FF3620", "site": "読取機"}
    equal(reader.post("/v1/doses", body, key=True).status, 201,
          "C30 posting was: no log-in needed for an allow-listed certificate")
    t = stack.tablet()
    problem(t.post("/v1/doses", body), 400, "idempotency_key_required", "site staff may post")


def same_time(stack):
    """C24: the wrong password of a known user and an unknown user cost the same."""
    c = stack.terminal("tablet-2")
    known, unknown = [], []
    for n in range(9):
        for user, times in (("site-2", known), (f"nobody-{n}", unknown)):
            began = time.monotonic()
            c.login(user, "wrong-password")
            times.append(time.monotonic() - began)
    a, b = min(known), min(unknown)  # what else runs only adds
    ok(0.6 < b / a < 1.6 and min(a, b) > 0.005,
       "C24 unknown users take as long as wrong passwords", f"{a:.4f} s against {b:.4f} s")


def throttles(stack):
    tries = 30  # login_tries of this stack
    guess = new_tablet(stack, "tablet-guess")
    answers = [guess.login("guessed", "no") for _ in range(tries + 5)]
    equal([a.status for a in answers[:tries]], [401] * tries, "C141 the first tries are answered")
    problem(answers[-1], 429, "too_many_requests", "C141 then guessing is throttled")
    ok(0 < int(answers[-1].headers["retry-after"]) <= 300, "C141 Retry-After says how long",
       answers[-1].headers)
    problem(guess.login("site-2", password_of(stack, "site-2")), 429, "too_many_requests",
            "C141 the terminal is throttled, whoever logs in there")
    elsewhere = new_tablet(stack, "tablet-calm")
    problem(elsewhere.login("guessed", "no"), 429, "too_many_requests",
            "C141 the account is throttled on every terminal, known or not")
    equal(elsewhere.login("site-1", password_of(stack, "site-1")).status, 201,
          "C141 others are not")
    at_once = [new_tablet(stack, f"tablet-many-{i}") for i in range(4)]
    answers = together(40, lambda i: client_for(
        stack, cert_of_new(stack, f"tablet-many-{i % 4}"), "tablet_api").login("guessed-too", "no"))
    refused = [a for a in answers if a.status == 429 or (a.status == 503 and a.code == "busy")]
    ok(len(refused) >= 40 - tries and len(at_once) == 4,
       "C141 tries at the same time count before they are answered",
       [getattr(a, "status", a) for a in answers])


def cert_of_new(stack, name):
    return stack.path("pki", name + ".pem"), stack.path("pki", name + ".key")


def ends(stack):
    """C31, C43: what ends inside ends outside with the next request of a live connection."""
    c = new_tablet(stack, "tablet-lost")
    until(lambda: c.login("site-1", password_of(stack, "site-1")).status == 201)
    problem(c.get(NO_RECEIPT), 404, "not_found", "a new tablet works")
    connection = c.connection
    told_outside(stack, lambda: stack.command("terminal.revoke", name="tablet-lost"))
    problem(c.get(NO_RECEIPT), 403, "terminal_revoked",
            "C31 a revoked tablet is refused on the next request of the live connection")
    ok(c.connection is None or c.connection is connection, "C31 it was the same connection")
    again = client_for(stack, cert_of_new(stack, "tablet-lost"), "tablet_api")
    problem(again.get("/v1/vaccines"), 403, "terminal_revoked",
            "C31 a new connection with it passes the handshake and is refused")
    problem(again.login("site-1", password_of(stack, "site-1")), 403, "terminal_revoked",
            "C31 and nobody logs in there")
    stack.kill("tablet-api")
    stack.restart("tablet-api")
    again.close()
    problem(again.get("/v1/vaccines"), 403, "terminal_revoked",
            "C31 it stays refused after a restart: the snapshot was kept")

    word = new_staff(stack, "site-leaver")
    c = stack.terminal("tablet-1")
    until(lambda: c.login("site-leaver", word).status == 201)
    problem(c.get(NO_RECEIPT), 404, "not_found", "a new account works")
    told_outside(stack, lambda: stack.command("user.disable", user_id="site-leaver",
                                              by="minato-approver"))
    problem(c.get(NO_RECEIPT), 401, "session_ended", "C43 a disabled account ends its live sessions")
    problem(c.login("site-leaver", word), 401, "bad_login",
            "C49 a disabled account gets the answer of an unknown one")
    t = stack.add_terminal("reader-gone", "system", MINATO, rights="dose.post")
    reader = client_for(stack, (t["cert"], t["key"]), "tablet_api")
    until(lambda: reader.post("/v1/doses", {}, key=True).status == 422)
    told_outside(stack, lambda: stack.command("terminal.revoke", name="reader-gone"))
    problem(reader.post("/v1/doses", {}, key=True), 403, "terminal_revoked",
            "C31 a revoked system client is refused with its next request")


def new_start(stack):
    """Somebody knew the password: a new one ends what was opened with the old."""
    old = new_staff(stack, "site-reset")
    c = stack.terminal("tablet-1")
    until(lambda: c.login("site-reset", old).status == 201)
    problem(c.get(NO_RECEIPT), 404, "not_found", "control: the session works")
    word = new_staff(stack, "site-reset")
    ok(until(lambda: stack.terminal("tablet-2").login("site-reset", word).status == 201), "a new start with a new password")
    problem(c.get(NO_RECEIPT), 401, "session_ended", "C25 the session of the old password is over")
    problem(c.login("site-reset", old), 401, "bad_login", "C25 and the old password opens nothing")
    equal(c.login("site-reset", word).status, 201, "the new one does")
    told_outside(stack, lambda: stack.add_user("site-other", MINATO, ["site_staff"], "minato-personnel",
                                               "minato-approver", "接種会場", "他の人"))
    problem(c.get(NO_RECEIPT), 404, "not_found", "control: a newer snapshot alone ends no session")


def approval_needed(stack):
    """C22: an application alone opens nothing."""
    stack.command("user.apply", user_id="site-hopeful", person_name="希望 者", by="minato-personnel",
                  municipality_code=MINATO, section="接種会場", roles="site_staff",
                  valid_until=day_in_japan(30), password="a password of length")
    time.sleep(0.3)
    problem(stack.terminal("tablet-1").login("site-hopeful", "a password of length"), 401,
            "bad_login", "C22 an account that nobody approved does not exist")


def by_the_clock(stack):
    """C45, C28: account end dates and certificates go by the server's clock, sessions by their own."""
    word = new_staff(stack, "site-short")
    t = stack.terminal("tablet-1")
    until(lambda: t.login("site-short", word).status == 201)
    idle = stack.tablet("tablet-2", "site-2")
    now = datetime.datetime.now(datetime.timezone.utc)
    stack.set_clock(now + datetime.timedelta(days=363))
    problem(t.get(NO_RECEIPT), 401, "session_ended", "C45 after its end date an account is nobody")
    stack.set_clock(now + datetime.timedelta(days=400))
    problem(t.get("/v1/vaccines"), 403, "terminal_revoked",
            "C21 a certificate that expires ends on the live connection")
    stack.set_clock(None)
    problem(idle.get(NO_RECEIPT), 404, "not_found",
            "a clock that jumped and came back ended no session")
    time.sleep(IDLE_S + 0.2)
    problem(idle.get(NO_RECEIPT), 401, "session_ended",
            "C28 idle time ends a session on the server, by a clock that nobody sets")


def told_inside(stack):
    """C65: what happens outside is on record inside."""
    def acts():
        r = stack.command("log.verify", municipality_code="000000")
        return r
    ok(acts().get("ok", True), "the registry's log verifies", acts())
    seen = metrics(stack, "tablet_api")
    ok(seen["vrs_events_total"] > 50, "C65 log-ins and refusals travelled inwards",
       seen["vrs_events_total"])
    ok(until(lambda: metrics(stack, "tablet_api")["vrs_inbox_pending_entries"] == 0),
       "C65 and all of them are noted there")
    ok(seen["vrs_events_thinned_total"] > 0, "repeated refusals are thinned out")


def tls(stack):
    where = stack.demo["tablet_api"].rsplit(":", 1)
    port = int(where[1])
    cert, key = cert_of(stack, "tablet-1")

    def connect(**limits):
        context = ssl.create_default_context(cafile=stack.demo["ca"])
        context.load_cert_chain(cert, key)
        for name, value in limits.items():
            setattr(context, name, value)
        with socket.create_connection(("127.0.0.1", port)) as plain, \
                context.wrap_socket(plain, server_hostname="127.0.0.1") as s:
            s.sendall(b"GET /v1/vaccines HTTP/1.1\r\nHost: x\r\n\r\n")
            s.recv(1000)
            return s.version(), s.cipher()[0], s.session.has_ticket if s.session else False

    equal(connect()[0], "TLSv1.3", "C100 TLS 1.3")
    ok(not connect()[2], "no session tickets are given out")
    version, cipher, _ = connect(maximum_version=ssl.TLSVersion.TLSv1_2)
    ok(version == "TLSv1.2" and ("GCM" in cipher or "POLY1305" in cipher),
       "C100 old terminals get TLS 1.2 with AEAD", cipher)
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        connect(maximum_version=ssl.TLSVersion.TLSv1_1, minimum_version=ssl.TLSVersion.TLSv1)
        ok(False, "C100 nothing older")
    except (ssl.SSLError, OSError, ValueError):
        ok(True, "C100 nothing older")
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.settimeout(12)
        plain.sendall(b"GET /v1/vaccines HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            got = plain.recv(100)
        except OSError:
            got = b""
        ok(b"HTTP" not in got, "C100 plain text is not answered", got)


def main(stack):
    certificates(stack)
    log_in(stack)
    same_time(stack)
    not_on_this_side(stack)
    approval_needed(stack)
    tls(stack)
    ends(stack)
    new_start(stack)
    throttles(stack)
    told_inside(stack)
    by_the_clock(stack)


run(main, overrides={"tablet-api": {"login_tries": 30, "session_idle_s": IDLE_S}})
