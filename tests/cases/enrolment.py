#!/usr/bin/env python3
"""Terminals come and go: one-time codes over the public listener, certificates by vrs-signer, the
list, renewal, and revocation that holds from the next request of a live connection."""
import datetime
import os
import re
import signal
import subprocess
import tempfile

from case import (BUILD, FUJISAWA, JST, MINATO, access_log, client_for, equal, ok, openssl, problem,
                  run, together, until)

REFUSED = (403, "enrolment_refused")


class Device:
    """A key, a request, and what it gets for them."""

    def __init__(self, stack, name):
        self.stack = stack
        self.base = os.path.join(stack.home, "device-" + name)
        self.key, self.cert = self.base + ".key", self.base + ".pem"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.key)
        self.request = self.sign("/CN=whatever/O=142051/OU=lgwan")

    def sign(self, subject, *more):
        return openssl("req", "-new", "-key", self.key, "-subj", subject, *more).decode()

    def enrol(self, code, request=None):
        answer = public(self.stack).post("/v1/enrolments",
                                         {"code": code, "request_pem": request or self.request})
        if answer.status == 201:
            with open(self.cert, "w") as f:
                f.write(answer.json["certificate_pem"])
        return answer

    def client(self):
        return client_for(self.stack, (self.cert, self.key), "tablet_api")

    def let_in(self):
        """The registration has arrived outside."""
        return until(lambda: self.client().get("/v1/vaccines").status == 200)


def public(stack):
    return client_for(stack, None, "public")


def code_for(admin, name, kind="tablet", **more):
    answer = admin.post("/v1/terminals:enrol-code", {"kind": kind, "name": name, **more})
    if answer.status != 201:
        raise AssertionError(f"code for {name}: {answer}")
    return answer.json["code"]


def field(cert, what):
    return openssl("x509", "-in", cert, "-noout", what, "-nameopt", "sep_multiline,utf8").decode()


def admin_of(stack, code, user="minato-terminals"):
    town = "minato" if code == MINATO else "fujisawa"
    u = stack.add_user(user, code, ["municipal_approver"], f"{town}-personnel", f"{town}-approver",
                       "情報政策課", f"{user} の人", "terminal.manage log.read")
    stack.demo["users"].append(u)
    return stack.staff(code, user)


def a_code_makes_a_terminal(stack, admin):
    answer = admin.post("/v1/terminals:enrol-code", {
        "kind": "tablet", "name": "hall-1", "site": "港区スポーツセンター", "valid_minutes": 30})
    equal(answer.status, 201, "a person with terminal.manage gets a code")
    code = answer.json["code"]
    ok(re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{5}-){3}[0-9A-HJKMNP-TV-Z]{5}", code),
       "20 characters that cannot be misread", code)
    held = subprocess.run(["grep", "-rl", code.replace("-", "")[7:19], stack.path("vrs-server"),
                           stack.path("log"), stack.path("tablet-api")], capture_output=True)
    equal(held.stdout, b"", "the code is in no file and no log")
    d = Device(stack, "hall-1")
    got = d.enrol(code.lower().replace("-", " ").replace("0", "o"))
    equal(got.status, 201, "typed with small letters, blanks and o for 0 it is taken")
    subject = field(d.cert, "-subject")
    ok("CN=hall-1" in subject and f"O={MINATO}" in subject and "OU=tablet" in subject
       and "lgwan" not in subject, "C20 the subject is the inside's, not the request's", subject)
    ca = os.path.join(stack.home, "given-ca.pem")
    with open(ca, "w") as f:
        f.write(got.json["ca_pem"])
    openssl("verify", "-CAfile", ca, d.cert)
    ok(True, "the certificate verifies by the authority that came with it")
    ok(d.let_in(), "the new terminal is let in within a moment")
    u = next(u for u in stack.demo["users"] if u["user_id"] == "site-1")
    equal(d.client().login("site-1", u["password"]).status, 201, "and its staff can log in")
    return d, code


