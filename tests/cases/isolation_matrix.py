#!/usr/bin/env python3
"""S1: the isolation matrix.  Generated from the route tables that the daemons print: every route ×
role × {own, another municipality's ids} × {no log-in, ended and idle session, another terminal's
token} × {certificates that must not pass}.  A route without a row here fails, so does a row without
a route."""
import http.client
import re
import ssl
import subprocess
import time
import urllib.request
import uuid
from types import SimpleNamespace

from case import (BUILD, FUJISAWA, KAGOSHIMA, MINATO, Import, Watched, access_log, client_for,
                  day_in_japan, dose_row, doses_of, equal, erase, inquiry, make_ca, make_cert, ok, one,
                  personal_number, post_dose, record, register, resident, residents_csv, run, tag, until)
import residents

OURS, THEIRS = MINATO, FUJISAWA
IDLE_S = 20  # more than the whole of a round takes
MARK = {OURS: "甲", THEIRS: "乙"}
APPROVER = {OURS: "minato-approver", THEIRS: "fujisawa-approver"}
DONE = {200, 201, 202, 204}
SETTLED = DONE | {409}  # the first time it works, then it is done already
STALE = {412}           # a version that is none: the gates were passed, nothing is changed


class Row:
    """How a route is asked: `make(ids)` gives path and body; what the own municipality's ids answer
    when the right is there, and what another municipality's ids answer: a status, or "nothing"
    for a 200 that holds none of theirs."""

    def __init__(self, make, own=DONE, other=404):
        self.make, self.own, self.other = make, own, other


def at(path, body=None):
    """A row whose path holds {name} of the ids."""
    return lambda i: (path.format(**vars(i)), body(i) if callable(body) else body)


