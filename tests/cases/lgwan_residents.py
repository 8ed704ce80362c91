#!/usr/bin/env python3
"""Residents on LG-WAN: search, reading, changing by version, flags, reveal, erasure."""
from case import (FUJISAWA, MINATO, access_log, clerk_with_few_rights, dose_row, doses_of, equal, erase, find, metrics, ok,
                  one, personal_number, problem, record, register, resident, run, tag, together,
                  wrong_number)


def names(found):
    return sorted(r["name"] for r in found)


def search(c):
    people = [
        resident(MINATO, "S0001", "5000000001", 氏名="髙﨑　ジョアンナ", カナ="タカサキ ジョアンナ",
                 生年月日="19700101"),
        resident(MINATO, "S0002", "5000000002", 氏名="高崎　陽子", カナ="タカサキ ヨウコ",
                 生年月日="19700101"),
        resident(MINATO, "S0003", "5000000003", 氏名="渡邊　博", カナ="ワタナベ ヒロシ",
                 生年月日="19700101"),
        resident(MINATO, "S0004", "5000000004", 氏名="ガブリエル・ダ・シルヴァ",
                 カナ="ガブリエル ダ シルヴァ", 生年月日="19700102"),
        # twins: same family name, birth date and address
        resident(MINATO, "S0005", "5000000005", 氏名="双葉　葵", カナ="フタバ アオイ",
                 生年月日="20010203", 住所="双葉町1番1号"),
        resident(MINATO, "S0006", "5000000006", 氏名="双葉　茜", カナ="フタバ アカネ",
                 生年月日="20010203", 住所="双葉町1番1号"),
    ]
    register(c, people)
    by = lambda kana, birth="1970-01-01": names(find(c, name_kana=kana, birth_date=birth))  # noqa: E731
    both = ["髙﨑　ジョアンナ", "高崎　陽子"]
    for kana, birth, want, what in (
            ("タカサキ", "1970-01-01", sorted(both), "a prefix of the kana and the birth date"),
            ("タカサキ ジ", "1970-01-01", both[:1], "a longer prefix"),
            ("ﾀｶｻｷ ｼﾞｮ", "1970-01-01", both[:1], "half-width kana"),
            ("たかさき　じょ", "1970-01-01", both[:1], "hiragana and a full-width space"),
            ("タカサキジョアンナ", "1970-01-01", both[:1], "no space between the names"),
            ("ガブリエル・ダ", "1970-01-02", ["ガブリエル・ダ・シルヴァ"], "a middle dot"),
            ("ｶﾞﾌﾞﾘｴﾙ", "1970-01-02", ["ガブリエル・ダ・シルヴァ"], "half-width voiced kana"),
            ("タカサキ", "1970-01-02", [], "the wrong birth date finds nobody"),
            ("サキ", "1970-01-01", [], "the middle of a name finds nobody"),
            ("タカサキ", "19700101", sorted(both), "a date without hyphens")):
        equal(by(kana, birth), want, f"search: {what}")
    equal(by("フタバ", "2001-02-03"), ["双葉　茜", "双葉　葵"], "search: twins are two people")
    aoi, akane = (one(c, addressee_number=a) for a in ("S0005", "S0006"))
    record(c, [dose_row(MINATO, "5000000005", day="20210701"),
               dose_row(MINATO, "5000000006", day="20210702", ロット番号="FF9942")])
    equal([[(d["coupon_number"], d["vaccinated_on"]) for d in doses_of(c, t["resident_id"])]
           for t in (aoi, akane)],
          [[("5000000005", "2021-07-01")], [("5000000006", "2021-07-02")]],
          "twins are never crossed")
    equal(by("フタバ ア", "2001-02-03"), ["双葉　茜", "双葉　葵"], "search: a prefix of both twins")
    equal(by("フタバ アオイ", "2001-02-03"), ["双葉　葵"], "search: one twin by the whole name")
    equal(one(c, coupon_number="5000000003")["name"], "渡邊　博", "search by coupon")
    equal(one(c, addressee_number="S0003")["coupons"][0]["coupon_number"], "5000000003",
          "search by 宛名番号 shows the coupons")
    equal(find(c, coupon_number="9999999999"), [], "search: an unknown coupon finds nobody")
    number = people[2]["個人番号"]
    equal([r["name"] for r in find(c, personal_number=number, purpose="transfer_in")],
          ["渡邊　博"], "search by 個人番号 with a purpose")
    equal(find(c, personal_number=personal_number(), purpose="transfer_in"), [],
          "search by an unknown 個人番号 finds nobody")
    problem(c.post("/v1/residents:search", {"personal_number": number}), 422,
            "purpose_not_allowed", "C52 search by 個人番号 without a purpose is refused")
    problem(c.post("/v1/residents:search", {"personal_number": number, "purpose": "curiosity"}),
            422, "purpose_not_allowed", "C52 a purpose off the closed list is refused")
    problem(c.post("/v1/residents:search", {"personal_number": wrong_number(),
                                            "purpose": "transfer_in"}), 422, "R170",
            "R170 a wrong check digit is refused without echo")
    for what, body, status, code in (
            ("no term", {}, 422, "missing_field"),
            ("two terms", {"coupon_number": "5000000003", "addressee_number": "S0003"}, 422, "bad_field"),
            ("kana without a birth date", {"name_kana": "タカサキ"}, 422, "missing_field"),
            ("a birth date without kana", {"birth_date": "1970-01-01"}, 422, "missing_field"),
            ("an empty kana", {"name_kana": "", "birth_date": "1970-01-01"}, 422, "missing_field"),
            ("no such day", {"name_kana": "タ", "birth_date": "1970-02-30"}, 422, "R111"),
            ("a date of another form", {"name_kana": "タ", "birth_date": "1.1.1970"}, 422, "R110"),
            ("a short coupon", {"coupon_number": "123"}, 422, "R101"),
            ("17 digits", {"coupon_number": "1" * 17}, 422, None),
            ("an unknown field", {"name": "渡邊"}, 400, "unknown_field"),
            ("a wrong type", {"coupon_number": 5000000003}, 422, "bad_field"),
            ("a list", [1, 2], 400, None)):
        answer = c.post("/v1/residents:search", body)
        ok(answer.status == status and (code is None or answer.code == code),
           f"search with {what} is refused", answer)
    return aoi, akane


