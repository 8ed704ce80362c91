#!/usr/bin/env python3
"""Systems (kiosks, health systems) on LG-WAN: a registered certificate and a closed set of functions,
no log-in (C30, C31)."""
import shutil

from case import (FUJISAWA, MINATO, access_log, client_for, dose_row, equal, make_cert, ok, one,
                  personal_number, problem, record, register, resident, run, until)


def system(stack, name, rights, code=MINATO):
    t = stack.add_terminal(name, "lgwan-system", code, rights=rights)
    return client_for(stack, (t["cert"], t["key"]))


def functions(stack, number):
    kiosk = system(stack, "kiosk-1", "certificate")
    got = kiosk.post("/v1/certificates:lookup", {"coupon_number": "8200000001", "purpose": "certificate"})
    equal((got.status, len(got.json["doses"]) if got.status == 200 else got), (200, 1),
          "C30 a kiosk looks a certificate up by its certificate alone")
    got = kiosk.post("/v1/certificates:lookup", {"personal_number": number, "purpose": "certificate"})
    equal(got.status, 200, "also by 個人番号, for its purpose")
    problem(kiosk.post("/v1/certificates:lookup", {"coupon_number": "8200000001"}), 422,
            "purpose_not_allowed", "C52 not without a purpose")
    for method, path, body in (("POST", "/v1/residents:search", {"coupon_number": "8200000001"}),
                               ("GET", "/v1/residents/" + "0" * 32 + "/doses", None)):
        problem(kiosk.request(method, path, body), 403, "forbidden", f"C40 no other function: {method} {path}")
    for method, path, body in (("GET", "/v1/reviews", None), ("GET", "/v1/exports/ledger.csv", None),
                               ("POST", "/v1/inquiries", {}), ("GET", "/v1/access-log", None),
                               ("POST", "/v1/sessions", {"user_id": "minato-1", "password": "x"})):
        problem(kiosk.request(method, path, body, key=True), 403, "forbidden",
                f"C30 nor what is for people: {method} {path}")
    u = next(u for u in stack.demo["users"] if u["user_id"] == "minato-1")
    problem(kiosk.login(u["user_id"], u["password"]), 403, "forbidden",
            "C21 nobody logs in with a system's certificate")
    return kiosk


def health_system(stack):
    c = system(stack, "health-1", "resident.read dose.read")
    person = one(c, coupon_number="8200000001")
    got = c.get(f"/v1/residents/{person['resident_id']}/doses")
    equal((got.status, len(got.json["doses"])), (200, 1), "C30 a health system reads a resident's doses")
    problem(c.post("/v1/residents:search", {"personal_number": "123456789018", "purpose": "certificate"}),
            403, "forbidden", "C51 but no search by 個人番号 without its right")
    problem(c.request("PATCH", f"/v1/residents/{person['resident_id']}", {"address": "x", "reason": "x"},
                      headers={"If-Match": '"1"'}), 403, "forbidden", "C53 and changes nothing")
    there = system(stack, "health-2", "resident.read dose.read", FUJISAWA)
    equal(there.post("/v1/residents:search", {"coupon_number": "8200000001"}).json["residents"], [],
          "C02 another municipality's system finds nothing here")
    problem(there.get(f"/v1/residents/{person['resident_id']}/doses"), 404, "not_found", "C02 nor by its id")
    entries = access_log(stack.staff(MINATO, "minato-approver"))
    mine = [(e["user"], e["section"], e["terminal"], e["act"], e["result"]) for e in entries
            if e["user"].startswith("system:")]
    ok(("system:health-1", "system", "health-1", "dose.list", "ok") in mine
       and ("system:kiosk-1", "system", "kiosk-1", "certificate.lookup", "ok") in mine
       and any(m[0] == "system:kiosk-1" and m[4] == "forbidden" for m in mine),
       "C60 what systems do and are refused is logged under their names", mine)


def registered_only(stack, kiosk):
    ca = stack.path("signer-keys", "ca-lgwan")
    shutil.copy(stack.path("pki", "ca-lgwan.pem"), ca + ".pem")
    unknown = client_for(stack, make_cert(stack.home, "odd", ca, f"/CN=kiosk-9/O={MINATO}/OU=system"))
    problem(unknown.post("/v1/certificates:lookup", {"coupon_number": "8200000001", "purpose": "certificate"}),
            403, "system_not_registered", "C30 an unknown system is refused")
    ok(until(lambda: '"rule":"unknown_terminal"' in stack.tail("vrs-server", 10000)), "C30 and alerted")
    pem = next((t["cert"], t["key"]) for t in stack.demo["terminals"] if t["name"] == f"lgwan-{MINATO}")
    problem(client_for(stack, pem).post("/v1/certificates:lookup", {}), 401, "login_required",
            "C21 a clerk's certificate without log-in opens no function of systems")
    equal(kiosk.post("/v1/certificates:lookup", {"coupon_number": "8200000001",
                                                 "purpose": "certificate"}).status, 200,
          "a live connection of the kiosk")
    stack.command("terminal.revoke", name="kiosk-1")
    problem(kiosk.post("/v1/certificates:lookup", {"coupon_number": "8200000001", "purpose": "certificate"}),
            403, "terminal_revoked", "C31 de-registered it is refused on its next request")
    try:
        system(stack, "kiosk-bad", "no.such.right")
        ok(False, "C40 an unknown right is refused when a system is registered")
    except Exception as e:  # noqa: BLE001
        ok("not registered" in str(e) or "bad_field" in str(e),
           "C40 an unknown right is refused when a system is registered", e)


def main(stack):
    c = stack.staff(MINATO)
    number = personal_number()
    register(c, [resident(MINATO, "S-1", "8200000001", 個人番号=number)])
    record(c, [dose_row(MINATO, "8200000001", 1)])
    kiosk = functions(stack, number)
    health_system(stack)
    registered_only(stack, kiosk)


run(main, count=20)