WHY = {"reason": "試験"}
LGWAN = {
    "POST /v1/sessions": Row(at("/v1/sessions", lambda i: {
        "user_id": i.user, "password": i.password}), other=403),
    "GET /v1/vaccines": Row(at("/v1/vaccines"), other="nothing"),
    "POST /v1/sessions/current:change-password": Row(at("/v1/sessions/current:change-password", {
        "old_password": "x", "new_password": "short"}), {422}, None),
    "POST /v1/sessions/current:enrol-totp": Row(at("/v1/sessions/current:enrol-totp", {}), {422}, None),
    "POST /v1/applications": Row(at("/v1/applications", lambda i: {
        "user_id": i.user, "person_name": i.person, "section": "予防接種課", "roles": ["municipal_staff"],
        "rights": ["dose.read"], "valid_until": day_in_japan(30)}), other=409),
    "GET /v1/applications": Row(at("/v1/applications"), other="nothing"),
    "POST /v1/applications/{id}:approve": Row(at("/v1/applications/{application}:approve"), SETTLED),
    "POST /v1/applications/{id}:refuse": Row(at("/v1/applications/{application}:refuse", WHY), SETTLED),
    "GET /v1/users": Row(at("/v1/users"), other="nothing"),
    "POST /v1/users:leavers": Row(at("/v1/users:leavers", lambda i: (
        f"user_id,person_name,left_on\n{i.user},別の人,2026-01-05\n".encode())), {422}, 422),
    "POST /v1/users/{id}:review": Row(at("/v1/users/{user}:review")),
    "POST /v1/users/{id}:disable": Row(at("/v1/users/{spare}:disable", WHY)),
    "POST /v1/users/{id}:change-section": Row(at("/v1/users/{spare}:change-section",
                                                 dict(WHY, section="税務課"))),
    "POST /v1/users/{id}:clear-throttle": Row(at("/v1/users/{spare}:clear-throttle")),
    "GET /v1/statistics": Row(at("/v1/statistics?by=date"), other="nothing"),
    "GET /v1/settings": Row(at("/v1/settings"), other="nothing"),
    "PUT /v1/settings": Row(at("/v1/settings", {"totp_for_number": 1}), STALE, None),
    "POST /v1/residents:search": Row(at("/v1/residents:search", lambda i: {
        "coupon_number": i.coupon}), other="nothing"),
    "GET /v1/residents/{id}": Row(at("/v1/residents/{resident}")),
    "PATCH /v1/residents/{id}": Row(at("/v1/residents/{resident}", dict(WHY, address="x")), STALE),
    "DELETE /v1/residents/{id}": Row(at("/v1/residents/{resident}", WHY), STALE),
    "POST /v1/residents/{id}:flag": Row(at("/v1/residents/{resident}:flag",
                                           {"flag": "undisclosed"}), STALE),
    "POST /v1/residents/{id}:reveal-number": Row(at("/v1/residents/{resident}:reveal-number",
                                                    {"purpose": "transfer_in"})),
    "GET /v1/residents/{id}/doses": Row(at("/v1/residents/{resident}/doses")),
    "GET /v1/residents/{id}/access-log": Row(at("/v1/residents/{resident}/access-log")),
    "PUT /v1/doses/{id}": Row(at("/v1/doses/{dose}", dict(WHY, lot="FF1")), STALE),
    "POST /v1/doses/{id}:cancel": Row(at("/v1/doses/{dose}:cancel", WHY), STALE),
    "POST /v1/doses/{id}:move": Row(at("/v1/doses/{dose}:move", lambda i: dict(
        WHY, to_coupon_number=i.coupon)), STALE),
    "POST /v1/doses:mend": Row(at("/v1/doses:mend", {
        "terminal": "tablet-1", "from": "2021-07-01T00:00:00+09:00", "to": "2021-07-02T00:00:00+09:00",
        "change": {"lot": "FF3621"}, "dry_run": True}), other="nothing"),
    "GET /v1/doses/{id}/history": Row(at("/v1/doses/{dose}/history")),
    "GET /v1/reviews": Row(at("/v1/reviews"), other="nothing"),
    "POST /v1/reviews/{id}:settle": Row(at("/v1/reviews/{review}:settle",
                                           dict(WHY, decision="reject")), SETTLED),
    "POST /v1/imports": Row(at("/v1/imports", lambda i: {
        "kind": "residents", "file_name": i.file_name, "size": 5, "sha256": i.sha256}), DONE, 201),
    "PUT /v1/imports/{id}/content": Row(at("/v1/imports/{imported}/content", lambda i: i.content)),
    "POST /v1/imports/{id}:check": Row(at("/v1/imports/{imported}:check")),
    "POST /v1/imports/{id}:commit": Row(at("/v1/imports/{imported}:commit")),
    "GET /v1/imports": Row(at("/v1/imports"), other="nothing"),
    "POST /v1/imports/{id}:confirm-deletion": Row(at("/v1/imports/{imported}:confirm-deletion",
                                                     {"method": "消去"})),
    "POST /v1/imports/{id}:discard": Row(at("/v1/imports/{imported}:discard"), {409}),
    "GET /v1/imports/{id}": Row(at("/v1/imports/{imported}")),
    "GET /v1/imports/{id}/results": Row(at("/v1/imports/{imported}/results")),
    "POST /v1/inquiries": Row(at("/v1/inquiries", lambda i: inquiry(i.number, i.code)), {422}, 201),
    "GET /v1/inquiries/{id}": Row(at("/v1/inquiries/{inquiry}")),
    "POST /v1/inquiries/{id}:take-over": Row(at("/v1/inquiries/{inquiry}:take-over", lambda i: {
        "addressee_number": i.addressee}), SETTLED),
    "GET /v1/held-inquiries": Row(at("/v1/held-inquiries"), other="nothing"),
    "POST /v1/held-inquiries/{id}:approve": Row(at("/v1/held-inquiries/{held}:approve", WHY),
                                                SETTLED),
    "POST /v1/held-inquiries/{id}:refuse": Row(at("/v1/held-inquiries/{held}:refuse", WHY), SETTLED),
    "GET /v1/provisions": Row(at("/v1/provisions"), other="nothing"),
    "GET /v1/access-log": Row(at("/v1/access-log"), other="nothing"),
    "GET /v1/access-log/checkpoints": Row(at("/v1/access-log/checkpoints"), other="nothing"),
    "GET /v1/access-log/export": Row(at("/v1/access-log/export"), other="nothing"),
    "GET /v1/log-reports": Row(at("/v1/log-reports"), other="nothing"),
    "GET /v1/operation-report": Row(at("/v1/operation-report"), other="nothing"),
    "POST /v1/log-reviews": Row(at("/v1/log-reviews", {
        "from": "2021-04-12", "to": "2021-05-12", "result": "no_irregularity"}), other=201),
    "GET /v1/log-reviews": Row(at("/v1/log-reviews"), other="nothing"),
    "POST /v1/certificates:lookup": Row(at("/v1/certificates:lookup", lambda i: {
        "coupon_number": i.coupon, "purpose": "certificate"})),
    "GET /v1/exports/ledger.csv": Row(at("/v1/exports/ledger.csv"), other="nothing"),
    "GET /v1/exports/waiting.csv": Row(at("/v1/exports/waiting.csv"), other="nothing"),
    "GET /v1/exports/reconciliation.csv": Row(at("/v1/exports/reconciliation.csv"), other="nothing"),
    "GET /v1/requests": Row(at("/v1/requests"), other="nothing"),
    "POST /v1/requests": Row(at("/v1/requests", lambda i: {
        "kind": "erase", "subject": i.resident, "act": "resident.erase", "reason": "試験"}), DONE | {422}),
    "POST /v1/requests/{id}:approve": Row(at("/v1/requests/{request}:approve", WHY), SETTLED | {404}),
    "POST /v1/requests/{id}:refuse": Row(at("/v1/requests/{request}:refuse", WHY), SETTLED | {404}),
    "GET /v1/retention": Row(at("/v1/retention"), other="nothing"),
    "GET /v1/erasures": Row(at("/v1/erasures"), other="nothing"),
    "GET /v1/erasures/{id}/certificate": Row(at("/v1/erasures/{erasure}/certificate")),
    "POST /v1/terminals:enrol-code": Row(at("/v1/terminals:enrol-code", lambda i: {
        "kind": "tablet", "name": f"m-{uuid.uuid4()}"}), other=201),
    "GET /v1/terminals": Row(at("/v1/terminals"), other="nothing"),
    "POST /v1/terminals/{id}:revoke": Row(at("/v1/terminals/{terminal}:revoke", WHY)),
    "DELETE /v1/sessions/current": Row(at("/v1/sessions/current"), other=None),
}
# Own: this terminal's receipt, another's: that of a terminal of another municipality.
TERMINALS = {
    "POST /v1/sessions": Row(at("/v1/sessions", lambda i: {
        "user_id": i.user, "password": i.password}), other=None),
    "GET /v1/vaccines": Row(at("/v1/vaccines"), other="nothing"),
    "GET /v1/app-state": Row(at("/v1/app-state"), other="nothing"),
    "GET /": Row(at("/"), other="nothing"),
    "GET /app/{file}": Row(at("/app/manifest.webmanifest"), other="nothing"),
    "POST /v1/doses": Row(at("/v1/doses", lambda i: i.reading), other=None),
    "POST /v1/doses:batch": Row(at("/v1/doses:batch", lambda i: i.batch), other=None),
    "POST /v1/doses:relay": Row(at("/v1/doses:relay", lambda i: {
        "idempotency_key": str(uuid.uuid4()), "municipality_code": OURS, "sealed": "x"}), {422}, None),
    "GET /v1/doses/{receipt_id}": Row(at("/v1/doses/{receipt}")),
    "POST /v1/doses/{receipt_id}:cancel": Row(at("/v1/doses/{receipt}:cancel", WHY)),
    "POST /v1/coupons:check": Row(at("/v1/coupons:check", lambda i: {"ocr_line": i.line}),
                                  other="nothing"),
    "GET /v1/coupon-filter/{digits}": Row(at("/v1/coupon-filter/07"), {404}, None),  # switched off: coupon_filter.py
    "POST /v1/coupons:pre-shot": Row(at("/v1/coupons:pre-shot", lambda i: {
        "ocr_line": i.line, "product": "comirnaty"}), {200, 403, 404}, None),
    # on its first day a certificate is not renewed; a request by another key never
    "POST /v1/terminals/current:renew": Row(at("/v1/terminals/current:renew", {"request_pem": "x"}),
                                            {422, 429}, None),
    "DELETE /v1/sessions/current": Row(at("/v1/sessions/current"), other=None),
}
PUBLIC = {"POST /v1/enrolments": Row(at("/v1/enrolments", {"code": "x", "request_pem": "x"}), {403}),
          "GET /v1/log/keys": Row(at("/v1/log/keys")),
          "GET /v1/log/checkpoints/{municipality}": Row(at("/v1/log/checkpoints/{code}"), other=200),
          "GET /v1/vaccines": Row(at("/v1/vaccines"))}