def codes_are_used_once(stack, admin, first, used):
    again = first.enrol(used)
    equal((again.status, again.json["certificate_pem"]), (201, open(first.cert).read()),
          "the same code and key within ten minutes: the same certificate (a lost answer)")
    new_request = first.sign("/CN=other")
    equal(first.enrol(used, new_request).json["certificate_pem"], open(first.cert).read(),
          "another request by the same key is the same device")
    thief = Device(stack, "thief")
    problem(thief.enrol(used), *REFUSED, "a used code with another key")
    problem(thief.enrol("7" * 20), *REFUSED, "a code that never was: the same refusal")
    code = code_for(admin, "hall-2")
    wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
    problem(thief.enrol(wrong), *REFUSED, "a mistyped code: the same refusal")
    weak = os.path.join(stack.home, "weak")
    openssl("req", "-new", "-newkey", "rsa:1024", "-nodes", "-keyout", weak + ".key", "-subj", "/CN=x",
            "-out", weak + ".csr")
    problem(thief.enrol(code, open(weak + ".csr").read()), 422, "bad_field", "a weak key is refused")
    problem(thief.enrol(code, "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"),
            422, "bad_field", "what is no request is refused")
    good = Device(stack, "hall-2")
    equal(good.enrol(code).status, 201, "and the code is still good for its device")
    many = code_for(admin, "hall-3")
    devices = [Device(stack, f"race-{i}") for i in range(4)]
    answers = together(4, lambda i: devices[i].enrol(many))
    equal(sorted(a.status for a in answers), [201, 403, 403, 403],
          "four devices with one code at once: one certificate")
    problem(admin.post("/v1/terminals:enrol-code", {"kind": "tablet", "name": "hall-3"}), 409,
            "conflict", "a name that is in use gets no code")
    for body, why in (({"kind": "lgwan", "name": "x1"}, "an LG-WAN terminal is not enrolled from outside"),
                      ({"kind": "tablet", "name": "a b"}, "a name with a blank"),
                      ({"kind": "tablet", "name": "x2", "valid_minutes": 1441}, "more than a day"),
                      ({"kind": "reader", "name": "x3", "rights": ["resident.read"]},
                       "a right of the inside")):
        problem(admin.post("/v1/terminals:enrol-code", body), 422, "bad_field", why)


def codes_end(stack, admin):
    late = code_for(admin, "late-1", valid_minutes=5)
    tried = code_for(admin, "tried-1")
    d = Device(stack, "late")
    stack.set_clock(datetime.datetime.now(JST) + datetime.timedelta(days=1))
    problem(d.enrol(late), *REFUSED, "an expired code: the same refusal")
    stack.set_clock(None)
    return tried


def guessing(stack, tried):
    """Five wrong secrets close a code; one address may not try for ever."""
    d = Device(stack, "guess")
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    plain = tried.replace("-", "")

    def checked(body):
        return body + alphabet[sum((2 * i + 1) * alphabet.index(c) for i, c in enumerate(body)) % 32]

    equal(checked(plain[:19]), plain, "the check character is what the docs say")
    for i in range(5):
        secret = plain[7:18] + alphabet[(alphabet.index(plain[18]) + 1 + i) % 32]
        problem(d.enrol(checked(plain[:7] + secret)), *REFUSED, f"a wrong secret, try {i + 1}")
    problem(d.enrol(tried), *REFUSED, "after five wrong secrets the right one is refused, too")
    codes = [d.enrol("7" * 20).status for _ in range(40)]
    ok(429 in codes, "C141 one address is slowed down", codes)
    answer = d.enrol("7" * 20)
    ok(int(answer.headers.get("retry-after", 0)) > 0, "and told how long to wait", answer)


