#!/usr/bin/env python3
"""Only registered terminals get in, on both sides; people are bound to their municipality's; the
inside talks to nobody but its peer; what a taken-over Internet side tells is checked."""
import shutil
import subprocess

from case import (FUJISAWA, MINATO, access_log, client_for, dose_row, equal, make_cert,
                  metrics, ok, problem, record, register, resident, run, until)
import residents


def password(stack, user):
    return next(u["password"] for u in stack.demo["users"] if u["user_id"] == user)


def pem(stack, name):
    return next((t["cert"], t["key"]) for t in stack.demo["terminals"] if t["name"] == name)


def raised(stack, rule):
    return any(f'"rule":"{rule}"' in line and '"alert.raised"' in line
               for line in stack.tail("vrs-server", 100000).splitlines())


def serial(cert):
    return subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-serial"], check=True,
                          capture_output=True, text=True).stdout.strip().split("=")[1]


def lgwan_registered_only(stack):
    """C20: of the authority is not enough."""
    ca = stack.path("signer-keys", "ca-lgwan")
    shutil.copy(stack.path("pki", "ca-lgwan.pem"), ca + ".pem")
    cert = make_cert(stack.home, "stranger", ca, f"/CN=lgwan-stranger/O={MINATO}/OU=lgwan")
    c = client_for(stack, cert)
    problem(c.get("/v1/vaccines"), 403, "system_not_registered",
            "C20 LG-WAN: a certificate of the right authority that is not registered")
    problem(c.login("minato-1", password(stack, "minato-1")), 403, "system_not_registered",
            "C20 nor does the right password let in from it")
    ok(until(lambda: raised(stack, "unknown_terminal")), "C30 it raises an alert")
    stack.command("terminal.add", name="lgwan-stranger", kind="lgwan", municipality_code=MINATO,
                  serial="000" + serial(cert[0]).lower(), valid_until="2030-01-01")
    equal(c.login("minato-1", password(stack, "minato-1")).status, 201,
          "control: registered, the same live connection is let in, however the serial was typed")
    stack.command("terminal.revoke", name="lgwan-stranger")
    problem(c.get("/v1/vaccines"), 403, "terminal_revoked",
            "C31 revoked, it is out on its next request")
    twin = make_cert(stack.home, "twin", ca, f"/CN=lgwan-{MINATO}/O={MINATO}/OU=lgwan")
    problem(client_for(stack, twin).get("/v1/vaccines"), 403, "system_not_registered",
            "C20 the name of a registered terminal with another serial")
    moved = make_cert(stack.home, "moved", ca, f"/CN=lgwan-moved/O={FUJISAWA}/OU=lgwan")
    stack.command("terminal.add", name="lgwan-moved", kind="lgwan", municipality_code=MINATO,
                  serial=serial(moved[0]), valid_until="2030-01-01")
    problem(client_for(stack, moved).get("/v1/vaccines"), 403, "system_not_registered",
            "C23 a certificate that names another municipality than its registration")
    entries = access_log(stack.staff(MINATO, "minato-approver"))
    ok([e for e in entries if e["result"] == "system_not_registered" and e["terminal"] == "lgwan-stranger"],
       "C21 refusals of unknown terminals are entries")
    stack.kill("vrs-server")
    stack.restart("vrs-server")
    problem(client_for(stack, cert).get("/v1/vaccines"), 403, "terminal_revoked",
            "the list is there again after a restart")


def internet_registered_only(stack):
    ca = stack.path("signer-keys", "ca-tablets")
    shutil.copy(stack.path("pki", "ca-tablets.pem"), ca + ".pem")
    cert = make_cert(stack.home, "t-stranger", ca, f"/CN=tablet-x/O={MINATO}/OU=tablet")
    c = client_for(stack, cert, "tablet_api")
    problem(c.get("/v1/vaccines"), 403, "system_not_registered",
            "C20 Internet: a certificate of the right authority that is not registered")
    problem(c.login("site-1", password(stack, "site-1")), 403, "system_not_registered",
            "C20 nor with the right password")
    stack.command("terminal.add", name="tablet-x", kind="tablet", municipality_code=MINATO,
                  serial=serial(cert[0]), valid_until="2030-01-01")
    ok(until(lambda: c.login("site-1", password(stack, "site-1")).status == 201),
       "control: registered, the same connection is let in")
    stack.command("terminal.revoke", name="tablet-x")
    ok(until(lambda: c.get("/v1/vaccines").code == "terminal_revoked"), "C31 revoked: out")
    kind = make_cert(stack.home, "t-kind", ca, f"/CN=tablet-k/O={MINATO}/OU=reader")
    stack.command("terminal.add", name="tablet-k", kind="tablet", municipality_code=MINATO,
                  serial=serial(kind[0]), valid_until="2030-01-01")
    tablet_1 = client_for(stack, pem(stack, "tablet-1"), "tablet_api")
    until(lambda: metrics(stack, "tablet_api")["vrs_snapshot_version"]
          == metrics(stack)["vrs_snapshot_outside_version"])
    problem(client_for(stack, kind, "tablet_api").get("/v1/vaccines"), 403, "system_not_registered",
            "another kind than registered")
    equal(tablet_1.get("/v1/vaccines").status, 200, "registered tablets notice nothing of all that")