LINE = {"POST /line/v1/pull": Row(at("/line/v1/pull")), "POST /line/v1/outcomes": Row(at("/line/v1/outcomes")),
        "POST /line/v1/answers": Row(at("/line/v1/answers")),
        "POST /line/v1/checkpoints": Row(at("/line/v1/checkpoints")),
        "PUT /line/v1/snapshot": Row(at("/line/v1/snapshot")),
        "POST /line/v1/replay": Row(at("/line/v1/replay"))}
ADMIN = {"GET /healthz": Row(at("/healthz")), "GET /readyz": Row(at("/readyz")),
         "GET /metrics": Row(at("/metrics"))}
MATRIX = {"lgwan": LGWAN, "terminals": TERMINALS, "public": PUBLIC, "line": LINE, "admin": ADMIN}


class Route:
    def __init__(self, line):
        self.listener, self.method, self.path, right, flags = line.split()
        self.right = None if right == "-" else set(right.split("|"))
        self.flags = set() if flags == "-" else set(flags.split(","))
        self.name = f"{self.method} {self.path}"
        self.open = "no_login" in self.flags

    def may(self, rights):
        return self.right is None or bool(self.right & set(rights))

    @property
    def row(self):
        return MATRIX.get(self.listener, {}).get(self.name)

    def ask(self, client, ids, other=False):
        """The request that the row makes, with what the route's flags demand."""
        path, body = self.row.make(ids)
        headers = {}
        if "if_match" in self.flags:
            headers.update(tag(1 if other else 999))
        if isinstance(body, bytes):
            headers["Content-Type"] = ids.types.get(self.name, "text/csv")
            if self.name == "PUT /v1/imports/{id}/content":
                headers["Content-Range"] = f"bytes 0-{len(body) - 1}/{len(body)}"
        elif body is None and self.method in ("POST", "PUT"):
            body = {} if self.listener != "lgwan" else None
        return client.request(self.method, path, body, headers=headers, key="idempotent" in self.flags)


def printed():
    lines = []
    for program in ("vrs-server", "tablet-api"):
        lines += subprocess.run([f"{BUILD}/bin/{program}", "--print-routes"], check=True, text=True,
                                stdout=subprocess.PIPE).stdout.splitlines()
    # the log-out last: it ends the session that asks
    return sorted((Route(line) for line in lines), key=lambda r: r.method == "DELETE" and r.right is None)


