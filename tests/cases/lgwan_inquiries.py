#!/usr/bin/env python3
"""The transfer-in inquiry: what is refused, match and no match, held, taken over, expired, cut off;
and the records of both sides."""
import csv
import datetime
import hashlib
import http.client
import io
import os
import signal
import threading
import time
import uuid

from case import (FUJISAWA, JST, KAGOSHIMA, MINATO, NEVER_REGISTERED, access_log, dose_row,
                  doses_of, equal, inquiry, logged, ok, one, personal_number, problem, record, register,
                  resident, run, tag, together, until, wrong_number)


class Towns:
    """鹿児島市 asks 港区; 藤沢市 is the wrong town."""

    def __init__(self, stack):
        self.kagoshima, self.minato, self.fujisawa = (
            stack.staff(code) for code in (KAGOSHIMA, MINATO, FUJISAWA))
        self.number, self.held_number, self.secret_number = (personal_number() for _ in range(3))
        register(self.minato, [
            resident(MINATO, "Q0001", "5000000001", 個人番号=self.number),
            resident(MINATO, "Q0002", "5000000002", 個人番号=self.held_number),
            resident(MINATO, "Q0003", "5000000003", 個人番号=self.secret_number),
            resident(MINATO, "Q0004", "5000000004", 個人番号="")])
        record(self.minato, [dose_row(MINATO, "5000000001", 1, "20210701"),
                             dose_row(MINATO, "5000000001", 2, "20210722"),
                             dose_row(MINATO, "5000000002", 1, "20210702"),
                             dose_row(MINATO, "5000000003", 1, "20210703")])
        for addressee, flag in (("Q0002", "no_auto_answer"), ("Q0003", "undisclosed")):
            r = one(self.minato, addressee_number=addressee)
            self.minato.post(f"/v1/residents/{r['resident_id']}:flag", {"flag": flag}, key=True,
                             headers=tag(r["version"]))
        register(self.kagoshima, [
            resident(KAGOSHIMA, "K0001", "6000000001", 個人番号=self.number),
            resident(KAGOSHIMA, "K0002", "6000000002", 個人番号=self.held_number)])


def provisions(c):
    return c.get("/v1/provisions").json["provisions"]


def refused(t):
    """Before any number is looked up: basis, identity, purpose, target, number."""
    c, body = t.kagoshima, inquiry(t.number, MINATO)
    basis, identity = body["basis"], body["identity"]
    before = [provisions(x) for x in (t.kagoshima, t.minato)]
    for what, change, status, code in (
            ("no basis", {"basis": None}, 422, "basis_not_accepted"),
            ("an unknown basis", {"basis": dict(basis, kind="curiosity")}, 422, "basis_not_accepted"),
            ("consent without a document", {"basis": dict(basis, document="")}, 422, "basis_not_accepted"),
            ("consent of a future day", {"basis": dict(basis, obtained_on="2199-01-01")}, 422, "basis_not_accepted"),
            ("consent without a day", {"basis": {"kind": "consent", "document": "x"}}, 422, "basis_not_accepted"),
            ("no identity check", {"identity": None}, 422, "identity_not_checked"),
            ("an empty method", {"identity": dict(identity, method="")}, 422, "identity_not_checked"),
            ("a future check", {"identity": dict(identity, checked_on="2199-01-01")}, 422, "identity_not_checked"),
            ("no purpose", {"purpose": None}, 422, "purpose_not_allowed"),
            ("an unknown purpose", {"purpose": "curiosity"}, 422, "purpose_not_allowed"),
            ("a purpose of another use", {"purpose": "transfer_out_answer"}, 422, "purpose_not_allowed"),
            ("the own municipality", {"from_municipality": KAGOSHIMA}, 422, "own_municipality"),
            ("no municipality of Japan", {"from_municipality": "999997"}, 422, "no_such_municipality"),
            ("a wrong check digit of the municipality", {"from_municipality": "131033"}, 422, "no_such_municipality"),
            ("a wrong check digit of the number", {"personal_number": wrong_number()}, 422, "R170"),
            ("a short number", {"personal_number": "123"}, 422, "R170"),
            ("17 digits", {"personal_number": "1" * 17}, 422, "bad_field"),
            ("no number", {"personal_number": None}, 422, "missing_field"),
            ("an unknown 宛名番号", {"addressee_number": "nobody"}, 422, "bad_field"),
            ("an unknown field", {"comment": "x"}, 400, "unknown_field")):
        sent = {k: v for k, v in dict(body, **change).items() if v is not None}
        problem(c.post("/v1/inquiries", sent, key=True), status, code,
                f"C80 an inquiry with {what} is refused")
    problem(c.post("/v1/inquiries", body), 400, "idempotency_key_required",
            "an inquiry without Idempotency-Key is refused")
    equal([provisions(x) for x in (t.kagoshima, t.minato)], before,
          "refused inquiries reach nobody: no record of the exchange")
    problem(c.get("/v1/inquiries/" + "0" * 32), 404, "not_found", "an unknown inquiry: 404")


