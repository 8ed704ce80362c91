#!/usr/bin/env python3
"""Who gets into the LG-WAN side: certificates, log-in, log-out, sessions, and the routes that need
none."""
import datetime
import socket
import ssl
import subprocess
import time

from case import (FUJISAWA, KAGOSHIMA, MINATO, access_log, client_for, equal, handshake_fails,
                  make_ca, make_cert, ok, problem, run)


def password_of(stack, user):
    return next(u["password"] for u in stack.demo["users"] if u["user_id"] == user)


def certificates(stack):
    ca = stack.path("pki", "ca-lgwan")
    tablet = next((t["cert"], t["key"]) for t in stack.demo["terminals"] if t["name"] == "tablet-1")
    foreign = make_cert(stack.home, "foreign", make_ca(stack.home, "somebody"),
                        f"/CN=lgwan-{MINATO}/O={MINATO}/OU=lgwan")
    line = (stack.path("pki", "line-client.pem"), stack.path("pki", "line-client.key"))
    handshake_fails(client_for(stack), "C21 no certificate fails in the handshake")
    handshake_fails(client_for(stack, tablet), "C21 a tablet's certificate fails in the handshake")
    handshake_fails(client_for(stack, foreign), "C21 a foreign certificate fails in the handshake")
    handshake_fails(client_for(stack, line), "C21 a certificate of the line fails in the handshake")
    lgwan = next((t["cert"], t["key"]) for t in stack.demo["terminals"]
                 if t["name"] == f"lgwan-{MINATO}")
    handshake_fails(client_for(stack, lgwan, "tablet_api"),
                    "C21 an LG-WAN certificate fails in the handshake of the Internet side")
    other = make_cert(stack.home, "kind", ca, f"/CN=odd/O={MINATO}/OU=tablet")
    problem(client_for(stack, other).get("/v1/vaccines"), 403, "forbidden",
            "C30 another kind of certificate by the same authority is refused")
    old = make_cert(stack.home, "old", ca, f"/CN=old/O={MINATO}/OU=lgwan", end="20210101000000Z")
    c = client_for(stack, old)
    for method, path in (("POST", "/v1/sessions"), ("GET", "/v1/vaccines"), ("GET", "/v1/reviews")):
        problem(c.request(method, path, {} if method == "POST" else None), 403, "terminal_revoked",
                f"C21 an expired certificate gets terminal_revoked: {method} {path}")
    problem(c.login("minato-1", password_of(stack, "minato-1")), 403, "terminal_revoked",
            "C21 an expired certificate gets terminal_revoked with the right password, too")


def revoked_while_connected(stack):
    t = stack.add_terminal("lgwan-lost", "lgwan", MINATO)
    c = client_for(stack, (t["cert"], t["key"]))
    equal(c.login("minato-1", password_of(stack, "minato-1")).status, 201,
          "a new terminal's certificate lets its clerk in")
    equal(c.get("/v1/reviews").status, 200, "and shows data")
    connection = c.connection
    stack.command("terminal.revoke", name="lgwan-lost")
    problem(c.get("/v1/reviews"), 403, "terminal_revoked",
            "C31 a revoked certificate is refused on the next request of the live connection")
    ok(c.connection is None or c.connection is connection, "C31 it was the same connection")
    fresh = client_for(stack, (t["cert"], t["key"]))
    problem(fresh.get("/v1/vaccines"), 403, "terminal_revoked",
            "C31 a new connection with it passes the handshake and is refused")
    stack.kill("vrs-server")
    stack.restart("vrs-server")
    problem(client_for(stack, (t["cert"], t["key"])).get("/v1/vaccines"), 403, "terminal_revoked",
            "C31 it stays refused after a restart")