def short(answer):
    return f"{answer.status} {answer.code or ''}"


def without_row(routes):
    return [f"{r.listener} {r.name}" for r in routes if r.row is None]


def complete(routes):
    equal(without_row(routes), [], f"S1 each of {len(routes)} routes has its row in the matrix")
    there = {(r.listener, r.name) for r in routes}
    gone = [(listener, name) for listener, rows in MATRIX.items() for name in rows
            if (listener, name) not in there]
    equal(gone, [], "S1 each row has its route")
    planted = [Route("lgwan GET /v1/planted resident.read -")]
    equal(len(without_row(planted)), 1, "S1 control: a planted route without a row is found")


# ---- two municipalities that hold something of everything


def fill(stack, code):
    mark, first = MARK[code], 7000000000 + int(code) * 100
    c = stack.staff(code)
    asker = stack.staff(KAGOSHIMA)
    i = SimpleNamespace(code=code, number=personal_number(), addressee=f"{mark}-0001",
                        coupon=str(first + 1), types={"POST /v1/doses:batch": "application/x-ndjson"})
    name, address = f"{mark}野　一郎", f"{mark}町一丁目"
    held_number = personal_number()
    rows = [resident(code, i.addressee, i.coupon, 個人番号=i.number, 氏名=name, 住所=address),
            resident(code, f"{mark}-0002", str(first + 2), 個人番号=held_number, 氏名=name + "二"),
            resident(code, f"{mark}-0003", str(first + 3), 氏名=name + "三")]
    i.content = residents_csv(rows)
    i.imported = Import(c, "residents", i.content, name=f"{mark}.csv").commit().state["import_id"]
    record(c, [dose_row(code, i.coupon, 1, 会場=f"{mark}会場"),
               dose_row(code, i.coupon, 3, "20220301", 会場=f"{mark}会場"),
               dose_row(code, str(first + 9), 1, 会場=f"{mark}会場")])
    i.resident = one(c, addressee_number=i.addressee)["resident_id"]
    i.dose = next(d["dose_id"] for d in doses_of(c, i.resident) if d["dose_number"] == 1)
    i.review = c.get("/v1/reviews?kind=review").json["reviews"][0]["review_id"]
    person = one(c, addressee_number=f"{mark}-0002")
    c.post(f"/v1/residents/{person['resident_id']}:flag", {"flag": "no_auto_answer"}, key=True,
           headers=tag(1))
    asker.post("/v1/inquiries", inquiry(held_number, code), key=True)
    approver = stack.staff(code, APPROVER[code])
    i.held = approver.get("/v1/held-inquiries").json["held_inquiries"][0]["held_inquiry_id"]
    known = personal_number()
    register(asker, [resident(KAGOSHIMA, f"{mark}-K", str(first + 20), 個人番号=known)])
    i.inquiry = c.post("/v1/inquiries", inquiry(known, KAGOSHIMA), key=True).json["inquiry_id"]
    i.erasure = erase(c, approver, one(c, addressee_number=f"{mark}-0003")["resident_id"])
    i.request = c.post("/v1/requests", {"kind": "export", "act": "ledger.csv", "reason": "試験"},
                       key=True).json["request_id"]
    i.line = residents.ocr_line(code, i.coupon, 1)
    stack.add_terminal(f"spare-{code}", "tablet", code)
    i.terminal = next(t["terminal_id"] for t in stack.command("terminal.list")["terminals"]
                      if t["name"] == f"spare-{code}")
    i.file_name, i.sha256 = f"{mark}-{uuid.uuid4()}.csv", uuid.uuid4().hex * 2
    i.application = stack.command(
        "user.apply", user_id=f"matrix-asked-{code}", person_name=f"{mark}望 三郎", municipality_code=code,
        section="課", roles="municipal_staff", valid_until=day_in_japan(30), by="matrix-applicant",
        password=uuid.uuid4().hex)["application_id"]
    i.person, i.spare = f"{mark}戸 四郎", f"matrix-spare-{code}"
    for user, person in ((f"matrix-door-{code}", i.person), (i.spare, f"{mark}余 五郎")):
        u = enrol(stack, user.removeprefix("matrix-"), "municipal_staff", code, person)
        if user != i.spare:
            i.user, i.password = u["user_id"], u["password"]
    # what none of the other's answers may hold
    i.marks = [i.application, f"{mark}望", i.person, f"{mark}余", name, address, i.addressee, i.coupon, str(first + 2), str(first + 9), f"{mark}会場",
               i.resident, i.dose, i.number, f"{mark}.csv", i.erasure, i.request]
    return i


def holds(answer, ids):
    text = answer.body.decode("utf-8", "replace") + str(answer.headers)
    return [m for m in ids.marks if m in text]


# ---- the LG-WAN side

MUNICIPAL = ["municipal_staff", "municipal_approver"]
WITHOUT_A_TOWN = {"auditor": "*", "operator": "", "prefecture": "13", "nation": ""}  # with their scope