def who_may(stack, admin):
    clerk = stack.staff(MINATO)
    problem(clerk.post("/v1/terminals:enrol-code", {"kind": "tablet", "name": "x"}), 403, "forbidden",
            "C40 a clerk without the right gets no code")
    problem(clerk.get("/v1/terminals"), 403, "forbidden", "nor the list")
    listed = admin.get("/v1/terminals").json["terminals"]
    names = {t["name"]: t for t in listed}
    ok("hall-1" in names and f"lgwan-{MINATO}" in names and f"lgwan-{FUJISAWA}" not in names,
       "C02 the list is of the own municipality", sorted(names))
    t = names["hall-1"]
    ok(t["state"] == "active" and t["site"] == "港区スポーツセンター" and 360 <= t["days_left"] <= 366
       and t["last_used_at"], "with site, end, days left and last use", t)
    other = admin_of(stack, FUJISAWA, "fujisawa-terminals")
    problem(other.post(f"/v1/terminals/{t['terminal_id']}:revoke", {"reason": "x"}), 404, "not_found",
            "C02 another municipality's administrator finds nothing to revoke")
    acts = [(e["act"], e["result"]) for e in access_log(admin)]
    ok(("terminals.enrol_code", "ok") in acts and ("terminals.enrol_code", "conflict") in acts
       and ("terminals.list", "ok") in acts and ("request.refused", "forbidden") in acts,
       "C72 codes, lists and refusals are entries", sorted(set(acts)))
    return t


def revoke(stack, admin, device, listed):
    c = device.client()
    equal(c.get("/v1/vaccines").status, 200, "a live connection")
    problem(admin.post(f"/v1/terminals/{listed['terminal_id']}:revoke", {}), 422, "reason_required",
            "revoking needs a reason")
    answer = admin.post(f"/v1/terminals/{listed['terminal_id']}:revoke", {"reason": "紛失"})
    equal((answer.status, answer.json["state"], answer.json["revoke_reason"]), (200, "revoked", "紛失"),
          "C31 a terminal is revoked")
    ok(until(lambda: c.get("/v1/vaccines").code == "terminal_revoked"),
       "C31 and refused on the same live connection")
    problem(device.client().post("/v1/terminals/current:renew", {"request_pem": device.request}), 403,
            "terminal_revoked", "a revoked terminal renews nothing")


def renewal(stack, admin):
    d = Device(stack, "renewed")
    equal(d.enrol(code_for(admin, "renew-1")).status, 201, "a terminal to renew")
    d.let_in()
    first = open(d.cert).read()
    c = d.client()
    renew = lambda request=None: c.post("/v1/terminals/current:renew",  # noqa: E731
                                        {"request_pem": request or d.request})
    problem(renew(), 429, "too_many_requests", "on its first day a certificate is new enough")
    stack.set_clock(datetime.datetime.now(JST) + datetime.timedelta(days=2))
    stranger = Device(stack, "stranger")
    problem(renew(stranger.request), 403, "enrolment_refused",
            "another key is another enrolment: whoever relays requests gains nothing")
    answer = renew()
    equal(answer.status, 201, "C31 a terminal renews its certificate by itself")
    again = renew()
    equal(again.json.get("certificate_pem"), answer.json["certificate_pem"],
          "asked again at once: the same certificate")
    with open(d.cert, "w") as f:
        f.write(answer.json["certificate_pem"])
    ok(d.let_in() and answer.json["certificate_pem"] != first, "the new one is let in")
    equal(c.get("/v1/vaccines").status, 200, "and the old one still works")
    stack.set_clock(datetime.datetime.now(JST) + datetime.timedelta(days=9, hours=1))
    ok(until(lambda: c.get("/v1/vaccines").code == "terminal_revoked"),
       "after seven days the old one does not")
    equal(d.client().get("/v1/vaccines").status, 200, "while the new one does")
    stack.set_clock(None)


def lost_after_renewal(stack, admin):
    """Whoever has the device can renew, too: what is revoked is the device, not one certificate of it."""
    d = Device(stack, "lost")
    equal(d.enrol(code_for(admin, "lost-1")).status, 201, "a terminal that will be lost")
    d.let_in()
    old = d.client()
    listed = next(t for t in admin.get("/v1/terminals").json["terminals"] if t["name"] == "lost-1")
    stack.set_clock(datetime.datetime.now(JST) + datetime.timedelta(days=2))
    admin = stack.staff(MINATO, "minato-terminals")
    answer = old.post("/v1/terminals/current:renew", {"request_pem": d.request})
    equal(answer.status, 201, "the thief renews it")
    with open(d.cert, "w") as f:
        f.write(answer.json["certificate_pem"])
    ok(d.let_in(), "control: both certificates work")
    new = d.client()
    equal((old.get("/v1/vaccines").status, new.get("/v1/vaccines").status), (200, 200), "control: on live connections")
    revoked = admin.post(f"/v1/terminals/{listed['terminal_id']}:revoke", {"reason": "盗難"})
    equal(revoked.status, 200, "the row that the clerk has in view is revoked")
    ok(until(lambda: old.get("/v1/vaccines").code == "terminal_revoked"), "C31 its certificate is refused")
    ok(until(lambda: new.get("/v1/vaccines").code == "terminal_revoked", 5),
       "C31 and so is the one that was renewed from it", new.get("/v1/vaccines"))
    problem(new.post("/v1/terminals/current:renew", {"request_pem": d.request}), 403, "terminal_revoked",
            "nor does it renew again")
    states = {t["state"] for t in admin.get("/v1/terminals").json["terminals"] if t["name"] == "lost-1"}
    equal(states, {"revoked"}, "C31 the list says so of each")
    stack.set_clock(None)