def log_in(stack):
    c = stack.terminal(f"lgwan-{MINATO}")
    right = password_of(stack, "minato-1")
    problem(c.get("/v1/reviews"), 401, "login_required", "C21 certificate without log-in is 401")
    wrong = c.login("minato-1", right + "x")
    nobody = c.login("nobody-at-all", right)
    problem(wrong, 401, "bad_login", "C24 a wrong password is refused")
    equal((nobody.status, nobody.body), (wrong.status, wrong.body),
          "C24 an unknown user gets the same answer")
    for what, body in (("no password", {"user_id": "minato-1"}),
                       ("another field", {"user_id": "a", "password": "b", "token": "c"})):
        answer = c.post("/v1/sessions", body)
        ok(answer.status in (400, 422) and answer.code in ("missing_field", "unknown_field"),
           f"log-in with {what} is refused", answer)
    problem(c.post("/v1/sessions", b"{", headers={"Content-Type": "application/json"}), 400,
            "bad_json", "log-in with broken JSON is refused")
    problem(c.post("/v1/sessions", b'{"user_id":1,"password":true}',
                   headers={"Content-Type": "application/json"}), 422, "bad_field",
            "log-in with wrong types is refused")
    problem(c.post("/v1/sessions", b'{"a":' * 200, headers={"Content-Type": "application/json"}),
            400, "json_too_deep", "a deep body is refused")
    big = b'{"user_id":"' + b"x" * 10000 + b'","password":""}'
    answer = c.post("/v1/sessions", big, headers={"Content-Type": "application/json"})
    equal((answer.status, answer.code), (413, "too_large"), "an oversized body is refused")
    answer = c.login("minato-1", right)
    equal(answer.status, 201, "the right password opens a session")
    session = answer.json
    equal((session["user_id"], session["municipality_code"], session["roles"]),
          ("minato-1", MINATO, ["municipal_staff"]), "the session says who, where and what")
    ok(len(session["token"]) == 64 and session["expires_at"].endswith("Z"),
       "the session has a token of 256 bits and an end")
    equal(c.get("/v1/reviews").status, 200, "and works")
    return c, right


def other_municipality(stack):
    """C23: certificate, user and token belong to one municipality."""
    fujisawa = stack.terminal(f"lgwan-{FUJISAWA}")
    problem(fujisawa.login("minato-1", password_of(stack, "minato-1")), 403, "other_municipality",
            "C23 a valid user on another municipality's terminal is refused")
    problem(fujisawa.login("minato-1", "wrong"), 401, "bad_login",
            "C23 and with a wrong password learns nothing of it")
    c = stack.staff(MINATO)
    fujisawa.token = c.token
    problem(fujisawa.get("/v1/reviews"), 403, "other_municipality",
            "C23 a token is worth nothing on another municipality's terminal")
    t = stack.add_terminal("lgwan-second", "lgwan", MINATO)
    second = client_for(stack, (t["cert"], t["key"]))
    second.token = c.token
    problem(second.get("/v1/reviews"), 403, "other_municipality",
            "C23 nor on another terminal of its own")
    equal(c.get("/v1/reviews").status, 200, "C23 it still works where it was made")


def sessions(stack):
    c, right = log_in(stack)
    for what, token in (("a wrong token", "0" * 64), ("a short token", "abc"),
                        ("no hex", "z" * 64)):
        broken = stack.terminal(f"lgwan-{MINATO}")
        broken.token = token
        answer = broken.get("/v1/reviews")
        ok(answer.status == 401 and answer.code in ("session_ended", "login_required"),
           f"C21 {what} is 401", answer)
    basic = stack.terminal(f"lgwan-{MINATO}")
    problem(basic.get("/v1/reviews", headers={"Authorization": "Basic " + c.token}), 401,
            "login_required", "C21 another scheme of authorization is 401")
    again = stack.terminal(f"lgwan-{MINATO}")
    equal(again.login("minato-1", right).status, 201, "a second log-in of one ID works")
    problem(c.get("/v1/reviews"), 401, "session_ended", "C26 and ends the first session")
    answer = again.request("DELETE", "/v1/sessions/current")
    equal((answer.status, answer.body), (204, b""), "C65 log-out answers 204")
    problem(again.get("/v1/reviews"), 401, "session_ended", "C28 the token is dead after log-out")
    problem(again.request("DELETE", "/v1/sessions/current"), 401, "session_ended",
            "a second log-out is 401")
    before = stack.staff(MINATO)
    stack.command("user.disable", user_id="minato-1")
    problem(before.get("/v1/reviews"), 401, "session_ended",
            "C43 disabling an account ends its session at once")
    problem(before.login("minato-1", right), 401, "bad_login", "C43 it cannot log in again")


def accounts(stack):
    """C45: the end date holds without a job having run."""
    user = stack.add_user("kagoshima-short", KAGOSHIMA, ["municipal_staff"], "somebody",
                          "kagoshima-approver", "予防接種課", "短期 担当")
    stack.demo["users"].append(user)
    c = stack.terminal(f"lgwan-{KAGOSHIMA}")
    equal(c.login("kagoshima-short", user["password"]).status, 201, "an approved account logs in")