def enrol(stack, name, role, code=OURS, person=None, rights="", scope=""):
    user = stack.add_user(f"matrix-{name}", code, [role], "matrix-applicant", APPROVER.get(code, "matrix-second"),
                          "予防接種課", person or f"{name} の人", rights, scope)
    stack.demo["users"].append(user)
    return user


def session(stack, user):
    c = stack.terminal(f"lgwan-{OURS}" if user.get("municipality_code") else "lgwan-nation")
    answer = c.login(user["user_id"], user["password"])
    return c if answer.status == 201 else None


def rights_of(stack):
    return {u["user_id"]: set(u["rights"].split()) for u in stack.command("user.list")["users"]}


def roles(stack, routes, ours, theirs):
    """Route × role × {own, other}: the right decides, and another municipality's ids are nothing."""
    users = {role: enrol(stack, role, role) for role in MUNICIPAL}
    rights = rights_of(stack)
    tried = 0
    for role in MUNICIPAL:
        user = users[role]
        c = session(stack, user)
        bad = []
        for route in routes:
            may = route.may(rights[user["user_id"]])
            if route.name == "POST /v1/sessions":
                continue  # rows of its own below
            answer = route.ask(c, ours)
            tried += 1
            if may and answer.status not in route.row.own:
                bad.append(f"{route.name} own ids: {short(answer)}")
            if not may and (answer.status, answer.code) != (403, "forbidden"):
                bad.append(f"{route.name} without the right: {short(answer)}")
            if may and holds(answer, theirs):
                bad.append(f"{route.name} own ids: holds {holds(answer, theirs)}")
            if route.row.other is None or not may:
                continue
            answer = route.ask(c, theirs, other=True)
            tried += 1
            want = {200} if route.row.other == "nothing" else {route.row.other}
            if answer.status not in want:
                bad.append(f"{route.name} their ids: {short(answer)}")
            if route.name != "POST /v1/inquiries" and holds(answer, theirs):
                bad.append(f"{route.name} their ids: holds {holds(answer, theirs)}")
        ok(not bad, f"C02 C40 {role}: every route, own and another municipality's ids",
           "\n".join(bad))
    ok(tried > 150, f"S1 {tried} requests of {len(MUNICIPAL)} roles")
    return users


def probe(c, routes, ids, rights):
    """Every route but log-in and log-out: (route, answer) where having the right and being let in disagree."""
    wrong, answers = [], []
    for route in routes:
        if route.name in ("POST /v1/sessions", "DELETE /v1/sessions/current"):
            continue
        answer = route.ask(c, ids)
        answers.append((route, answer))
        if ((answer.status, answer.code) == (403, "forbidden")) == route.may(rights):
            wrong.append(f"{route.name} with {sorted(rights)}: {short(answer)}")
    return wrong, answers


def without_a_town(stack, routes, ours, theirs):
    """C06, C10: prefecture and nation get counts, the operator nothing, the auditor logs."""
    for role, scope in WITHOUT_A_TOWN.items():
        user = enrol(stack, role, role, "", scope=scope)
        c = session(stack, user)
        rights = rights_of(stack)[user["user_id"]]
        wrong, answers = probe(c, routes, ours, rights)
        ok(not wrong, f"C40 C11 {role}: every route", "\n".join(wrong))
        equal(stack.terminal(f"lgwan-{OURS}").login(user["user_id"], user["password"]).status, 403,
              f"C23 {role}: not on a municipality's terminal")
        seen = [f"{r.name} {holds(a, i)}" for r, a in answers for i in (ours, theirs)
                if [m for m in holds(a, i) if m not in r.row.make(ours)[0]]]
        if role != "auditor":
            ok(not seen, f"C06 {role}: no answer of {len(answers)} holds anything of a person", "\n".join(seen))
        if role in ("prefecture", "nation"):
            equal(sorted(r.name for r, a in answers if a.status == 200),
                  ["GET /v1/statistics", "GET /v1/vaccines"], f"C06 {role}: counts, and what everybody may know")
            for by in ("date", "product", "prefecture", "age"):
                found = c.get(f"/v1/statistics?by={by}").json
                fields = set(found) | {f for cell in found["cells"] for f in cell}
                equal(fields, {"by", "scope", "as_of", "cells", "key", "dose_number", "count"} if found["cells"]
                      else {"by", "scope", "as_of", "cells"}, f"C06 {role}: fields of statistics by {by}")
        if role == "operator":
            equal(sorted({x for r in routes if r.right for x in r.right} & rights), [],
                  "C10 the operator has no function")