def refusals_logged(stack):
    log = access_log(stack.staff(KAGOSHIMA, "kagoshima-approver"))
    results = {e["result"] for e in log if e["act"] == "inquiry.ask"}
    for code in ("basis_not_accepted", "identity_not_checked", "purpose_not_allowed",
                 "own_municipality", "no_such_municipality", "R170", "bad_field"):
        ok(code in results, f"C68 refused inquiries are recorded at the asker: {code}", results)


def match(stack, t):
    c, key = t.kagoshima, str(uuid.uuid4())
    body = inquiry(t.number, MINATO, addressee_number="K0001")
    answer = c.post("/v1/inquiries", body, key=key)
    got = answer.json
    equal((answer.status, got["result"], got["from_municipality"], got["purpose"]),
          (201, "match", MINATO, "transfer_in"), "a moved person's inquiry matches")
    equal([(d["dose_number"], d["vaccinated_on"], d["product"], d["lot"], d["municipality_code"],
            d["coupon_number"]) for d in got["doses"]],
          [(1, "2021-07-01", "comirnaty", "FF3620", MINATO, "5000000001"),
           (2, "2021-07-22", "comirnaty", "FF3620", MINATO, "5000000001")],
          "with the doses of the former municipality")
    ok(not set("name address resident_id".split()) & set(got["doses"][0]) and "name" not in got,
       "C84 and nothing that the allow-list does not name", got)
    ends = datetime.datetime.fromisoformat(got["expires_at"].replace("Z", "+00:00"))
    days = (ends - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 86400
    ok(29.9 < days < 30.1, "the result ends after 30 days", got["expires_at"])
    sides = [[p for p in provisions(x) if p["inquiry_id"] == got["inquiry_id"]]
             for x in (t.kagoshima, t.minato, t.fujisawa)]
    equal([[(p["side"], p["other_municipality"], p["addressee_number"], p["basis"], p["result"],
             p["doses"]) for p in side] for side in sides],
          [[("asked", MINATO, "K0001", "consent", "match", 2)],
           [("provided", KAGOSHIMA, "Q0001", "consent", "match", 2)], []],
          "C70 both sides have their record, a third has none")
    again = c.post("/v1/inquiries", body, key=key)
    equal((again.status, again.json), (201, got), "the same key: the same inquiry")
    problem(c.post("/v1/inquiries", inquiry(t.number, MINATO), key=key), 409,
            "idempotency_key_reused", "the same key with another body: 409")
    equal(len([p for p in provisions(t.minato) if p["side"] == "provided"]), 1,
          "the provider answered once")
    clients = [stack.terminal(f"lgwan-{KAGOSHIMA}") for _ in range(50)]
    for x in clients:
        x.token = c.token
        x.get("/v1/vaccines")
    key, before = str(uuid.uuid4()), len(provisions(t.minato))
    answers = together(50, lambda i: clients[i].post("/v1/inquiries", body, key=key))
    done = [a for a in answers if a.status == 201]
    ok(done and len({a.body for a in done}) == 1
       and all(a.code == "request_in_progress" for a in answers if a.status != 201),
       "50 identical inquiries at once: one answer, or still being processed", answers)
    equal(len(provisions(t.minato)), before + 1, "and one record at the provider")
    for x in clients:
        x.close()
    look = c.get(f"/v1/inquiries/{got['inquiry_id']}")
    equal((look.status, look.json), (200, got), "the result can be read again")
    problem(t.minato.get(f"/v1/inquiries/{got['inquiry_id']}"), 404, "not_found",
            "C02 the provider cannot read the asker's inquiry")
    certificate = c.post("/v1/inquiries", inquiry(t.number, MINATO, purpose="certificate"), key=True)
    equal(sorted(certificate.json["doses"][0]),
          sorted(["dose_number", "vaccinated_on", "maker", "product", "lot", "municipality_code"]),
          "C84 another purpose gives only its items")
    return got["inquiry_id"]


def fingerprint(stack, *codes):
    """Name, size, times and content of every file that belongs to the municipalities."""
    found = {}
    for top in (stack.path("vrs-server"), stack.path("vrs-number")):
        for folder, _, names in os.walk(top):
            for name in names:
                if name.startswith(codes):
                    path = os.path.join(folder, name)
                    status = os.stat(path)
                    with open(path, "rb") as f:
                        digest = hashlib.sha256(f.read()).hexdigest()
                    found[os.path.relpath(path, stack.home)] = (
                        status.st_size, status.st_mtime_ns, digest)
    return found


def no_match(stack, t):
    c = t.kagoshima

    def ask(number, code):
        answer = c.post("/v1/inquiries", inquiry(number, code), key=True)
        return answer.status, {k: v for k, v in answer.json.items()
                               if k not in ("inquiry_id", "asked_at", "from_municipality")}

    before = fingerprint(stack, FUJISAWA)
    wrong_town = ask(t.number, FUJISAWA)
    after = fingerprint(stack, FUJISAWA)
    changed = [k for k in after if after[k][2] != before.get(k, (0, 0, 0))[2]]
    ok(not [k for k in changed if not k.startswith("vrs-server/partitions/")],
       "C81 a miss changes no file of the wrong town but its count", changed)
    equal(sorted(before), sorted(after), "C81 and makes none")
    unknown = ask(personal_number(), FUJISAWA)
    never = ask(t.number, NEVER_REGISTERED)
    equal(wrong_town, (201, {"result": "no_match", "purpose": "transfer_in"}),
          "the wrong town gives no match")
    equal((unknown, never), (wrong_town, wrong_town),
          "an unknown person and a town without a file give the same answer")
    equal(fingerprint(stack, NEVER_REGISTERED), {}, "C81 an inquiry never makes a file")
    equal([p for p in provisions(t.fujisawa) if p["side"] == "provided"], [],
          "C81 a miss leaves no record at the wrong side")
    asked = [p for p in provisions(c) if p["other_municipality"] == FUJISAWA]
    equal([p["result"] for p in asked], ["no_match"] * 2, "C83 the asker has its own record of it")
    log = access_log(stack.staff(FUJISAWA, "fujisawa-approver"))
    ok(not any(e["act"].startswith("inquiry") for e in log),
       "C81 nor an entry in the wrong side's log", log)


def held(stack, t):
    c = t.kagoshima
    approver = stack.staff(MINATO, "minato-approver")
    first = c.post("/v1/inquiries", inquiry(t.held_number, MINATO, addressee_number="K0002"),
                   key=True)
    second = c.post("/v1/inquiries", inquiry(t.secret_number, MINATO), key=True)
    for answer, what in ((first, "no_auto_answer"), (second, "undisclosed")):
        equal((answer.status, answer.json["result"], "doses" in answer.json), (201, "pending", False),
              f"C87 a person flagged {what} is held: pending")
    problem(c.post(f"/v1/inquiries/{first.json['inquiry_id']}:take-over", key=True), 409, "conflict",
            "a pending result cannot be taken over")
    work = approver.get("/v1/held-inquiries").json["held_inquiries"]
    equal([(h["asker"], h["resident"]["addressee_number"], h["purpose"], h["basis"],
            [d["vaccinated_on"] for d in h["doses"]]) for h in work],
          [(KAGOSHIMA, "Q0002", "transfer_in", "consent", ["2021-07-02"]),
           (KAGOSHIMA, "Q0003", "transfer_in", "consent", ["2021-07-03"])],
          "C87 the approver sees what would be sent")
    ids = [h["held_inquiry_id"] for h in work]
    url = f"/v1/held-inquiries/{ids[0]}"
    reason = {"reason": "本人に確認"}
    problem(t.minato.post(url + ":approve", reason, key=True), 403, "forbidden",
            "C55 approving is a right of its own")
    problem(approver.post(url + ":approve", {}, key=True), 422, "reason_required",
            "approving needs a reason")
    problem(approver.post(url + ":approve", reason), 400, "idempotency_key_required",
            "and an Idempotency-Key")
    problem(stack.staff(FUJISAWA, "fujisawa-approver").post(url + ":approve", reason, key=True),
            404, "not_found", "C02 another municipality's approver finds nothing")
    problem(approver.post("/v1/held-inquiries/" + "0" * 32 + ":refuse", reason, key=True), 404,
            "not_found", "an unknown held inquiry: 404")
    key = str(uuid.uuid4())
    answer = approver.post(url + ":approve", reason, key=key)
    equal((answer.status, answer.json), (200, {"result": "approved"}), "C87 approve answers")
    equal(approver.post(url + ":approve", reason, key=key).json, {"result": "approved"},
          "the same key: the same answer")
    problem(approver.post(url + ":approve", {"reason": "x"}, key=key), 409,
            "idempotency_key_reused", "the same key with another body: 409")
    problem(approver.post(url + ":refuse", reason, key=True), 409, "conflict",
            "an approved one cannot be refused")
    equal(approver.post(f"/v1/held-inquiries/{ids[1]}:refuse", reason, key=True).json,
          {"result": "refused"}, "C87 refuse answers")
    got = [c.get(f"/v1/inquiries/{a.json['inquiry_id']}").json for a in (first, second)]
    equal([g["result"] for g in got], ["match", "no_match"],
          "pending ends as match or, refused, as no match")
    equal([d["vaccinated_on"] for d in got[0]["doses"]], ["2021-07-02"], "with the doses")
    equal(approver.get("/v1/held-inquiries").json["held_inquiries"], [], "the work list is empty")
    mine = [(p["result"], p["addressee_number"]) for p in provisions(t.minato)
            if p["addressee_number"] in ("Q0002", "Q0003")]
    equal(mine, [("match", "Q0002"), ("refused", "Q0003")],
          "the provider's record says what it decided")
    return first.json["inquiry_id"]


def take_over(stack, t, inquiry_id, held_id):
    c = t.kagoshima
    person = one(c, addressee_number="K0001")
    url = f"/v1/inquiries/{inquiry_id}:take-over"
    problem(c.post(url), 400, "idempotency_key_required", "take-over needs an Idempotency-Key")
    problem(t.minato.post(url, key=True), 404, "not_found", "C02 only the asker takes over")
    key = str(uuid.uuid4())
    answer = c.post(url, key=key)
    equal((answer.status, answer.json), (200, {"result": "taken_over", "doses": 2,
                                               "resident_id": person["resident_id"]}),
          "the doses are taken over into the own record")
    equal(c.post(url, key=key).json, answer.json, "the same key: the same answer")
    problem(c.post(url, key=True), 409, "conflict", "a second take-over is refused")
    equal([(d["dose_number"], d["vaccinated_on"], d["origin"], d["municipality_code"])
           for d in doses_of(c, person["resident_id"])],
          [(1, "2021-07-01", "inquiry", MINATO), (2, "2021-07-22", "inquiry", MINATO)],
          "they are on the person's record, with their origin")
    equal(c.get(f"/v1/inquiries/{inquiry_id}").json["taken_over"], True, "the inquiry says so")
    line = next(row for row in csv.reader(io.StringIO(c.get("/v1/exports/ledger.csv").body.decode()))
                if row[0] == "K0001")
    equal((line[2], line[3], line[4], line[10], len(line)),
          ("20210701", "5000000001", MINATO, "20210722", 17), "and in the ledger, with their coupons")
    once_more = c.post("/v1/inquiries", inquiry(t.number, MINATO, addressee_number="K0001"), key=True)
    equal(c.post(f"/v1/inquiries/{once_more.json['inquiry_id']}:take-over", key=True).json["doses"],
          0, "what is there already is not taken twice")
    elsewhere = t.minato.post("/v1/inquiries", inquiry(t.number, KAGOSHIMA), key=True)
    equal((elsewhere.json["result"], elsewhere.json["doses"]), ("match", []),
          "what another municipality provided is not provided on")
    nobody = c.post("/v1/inquiries", inquiry(t.number, MINATO), key=True).json["inquiry_id"]
    problem(c.post(f"/v1/inquiries/{nobody}:take-over", key=True), 422, "missing_field",
            "without a person the take-over needs a 宛名番号")
    problem(c.post(f"/v1/inquiries/{nobody}:take-over", {"addressee_number": "nobody"}, key=True),
            404, "not_found", "an unknown one is refused")
    equal(c.post(f"/v1/inquiries/{nobody}:take-over", {"addressee_number": "K0001"}, key=True).status,
          200, "with one it works")
    equal(c.post(f"/v1/inquiries/{held_id}:take-over", key=True).json["doses"], 1,
          "an approved one is taken over like any")


def cut_off(stack, t):
    """kill -9 while the number is being looked up: the inquiry is aborted, the number is gone."""
    c = t.kagoshima
    key, body = str(uuid.uuid4()), inquiry(t.number, MINATO, addressee_number="K0001")
    asker_file = stack.path("vrs-server", "partitions", KAGOSHIMA + ".db-wal")
    before = os.stat(asker_file).st_mtime_ns
    stack.processes["vrs-number"].send_signal(signal.SIGSTOP)
    failure = []

    def ask():
        try:
            failure.append(c.post("/v1/inquiries", body, key=key))
        except (OSError, http.client.HTTPException) as e:
            failure.append(e)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: os.stat(asker_file).st_mtime_ns != before)  # the inquiry is open; now the number
    time.sleep(0.2)
    stack.kill("vrs-server")
    stack.processes["vrs-number"].send_signal(signal.SIGCONT)
    asking.join()
    ok(not hasattr(failure[0], "status"), "killed in flight: no answer", failure)
    stack.restart("vrs-server")
    c = t.kagoshima = stack.staff(KAGOSHIMA)
    t.minato, t.fujisawa = stack.staff(MINATO), stack.staff(FUJISAWA)
    answer = c.post("/v1/inquiries", body, key=key)
    problem(answer, 409, "conflict", "C70 the same key afterwards: cut off, to be asked again")
    ok("中断" in answer.json["detail"], "and says so in words", answer)
    again = c.post("/v1/inquiries", body, key=True)
    equal((again.status, again.json["result"]), (201, "match"), "asked again it matches")
    stack.kill("vrs-number")
    key = str(uuid.uuid4())
    problem(c.post("/v1/inquiries", body, key=key), 503, "number_away",
            "without vrs-number an inquiry is 503")
    stack.restart("vrs-number")
    problem(c.post("/v1/inquiries", body, key=key), 409, "conflict",
            "its key stands for the aborted one")
    answer = c.post("/v1/inquiries", body, key=True)
    equal(answer.json.get("result"), "match", "a new one works once vrs-number is back")
    results = [p["result"] for p in provisions(c)]
    equal(results.count("aborted"), 1, "C70 the aborted one is on record at the asker")
    return answer.json["inquiry_id"]