def expired_account(stack):
    password = next(u["password"] for u in stack.demo["users"] if u["user_id"] == "kagoshima-short")
    t = stack.add_terminal("lgwan-long", "lgwan", KAGOSHIMA, days=800)
    c = client_for(stack, (t["cert"], t["key"]))
    now = datetime.datetime.now(datetime.timezone.utc)
    stack.set_clock(now + datetime.timedelta(days=362))
    problem(c.login("kagoshima-short", password), 401, "bad_login",
            "C45 after its last day an account cannot log in")
    stack.set_clock(None)
    equal(c.login("kagoshima-short", password).status, 201, "C45 control: before that day it can")


def routes(stack):
    c = stack.staff(FUJISAWA)
    answer = c.get("/v1/vaccines")
    ok(answer.status == 200 and any(p["id"] == "comirnaty" for p in answer.json["products"]),
       "GET /v1/vaccines lists the products", answer)
    ok(stack.terminal(f"lgwan-{FUJISAWA}").get("/v1/vaccines").status == 200,
       "GET /v1/vaccines needs no log-in, only the certificate")
    for path in ("/", "/v1", "/v1/doses", "/v1/doses:batch", "/v1/coupons:check", "/metrics",
                 "/healthz", "/line/v1/pull", "/v1/residents", "/v1/residents/x:unknown"):
        answer = c.get(path)
        ok(answer.status in (404, 405), f"{path} is no LG-WAN route", answer)
    problem(c.request("PUT", "/v1/reviews", {}), 405, "method_not_allowed", "another method is 405")
    tablet = stack.tablet()
    for method, path in (("POST", "/v1/residents:search"), ("GET", "/v1/reviews"),
                         ("POST", "/v1/inquiries"), ("GET", "/v1/exports/ledger.csv"),
                         ("POST", "/v1/residents/" + "0" * 32 + ":reveal-number")):
        problem(tablet.request(method, path, {} if method == "POST" else None), 404, "not_found",
                f"C05 {path.replace('0' * 32, 'ID')} is no route of the Internet side")
    problem(c.request("POST", "/v1/residents:search", b"a=b",
                      headers={"Content-Type": "application/x-www-form-urlencoded"}), 415,
            "unsupported_media_type", "a form is no JSON")


def gates(stack):
    """C149: who, may they, on record — in this order, before anything is read of a request: what fails at
    several gates is answered by the first."""
    t = stack.add_terminal("lgwan-gates", "lgwan", MINATO)
    gone = client_for(stack, (t["cert"], t["key"]))
    user = stack.add_user("minato-gates", MINATO, ["municipal_staff"], "x-applicant", "minato-approver", "窓口",
                          "門の 人", "dose.read")
    equal(gone.login("minato-gates", user["password"]).status, 201, "C149 a clerk with one right")
    nobody = stack.terminal(f"lgwan-{MINATO}")
    broken = {"headers": {"Content-Type": "application/json"}}
    for method, path in (("PUT", "/v1/doses/" + "0" * 32), ("POST", "/v1/residents:search"),
                         ("POST", "/v1/inquiries"), ("POST", "/v1/residents/x:reveal-number")):
        problem(nobody.request(method, path, b"{", **broken), 401, "login_required",
                f"C149 no log-in, no right, no key, no version, broken body: authentication first ({path[:20]})")
        problem(gone.request(method, path, b"{", **broken), 403, "forbidden",
                f"C149 no right, no key, no version, broken body: authorisation before the request is read ({path[:20]})")
    stack.command("terminal.revoke", name="lgwan-gates")
    problem(gone.request("PUT", "/v1/doses/" + "0" * 32, b"{", **broken), 403, "terminal_revoked",
            "C149 a revoked terminal with a living session: the terminal first")
    log = [e for e in access_log(stack.staff(MINATO, "minato-approver")) if e["terminal"] == "lgwan-gates"]
    equal([e["result"] for e in log], ["ok"] + ["forbidden"] * 4
          + ["terminal_revoked"], "C149 and each of them is on record")