def auditors(stack, ours):
    """An auditor looks without the municipality's help, within its scope, and it shows in that log."""
    user = enrol(stack, "auditor-one", "auditor", "", scope=OURS)
    c = session(stack, user)
    answer = c.get(f"/v1/access-log?municipality_code={OURS}")
    ok(answer.status == 200 and answer.json["entries"], "an auditor reads the log of a municipality in scope", answer)
    for code, status, why in ((THEIRS, 403, "forbidden"), ("999999", 403, "forbidden"), ("", 403, "forbidden")):
        answer = c.get(f"/v1/access-log?municipality_code={code}")
        equal((answer.status, answer.code), (status, why), f"C02 and no other: {code or 'nothing'}")
    equal(c.get("/v1/access-log").code, "missing_field", "and names the municipality")
    mine = [e for e in access_log(stack.staff(OURS, APPROVER[OURS])) if e["user"] == user["user_id"]]
    ok([e["act"] for e in mine] == ["log.read"], "C73 the auditor's reading is in the municipality's own log", mine)
    staff = stack.staff(OURS, APPROVER[OURS])
    equal(staff.get(f"/v1/access-log?municipality_code={THEIRS}").status, 403,
          "C02 a municipality's own people cannot name another")


def single_rights(stack, routes, ours):
    """C41: one person, one right after the other: each opens its routes and no other."""
    most = {"municipal_staff": None, "municipal_approver": None}
    user = enrol(stack, "single", "municipal_staff", rights="dose.read")
    tried, wrong = 0, []
    for role in most:
        everything = rights_of(stack)[f"matrix-{role}"]
        for right in sorted(everything | ({"staff.manage"} if role == "municipal_staff" else set())):
            a = stack.command("user.apply", user_id=user["user_id"], person_name="single の人", municipality_code=OURS,
                              section="予防接種課", roles=role, rights=right, valid_until=day_in_japan(30), by="matrix-applicant")
            stack.approve(a["application_id"], OURS, APPROVER[OURS])
            c = session(stack, user)
            found, _ = probe(c, routes, ours, {right})
            wrong += found
            tried += 1
    ok(not wrong, f"C41 each of {tried} single rights opens its own routes only", "\n".join(wrong))
    planted = Route("lgwan GET /v1/vaccines resident.read -")
    found, _ = probe(c, [planted], ours, {right})
    equal(len(found), 1, "C41 control: a route that answers without its right is found")


def refused_is_logged(stack, routes, users, theirs):
    """C02: a look at another municipality's ids is an entry in the own log, none in theirs."""
    auditors = [stack.staff(code, APPROVER[code]) for code in (OURS, THEIRS)]
    last = [access_log(a)[-1]["sequence"] for a in auditors]
    c = session(stack, users["municipal_staff"])
    asked = 0
    rights = rights_of(stack)[users["municipal_staff"]["user_id"]]
    for route in routes:
        if route.row.other == 404 and route.may(rights):
            route.ask(c, theirs, other=True)
            asked += 1
    entries = [[e for e in access_log(a) if e["sequence"] > n] for a, n in zip(auditors, last)]
    refused = [e for e in entries[0] if e["result"] == "not_found"]
    equal(len(refused), asked, f"C02 {asked} looks at another municipality's ids: {asked} entries")
    equal([e["act"] for e in entries[1] if not e["act"].startswith(("session", "log"))], [],
          "C02 and none in the other's log")


def log_ins(stack, routes, users, ours, idle):
    """Route × {no log-in, ended session, idle session, another terminal's token, nonsense}."""
    ended = session(stack, users["municipal_staff"])
    token = ended.token
    ended.request("DELETE", "/v1/sessions/current")
    ended.token = token
    nobody = stack.terminal(f"lgwan-{OURS}")
    nonsense = stack.terminal(f"lgwan-{OURS}")
    nonsense.token = "f" * 64
    elsewhere = stack.staff(THEIRS)  # a good token, but another municipality's
    stranger = stack.terminal(f"lgwan-{OURS}")
    stranger.token = elsewhere.token
    until(lambda: time.monotonic() > idle.since + IDLE_S + 0.5, IDLE_S + 10)
    states = [("no log-in", nobody, 401, "login_required"), ("an ended session", ended, 401, "session_ended"),
              ("an idle session", idle, 401, "session_ended"), ("a made-up token", nonsense, 401, "session_ended"),
              ("another municipality's token", stranger, 403, "other_municipality")]
    ended_by_time = [e for e in access_log(stack.staff(OURS, APPROVER[OURS]))
                     if (e["act"], e["user"]) == ("session.timeout", "matrix-idle")]
    equal([e["detail"] for e in ended_by_time], ["idle"], "C28 C65 a time-out is one entry of the log")
    for what, c, status, code in states:
        bad = []
        elsewhere.get("/v1/vaccines")  # use keeps it alive
        for route in routes:
            answer = route.ask(c, ours)
            if route.open:
                if answer.status not in route.row.own:
                    bad.append(f"{route.name}: {short(answer)}")
            elif (answer.status, answer.code) != (status, code):
                bad.append(f"{route.name}: {short(answer)}")
        ok(not bad, f"C21 {what}: every route {status} {code}", "\n".join(bad))


def fails(client, route, ids):
    """No answer at all: the handshake ended it."""
    try:
        return route.ask(client, ids)
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return None
    finally:
        client.close()