def inside_away(stack, admin):
    code = code_for(admin, "away-1")
    d = Device(stack, "away")
    stack.processes["vrs-server"].send_signal(signal.SIGSTOP)
    problem(d.enrol(code), 503, "inside_away", "while the inside is away: 503, to be tried again")
    stack.processes["vrs-server"].send_signal(signal.SIGCONT)
    equal(until(lambda: d.enrol(code).status == 201, 20), True, "and then it works")


def command_line(stack, admin):
    folder = tempfile.mkdtemp(dir=stack.home)
    out = os.path.join(folder, "terminal")
    code = code_for(admin, "contractor-1", "reader", rights=["dose.post", "receipt.read"])
    argv = [os.path.join(BUILD, "bin", "ocr-ingest"), "enrol", "--public", stack.demo["public"], "--ca",
            stack.demo["ca"], "--code", "-", "--out", out]
    r = subprocess.run(argv, input=code + "\n", capture_output=True, text=True)
    equal(r.returncode, 0, "ocr-ingest enrol stores key and certificate")
    key, cert = os.path.join(out, "terminal.key"), os.path.join(out, "terminal.pem")
    equal(os.stat(key).st_mode & 0o777, 0o600, "the key is readable by its owner alone")
    first = open(cert).read()
    r = subprocess.run(argv, input=code + "\n", capture_output=True, text=True)
    equal((r.returncode, open(cert).read()), (0, first), "run again it gets the same")
    c = client_for(stack, (cert, key), "tablet_api")
    ok(until(lambda: c.get("/v1/doses/" + "0" * 32).status == 404), "C30 the reader's certificate works")
    r = subprocess.run(argv[:-1] + [os.path.join(folder, "other")], input="WRONG\n",
                       capture_output=True, text=True)
    ok(r.returncode == 1 and "enrolment_refused" in r.stderr, "a wrong code: exit 1 and why", r)
    r = subprocess.run([argv[0], "renew", "--url", stack.demo["tablet_api"], "--ca", stack.demo["ca"],
                        "--out", out], capture_output=True, text=True)
    ok(r.returncode == 1 and "too_many_requests" in r.stderr, "renewing on the first day is refused", r)
    stack.set_clock(datetime.datetime.now(JST) + datetime.timedelta(days=2))
    r = subprocess.run([argv[0], "renew", "--url", stack.demo["tablet_api"], "--ca", stack.demo["ca"],
                        "--out", out], capture_output=True, text=True)
    ok(r.returncode == 0 and open(cert).read() != first, "ocr-ingest renew gets the next one", r)
    stack.set_clock(None)


def main(stack):
    admin = admin_of(stack, MINATO)
    device, code = a_code_makes_a_terminal(stack, admin)
    codes_are_used_once(stack, admin, device, code)
    tried = codes_end(stack, admin)
    listed = who_may(stack, admin)
    revoke(stack, admin, device, listed)
    inside_away(stack, admin)
    renewal(stack, admin)
    admin = stack.staff(MINATO, "minato-terminals")
    lost_after_renewal(stack, admin)
    admin = stack.staff(MINATO, "minato-terminals")
    command_line(stack, admin)
    admin = stack.staff(MINATO, "minato-terminals")
    guessing(stack, tried)


run(main, count=20, overrides={"tablet-api": {"enrolment_tries": 40}})