def closed_meanwhile(stack, t):
    """A result ends while another inquiry is on its way: the asker's partition is closed, so that its file can
    be looked through, and opened again; the inquiry is not cut off by that."""
    c = t.kagoshima
    late = datetime.datetime.now(JST).replace(hour=23, minute=59, second=0, microsecond=0)
    body = inquiry(t.number, MINATO, basis={"kind": "consent", "document": "同意書-8", "obtained_on": "2021-04-20"},
                   identity={"method": "運転免許証", "checked_on": "2021-04-20"})
    stack.set_clock(late)
    first = c.post("/v1/inquiries", body, key=True)
    equal((first.status, first.json["result"]), (201, "match"), "control: an inquiry at the end of a day matches")
    stack.set_clock(late + datetime.timedelta(days=30, minutes=-1))
    asker_file = stack.path("vrs-server", "partitions", KAGOSHIMA + ".db-wal")
    before, ended, answers = os.stat(asker_file).st_mtime_ns, logged(stack, "inquiry.expired"), []
    stack.processes["vrs-number"].send_signal(signal.SIGSTOP)
    asking = threading.Thread(target=lambda: answers.append(c.post("/v1/inquiries", body, key=True)))
    asking.start()
    until(lambda: os.stat(asker_file).st_mtime_ns != before)  # the inquiry is open; now the number
    stack.set_clock(late + datetime.timedelta(days=30, minutes=1, seconds=30))  # the next day begins
    until(lambda: logged(stack, "inquiry.expired") > ended)
    other = stack.staff(KAGOSHIMA)
    problem(other.get(f"/v1/inquiries/{first.json['inquiry_id']}"), 410, "result_expired",
            "the result of a month ago has deleted itself")
    stack.processes["vrs-number"].send_signal(signal.SIGCONT)
    asking.join()
    got = answers[0].json.get("result") or answers[0].code
    ok(got in ("match", "number_away"), "C70 the inquiry that was on its way meanwhile has its answer", answers[0])
    stack.set_clock(None)