def certificates(stack, listener, routes, ids, make):
    """Route × certificate.  `make(cert)` is a client of the listener."""
    ca = stack.path("pki", {"lgwan": "ca-lgwan", "terminals": "ca-tablets", "line": "ca-line"}[listener])
    unit = {"lgwan": "lgwan", "terminals": "tablet", "line": "line"}[listener]
    folder = stack.home
    pem = {t["name"]: (t["cert"], t["key"]) for t in stack.demo["terminals"]}
    strangers = {"no certificate": None, "a foreign authority's": make_cert(
        folder, f"{listener}-foreign", make_ca(folder, f"{listener}-stranger"), f"/CN=x/O={OURS}/OU={unit}")}
    if listener != "lgwan":
        strangers["an LG-WAN terminal's"] = pem[f"lgwan-{OURS}"]
    if listener != "terminals":
        strangers["a tablet's"] = pem["tablet-1"]
    if listener != "line":
        strangers["the line's"] = (stack.path("pki", "line-client.pem"), stack.path("pki", "line-client.key"))
    for what, cert in strangers.items():
        answered = [r.name for r in routes if fails(make(cert), r, ids) is not None]
        equal(answered, [], f"C21 {listener}, {what} certificate: no route answers at all")
    if listener == "line":
        cases = [("another kind of", make_cert(folder, "line-kind", ca, "/CN=x/OU=tablet"), "forbidden")]
    else:
        lost = stack.add_terminal(f"lost-{listener}", unit, OURS)
        stack.command("terminal.revoke", name=f"lost-{listener}")
        if listener == "terminals":
            until(lambda: make((lost["cert"], lost["key"])).get("/v1/vaccines").code == "terminal_revoked")
        cases = [("an expired", make_cert(folder, f"{listener}-old", ca, f"/CN=x/O={OURS}/OU={unit}",
                                          end="20210101000000Z"), "terminal_revoked"),
                 ("a revoked", (lost["cert"], lost["key"]), "terminal_revoked")]
    if listener == "lgwan":
        cases.append(("another kind of", make_cert(folder, "kind", ca, f"/CN=x/O={OURS}/OU=tablet"), "forbidden"))
    for what, cert, code in cases:
        c = make(cert)
        bad = [f"{r.name}: {short(a)}" for r in routes for a in [r.ask(c, ids)]
               if (a.status, a.code) != (403, code)]
        ok(not bad, f"C21 {listener}, {what} certificate: every route 403 {code}", "\n".join(bad))


def at_the_door(stack, ours, theirs):
    """POST /v1/sessions: a user belongs to one municipality's terminals."""
    c = stack.terminal(f"lgwan-{OURS}")
    equal(c.login(ours.user, ours.password).status, 201, "C23 a user logs in on the own municipality's terminal")
    answer = stack.terminal(f"lgwan-{OURS}").login(theirs.user, theirs.password)
    equal((answer.status, answer.code), (403, "other_municipality"),
          "C23 and on no other municipality's")


# ---- the Internet side


def readings(i, code):
    i.reading = {"ocr_line": residents.ocr_line(code, "7999999999", 1), "status": "given",
                 "vaccinated_on": "2021-07-01", "product": "comirnaty", "lot": "FF3620", "site": "会場",
                 "read_by": "ocr"}
    i.batch = b'{"idempotency_key":"%s"}\n' % str(uuid.uuid4()).encode()


def internet(stack, routes, ours, theirs):
    tablet = stack.tablet()
    t = stack.add_terminal("tablet-there", "tablet", THEIRS)
    user = stack.add_user("site-there", THEIRS, ["site_staff"], "somebody", APPROVER[THEIRS],
                          "接種会場", "よそ 担当")
    there = client_for(stack, (t["cert"], t["key"]), "tablet_api")
    until(lambda: there.login("site-there", user["password"]).status == 201, 20)
    for i, c in ((ours, tablet), (theirs, there)):
        readings(i, i.code)
        i.receipt = post_dose(c, residents.ocr_line(i.code, i.coupon, 1))["receipt_id"]
        i.marks.append(i.receipt)
    few = stack.add_user("site-few", OURS, ["site_staff"], "somebody", APPROVER[OURS], "接種会場",
                         "少 担当", rights="receipt.read")
    reading = stack.terminal("tablet-2")
    until(lambda: reading.login("site-few", few["password"]).status == 201, 20)
    who = [("site staff", tablet, {"dose.post", "receipt.read", "dose.cancel", "coupon.check"}),
           ("site staff with one right", reading, {"receipt.read"}),
           ("a system client", stack.terminal("reader-1"), {"dose.post", "receipt.read"})]
    for name, c, rights in who:
        bad = []
        for route in routes:
            if route.name in ("POST /v1/sessions", "DELETE /v1/sessions/current") and c is not tablet:
                continue
            if route.name == "POST /v1/sessions":
                continue
            may = route.may(rights)
            for ids, other in ((ours, False), (theirs, True)):
                if other and route.row.other is None:
                    continue
                answer = route.ask(c, ids)
                foreign = other or c is not tablet  # receipts are the posting terminal's alone
                person = name == "a system client" and not route.open and "system_client" not in route.flags
                if not may or person:
                    if (answer.status, answer.code) != ((401, "login_required") if person else (403, "forbidden")):
                        bad.append(f"{route.name} without the right: {short(answer)}")
                elif "{receipt_id}" in route.path and foreign:
                    if answer.status not in (403, 404):
                        bad.append(f"{route.name} another's receipt: {short(answer)}")
                elif answer.status not in route.row.own:
                    bad.append(f"{route.name}: {short(answer)}")
                if holds(answer, theirs if not foreign else SimpleNamespace(
                        marks=[m for m in theirs.marks + ours.marks if m not in route.row.make(ids)[0]])):
                    bad.append(f"{route.name}: holds what is not this terminal's: {short(answer)}")
        ok(not bad, f"C02 C40 {name}: every route, own and another terminal's receipts", "\n".join(bad))
    for role in ("municipal_staff", "municipal_approver"):
        u = next(u for u in stack.demo["users"] if u["user_id"] == f"matrix-{role}")
        answer = stack.terminal("tablet-1").login(u["user_id"], u["password"])
        ok(answer.status in (401, 403), f"C23 {role} cannot log in on the Internet side", answer)