def people_are_bound(stack):
    """C23: site staff on their municipality's terminals, on their site's, or on any."""
    there = stack.add_terminal("tablet-there", "tablet", FUJISAWA)
    words = dict(dir=stack.home, kind="tablet", municipality_code=MINATO, valid_from=stack.valid_from)
    for name, more in (("tablet-hall", {"binding": "site", "site": "接種会場"}),
                       ("tablet-school", {"binding": "site", "site": "小学校"}),
                       ("tablet-any", {"binding": "none"})):
        stack.vrsctl("-s", stack.control, "terminal.issue", f"name={name}",
                     *[f"{k}={v}" for k, v in dict(words, **more).items()])
    user = stack.add_user("site-fujisawa", FUJISAWA, ["site_staff"], "fujisawa-personnel",
                          "fujisawa-approver", "接種会場", "藤沢 会場")

    def on(name):
        return client_for(stack, (stack.path("pki", name + ".pem"), stack.path("pki", name + ".key")),
                          "tablet_api")

    until(lambda: on("tablet-there").login("site-fujisawa", user["password"]).status == 201)
    secret = password(stack, "site-1")
    problem(on("tablet-there").login("site-1", secret), 403, "other_municipality",
            "C23 a valid user on another municipality's terminal is refused")
    problem(on("tablet-there").login("site-1", "wrong password"), 401, "bad_login",
            "C24 a wrong password says nothing about that")
    problem(on("tablet-hall").login("site-fujisawa", user["password"]), 403, "other_municipality",
            "C23 nor the other way round")
    equal(on("tablet-hall").login("site-1", secret).status, 201, "C23 on the own site's terminal: yes")
    problem(on("tablet-school").login("site-1", secret), 403, "other_municipality",
            "C23 a terminal that is bound to another site")
    equal([on("tablet-any").login(u, p).status for u, p in (("site-1", secret),
                                                            ("site-fujisawa", user["password"]))],
          [201, 201], "a terminal that is bound to nobody (a shared hall) takes both")

    def told():
        return [e for e in access_log(stack.staff(MINATO, "minato-approver"))
                + access_log(stack.staff(FUJISAWA, "fujisawa-approver"))
                if e["act"] == "session.other_terminal"]

    ok(until(lambda: len(told()) >= 3), "C23 refusals are told inwards", told())
    return user["password"]


def town_of_the_site(stack, secret):
    """coupons:check: how much is told follows from the registered terminal, not from the outside."""
    c = stack.staff(FUJISAWA)
    register(c, [resident(FUJISAWA, "T-1", "7100000001")])
    record(c, [dose_row(FUJISAWA, "7100000001", 1)])
    line = {"ocr_line": residents.ocr_line(FUJISAWA, "7100000001", 1)}
    own = client_for(stack, (stack.path("pki", "tablet-there.pem"), stack.path("pki", "tablet-there.key")),
                     "tablet_api")
    equal(own.login("site-fujisawa", secret).status, 201, "site staff of 藤沢市 on its terminal")
    tablet = stack.tablet()
    equal(tablet.post("/v1/coupons:check", line).json.get("status"), "ok",
          "C02 from another town's terminal only that the coupon is known")
    equal(own.post("/v1/coupons:check", line).json.get("status"), "dose_already_recorded",
          "control: from a terminal that is registered in the coupon's town, more")
    shared = client_for(stack, (stack.path("pki", "tablet-any.pem"), stack.path("pki", "tablet-any.key")),
                        "tablet_api")
    equal(shared.login("site-fujisawa", secret).status, 201, "the same person on 港区's shared terminal")
    equal(shared.post("/v1/coupons:check", line).json.get("status"), "ok",
          "C23 there it is the terminal's registration that counts, not the person's town")


def peer_of_the_line(stack):
    """C32: vrs-server's line client refuses another valid certificate, of another authority or name."""
    pki = stack.path("pki")
    good = open(f"{pki}/line-server.pem").read(), open(f"{pki}/line-server.key").read()

    def swap(cert, key):
        stack.kill("tablet-api")
        for name, text in (("pem", cert), ("key", key)):
            with open(f"{pki}/line-server.{name}", "r+") as f:
                f.seek(0)
                f.write(text)
                f.truncate()
        stack.restart("tablet-api")

    def dose(n):
        return stack.tablet().post("/v1/doses", {
            "ocr_line": residents.ocr_line(MINATO, f"72000000{n:02}", 1), "status": "given",
            "vaccinated_on": "2021-07-01", "product": "comirnaty", "lot": "FF3620", "site": "会場",
            "read_by": "ocr"}, key=True)

    swap(open(f"{pki}/tablet-api.pem").read(), open(f"{pki}/tablet-api.key").read())
    first = dose(1)
    equal(first.status, 202, "C32 a server with a valid certificate of another authority: nothing is pulled")
    named = make_cert(stack.home, "line-elsewhere", f"{pki}/ca-line", "/CN=tablet-api line")
    swap(open(named[0]).read(), open(named[1]).read())
    equal(dose(2).status, 202, "C32 nor from one of the line's authority that is not for this host")
    swap(*good)
    c = stack.tablet()
    ok(until(lambda: c.get(f"/v1/doses/{first.json['receipt_id']}").json["outcome"] != "pending", 20),
       "control: with its own certificate the line works again")


def main(stack):
    lgwan_registered_only(stack)
    internet_registered_only(stack)
    secret = people_are_bound(stack)
    town_of_the_site(stack, secret)
    peer_of_the_line(stack)


run(main, count=20, overrides={"tablet-api": {"login_tries": 200}})  # tried until the Internet side knows somebody