def reading_and_changing(c, other):
    register(c, [resident(MINATO, "V0001", "5010000001")])
    found = one(c, addressee_number="V0001")
    url = f"/v1/residents/{found['resident_id']}"
    answer = c.get(url)
    equal((answer.status, answer.headers["etag"], answer.json["version"]), (200, '"1"', 1),
          "a resident has its version as ETag")
    ok("personal_number" not in answer.body.decode() and len(answer.json["coupons"]) == 1,
       "C14 and no field for the number", answer)
    change = {"address": "新住所1番", "reason": "届出"}
    for what, headers, status, code in (
            ("without If-Match", {}, 428, "if_match_required"),
            ("with a stale version", tag(7), 412, "stale_version"),
            ("with a malformed version", {"If-Match": "1"}, 400, "bad_request"),
            ("with a weak version", {"If-Match": 'W/"1"'}, 400, "bad_request"),
            ("with two versions", {"If-Match": '"1", "2"'}, 400, "bad_request"),
            ("with a star", {"If-Match": "*"}, 400, "bad_request"),
            ("with version 0", tag(0), 400, "bad_request")):
        problem(c.request("PATCH", url, change, headers=headers), status, code,
                f"PATCH {what}: {status}")
    for what, body, status, code in (
            ("no reason", {"address": "x"}, 422, "reason_required"),
            ("an empty reason", {"address": "x", "reason": ""}, 422, "reason_required"),
            ("the number", {"personal_number": "1", "reason": "x"}, 400, "unknown_field"),
            ("a future birth date", {"birth_date": "2199-01-01", "reason": "x"}, 422, "R112"),
            ("no such day", {"birth_date": "1999-02-30", "reason": "x"}, 422, "R111"),
            ("a long name", {"name": "長" * 300, "reason": "x"}, 422, "bad_field"),
            ("an unknown sex", {"sex": "9", "reason": "x"}, 422, "bad_field"),
            ("an empty name", {"name": "", "reason": "x"}, 422, None),
            ("a control character", {"name": "a\nb", "reason": "x"}, 422, None)):
        answer = c.request("PATCH", url, body, headers=tag(1))
        ok(answer.status == status and (code is None or answer.code == code),
           f"PATCH with {what} is refused", answer)
    equal(c.get(url).json["version"], 1, "refused changes change nothing")
    answer = c.request("PATCH", url, dict(change, name="髙橋　Ａ", name_kana="ﾀｶﾊｼ ｴｰ", sex="female",
                                          birth_date="1960-05-05"), headers=tag(1))
    equal((answer.status, answer.headers["etag"], answer.json["name"], answer.json["address"],
           answer.json["sex"], answer.json["birth_date"]),
          (200, '"2"', "髙橋　Ａ", "新住所1番", "female", "1960-05-05"), "PATCH changes and counts up")
    equal(names(find(c, name_kana="タカハシ", birth_date="1960-05-05")), ["髙橋　Ａ"],
          "the changed name is found")
    equal(find(c, name_kana="シケン", birth_date="1960-04-01"), [], "the old one is not")
    for client, what, resident_id in ((c, "an unknown", "0" * 32), (c, "no", "zzz"),
                                      (other, "another municipality's", found["resident_id"])):
        problem(client.get(f"/v1/residents/{resident_id}"), 404, "not_found",
                f"GET of {what} id is 404")
        problem(client.request("PATCH", f"/v1/residents/{resident_id}", change, headers=tag(2)),
                404, "not_found", f"PATCH of {what} id is 404")
    return url