def internet_log_ins(stack, routes, ours, idle):
    states = [("no log-in", None, "login_required"), ("a made-up token", "f" * 64, "session_ended"),
              ("an idle session", idle.token, "session_ended"),
              ("a token of LG-WAN", stack.staff(OURS).token, "session_ended")]
    ended = stack.tablet("tablet-2", "site-2")
    token = ended.token
    ended.request("DELETE", "/v1/sessions/current")
    states.append(("an ended session", token, "session_ended"))
    for what, token, code in states:
        c = stack.terminal("tablet-1")
        c.token = token
        bad = []
        for route in routes:
            answer = route.ask(c, ours)
            want = (answer.status in route.row.own) if route.open else (answer.status, answer.code) == (401, code)
            if not want:
                bad.append(f"{route.name}: {short(answer)}")
        ok(not bad, f"C21 terminals, {what}: every route 401 {code}", "\n".join(bad))


def listeners(stack, routes, ours):
    """What a listener does not list does not exist there."""
    shape = lambda r: (r.method, re.sub(r"{\w+}", "{}", r.path))  # noqa: E731
    here = {listener: {shape(r) for r in routes if r.listener == listener} for listener in MATRIX}
    outside = client_for(stack, None, "public")
    for listener, c in (("lgwan", stack.staff(OURS)), ("terminals", stack.tablet()), ("public", outside)):
        bad = []
        for route in routes:
            if shape(route) in here[listener] or route.row is None:
                continue
            path = route.row.make(ours)[0]
            answer = c.request(route.method, path, {} if route.method in ("POST", "PUT", "PATCH") else None)
            if answer.status not in (404, 405):
                bad.append(f"{route.listener} {route.name}: {short(answer)}")
        ok(not bad, f"C05 {listener}: no route of another listener", "\n".join(bad))
    for side in ("vrs_server", "tablet_api"):
        url = stack.admin(side)
        ok(url.startswith("http://127."), f"the admin listener of {side} is on loopback", url)
        for name in ADMIN:
            with urllib.request.urlopen(url + name.split()[1]) as r:
                text = r.read().decode()
                ok(r.status == 200 and not [m for m in ours.marks if m in text],
                   f"admin {name} of {side} answers and names nobody")


def main(stack):
    routes = printed()
    complete(routes)
    by = {listener: [r for r in routes if r.listener == listener and r.row] for listener in MATRIX}
    ours, theirs = fill(stack, OURS), fill(stack, THEIRS)
    idle = session(stack, enrol(stack, "idle", "municipal_staff"))
    idle.since = time.monotonic()
    idle_tablet = stack.tablet("tablet-1", "site-1")
    at_the_door(stack, ours, theirs)
    internet_user = next(u for u in stack.demo["users"] if u["user_id"] == "site-1")
    users = roles(stack, by["lgwan"], ours, theirs)
    without_a_town(stack, by["lgwan"], ours, theirs)
    auditors(stack, ours)
    single_rights(stack, by["lgwan"], ours)
    internet(stack, by["terminals"], ours, theirs)
    refused_is_logged(stack, by["lgwan"], users, theirs)
    log_ins(stack, by["lgwan"], users, ours, idle)
    certificates(stack, "lgwan", by["lgwan"], ours, lambda cert: client_for(stack, cert))
    door = ours.user, ours.password
    ours.user, ours.password = internet_user["user_id"], internet_user["password"]
    internet_log_ins(stack, by["terminals"], ours, idle_tablet)
    certificates(stack, "terminals", by["terminals"], ours, lambda cert: client_for(stack, cert, "tablet_api"))
    ours.user, ours.password = door
    line = f"https://127.0.0.1:{stack.ports['line']}"
    ca = stack.path("pki", "ca-line.pem")
    certificates(stack, "line", by["line"], ours, lambda cert: Watched(line, ca, *(cert or (None, None))))
    listeners(stack, routes, ours)


run(main, count=20, overrides={"vrs-server": {"session_idle_s": IDLE_S}, "tablet-api": {"session_idle_s": IDLE_S}})
