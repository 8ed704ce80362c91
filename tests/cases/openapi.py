#!/usr/bin/env python3
"""docs/openapi.yaml against the running servers: every route with its right and flags, both ways; every
code with the list of errors; and each answer of a walk over all routes against its schema."""
import datetime
import json
import os
import re
import subprocess
import urllib.request
import uuid

import case
import plain_yaml
from case import (BUILD, FUJISAWA, KAGOSHIMA, MINATO, ROOT, Import, client_for, day_in_japan, dose_row, equal,
                  erase, inquiry, ok, one, personal_number, record, register, resident, residents_csv, run, tag,
                  until)

METHODS = ("get", "put", "post", "patch", "delete")


class Contract:
    def __init__(self):
        with open(os.path.join(ROOT, "docs", "openapi.yaml"), encoding="utf-8") as f:
            self.doc = plain_yaml.load(f.read())
        self.operations = [(path, method, item[method]) for path, item in self.doc["paths"].items()
                           for method in METHODS if method in item]
        with open(os.path.join(ROOT, "lib", "err_list.h"), encoding="utf-8") as f:
            self.errors = {m.group(1): int(m.group(2)) for m in
                           re.finditer(r'X\(\w+, "([^"]+)", (\d+),', f.read())}
        self.wrong, self.seen, self.looked_at = [], set(), 0

    def resolve(self, node):
        while "$ref" in node:
            at = self.doc
            for part in node["$ref"][2:].split("/"):
                at = at[part]
            node = at
        return node

    def find(self, listener, method, path):
        path = path.split("?")[0]
        for template, m, operation in self.operations:
            pattern = re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(template))
            if m == method.lower() and listener in operation["x-listeners"] \
                    and re.fullmatch(pattern, path):
                return template, operation
        return None, None

    # --- a small part of JSON Schema: what the document uses ---

    def check(self, schema, value, where):
        schema = self.resolve(schema)
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        is_kind = {"object": isinstance(value, dict), "array": isinstance(value, list),
                   "string": isinstance(value, str), "null": value is None,
                   "boolean": isinstance(value, bool),
                   "integer": isinstance(value, int) and not isinstance(value, bool)}
        if kinds and not any(is_kind[k] for k in kinds):
            return [f"{where}: {value!r} is not {kinds}"]
        found = []
        if "enum" in schema and value not in schema["enum"]:
            found.append(f"{where}: {value!r} is not among {schema['enum']}")
        if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
            found.append(f"{where}: {value!r} does not match {schema['pattern']}")
        if "maxLength" in schema and isinstance(value, str) and len(value) > schema["maxLength"]:
            found.append(f"{where}: longer than {schema['maxLength']}")
        if isinstance(value, list) and "items" in schema:
            for i, one_value in enumerate(value):
                found += self.check(schema["items"], one_value, f"{where}[{i}]")
        if isinstance(value, dict):
            named = schema.get("properties", {})
            found += [f"{where}: {name} is missing" for name in schema.get("required", [])
                      if name not in value]
            for name, one_value in value.items():
                if name in named:
                    found += self.check(named[name], one_value, f"{where}.{name}")
                elif schema.get("additionalProperties") is False:
                    found.append(f"{where}: {name} is not in the document")
        return found

    # --- every answer ---

    def look(self, listener, method, path, body, answer):
        template, operation = self.find(listener, method, path)
        if operation is None:
            return
        self.looked_at += 1
        where = f"{listener} {method} {template} {answer.status}"
        responses = operation["responses"]
        if answer.status < 400:
            self.seen.add((listener, method, template))
        response = responses.get(str(answer.status)) or responses.get(f"{answer.status // 100}XX")
        if response is None or (answer.status < 400 and str(answer.status) not in responses):
            self.wrong.append(f"{where}: this status is not in the document")
            return
        content = self.resolve(response).get("content", {})
        kind = answer.headers.get("content-type", "").split(";")[0]
        if not content and answer.body:
            self.wrong.append(f"{where}: a body that is not in the document")
        elif content and kind not in content:
            self.wrong.append(f"{where}: {kind} is not in the document")
        elif kind == "application/x-ndjson":
            for row in answer.body.splitlines():
                self.wrong += self.check(content[kind]["schema"], json.loads(row), where)
        elif kind.endswith("json"):
            self.wrong += self.check(content[kind]["schema"], answer.json, where)
        if kind == "application/problem+json" and answer.code not in operation["x-codes"]:
            self.wrong.append(f"{where}: code {answer.code} is not in x-codes")
        if answer.status < 400 and isinstance(body, dict):
            sent = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if sent is None:
                self.wrong.append(f"{where}: takes a body that is not in the document")
            else:
                self.wrong += self.check(sent["schema"], body, where + " request")