def plain_text(stack):
    """C100: nothing answers without TLS, and old protocols are refused."""
    url = stack.terminal(f"lgwan-{MINATO}").url
    with socket.create_connection((url.hostname, url.port), 5) as s:
        s.sendall(b"GET /v1/vaccines HTTP/1.1\r\nHost: x\r\n\r\n")
        s.settimeout(10)
        try:
            got = s.recv(100)
        except OSError:
            got = b""
    ok(b"HTTP" not in got, "C100 plain text gets no answer", got)
    t = next(t for t in stack.demo["terminals"] if t["name"] == f"lgwan-{MINATO}")
    for suite, taken in (("ECDHE-ECDSA-AES256-GCM-SHA384", True),
                         ("ECDHE-ECDSA-AES256-SHA384", False)):
        c = client_for(stack, (t["cert"], t["key"]))
        c.tls.maximum_version = ssl.TLSVersion.TLSv1_2
        c.tls.set_ciphers(suite)
        if taken:
            equal(c.get("/v1/vaccines").status, 200, "C100 control: TLS 1.2 with AEAD is taken")
        else:
            handshake_fails(c, "C100 a CBC suite fails in the handshake")


def addresses(stack):
    """C20: a wildcard or the other side's address does not start."""
    with open(stack.path("etc", "vrs-server.conf")) as f:
        conf = f.read()
    for address, what in (("0.0.0.0", "every address"), ("::", "every IPv6 address"),
                          ("127.0.0.1", "the Internet side's address")):
        path = stack.path("etc", "wrong.conf")
        with open(path, "w") as f:
            f.write(conf.replace('lgwan_address = "127.0.0.2"', f'lgwan_address = "{address}"')
                    .replace(stack.path("vrs-server"), stack.path("nowhere")))
        done = subprocess.run([stack.program("vrs-server"), "--config", path], timeout=20,
                              capture_output=True, text=True)
        ok(done.returncode != 0 and "lgwan_address" in done.stdout + done.stderr,
           f"C20 told to bind {what}, vrs-server does not start", done)


def guessing(stack):
    """S10: the same time for known and unknown users; more than ten failures are throttled."""
    c = stack.terminal(f"lgwan-{KAGOSHIMA}")

    def seconds(user):
        began = time.monotonic()
        c.login(user, "not the password")
        return time.monotonic() - began

    tries = [(seconds("kagoshima-approver"), seconds("unknown-user")) for _ in range(4)]
    times = [min(of) for of in zip(*tries)]  # what else runs only adds
    slow, fast = max(times), min(times)
    ok(slow < 2 * fast + 0.02, "S10 an unknown user takes as long as a known one", tries)
    codes = [c.login("kagoshima-approver", "not the password").code for _ in range(12)]
    equal(codes[-1], "too_many_requests", "C141 guessing is throttled")
    problem(c.login("kagoshima-1", password_of(stack, "kagoshima-1")), 429, "too_many_requests",
            "C141 for the terminal, too")
    spare = stack.add_terminal("lgwan-spare", "lgwan", KAGOSHIMA)
    c = client_for(stack, (spare["cert"], spare["key"]))
    codes = [c.login(f"lgwan-{FUJISAWA}", "not the password").code for _ in range(11)]
    equal(codes[-1], "too_many_requests", "guessing as somebody called like another terminal, too")
    equal(stack.terminal(f"lgwan-{FUJISAWA}").login(
        "fujisawa-1", password_of(stack, "fujisawa-1")).status, 201, "which is not locked out by it")


def logged(stack):
    """C65: log-in, log-out and failed log-in are entries of the terminal's municipality."""
    auditor = stack.staff(MINATO, "minato-approver")
    acts = [(e["act"], e["result"], e["user"]) for e in access_log(auditor)]
    for wanted in (("session.open", "ok", "minato-1"), ("session.open", "bad_login", "minato-1"),
                   ("session.open", "bad_login", "nobody-at-all"),
                   ("session.close", "ok", "minato-1")):
        ok(wanted in acts, f"C65 logged: {' '.join(wanted)}", acts)
    fujisawa = stack.staff(FUJISAWA, "fujisawa-approver")
    ok(any((e["act"], e["result"]) == ("session.open", "other_municipality")
           for e in access_log(fujisawa)), "C02 the refusal of another municipality's user is logged")


def main(stack):
    certificates(stack)
    other_municipality(stack)
    revoked_while_connected(stack)
    routes(stack)
    plain_text(stack)
    gates(stack)
    addresses(stack)
    accounts(stack)
    expired_account(stack)
    sessions(stack)
    logged(stack)
    guessing(stack)


run(main)