def all_at_once(stack, c, url):
    """100 concurrent changes of one version: exactly one succeeds."""
    version = c.get(url).json["version"]
    clients = [stack.terminal(f"lgwan-{MINATO}") for _ in range(100)]
    for x in clients:
        x.token = c.token
        x.get("/v1/vaccines")  # connected before the start
    answers = together(100, lambda i: clients[i].request(
        "PATCH", url, {"address": f"同時{i}番", "reason": "同時"}, headers=tag(version)))
    statuses = sorted(getattr(a, "status", repr(a)) for a in answers)
    equal(statuses, [200] + [412] * 99, "100 PATCHes on one version: exactly one succeeds")
    won = next(a for a in answers if a.status == 200)
    now = c.get(url).json
    equal((now["version"], now["address"]), (version + 1, won.json["address"]),
          "the one that succeeded is there")
    for x in clients:
        x.close()


def flags(c, url):
    def flag(body, version=None, **more):
        if version is None:
            version = c.get(url).json["version"]
        return c.post(url + ":flag", body, key=more.pop("key", True), headers=tag(version))

    version = c.get(url).json["version"]
    for what, body, status, code in (
            ("an unknown flag", {"flag": "vip"}, 422, "bad_field"),
            ("moved_out without a day", {"flag": "moved_out"}, 422, "missing_field"),
            ("dead without a day", {"flag": "dead"}, 422, "missing_field"),
            ("no such day", {"flag": "dead", "since": "2021-02-30"}, 422, "R111"),
            ("a municipality that is none", {"flag": "moved_out", "since": "2021-05-01",
                                             "to_municipality": "131033"}, 422, "no_such_municipality"),
            ("no flag", {}, 422, "missing_field"),
            ("an unknown field", {"flag": "dead", "when": "x"}, 400, "unknown_field")):
        problem(flag(body), status, code, f"flag with {what} is refused")
    problem(c.post(url + ":flag", {"flag": "dead", "since": "2021-05-01"}, headers=tag(version)),
            400, "idempotency_key_required", "flag without Idempotency-Key is refused")
    problem(c.post(url + ":flag", {"flag": "dead"}, key="not-a-uuid", headers=tag(version)), 400,
            "idempotency_key_required", "flag with another kind of key is refused")
    problem(c.post(url + ":flag", {"flag": "dead", "since": "2021-05-01"}, key=True), 428,
            "if_match_required", "flag without If-Match is 428")
    problem(flag({"flag": "undisclosed"}, 99), 412, "stale_version", "flag with a stale version is 412")
    equal(c.get(url).json["version"], version, "refused flags change nothing")
    key = "7d9fa3c2-55a1-4f6e-9d0b-3f2f6a1c0b11"
    moved = {"flag": "moved_out", "since": "2021-05-01", "to_municipality": FUJISAWA}
    first = flag(moved, version, key=key)
    equal((first.status, first.json["moved_out_on"], first.json["moved_out_to"]),
          (200, "2021-05-01", FUJISAWA), "moved_out is set with its day and where to")
    again = flag(moved, version, key=key)
    equal((again.status, again.json), (200, first.json), "the same key and body: the first answer")
    problem(flag({"flag": "undisclosed"}, version + 1, key=key), 409, "idempotency_key_reused",
            "the same key with another body is 409")
    equal(c.get(url).json["version"], version + 1, "and the effect is there once")
    for name, more, field, want in (("dead", {"since": "2021-06-01"}, "died_on", "2021-06-01"),
                                    ("no_auto_answer", {}, "no_auto_answer", True),
                                    ("undisclosed", {}, "undisclosed", True)):
        equal(flag(dict(more, flag=name)).json[field], want, f"{name} is set")
        equal(flag({"flag": name, "clear": True}).json[field], False if want is True else None,
              f"{name} is cleared")
    equal(flag({"flag": "moved_out", "clear": True}).json["moved_out_on"], None,
          "moved_out is cleared")