def by_the_clock(stack, t, inquiry_id):
    """Statute without consent by the day; results end by themselves."""
    c = t.kagoshima
    statute = inquiry(t.number, MINATO, basis={"kind": "statute"},
                      identity={"method": "運転免許証", "checked_on": "2021-04-20"})
    consent = dict(statute, basis={"kind": "consent", "document": "同意書-7",
                                   "obtained_on": "2021-04-20"})
    for day, want in (((2021, 4, 11), ("basis_not_accepted", "basis_not_accepted")),
                      ((2021, 11, 1), ("basis_not_accepted", "match")),
                      ((2021, 12, 12), ("basis_not_accepted", "match")),
                      ((2021, 12, 13), ("match", "match"))):
        stack.set_clock(datetime.datetime(*day, 12, tzinfo=JST))
        got = []
        for body in (statute, consent):
            answer = c.post("/v1/inquiries", body, key=True)
            got.append(answer.json["result"] if answer.status == 201 else answer.code)
        equal(tuple(got), want, f"on {'-'.join(map(str, day))} statute and consent: {' and '.join(want)}")
    stack.set_clock(datetime.datetime.now(JST) + datetime.timedelta(days=29))
    equal(c.get(f"/v1/inquiries/{inquiry_id}").json["result"], "match", "after 29 days the result is there")
    stack.set_clock(datetime.datetime.now(JST) + datetime.timedelta(days=31))
    problem(c.get(f"/v1/inquiries/{inquiry_id}"), 410, "result_expired",
            "after 31 days it has deleted itself")
    problem(c.post(f"/v1/inquiries/{inquiry_id}:take-over", {"addressee_number": "K0001"}, key=True),
            410, "result_expired", "and cannot be taken over")
    stack.set_clock(None)


