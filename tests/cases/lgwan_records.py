#!/usr/bin/env python3
"""What a municipality reads about its own work: the access log, exports, the pre-flight of
certificates, and what an operator reads of metrics."""
import csv
import io
import re
import urllib.error
import urllib.request
import uuid

from case import (FUJISAWA, KAGOSHIMA, MINATO, access_log, clerk_with_few_rights, dose_row, doses_of, equal, find,
                  inquiry, metrics, ok, one, personal_number, post_dose, problem, record, register,
                  resident, run, tag)
import residents


def ledger(c):
    """予防接種台帳向け出力: byte-exact to its layout."""
    register(c, [resident(MINATO, "L0001", "5000000001"), resident(MINATO, "L0002", "5000000002"),
                 resident(MINATO, "L0003", "5000000003"), resident(MINATO, "", "5000000004")])
    register(c, [resident(MINATO, "L0001", "5000000091", 個人番号="")])
    site = "とても長い会場名" * 8
    record(c, [dose_row(MINATO, "5000000001", 1, "20210701", 会場=site, 医師名="=医師,\"一\""),
               dose_row(MINATO, "5000000091", 2, "20210722", 製品コード="spikevax",
                        ロット番号="3004216"),
               dose_row(MINATO, "5000000002", 1, "20210702"),
               dose_row(MINATO, "5000000004", 1, "20210703"),
               dict(dose_row(MINATO, "5000000003", 1, "20210704"), 接種状況="2",
                    OCRライン=residents.ocr_line(MINATO, "5000000003", 1, kind=1))])
    answer = c.get("/v1/exports/ledger.csv")
    body = answer.body
    equal((answer.status, answer.headers["content-type"], answer.headers["content-disposition"]),
          (200, "text/csv; charset=utf-8", 'attachment; filename="ledger.csv"'),
          "the ledger is a CSV file to keep")
    ok(not body.startswith(b"\xef\xbb\xbf"), "UTF-8 without BOM")
    ok(body.endswith(b"\r\n") and body.count(b"\n") == body.count(b"\r\n"), "CRLF")
    rows = {r[0]: r for r in csv.reader(io.StringIO(body.decode(), newline=""))}
    equal(sorted(rows), ["", "L0001", "L0002"], "one row a person with a dose; a visit has none")
    row = rows["L0001"]
    equal(len(row), 1 + 2 * 8, "宛名番号, then eight columns a dose")
    stamp = row[1]
    ok(re.fullmatch(r"\d{14}", stamp) is not None, "registration time has 14 digits", stamp)
    equal(row[2:9], ["20210701", "5000000001", MINATO, site[:30], "=医師,\"一\"", "ファイザー", "FF3620"],
          "the first dose: date, coupon, municipality, site cut to 30 characters, physician, maker, lot")
    equal(row[10:17], ["20210722", "5000000091", MINATO, "試験会場", "医師 一", "武田/モデルナ", "3004216"],
          "the second dose by the reissued coupon is in the same row")
    line = next(x for x in body.split(b"\r\n") if x.startswith(b"L0002,"))
    equal(line[:6] + line[20:],
          f"L0002,,20210702,5000000002,{MINATO},試験会場,医師 一,ファイザー,FF3620".encode(),
          "a row, byte by byte")
    ok("\"=医師,\"\"一\"\"\"".encode() in body, "quoting by RFC 4180; machine files change no character")
    numbers = re.findall(rb"(?<!\d)\d{12}(?!\d)", body)
    ok(not numbers, "C110 no field has the form of a 個人番号", numbers)