def reveal(stack, c):
    number = personal_number()
    register(c, [resident(MINATO, "N0001", "5020000001", 個人番号=number),
                 resident(MINATO, "N0002", "5020000002", 個人番号="")])
    url = f"/v1/residents/{one(c, addressee_number='N0001')['resident_id']}:reveal-number"
    for what, body, code in (("no purpose", {}, "purpose_not_allowed"),
                             ("an unknown purpose", {"purpose": "x"}, "purpose_not_allowed")):
        problem(c.post(url, body), 422, code, f"C52 reveal with {what} is refused")
    answer = c.post(url, {"purpose": "transfer_in"})
    equal((answer.status, answer.json), (200, {"personal_number": number}),
          "reveal shows the number, by right and purpose")
    none = one(c, addressee_number="N0002")["resident_id"]
    problem(c.post(f"/v1/residents/{none}:reveal-number", {"purpose": "transfer_in"}), 404,
            "not_found", "a person without a number has nothing to reveal")
    approver = stack.staff(MINATO, "minato-approver")
    problem(approver.post(url, {"purpose": "transfer_in"}), 403, "forbidden",
            "C51 without the right nothing is revealed")
    shown = [e for e in access_log(approver) if e["act"] == "number.reveal"]
    equal([(e["result"], e["purpose"], e["user"], e["addressee_number"]) for e in shown
           if e["result"] == "ok"], [("ok", "transfer_in", "minato-1", "N0001")],
          "the reveal is logged with its purpose")
    equal(sorted(e["result"] for e in shown if e["result"] != "ok"),
          ["not_found", "purpose_not_allowed", "purpose_not_allowed"], "so are the refused ones")
    # logged first: without the number process the entry is there and nothing is shown
    stack.kill("vrs-number")
    answer = c.post(url, {"purpose": "certificate"})
    problem(answer, 503, "number_away", "without vrs-number reveal is 503")
    last = [e for e in access_log(approver) if e["act"] == "number.reveal"][-1]
    equal((last["purpose"], last["addressee_number"]), ("certificate", "N0001"),
          "reveal is logged first: the entry stands though nothing was shown")
    equal(c.get(url.split(":")[0]).status, 200, "C08 reading goes on without vrs-number")
    equal(len(find(c, addressee_number="N0001")), 1, "C08 so does searching")
    stack.restart("vrs-number")
    answer = c.post(url, {"purpose": "certificate"})
    equal((answer.status, answer.json), (200, {"personal_number": number}),
          "after its restart reveal works again")