def files(t):
    """情報提供等の記録 as a file for people."""
    c = t.minato
    answer = c.get("/v1/provisions", headers={"Accept": "text/csv"})
    ok(answer.headers["content-type"].startswith("text/csv")
       and answer.body.startswith(b"\xef\xbb\xbf") and answer.body.endswith(b"\r\n"),
       "C69 provisions are a CSV by Accept: BOM and CRLF", answer)
    rows = list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"), newline="")))
    listed = provisions(c)
    equal([(r["連番"], r["日時"], r["相手自治体コード"], r["宛名番号"], r["事務"], r["根拠区分"],
            r["結果"], r["件数"]) for r in rows],
          [(str(p["sequence"]), p["at"], p["other_municipality"], p["addressee_number"],
            p["purpose"], p["basis"], p["result"], str(p["doses"])) for p in listed],
          "the same records as the list")
    sequence = [p["sequence"] for p in listed]
    ok(sequence == sorted(set(sequence)) and all(p["at"].endswith("Z") for p in listed),
       "C71 each with UTC time and a sequence number of its own", sequence)
    last = listed[-1]["sequence"]
    equal(c.get(f"/v1/provisions?after={last}").json["provisions"], [], "a cursor goes on behind it")


def main(stack):
    t = Towns(stack)
    refused(t)
    refusals_logged(stack)
    inquiry_id = match(stack, t)
    no_match(stack, t)
    held_id = held(stack, t)
    take_over(stack, t, inquiry_id, held_id)
    fresh = cut_off(stack, t)
    by_the_clock(stack, t, fresh)
    closed_meanwhile(stack, t)
    files(t)
    equal(provisions(stack.staff(FUJISAWA)), [], "C69 a municipality that did nothing has no record")


run(main, count=20, valid_from="2020-01-01")