def waiting(c):
    record(c, [dose_row(MINATO, "5900000001", 2, "20210730", 会場="=1+1", ロット番号="@FF1")])
    answer = c.get("/v1/exports/waiting.csv")
    body = answer.body
    ok(body.startswith(b"\xef\xbb\xbf") and body.count(b"\n") == body.count(b"\r\n")
       and answer.headers["content-disposition"] == 'attachment; filename="waiting.csv"',
       "the waiting list is for people: BOM and CRLF", answer)
    rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    equal(rows[0], ["登録日時", "自治体コード", "接種券番号", "接種回", "接種状況", "接種日",
                    "ワクチンメーカー", "ロット番号", "会場"], "with its header")
    equal([r[1:] for r in rows[1:]],
          [[MINATO, "5900000001", "2", "1", "20210730", "ファイザー", "'@FF1", "'=1+1"]],
          "the waiting dose, formula characters neutralised")
    register(c, [resident(MINATO, "L0900", "5900000001")])
    equal(c.get("/v1/exports/waiting.csv").body.count(b"\r\n"), 1,
          "once its coupon is registered it waits no more")


def certificates(c, other):
    number = personal_number()
    register(c, [resident(MINATO, "C0001", "5100000001", 個人番号=number),
                 resident(MINATO, "C0002", "5100000002"), resident(MINATO, "C0003", "5100000003"),
                 resident(MINATO, "C0004", "5100000004"), resident(MINATO, "C0005", "5100000005")])
    doses = [dose_row(MINATO, "5100000001", i, day) for i, day in enumerate(
        ["20210601", "20210622", "20220301", "20220801", "20221201", "20230401", "20230901"], 1)]
    record(c, doses)
    record(c, [dose_row(MINATO, "5100000002", 2, "20210722"),
               dose_row(MINATO, "5100000003", 1, "20210701"),
               dose_row(MINATO, "5100000003", 1, "20210702")])
    look = lambda **terms: c.post("/v1/certificates:lookup", terms)  # noqa: E731
    for what, terms, status, code in (
            ("no person", {"purpose": "certificate"}, 422, "missing_field"),
            ("two terms", {"coupon_number": "5100000001", "personal_number": number,
                           "purpose": "certificate"}, 422, "bad_field"),
            ("no purpose", {"coupon_number": "5100000001"}, 422, "purpose_not_allowed"),
            ("another purpose", {"coupon_number": "5100000001", "purpose": "transfer_in"}, 422,
             "purpose_not_allowed"),
            ("a wrong number", {"personal_number": number[:-1] + str((int(number[-1]) + 1) % 10),
                                "purpose": "certificate"}, 422, "R170"),
            ("a short coupon", {"coupon_number": "1", "purpose": "certificate"}, 422, "R101"),
            ("an unknown coupon", {"coupon_number": "9999999999", "purpose": "certificate"}, 404,
             "not_found"),
            ("an unknown number", {"personal_number": personal_number(), "purpose": "certificate"},
             404, "not_found"),
            ("a birth date", {"coupon_number": "5100000001", "birth_date": "1960-04-01",
                              "purpose": "certificate"}, 400, "unknown_field")):
        problem(look(**terms), status, code, f"look-up with {what} is refused")
    problem(other.post("/v1/certificates:lookup", {"coupon_number": "5100000001",
                                                   "purpose": "certificate"}), 404, "not_found",
            "C02 another municipality looks up nothing")
    by_coupon = look(coupon_number="5100000001", purpose="certificate")
    by_number = look(personal_number=number, purpose="certificate")
    got = by_coupon.json
    equal([d["dose_number"] for d in got["doses"]], [3, 4, 5, 6, 7], "at most the latest five doses")
    equal(sorted(got["doses"][0]), sorted(["dose_number", "vaccinated_on", "maker", "product", "lot",
                                           "municipality_code"]),
          "with the items that the purpose allows")
    equal((got["issuable"], got["blocks"], got["pending"]), (True, [], []), "nothing blocks")
    ok(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", got["as_of"]) is not None, "as_of says when", got)
    equal([{k: v for k, v in x.json.items() if k != "as_of"} for x in (by_number,)],
          [{k: v for k, v in got.items() if k != "as_of"}], "by 個人番号 the same as by coupon")
    got = look(coupon_number="5100000002", purpose="certificate").json
    equal(([b["code"] for b in got["blocks"]], got["issuable"]), (["dose_open", "no_dose"], False),
          "a dose in review blocks")
    equal([(p["state"], p["dose_number"], [r["code"] for r in p["reasons"]][:1]) for p in got["pending"]],
          [("review", 2, ["previous_dose_missing"])], "and is named as such, with its reason")
    ok(all("回目" in b["detail"] or "記録" in b["detail"] for b in got["blocks"]),
       "blocks are in words", got)
    got = look(coupon_number="5100000003", purpose="certificate").json
    equal([p["state"] for p in got["pending"]], ["conflict"], "a conflict blocks")
    got = look(coupon_number="5100000004", purpose="certificate").json
    equal([b["code"] for b in got["blocks"]], ["no_dose"], "without a dose there is nothing to certify")
    # order of dates: a correction puts the second before the first
    record(c, [dose_row(MINATO, "5100000005", 1, "20210701"),
               dose_row(MINATO, "5100000005", 2, "20210722")])
    person = one(c, addressee_number="C0005")
    second = doses_of(c, person["resident_id"])[1]
    c.request("PUT", f"/v1/doses/{second['dose_id']}",
              {"vaccinated_on": "2021-06-30", "reason": "x"}, headers=tag(second["version"]))
    got = look(coupon_number="5100000005", purpose="certificate").json
    ok([b["code"] for b in got["blocks"]] == ["date_order"] and "2回目が1回目より前" in got["blocks"][0]["detail"],
       "2回目が1回目より前の日付 blocks, in these words", got["blocks"])
    first = doses_of(c, person["resident_id"])[0]
    c.post(f"/v1/doses/{first['dose_id']}:cancel", {"reason": "x"}, key=True,
           headers=tag(first["version"]))
    got = look(coupon_number="5100000005", purpose="certificate").json
    equal([b["code"] for b in got["blocks"]], ["dose_missing"], "a missing first dose blocks")
    c.post(f"/v1/residents/{person['resident_id']}:flag", {"flag": "undisclosed"}, key=True,
           headers=tag(person["version"]))
    got = look(coupon_number="5100000005", purpose="certificate").json
    ok("undisclosed" in [b["code"] for b in got["blocks"]], "a protected person blocks", got["blocks"])


SEVEN = {"at": "処理日時", "user": "職員情報", "section": "部署情報", "terminal": "端末情報",
         "purpose": "処理事由", "addressee_number": "宛名番号", "four_items": "4情報"}


def one_entry_a_request(stack, c):
    """C67: a corpus of requests, good and bad, and one entry for each, in order."""
    number = personal_number()
    register(c, [resident(MINATO, "G0001", "5200000001", 個人番号=number, 氏名="記録　花子",
                          カナ="キロク ハナコ", 生年月日="19650505", 住所="記録町3番")])
    record(c, [dose_row(MINATO, "5200000001")])
    person = one(c, addressee_number="G0001")
    dose = doses_of(c, person["resident_id"])[0]
    r, d = f"/v1/residents/{person['resident_id']}", f"/v1/doses/{dose['dose_id']}"
    change = {"reason": "x", "address": "記録町4番"}
    key = str(uuid.uuid4())
    corpus = [  # (method, path, body, headers, act, result, about the person)
        ("POST", "/v1/residents:search", {"coupon_number": "5200000001"}, {}, "resident.search", "ok", True),
        ("POST", "/v1/residents:search", {"addressee_number": "G0001"}, {}, "resident.search", "ok", True),
        ("POST", "/v1/residents:search", {"name_kana": "キロク", "birth_date": "1965-05-05"}, {}, "resident.search", "ok", None),
        ("POST", "/v1/residents:search", {"personal_number": number, "purpose": "transfer_in"}, {}, "resident.search", "ok", True),
        ("POST", "/v1/residents:search", {"coupon_number": "9999999999"}, {}, "resident.search", "ok", False),
        ("POST", "/v1/residents:search", {"personal_number": number}, {}, "resident.search", "purpose_not_allowed", False),
        ("POST", "/v1/residents:search", {}, {}, "resident.search", "missing_field", False),
        ("GET", r, None, {}, "resident.read", "ok", True),
        ("GET", "/v1/residents/" + "0" * 32, None, {}, "resident.read", "not_found", False),
        ("PATCH", r, change, tag(1), "resident.change", "ok", True),
        ("PATCH", r, change, tag(1), "resident.change", "stale_version", False),
        ("PATCH", r, change, {}, "request.refused", "if_match_required", False),
        ("POST", r + ":flag", {"flag": "no_auto_answer"}, dict(tag(2), **{"Idempotency-Key": key}), "resident.flag", "set", True),
        ("POST", r + ":flag", {"flag": "no_auto_answer"}, dict(tag(2), **{"Idempotency-Key": key}), "resident.flag", "repeated", True),
        ("POST", r + ":flag", {"flag": "dead"}, dict(tag(2), **{"Idempotency-Key": key}), "resident.flag", "idempotency_key_reused", False),
        ("POST", r + ":reveal-number", {"purpose": "transfer_in"}, {}, "number.reveal", "ok", True),
        ("POST", r + ":reveal-number", {}, {}, "number.reveal", "purpose_not_allowed", False),
        ("GET", r + "/doses", None, {}, "dose.list", "ok", True),
        ("GET", d + "/history", None, {}, "dose.history", "ok", True),
        ("PUT", d, {"lot": "FF0001", "reason": "x"}, tag(1), "dose.correct", "corrected", True),
        ("PUT", d, {"lot": "FF0002", "reason": "x"}, tag(1), "dose.correct", "stale_version", False),
        ("POST", d + ":cancel", {"reason": "x"}, dict(tag(2), **{"Idempotency-Key": str(uuid.uuid4())}), "dose.cancel", "cancelled", True),
        ("GET", "/v1/reviews", None, {}, "review.list", "ok", None),
        ("POST", "/v1/certificates:lookup", {"coupon_number": "5200000001", "purpose": "certificate"}, {}, "certificate.lookup", "ok", True),
        ("POST", "/v1/certificates:lookup", {"coupon_number": "9999999999", "purpose": "certificate"}, {}, "certificate.lookup", "not_found", False),
        ("GET", "/v1/exports/ledger.csv", None, {}, "export.ledger", "ok", None),
        ("GET", "/v1/exports/waiting.csv", None, {}, "export.waiting", "ok", None),
        ("GET", "/v1/provisions", None, {}, "provision.list", "ok", None),
        ("GET", "/v1/held-inquiries", None, {}, "request.refused", "forbidden", False),
        ("POST", "/v1/held-inquiries/" + "0" * 32 + ":refuse", {"reason": "x"}, {},
         "request.refused", "forbidden", False),
        ("POST", "/v1/inquiries", inquiry(number, KAGOSHIMA, basis=None), {"Idempotency-Key": str(uuid.uuid4())}, "inquiry.ask", "basis_not_accepted", False),
        ("POST", "/v1/imports", {"kind": "pets"}, {}, "import.create", "missing_field", False),
        ("GET", "/v1/imports/" + "0" * 32, None, {}, "import.read", "not_found", False),
        ("POST", "/v1/imports/" + "0" * 32 + ":check", None, {}, "import.check", "not_found", False),
    ]
    auditor_stack_user = "minato-approver"
    auditor = stack.terminal(f"lgwan-{MINATO}")
    password = next(u["password"] for u in stack.demo["users"] if u["user_id"] == auditor_stack_user)
    auditor.login(auditor_stack_user, password)
    before = access_log(auditor)[-1]["sequence"]
    for method, path, body, headers, *_ in corpus:
        c.request(method, path, body, headers=headers)
    entries = [e for e in access_log(auditor) if e["sequence"] > before and e["act"] != "log.read"]
    equal(len(entries), len(corpus), f"C67 {len(corpus)} requests have {len(corpus)} entries")
    equal([(e["act"], e["result"]) for e in entries], [x[4:6] for x in corpus],
          "C67 each with its act and result, in order")
    missing = [(e["act"], item) for e in entries for item in ("at", "user", "section", "terminal", "purpose")
               if not e.get(item) or e[item] == "-"]
    ok(not missing, "C60 every entry has time, person, section, terminal and reason", missing)
    for (method, path, _, _, act, _, about), e in zip(corpus, entries):
        if about is True:
            empty = [f"{k} {ja}" for k, ja in SEVEN.items() if not e.get(k) or e[k] == "-"]
            ok(not empty and e["addressee_number"] == "G0001", f"C60 all seven items of {act}",
               f"empty: {empty}\n{e}")
    about_her = next(e for e in entries if e["act"] == "resident.read" and e["result"] == "ok")
    ok(all(x in about_her.get("four_items", "") for x in ("記録　花子", "1965-05-05", "記録町3番")),
       "C60 the four items are name, birth date, sex and address", about_her)
    nameless = one(c, coupon_number="5000000004")["resident_id"]
    c.get(f"/v1/residents/{nameless}")
    equal(access_log(auditor)[-2]["addressee_number"], nameless,
          "C60 where 宛名番号 is blank the row id stands")
    flat = repr(entries)
    ok(number not in flat, "C66 no entry holds the number that was searched")
    shown = auditor.get(r + "/access-log")
    acts = [e["act"] for e in shown.json["entries"]]
    ok({"resident.search", "resident.read", "resident.change", "number.reveal", "dose.list",
        "dose.correct", "dose.cancel", "certificate.lookup", "import.commit_rows", "dose.record"}
       <= set(acts), "the entries of one person, by her row", acts)
    several = [e for e in shown.json["entries"] if e["act"] == "resident.search"]
    equal(len(several), 5, "a search that found her among others is one of them")
    problem(auditor.get("/v1/residents/" + "0" * 32 + "/access-log"), 404, "not_found",
            "an unknown resident has no log")
    few = clerk_with_few_rights(stack, MINATO)
    problem(few.get(r + "/access-log"), 403, "forbidden", "C73 reading the log is a right of its own")
    reads = [e for e in access_log(auditor) if e["act"].startswith("log.read")]
    ok(len(reads) >= 3, "C73 and is itself logged", reads)
    return r


def log_of_others(stack, r):
    """C02: another municipality's auditor sees its own log only; entries have no gap."""
    fujisawa = stack.staff(FUJISAWA, "fujisawa-approver")
    problem(fujisawa.get(r + "/access-log"), 404, "not_found",
            "C02 another municipality's person has no log there")
    ok("G0001" not in repr(access_log(fujisawa)), "C02 nor any entry")
    log = access_log(stack.staff(MINATO, "minato-approver"))
    equal([e["sequence"] for e in log], list(range(1, len(log) + 1)), "C71 the sequence has no gap")
    ok(all(a["at"] <= b["at"] for a, b in zip(log, log[1:])), "C71 times are in order")
    ok(any(e["source"] == "internet" for e in log) and any(e["source"] == "lgwan" for e in log),
       "C67 entries name the side they came from", {e["source"] for e in log})
    verified = stack.command("log.verify", municipality_code=MINATO)
    ok(verified["ok"] and verified.get("size", verified.get("entries", 0)) >= len(log),
       "the log verifies: sequence, leaves, chain, seals", verified)


NAMES = ["vrs_certificate_days_left", "vrs_line_since_pull_seconds", "vrs_outcomes_total"]


def operators(stack):
    found = metrics(stack)
    names = {n.split("{")[0] for n in found}
    ok(not [n for n in NAMES if n not in names], "/metrics: certificate days, time since the pull, outcomes",
       sorted(names))
    for what, pattern in (("commits", r"vrs_.*commit.*_total"),
                          ("latency of commits", r"vrs_.*commit.*_seconds_bucket"),
                          ("open files", r"vrs_.*open"), ("log entries", r"vrs_.*log.*entr|vrs_.*entr.*log")):
        ok(any(re.match(pattern, n) for n in names), f"/metrics: {what}", sorted(names))
    outside = {n.split("{")[0] for n in metrics(stack, "tablet_api")}
    for what, pattern in (("depth of the inbox", r"vrs_inbox.*"),
                          ("age of the oldest pending dose", r"vrs_inbox.*(oldest|age).*seconds")):
        ok(any(re.match(pattern, n) for n in outside), f"/metrics outside: {what}", sorted(outside))
    ok(0 < found["vrs_certificate_days_left"] < 400, "the certificate has days left", found)
    ok(found["vrs_line_since_pull_seconds"] < 60, "the line was pulled lately", found)
    with urllib.request.urlopen(stack.admin("vrs_server") + "/metrics") as r:
        text = r.read().decode()
        ok(r.headers["Content-Type"].startswith("text/plain"), "/metrics is Prometheus text")
    lint = [line for line in text.splitlines() if line and not re.fullmatch(
        r'# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? -?[0-9.e+]+(Inf)?', line)]
    ok(not lint, "every line of it has the form", lint)
    ok(not re.search(r"\d{10}", re.sub(r" [\d.e+]+$", "", text, flags=re.M)), "no label holds a number of a person")
    for path, status in (("/healthz", 200), ("/readyz", 200)):
        with urllib.request.urlopen(stack.admin("vrs_server") + path) as r:
            equal(r.status, status, f"{path} answers")
    for path in ("/v1/reviews", "/v1/vaccines", "/"):
        try:
            urllib.request.urlopen(stack.admin("vrs_server") + path)
            ok(False, f"the admin listener has no {path}")
        except urllib.error.HTTPError as e:
            equal(e.code, 404, f"the admin listener has no {path}")
    url = stack.admin("vrs_server")
    ok(url.startswith("http://127."), "the admin listener is on loopback", url)


def many_at_once(stack):
    """A file of more provisions than an entry names persons one by one: nobody in it is looked at unseen."""
    many, last = personal_number(), personal_number()
    c, asker = stack.staff(MINATO), stack.staff(KAGOSHIMA)
    register(c, [resident(MINATO, "多-1", "5400000001", 個人番号=many), resident(MINATO, "多-2", "5400000002", 個人番号=last)])
    answers = {asker.post("/v1/inquiries", inquiry(n, MINATO), key=True).status for n in [many] * 500 + [last]}
    url = f"/v1/residents/{one(c, addressee_number='多-2')['resident_id']}/access-log"
    text = c.get("/v1/provisions", headers={"Accept": "text/csv"}).body.decode()
    ok(answers == {201} and "多-2" in text and text.count("多-1") == 500, "control: more than 500 provisions in one file")
    approver = stack.staff(MINATO, "minato-approver")
    ok("provision.list" in {e["act"] for e in approver.get(url).json["entries"]},
       "C67 the last person in it has the download in the own list, too")


def main(stack):
    c, other = stack.staff(MINATO), stack.staff(FUJISAWA)
    equal(c.get("/v1/exports/ledger.csv").body, b"", "without a dose the ledger is empty")
    ledger(c)
    waiting(c)
    certificates(c, other)
    post_dose(stack.tablet(), residents.ocr_line(MINATO, "5000000003", 1))
    r = one_entry_a_request(stack, c)
    log_of_others(stack, r)
    operators(stack)
    equal(other.get("/v1/exports/ledger.csv").body, b"", "C01 another municipality's ledger is its own")
    equal(find(other, addressee_number="G0001"), [], "C01 so are its residents")
    many_at_once(stack)


run(main, count=20)