def erasure(stack, c):
    number = personal_number()
    register(c, [resident(MINATO, "Z0001", "5030000001", 個人番号=number)])
    record(c, [dose_row(MINATO, "5030000001")])
    found = one(c, addressee_number="Z0001")
    url = f"/v1/residents/{found['resident_id']}"
    dose = doses_of(c, found["resident_id"])[0]["dose_id"]
    approver = stack.staff(MINATO, "minato-approver")
    few = clerk_with_few_rights(stack, MINATO)
    problem(few.request("DELETE", url, {"reason": "申出"}, headers=tag(1)), 403, "forbidden",
            "C53 erasing is a right of its own")
    problem(c.request("DELETE", url, {"reason": "申出"}), 428, "if_match_required",
            "DELETE without If-Match is 428")
    problem(c.request("DELETE", url, {"reason": "申出"}, headers=tag(9)), 412,
            "stale_version", "DELETE with a stale version is 412")
    for body in (None, {}, {"reason": ""}):
        problem(c.request("DELETE", url, body, headers=tag(1)), 422, "reason_required",
                f"DELETE needs a reason, {body} has none")
    other = stack.staff(FUJISAWA)
    problem(other.request("DELETE", url, {"reason": "x"}, headers=tag(1)), 404, "not_found",
            "C121 nobody erases another municipality's resident")
    equal(c.get(url).status, 200, "refused erasures erase nothing")
    ok(erase(c, approver, found["resident_id"], "保存期間満了"), "DELETE erases, once another person allowed it")
    problem(c.request("DELETE", url, {"reason": "保存期間満了"}, headers=tag(1)), 404,
            "not_found", "a second DELETE is 404")
    problem(c.get(url), 404, "not_found", "the resident is gone")
    problem(c.get(f"{url}/doses"), 404, "not_found", "with the doses")
    problem(c.get(f"/v1/doses/{dose}/history"), 404, "not_found", "and their history")
    equal([find(c, addressee_number="Z0001"), find(c, coupon_number="5030000001"),
           find(c, personal_number=number, purpose="transfer_in"),
           find(c, name_kana="シケン", birth_date="1960-04-01")][:3], [[], [], []],
          "no search finds it, not by 宛名番号, coupon or 個人番号")
    ok(b"5030000001" not in c.get("/v1/exports/ledger.csv").body, "it is in no export")
    problem(c.post("/v1/certificates:lookup", {"coupon_number": "5030000001",
                                               "purpose": "certificate"}), 404, "not_found",
            "and in no certificate")
    tombstone = [e for e in access_log(approver) if e["act"] == "resident.erase"
                 and e["result"] == "erased"]
    equal([(e["detail"], e["addressee_number"], e["count"]) for e in tombstone],
          [("保存期間満了", "Z0001", 2)], "C75 the log keeps who erased how many, and why")
    equal(register(c, [resident(MINATO, "Z0001", "5030000001", 個人番号=number, 氏名="再登録")]
                   ).counts(), (1, 1, 0, 0, 0), "the coupon and the number are free again")
    equal(doses_of(c, one(c, addressee_number="Z0001")["resident_id"]), [],
          "nothing of the erased doses comes back")


def main(stack):
    c, other = stack.staff(MINATO), stack.staff(FUJISAWA)
    search(c)
    url = reading_and_changing(c, other)
    all_at_once(stack, c, url)
    flags(c, url)
    reveal(stack, c)
    erasure(stack, c)
    ok(all(v >= 0 for v in metrics(stack).values()), "/metrics stays readable")


run(main, count=20)