contract = Contract()


# ---- the document against --print-routes and the list of errors


def printed():
    """{(listener, METHOD, path with {}): (right, flags)} of both daemons."""
    routes = {}
    for program in ("tablet-api", "vrs-server"):
        text = subprocess.run([f"{BUILD}/bin/{program}", "--print-routes"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
        for line in text.splitlines():
            listener, method, path, right, flags = line.split()
            routes[listener, method, re.sub(r"\{\w+\}", "{}", path)] = (
                right, tuple(sorted(flags.replace("-", "").split(","))) if flags != "-" else ())
    return routes


def written(operations):
    return {(listener, method.upper(), re.sub(r"\{\w+\}", "{}", path)):
            (where["right"] or "-", tuple(sorted(where["flags"])))
            for path, method, operation in operations
            for listener, where in operation["x-listeners"].items()}


def routes():
    have, want = written(contract.operations), printed()
    ok(len(want) > 45, f"{len(want)} routes are printed by the daemons")
    equal(sorted(set(want) - set(have)), [], "every route is in docs/openapi.yaml")
    equal(sorted(set(have) - set(want)), [], "docs/openapi.yaml has no route that is not there")
    equal({k: (have[k], want[k]) for k in have.keys() & want.keys() if have[k] != want[k]}, {},
          "every right and every flag is the same")
    del have["lgwan", "GET", "/v1/reviews"]
    have["lgwan", "GET", "/v1/invented"] = ("-", ())
    ok(set(want) - set(have) and set(have) - set(want),
       "control: a missing and an extra route are seen")


def document():
    doc, problems = contract.doc, []
    equal(doc["openapi"], "3.1.0", "OpenAPI 3.1")
    refs = re.findall(r'"\$ref": "#([^"]+)"', json.dumps(doc))
    for name in set(refs):
        at = doc
        for part in name[1:].split("/"):
            at = at.get(part) if isinstance(at, dict) else None
        if at is None:
            problems.append(f"{name} leads nowhere")
    used = {r.rsplit("/", 1)[1] for r in refs if r.startswith("/components/schemas/")}
    problems += [f"schema {name} is used nowhere" for name in set(doc["components"]["schemas"]) - used]
    for path, method, operation in contract.operations:
        where = f"{method} {path}"
        names = [c for c in operation["x-codes"] if c not in contract.errors]
        problems += [f"{where}: no error is called {c}" for c in names]
        statuses = {f"{contract.errors[c] // 100}XX" for c in operation["x-codes"]
                    if c in contract.errors}
        problems += [f"{where}: {s} of its codes has no response" for s in statuses
                     if s not in operation["responses"]]
        flags = {f for w in operation["x-listeners"].values() for f in w["flags"]}
        parameters = json.dumps(operation.get("parameters", []))
        if ("idempotent" in flags) != ("IdempotencyKey" in parameters) \
                or ("if_match" in flags) != ("IfMatch" in parameters):
            problems.append(f"{where}: parameters and flags disagree")
        in_path = set(re.findall(r"\{(\w+)\}", path))
        listed = {p["name"] for p in doc["paths"][path].get("parameters", []) if p["in"] == "path"}
        if in_path != listed:
            problems.append(f"{where}: {in_path} in the path, {listed} described")
        if not operation.get("summary"):
            problems.append(f"{where}: no summary")
    ok(not problems, f"the document holds together ({len(contract.operations)} operations,"
       f" {len(doc['components']['schemas'])} schemas)", "\n".join(problems))
    number = [name for name, schema in doc["components"]["schemas"].items()
              if name not in ("ResidentSearch", "InquiryRequest", "CertificateLookup")
              and "personal_number" in schema.get("properties", {})]
    equal(number, ["RevealedNumber"], "C09 one answer of the whole document holds a 個人番号")


# ---- a walk over all routes


def watch(stack):
    """Every answer of every client is looked at from now on."""
    listeners = {stack.ports[name]: name for name in ("terminals", "public", "line", "lgwan")}
    plain = case.Watched.request

    def request(self, method, path, body=None, headers=None, key=None):
        answer = plain(self, method, path, body, headers, key)
        contract.look(listeners.get(self.url.port), method, path, body, answer)
        return answer

    case.Watched.request = request


def tablets(stack, clerk):
    t = stack.tablet()
    coupons = [f"81000000{n:02d}" for n in range(8)]
    register(clerk, [resident(MINATO, f"A{n}", c) for n, c in enumerate(coupons[:6])])

    def body(number, **more):
        return {"ocr_line": f"21{MINATO}{number}", "status": "given", "vaccinated_on": "2021-07-01",
                "product": "comirnaty", "lot": "FF3620", "site": "会場", "physician": "医師",
                "read_by": "ocr", "read_at": "2021-07-01T10:00:00+09:00", **more}

    def post(coupon, **more):
        return t.post("/v1/doses", body(coupon, confirmed_again=True, **more), key=True)

    outcomes = [post(coupons[0]), post(coupons[0]), post(coupons[0], lot="FG0001"), post(coupons[7]),
                post(coupons[1], lot="3004733"), post(coupons[2], status="not_given"),
                post(coupons[3]), post(coupons[4]), post(coupons[5])]
    equal([a.json["outcome"] for a in outcomes],
          ["recorded", "duplicate", "conflict", "waiting_for_coupon", "recorded_for_review",
           "recorded", "recorded", "recorded", "recorded"], "every outcome is walked over")
    parts = {"kind": "2", "dose_number": 1, "municipality_code": MINATO, "coupon_number": coupons[0]}
    sent = body(coupons[0], coupon=parts)
    del sent["ocr_line"]
    t.post("/v1/doses", sent, key=True)
    for wrong in ({}, [], b"{", body("1"), body(coupons[0], x=1), body(coupons[0], lot=""),
                  body(coupons[0], product="?"), body(coupons[0], vaccinated_on="2199-01-01"),
                  body(coupons[0][:9] + "O")):
        t.post("/v1/doses", wrong, key=True)
    t.post("/v1/doses", body(coupons[0]))
    equal(t.post("/v1/doses", body(coupons[0]), key=True).code, "same_coupon_again", "the question is walked over")
    receipt = outcomes[2].json["receipt_id"]
    t.get(f"/v1/doses/{receipt}")
    t.get("/v1/doses/0")
    t.post(f"/v1/doses/{receipt}:cancel", {}, key=True)
    key = str(uuid.uuid4())
    t.post(f"/v1/doses/{receipt}:cancel", {"reason": "誤り"}, key=key)
    t.post(f"/v1/doses/{receipt}:cancel", {"reason": "別"}, key=key)
    lines = [json.dumps(dict(body(c), idempotency_key=str(uuid.uuid4()))) for c in coupons[:2]]
    t.post("/v1/doses:batch", "\n".join([*lines, "{", body_text(body("12"))]).encode(),
           headers={"Content-Type": "application/x-ndjson"})
    t.post("/v1/doses:batch", b"")
    for line in (f"21{MINATO}{coupons[0]}", f"21{MINATO}{coupons[0][:9]}O", "x"):
        t.post("/v1/coupons:check", {"ocr_line": line})
        t.post("/v1/coupons:pre-shot", {"ocr_line": line, "product": "comirnaty"})
    t.post("/v1/coupons:pre-shot", {"ocr_line": f"21142051{coupons[0]}", "product": "comirnaty"})
    t.get("/v1/coupon-filter/00")
    chief = stack.staff(MINATO, "minato-approver")
    chief.request("PUT", "/v1/settings", {"coupon_filter": 1}, headers=tag(chief.get("/v1/settings").json["version"]))
    ok(until(lambda: t.get("/v1/coupon-filter/00").status == 200), "the coupon filter is walked over")
    t.get("/v1/vaccines")
    relayed = {"idempotency_key": str(uuid.uuid4()), "municipality_code": MINATO}
    sealed = json.dumps({"key": relayed["idempotency_key"], "municipality": MINATO, "dose": body(
        coupons[0], terminal="tablet-1", staff="site-1")})
    relayed["sealed"] = subprocess.run(
        ["node", "--no-warnings", os.path.join(ROOT, "tests", "lib", "seal_reading.mjs"),
         t.get("/v1/app-state").json["inbox_key"]], input=sealed, text=True, check=True,
        stdout=subprocess.PIPE).stdout.strip()
    t.post("/v1/doses:relay", relayed)
    for wrong in ({"idempotency_key": "x"}, {"municipality_code": "999999"}, {"sealed": ""}):
        t.post("/v1/doses:relay", dict(relayed, **wrong))
    for name in ("", "app/index.html", "app/manifest.webmanifest", "app/reader.wasm", "app/none"):
        t.get("/" + name)
    client_for(stack, None, "public").get("/v1/vaccines")
    t.request("DELETE", "/v1/sessions/current")
    t.get(f"/v1/doses/{receipt}")
    t.login("site-1", "wrong")
    return coupons, receipt


def body_text(body):
    return json.dumps(dict(body, idempotency_key=str(uuid.uuid4())))


def clerks(stack, clerk, coupons):
    c, chief = clerk, stack.staff(MINATO, "minato-approver")
    person = one(c, coupon_number=coupons[0])
    url = f"/v1/residents/{person['resident_id']}"
    c.post("/v1/residents:search", {"name_kana": "シケン", "birth_date": "1960-04-01"})
    c.post("/v1/residents:search", {"personal_number": personal_number(), "purpose": "certificate"})
    c.post("/v1/residents:search", {"coupon_number": "1"})
    c.get(url)
    c.get("/v1/residents/0")
    version = person["version"]
    c.request("PATCH", url, {"name": "試験　花子", "reason": "届出"})
    c.request("PATCH", url, {"name": "試験　花子", "reason": "届出"}, headers=tag(99))
    answer = c.request("PATCH", url, {"name": "試験　花子", "sex": "female", "reason": "届出"},
                       headers=tag(version))
    answer = c.post(url + ":flag", {"flag": "moved_out", "since": "2021-08-01",
                                    "to_municipality": FUJISAWA}, key=True,
                    headers=tag(answer.json["version"]))
    c.get(url)
    c.post(url + ":reveal-number", {"purpose": "certificate"})
    c.post(url + ":reveal-number", {"purpose": "curiosity"})
    chief.get(url + "/access-log")
    chief.get("/v1/access-log")
    outside = client_for(stack, None, "public")
    until(lambda: outside.get(f"/v1/log/checkpoints/{MINATO}").status == 200)
    outside.get(f"/v1/log/checkpoints/{MINATO}?since=yesterday")
    outside.get(f"/v1/log/checkpoints/{MINATO}?since=2020-01-01T00:00:00Z")
    outside.get("/v1/log/keys")
    chief.get("/v1/access-log/checkpoints")
    chief.get("/v1/access-log/checkpoints?after=x")
    chief.get("/v1/access-log/export")
    chief.get("/v1/access-log/export?from=x")
    c.get("/v1/provisions")
    c.get("/v1/provisions", headers={"Accept": "text/csv"})
    for name in ("ledger", "waiting"):
        c.get(f"/v1/exports/{name}.csv")
    c.get("/v1/vaccines")
    doses(c, coupons)
    imports(c)
    c.post("/v1/certificates:lookup", {"coupon_number": coupons[0], "purpose": "certificate"})
    c.post("/v1/certificates:lookup", {"coupon_number": coupons[1], "purpose": "certificate"})
    c.post("/v1/certificates:lookup", {"coupon_number": coupons[1], "purpose": "other"})
    gone = one(chief, coupon_number=coupons[5])
    erased = erase(c, chief, gone["resident_id"], "本人の求め")
    c.get("/v1/exports/reconciliation.csv")
    asked = c.post("/v1/requests", {"kind": "export", "act": "ledger.csv", "reason": "照合"}, key=True).json
    c.post("/v1/requests", {"kind": "export", "act": "everything", "reason": "照合"}, key=True)
    chief.get("/v1/requests")
    chief.post(f"/v1/requests/{asked['request_id']}:refuse", {"reason": "不要"}, key=True)
    chief.get("/v1/retention")
    chief.get("/v1/erasures")
    chief.get(f"/v1/erasures/{erased}/certificate")
    stack.terminal(f"lgwan-{MINATO}").get(url)
    stack.terminal(f"lgwan-{MINATO}").login("minato-1", "wrong")


def accounts(stack):
    """Account life, settings, statistics, the own account."""
    office = stack.add_user("walk-office", MINATO, ["municipal_staff"], "demo-applicant", "minato-approver",
                            "人事課", "人事 担当", "staff.manage statistics")
    stack.demo["users"].append(office)
    office, chief = stack.staff(MINATO, "walk-office"), stack.staff(MINATO, "minato-approver")
    body = {"user_id": "walk-new", "person_name": "新 人", "section": "予防接種課", "unit": "係",
            "roles": ["municipal_staff"], "rights": ["dose.read"], "reason": "採用",
            "valid_until": day_in_japan(30),
            "password": "an initial passphrase " + uuid.uuid4().hex}
    key = str(uuid.uuid4())
    filed = [office.post("/v1/applications", dict(body, user_id=f"walk-new{n}"), key=True) for n in (1, 2)]
    for wrong in ({}, dict(body, rights=["?"]), dict(body, password="password1234"), dict(body, valid_until="x"),
                  dict(body, user_id="minato-1")):
        office.post("/v1/applications", wrong, key=True)
    office.post("/v1/applications", body, key=key)
    office.post("/v1/applications", dict(body, unit="別"), key=key)
    office.get("/v1/applications")
    chief.get("/v1/applications?state=open")
    url = [f"/v1/applications/{a.json['application_id']}" for a in filed]
    office.post(url[0] + ":approve")
    chief.post(url[0] + ":approve")
    chief.post(url[0] + ":approve")
    chief.post(url[1] + ":refuse", {})
    chief.post(url[1] + ":refuse", {"reason": "不要"})
    c = stack.terminal(f"lgwan-{MINATO}")
    c.login("walk-new1", body["password"])
    c.get("/v1/reviews")
    c.post("/v1/sessions/current:change-password", {"old_password": "x", "new_password": "short"})
    c.post("/v1/sessions/current:change-password", {"old_password": "not this one", "new_password": "quite another one"})
    c.post("/v1/sessions/current:change-password", {"old_password": body["password"],
                                                    "new_password": "quite another one"})
    c.post("/v1/sessions/current:enrol-totp", {"password": "quite another one"})
    office.get("/v1/users")
    chief.post("/v1/users/walk-new1:review")
    for verb, more in (("change-section", {"section": "税務課", "reason": "異動"}), ("clear-throttle", None),
                       ("disable", {"reason": "休職"}), ("disable", {})):
        office.post(f"/v1/users/walk-new1:{verb}", more)
    office.post("/v1/users/nobody:disable", {"reason": "x"})
    for rows in ("walk-new1,新 人,2026-01-05\n", "walk-new1,別 人,2026-01-05\n", ""):
        office.request("POST", "/v1/users:leavers", ("user_id,person_name,left_on\n" + rows).encode(),
                       headers={"Content-Type": "text/csv"})
    for by in ("date", "product", "prefecture", "age", "name"):
        office.get(f"/v1/statistics?by={by}")
    version = chief.get("/v1/settings").json["version"]
    chief.request("PUT", "/v1/settings", {"sessions_per_user": 2}, headers=tag(version))
    chief.request("PUT", "/v1/settings", {"sessions_per_user": 1}, headers=tag(version))
    chief.request("PUT", "/v1/settings", {"sessions_per_user": 99}, headers=tag(version + 1))
    chief.request("PUT", "/v1/settings", {"nothing": 1}, headers=tag(version + 1))
    chief.request("PUT", "/v1/settings", {})
    nation = stack.add_user("walk-nation", "", ["nation"], "operator-a", "operator-b", "国", "国の 人")
    c = stack.terminal("lgwan-nation")
    c.login("walk-nation", nation["password"])
    c.get("/v1/statistics?by=product")
    c.get("/v1/reviews")


def doses(c, coupons):
    def of(coupon, more=""):
        r = one(c, coupon_number=coupon)
        return c.get(f"/v1/residents/{r['resident_id']}/doses{more}").json["doses"]

    of(coupons[0], "?include=all")
    d = of(coupons[3])[0]
    answer = c.request("PUT", f"/v1/doses/{d['dose_id']}", {"lot": "FG0001", "reason": "読み違い"},
                       headers=tag(d["version"]))
    c.request("PUT", f"/v1/doses/{d['dose_id']}", {"lot": "FG0001"}, headers=tag(1))
    answer = c.post(f"/v1/doses/{d['dose_id']}:cancel", {"reason": "誤り"}, key=True,
                    headers=tag(answer.json["version"]))
    c.post(f"/v1/doses/{d['dose_id']}:cancel", {"reason": "誤り"}, key=True,
           headers=tag(answer.json["version"]))
    c.get(f"/v1/doses/{d['dose_id']}/history")
    d = of(coupons[4])[0]
    c.post(f"/v1/doses/{d['dose_id']}:move", {"to_coupon_number": coupons[3], "reason": "別人"},
           key=True, headers=tag(d["version"]))
    items = c.get("/v1/reviews").json["reviews"]
    c.get("/v1/reviews?kind=review")
    c.get("/v1/reviews?after=x")
    item = next(i for i in items if i["kind"] == "review")
    c.post(f"/v1/reviews/{item['review_id']}:settle", {"decision": "accept", "reason": "確認済"},
           key=True)
    c.post(f"/v1/reviews/{item['review_id']}:settle", {"decision": "accept", "reason": "確認済"},
           key=True)


def imports(c):
    data = residents_csv([resident(MINATO, "A9", "8100000099"), resident(MINATO, "A10", "1")])
    done = Import(c, "residents", data).commit()
    done.results()
    Import(c, "residents", data)
    c.post(f"{done.url}:commit")
    Import(c, "residents", b"a,b\r\n1,2\r\n").check()
    c.post("/v1/imports", {"kind": "residents", "file_name": "../x", "size": 1, "sha256": "0" * 64})
    c.post(f"{done.url}:confirm-deletion", {"method": "消去"})
    announced = c.post("/v1/imports", {"kind": "residents", "file_name": "x.csv", "size": 9, "sha256": "1" * 64,
                                       "medium_id": "USB-1", "approved_by": "minato-approver"}).json
    c.post(f"/v1/imports/{announced['import_id']}:confirm-deletion", {})
    c.post(f"/v1/imports/{announced['import_id']}:discard")
    c.get("/v1/imports")


def terminals(stack):
    """Codes, enrolment, renewal, the list and revocation."""
    chief = stack.staff(MINATO, "minato-approver")
    code = chief.post("/v1/terminals:enrol-code", {"kind": "tablet", "name": "walk-hall", "site": "会場",
                                                   "binding": "site", "valid_minutes": 10}).json["code"]
    chief.post("/v1/terminals:enrol-code", {"kind": "lgwan", "name": "x"})
    chief.post("/v1/terminals:enrol-code", {"kind": "tablet", "name": "tablet-1"})
    key = os.path.join(stack.home, "walk.key")
    request = case.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                           "-keyout", key, "-subj", "/CN=x").decode()
    public = client_for(stack, None, "public")
    for body in ({"code": code, "request_pem": request}, {"code": "x", "request_pem": request},
                 {"code": code}, {"code": code, "request_pem": "x"}):
        public.post("/v1/enrolments", body)
    soon = stack.add_terminal("walk-ending", "tablet", MINATO, days=30)
    c = client_for(stack, (soon["cert"], soon["key"]), "tablet_api")
    until(lambda: c.get("/v1/vaccines").status == 200)
    mine = case.openssl("req", "-new", "-key", soon["key"], "-subj", "/CN=x").decode()
    for body in (mine, request, "x"):
        c.post("/v1/terminals/current:renew", {"request_pem": body})
    listed = chief.get("/v1/terminals").json["terminals"]
    t = next(t for t in listed if t["name"] == "walk-hall")
    for body in ({}, {"reason": "試験"}):
        chief.post(f"/v1/terminals/{t['terminal_id']}:revoke", body)
    chief.post("/v1/terminals/" + "0" * 32 + ":revoke", {"reason": "x"})
    chief.get("/v1/terminals")


def log_reviews(stack):
    """Reports and the monthly review, by who has the right."""
    c = stack.staff(MINATO, "minato-approver")
    c.post("/v1/residents:search", {"addressee_number": "A9"})
    report = c.get("/v1/log-reports")
    equal(report.status, 200, "the report is walked over")
    body = {"from": "2021-04-12", "to": "2021-05-12", "result": "no_irregularity"}
    c.post("/v1/log-reviews", body, key=True)
    c.post("/v1/log-reviews", dict(body, result="irregularity"), key=True)
    c.get("/v1/log-reviews")
    c.get("/v1/operation-report")
    c.get("/v1/operation-report?month=2021-4")
    for accept in ("text/csv", "application/json"):
        c.get("/v1/access-log?act=resident.&from=2021-04-12", headers={"Accept": accept})
    c.get("/v1/access-log?from=x")


def inquiries(stack, minato):
    kagoshima = stack.staff(KAGOSHIMA)
    numbers = [personal_number() for _ in range(3)]
    register(minato, [resident(MINATO, f"Q{n}", f"820000000{n}", 個人番号=number)
                      for n, number in enumerate(numbers)])
    record(minato, [dose_row(MINATO, f"820000000{n}") for n in range(3)])
    for n in (1, 2):
        r = one(minato, addressee_number=f"Q{n}")
        minato.post(f"/v1/residents/{r['resident_id']}:flag", {"flag": "no_auto_answer"}, key=True,
                    headers=tag(r["version"]))
    register(kagoshima, [resident(KAGOSHIMA, "Q9", "8300000001", 個人番号=numbers[0])])
    ask = [kagoshima.post("/v1/inquiries", inquiry(n, MINATO), key=True) for n in numbers]
    equal([a.json["result"] for a in ask], ["match", "pending", "pending"], "match and pending")
    kagoshima.post("/v1/inquiries", inquiry(personal_number(), MINATO), key=True)
    for change in ({"purpose": "other"}, {"basis": None}, {"identity": None},
                   {"from_municipality": KAGOSHIMA}, {"from_municipality": "999999"}):
        kagoshima.post("/v1/inquiries", inquiry(numbers[0], **dict({"from_municipality": MINATO},
                                                                 **change)), key=True)
    url = f"/v1/inquiries/{ask[0].json['inquiry_id']}"
    kagoshima.get(url)
    kagoshima.post(url + ":take-over", {"addressee_number": "Q9"}, key=True)
    kagoshima.get(url)
    chief = stack.staff(MINATO, "minato-approver")
    held = chief.get("/v1/held-inquiries").json["held_inquiries"]
    equal(len(held), 2, "two inquiries are held")
    for item, verb in zip(held, ("approve", "refuse")):
        chief.post(f"/v1/held-inquiries/{item['held_inquiry_id']}:{verb}", {}, key=True)
        chief.post(f"/v1/held-inquiries/{item['held_inquiry_id']}:{verb}", {"reason": "確認済"},
                   key=True)
    for a in ask[1:]:
        until(lambda: kagoshima.get(f"/v1/inquiries/{a.json['inquiry_id']}").json["result"]
              != "pending")
    kagoshima.get("/v1/provisions")
    minato.get("/v1/provisions")


def admin(stack):
    for side in ("tablet_api", "vrs_server"):
        for path in ("/healthz", "/readyz", "/metrics"):
            with urllib.request.urlopen(stack.admin(side) + path) as r:
                kind = r.headers["Content-Type"].split(";")[0]
                content = contract.find("admin", "GET", path)[1]["responses"]["200"]["content"]
                found = [] if kind in content else [f"{path}: {kind} is not in the document"]
                if kind == "application/json":
                    found += contract.check(content[kind]["schema"], json.loads(r.read()), path)
                equal(found, [], f"{side} {path} is as the document says")


def mending(clerk):
    asked = {"terminal": "tablet-1", "from": "2021-07-01T00:00:00Z", "to": "2021-07-02T00:00:00Z",
             "change": {"lot": "FF3620"}, "dry_run": True}
    now = datetime.datetime.now(datetime.timezone.utc)
    asked.update({"from": (now - datetime.timedelta(days=1)).isoformat(), "to": now.isoformat()})
    seen = clerk.post("/v1/doses:mend", dict(asked, change={"lot": "FF3699"}))
    ok(seen.json["count"] > 0, "a mending is walked over", seen)
    act = dict(asked, change={"lot": "FF3699"}, dry_run=False, preview=seen.json["preview"], reason="誤り")
    clerk.post("/v1/doses:mend", act)
    for preview in ("x", seen.json["preview"]):
        clerk.post("/v1/doses:mend", dict(act, preview=preview), key=True)
    clerk.post("/v1/doses:mend", dict(asked, change={}))


def away(stack, receipt):
    """The answers that only an absent inside and an absent number area give."""
    t, c = stack.tablet(), stack.staff(MINATO)
    stack.kill("vrs-number")
    c.post("/v1/residents:search", {"personal_number": personal_number(), "purpose": "certificate"})
    stack.restart("vrs-number")
    stack.kill("vrs-server")
    t.post("/v1/coupons:check", {"ocr_line": f"21{MINATO}8100000000"})
    answer = t.post("/v1/doses", {"ocr_line": f"21{MINATO}8100000000", "status": "given",
                                  "vaccinated_on": "2021-07-01", "product": "comirnaty",
                                  "lot": "FF3620", "site": "会場", "read_by": "ocr",
                                  "confirmed_again": True}, key=True)
    equal(answer.status, 202, "202 is walked over")
    t.get(f"/v1/doses/{answer.json['receipt_id']}")
    stack.restart("vrs-server")


def main(stack):
    watch(stack)
    clerk = stack.staff(MINATO)
    coupons, receipt = tablets(stack, clerk)
    clerks(stack, clerk, coupons)
    inquiries(stack, clerk)
    mending(clerk)
    accounts(stack)
    log_reviews(stack)
    terminals(stack)
    clerk.request("DELETE", "/v1/sessions/current")
    clerk.get("/v1/reviews")
    admin(stack)
    away(stack, receipt)
    ok(not contract.wrong, f"{contract.looked_at} answers are as the document says",
       "\n".join(sorted(set(contract.wrong))))
    all_routes = {(listener, method.upper(), path) for path, method, operation in contract.operations
                  for listener in operation["x-listeners"] if listener in ("terminals", "public",
                                                                           "lgwan")}
    equal(sorted(all_routes - contract.seen), [], "every route was walked over with success")
    before = len(contract.wrong)
    contract.look("terminals", "POST", "/v1/coupons:check", {"ocr_line": "x"},
                  case.client_module.Answer(200, {"content-type": "application/json"},
                                            b'{"status":"ok","candidates":[],"name":"x"}'))
    ok(len(contract.wrong) > before, "control: a field that is not in the document is seen")


routes()
document()
run(main, overrides={"tablet-api": {"answer_wait_ms": 5000, "query_wait_ms": 5000},
                     "vrs-server": {"checkpoint_s": 1}})
