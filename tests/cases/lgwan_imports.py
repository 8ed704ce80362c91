#!/usr/bin/env python3
"""Imports of residents and doses on LG-WAN: two phases, what is refused whole, what is refused row
by row, and what joins whom."""
import csv
import hashlib
import io

from case import (FUJISAWA, MINATO, Import, dose_row, doses_of, DOSE_HEADER, equal, find,
                  metrics, ok, one, personal_number, problem, register, resident, residents_csv,
                  run, tag, until, wrong_number)
import residents


def two_phases(c):
    rows = [resident(MINATO, f"A{i:04d}", f"{5000000000 + i}", 氏名=f"二相　{i}") for i in range(5)]
    done = Import(c, "residents", residents_csv(rows), name="two-phases.csv")
    equal((done.announced.status, done.announced.json["state"]), (201, "created"),
          "an import is announced with a receipt")
    equal(done.sent.json["state"], "received", "its content arrives")
    problem(c.post(done.url + ":commit"), 409, "conflict", "commit before check is refused")
    done.check()
    equal((done.answer.status, done.state["state"], done.counts()),
          (202, "checked", (5, 5, 0, 0, 0)), "check counts and names the new")
    equal(find(c, addressee_number="A0000"), [], "check changes nothing")
    ok(all(r["結果"] == "新規" for r in done.results()), "check has per-row results")
    done.phase("commit")
    equal((done.state["state"], done.counts(), done.state["progress_percent"]),
          ("committed", (5, 5, 0, 0, 0), 100), "commit says what it did")
    equal(one(c, addressee_number="A0000")["name"], "二相　0", "the residents are there")
    again = c.post("/v1/imports", {"kind": "residents", "file_name": "another-name.csv",
                                   "size": len(done.data),
                                   "sha256": hashlib.sha256(done.data).hexdigest().upper()})
    equal((again.status, again.json["import_id"], again.json["state"]),
          (200, done.state["import_id"], "committed"), "the same bytes give the first receipt")
    equal(c.post(done.url + ":commit").status, 200, "a second commit changes nothing")
    problem(c.post("/v1/imports", {"kind": "residents", "file_name": "two-phases.csv", "size": 3,
                                   "sha256": hashlib.sha256(b"abc").hexdigest()}), 409, "F003",
            "the same name with other bytes is F003")
    same = Import(c, "residents", residents_csv(rows, line_end="\n")).commit()
    equal(same.counts(), (5, 0, 0, 5, 0), "the same rows in another file are the same")
    changed = Import(c, "residents", residents_csv([dict(rows[0], 住所="新町9番9号"),
                                                    dict(rows[1], 氏名="改姓　一郎")])).commit()
    equal(changed.counts(), (2, 0, 2, 0, 0), "changed rows are counted as changed")
    equal(one(c, addressee_number="A0001")["name"], "改姓　一郎", "and are changed")


def announcements(c):
    good = {"kind": "residents", "file_name": "x.csv", "size": 3,
            "sha256": hashlib.sha256(b"abc").hexdigest()}
    for what, change, status, code in (
            ("an unknown kind", {"kind": "pets"}, 422, "bad_field"),
            ("a folder in the name", {"file_name": "../x.csv"}, 422, "F001"),
            ("an empty name", {"file_name": ""}, 422, "F001"),
            ("an empty file", {"size": 0}, 422, "F004"),
            ("a negative size", {"size": -1}, 413, "too_large"),
            ("a size beyond the bound", {"size": 1 << 40}, 413, "too_large"),
            ("no hash", {"sha256": "abc"}, 422, "bad_field"),
            ("an unknown field", {"comment": "x"}, 400, "unknown_field")):
        problem(c.post("/v1/imports", dict(good, **change)), status, code,
                f"announcing {what} is refused")
    for method, path in (("GET", ""), ("GET", "/results"), ("POST", ":check"), ("POST", ":commit")):
        problem(c.request(method, "/v1/imports/" + "0" * 32 + path), 404, "not_found",
                f"an unknown import: {method} {path or 'state'}")


def parts(c):
    """Resumable parts: in order, repeated, with a gap, cut off, and a wrong hash."""
    rows = [resident(MINATO, f"P{i:04d}", f"{5100000000 + i}") for i in range(1500)]
    data = residents_csv(rows)
    done = Import(c, "residents", data, part=50_001)
    equal(done.sent.json["received"], len(data), f"{len(data)} bytes arrive in parts of 50,001")
    equal(done.send(0, data[:100]).json["received"], len(data), "a part sent again changes nothing")
    done.commit()
    equal(done.counts(), (1500, 1500, 0, 0, 0), "and are taken as one file")
    equal([r["行"] for r in done.results()][:2] + [done.results()[-1]["行"]], ["2", "3", "1501"],
          "row numbers are those a spreadsheet shows")
    other = residents_csv(rows[:3], line_end="\n")
    cut = c.post("/v1/imports", {"kind": "residents", "file_name": "cut.csv", "size": len(other),
                                 "sha256": hashlib.sha256(other).hexdigest()})
    url = f"/v1/imports/{cut.json['import_id']}"

    def send(at, piece, total=len(other), until_=None):
        return c.request("PUT", url + "/content", piece, headers={
            "Content-Type": "text/csv",
            "Content-Range": f"bytes {at}-{until_ or at + len(piece) - 1}/{total}"})

    problem(send(10, other[10:20]), 409, "conflict", "a gap between parts is refused")
    problem(send(0, other[:10], total=len(other) + 1), 400, "bad_request", "another total is refused")
    problem(send(0, other[:10], until_=30), 400, "bad_request", "a range that is not the body's is refused")
    problem(c.request("PUT", url + "/content", other[:10], headers={"Content-Type": "text/csv"}),
            409, "F010", "a part without its range is refused")
    equal(send(0, other[:10]).json["received"], 10, "the first part is kept")
    problem(c.post(url + ":check"), 409, "conflict", "check before the last part is refused")
    equal(send(5, other[5:]).json["received"], len(other), "an overlapping part goes on")
    wrong = Import(c, "residents", b"abc\r\n")
    lie = c.post("/v1/imports", {"kind": "residents", "file_name": "lie.csv", "size": len(other),
                                 "sha256": hashlib.sha256(b"something else").hexdigest()})
    url = f"/v1/imports/{lie.json['import_id']}"
    c.request("PUT", url + "/content", other, headers={"Content-Type": "text/csv"})
    c.post(url + ":check")
    state = until(lambda: (lambda s: s if s["state"] == "refused" else None)(c.get(url).json))
    equal(state and state["error"]["code"], "F010", "a hash that differs refuses the file")
    right = residents_csv(rows[:2], line_end="\n")
    announce = {"kind": "residents", "file_name": "garbled.csv", "size": len(right),
                "sha256": hashlib.sha256(right).hexdigest()}
    url = f"/v1/imports/{c.post('/v1/imports', announce).json['import_id']}"
    states = []
    for data in (right.replace(b"P0000", b"P9999"), right):
        c.post("/v1/imports", announce)
        c.request("PUT", url + "/content", data, headers={"Content-Type": "text/csv"})
        c.post(url + ":check")
        states.append(until(lambda: (lambda s: s if s in ("refused", "checked") else None)(
            c.get(url).json["state"])))
    equal(states, ["refused", "checked"], "a file garbled on its way is announced and sent again")
    wrong.check()
    equal(wrong.state["error"]["code"], "F005", "control: another file goes on being looked at")


def whole_file(c):
    """What refuses the file, with its code and column; a bad file does not block the next."""
    good = [resident(MINATO, "W0001", "5200000001")]
    header = residents.HEADER
    text = residents_csv(good).decode()
    for what, data, code, column in (
            ("a missing column", residents_csv(good, [h for h in header if h != "カナ"]), "F005", "カナ"),
            ("no header", residents_csv(good).split(b"\r\n", 1)[1], "F005", "処理区分"),
            ("an extra column", residents_csv(good, header + ["電話番号"]), "F006", None),
            ("columns in another order", residents_csv(good, header[1:] + header[:1]), "F006", "処理区分"),
            ("a header and no rows", residents_csv([]), "F004", None),
            ("bytes of no encoding", text.encode()[:-4] + b"\xff\xfe\x81\x00\r\n", "F007", None),
            ("a file of line ends", b"\r\n\r\n", "F004", None)):
        done = Import(c, "residents", data).check()
        error = done.state.get("error", {})
        ok(done.state["state"] == "refused" and error.get("code") == code
           and (column is None or error.get("column") == column)
           and any("ぁ" <= ch <= "ん" for ch in error.get("detail", "")),
           f"C15 C97 {what} refuses the file: {code}", done.state)
        problem(c.post(done.url + ":commit"), 409, "conflict", f"{what}: nothing can be committed")
    equal(find(c, addressee_number="W0001"), [], "C15 C97 nothing of the refused files is there")
    equal(Import(c, "residents", residents_csv(good)).commit().state["state"], "committed",
          "the next file is taken")


def encodings(c):
    """One logical file in six encodings and line ends gives the same records."""
    rows = [resident(MINATO, "E0001", "5300000001", 氏名="髙﨑　德子", カナ="タカサキ トクコ",
                     住所="港区芝公園1丁目, \"芝\"ビル"),
            resident(MINATO, "E0002", "5300000002", 氏名="クリストファー・モンゴメリー",
                     カナ="クリストファー モンゴメリー")]
    forms = [("UTF-8, CRLF", residents_csv(rows)),
             ("UTF-8, LF", residents_csv(rows, line_end="\n")),
             ("UTF-8 with BOM, CRLF", b"\xef\xbb\xbf" + residents_csv(rows)),
             ("UTF-8 with BOM, LF", b"\xef\xbb\xbf" + residents_csv(rows, line_end="\n")),
             ("CP932, CRLF", residents_csv(rows, encoding="cp932")),
             ("CP932, LF", residents_csv(rows, line_end="\n", encoding="cp932"))]
    seen = []
    for name, data in forms:
        done = Import(c, "residents", data).commit()
        first, second = (one(c, addressee_number=a) for a in ("E0001", "E0002"))
        seen.append([(p["name"], p["name_kana"], p["address"]) for p in (first, second)])
        want = (2, 2, 0, 0, 0) if len(seen) == 1 else (2, 0, 0, 2, 0)
        equal((done.counts(), seen[-1] == seen[0]), (want, True), f"{name} gives the same records")
    equal(seen[0][0][0], "髙﨑　德子", "髙﨑 and 德 survive CP932 and UTF-8")
    mixed = residents_csv([dict(r, 宛名番号="M" + r["宛名番号"][1:], 接種券番号="54" + r["接種券番号"][2:],
                                個人番号=personal_number()) for r in rows])
    head, first, rest = mixed.split(b"\r\n", 2)
    done = Import(c, "residents", head + b"\r\n" + first + b"\n" + rest[:-2]).commit()
    equal(done.counts(), (2, 2, 0, 0, 0), "mixed line ends and no last one are taken")
    odd = [resident(MINATO, "E0003", "5300000003", 氏名="辻\U000e0100　𠮷野", カナ="ツジ ヨシノ"),
           resident(MINATO, "E0004", "5300000004", 氏名="PHAM VAN DUC", カナ="ファム ヴァン ドゥック")]
    equal(Import(c, "residents", residents_csv(odd)).commit().counts(), (2, 2, 0, 0, 0),
          "variation selectors, rare characters and Latin are taken")
    equal([one(c, addressee_number=f"E000{i}")["name"] for i in (3, 4)],
          ["辻\U000e0100　𠮷野", "PHAM VAN DUC"], "and come back as they went in")
    gaiji = residents_csv([resident(MINATO, "E0005", "5300000005", 氏名="外字　@", カナ="ガイジ")],
                          encoding="cp932").replace(b"@", b"\xf0\x40")
    done = Import(c, "residents", gaiji).commit()
    ok(done.counts()[1] == 1 and "外字" in done.results()[0]["メッセージ"],
       "a private-use character is kept and named for a person", done.results())
    wide = resident(MINATO, "E0006", "５３０００００００６", 処理区分="１", 生年月日="１９６００４０１",
                    異動区分="０", 性別="２", 自治体コード="１３１０３２")
    wide["個人番号"] = "".join(chr(ord(d) + 0xfee0) for d in personal_number())
    equal(Import(c, "residents", residents_csv([wide])).commit().counts(), (1, 1, 0, 0, 0),
          "full-width digits are taken")
    equal(one(c, coupon_number="5300000006")["addressee_number"], "E0006", "and found as digits")


def rows_refused(c):
    """Per-row results: code, column, message; the number is never echoed; the others are taken."""
    base = lambda i, **more: resident(MINATO, f"R{i:04d}", f"{5500000000 + i}", **more)  # noqa: E731
    wrong = wrong_number()
    cases = [
        ("R170", "個人番号", base(1, 個人番号=wrong)),
        ("R170", "個人番号", base(2, 個人番号="12345")),
        ("R170", "個人番号", base(3, 個人番号="000000000000")),
        ("R102", "自治体コード", base(4, 自治体コード="131033")),
        ("R103", "自治体コード", base(5, 自治体コード=FUJISAWA)),
        ("R101", "接種券番号", base(6, 接種券番号="123456789")),
        ("R101", "接種券番号", base(7, 接種券番号="12345678901")),
        ("R101", "接種券番号", base(8, 接種券番号="12345678AB")),
        ("R110", "生年月日", base(9, 生年月日="1960/04/01")),
        ("R111", "生年月日", base(10, 生年月日="19600431")),
        ("R112", "生年月日", base(11, 生年月日="21600401")),
        ("R150", "処理区分", base(12, 処理区分="3")),
        ("R150", "異動区分", base(13, 異動区分="7")),
        ("R181", "氏名", base(14, 氏名="")),
        ("R181", "生年月日", base(15, 生年月日="")),
        ("R181", "異動日", base(16, 異動区分="1")),
        ("R181", "宛名番号", base(17, 宛名番号="", 接種券番号="", 個人番号="")),
        ("R180", "氏名", base(18, 氏名="長" * 200)),
        ("bad_field", "性別", base(19, 性別="4")),
        ("R151", "宛名番号", base(20, 処理区分="2")),
    ]
    rows = [row for _, _, row in cases] + [base(90), base(91)]
    done = Import(c, "residents", residents_csv(rows)).commit()
    equal(done.counts(), (len(rows), 2, 0, 0, len(cases)),
          "wrong rows are refused, the others taken")
    results = done.results()
    for number, ((code, column, _), result) in enumerate(zip(cases, results), 2):
        got = (result["行"], result["結果"], result["コード"], result["列"])
        ok(got == (str(number), "エラー", code, column) and result["メッセージ"],
           f"{code} in {column} names row, column, code and what to do", result)
    raw = c.get(done.url + "/results")
    ok(wrong not in raw.body.decode() and wrong[:6] not in raw.body.decode(),
       "R170 never echoes the number")
    ok(raw.body.startswith(b"\xef\xbb\xbf") and b"\r\n" in raw.body
       and raw.headers["content-type"].startswith("text/csv"),
       "the result file is for people: BOM, CRLF, CSV")
    equal(find(c, addressee_number="R0001") + find(c, addressee_number="R0020"), [],
          "refused rows leave nothing")
    short = residents_csv([base(30)]).decode().split("\r\n")
    data = "\r\n".join([short[0], short[1].rsplit(",", 1)[0], short[1] + ",x", short[1]]) + "\r\n"
    done = Import(c, "residents", data.encode()).commit()
    equal([r["コード"] for r in done.results()], ["F006", "F006", ""],
          "rows with a cell too few or too many are refused, the next is taken")
    evil = [resident(MINATO, "=1+1", "5500000200", 氏名="=cmd|' /C calc'!A0")]
    ok(Import(c, "residents", residents_csv(evil)).commit().state["refused"] in (0, 1),
       "a formula in a name does no harm")


def joins(c):
    """宛名番号 keeps coupons and numbers of a person together."""
    person = resident(MINATO, "J0001", "5600000001")
    register(c, [person])
    first = one(c, addressee_number="J0001")
    done = register(c, [dict(person, 接種券番号="5600000099")])
    equal(done.counts(), (1, 0, 1, 0, 0), "a new coupon of a known 宛名番号 is a change")
    joined = one(c, coupon_number="5600000099")
    equal((joined["resident_id"], sorted(x["coupon_number"] for x in joined["coupons"])),
          (first["resident_id"], ["5600000001", "5600000099"]), "the new coupon joins its 宛名番号")
    fresh = personal_number()
    done = register(c, [dict(person, 個人番号=fresh)])
    equal(done.counts(), (1, 0, 1, 0, 0), "a changed number is a change")
    for number, name in ((person["個人番号"], "the old number"), (fresh, "the changed number")):
        equal([r["resident_id"] for r in find(c, personal_number=number, purpose="transfer_in")],
              [first["resident_id"]], f"{name} finds the person")
    revealed = c.post(f"/v1/residents/{first['resident_id']}:reveal-number",
                      {"purpose": "transfer_in"})
    equal(revealed.json, {"personal_number": fresh}, "reveal shows the number in force")
    register(c, [resident(MINATO, "J0002", "5600000002")])
    done = Import(c, "residents", residents_csv([
        resident(MINATO, "J0003", "5600000001"),
        dict(resident(MINATO, "J0002", "5600000001")),
        resident(MINATO, "J0003", "5600000003", 個人番号=fresh),
        resident(MINATO, "J0002", "5600000002", 個人番号=fresh)])).commit()
    equal([r["コード"] for r in done.results()], ["R182", "R182", "R183", "R183"],
          "a coupon or a number of another person is refused")
    equal(find(c, addressee_number="J0003"), [], "and makes nobody")
    without = resident(MINATO, "", "5600000010")
    equal(register(c, [without]).counts(), (1, 1, 0, 0, 0), "宛名番号 may be blank")
    equal(register(c, [dict(without, 住所="別町2番")]).counts(), (1, 0, 1, 0, 0),
          "such a person is found by the coupon")
    equal(register(c, [dict(without, 宛名番号="J0010", 接種券番号="")]).counts(), (1, 0, 1, 0, 0),
          "or by the number, and the 宛名番号 joins")
    equal(one(c, coupon_number="5600000010")["addressee_number"], "J0010", "one person all the time")
    twice = [resident(MINATO, "J0020", "5600000020"), resident(MINATO, "J0020", "5600000021")]
    twice[1]["個人番号"] = twice[0]["個人番号"]
    equal(register(c, twice).counts(), (2, 1, 1, 0, 0), "rows of one person in one file join in order")
    swap = [dict(person, 個人番号=fresh, 処理区分="2"), dict(person, 個人番号=fresh, 氏名="復活　太郎")]
    equal(register(c, swap).counts()[0], 2, "消除 and registration of one person in one file")


def removal(c):
    person = resident(MINATO, "D0001", "5700000001")
    register(c, [person])
    done = register(c, [{"処理区分": "2", "宛名番号": "D0001", "自治体コード": MINATO}])
    equal(done.counts(), (1, 0, 1, 0, 0), "消除 is a change")
    gone = one(c, addressee_number="D0001")
    ok(gone["removed_on"] is not None and gone["name"] == person["氏名"],
       "消除 marks the person and keeps the record", gone)
    again = register(c, [{"処理区分": "2", "宛名番号": "D0001", "自治体コード": MINATO,
                          "接種券番号": "5700000001"}])
    equal(again.counts(), (1, 0, 0, 1, 0), "消除 a second time changes nothing")
    for kind, field in (("1", "moved_out_on"), ("2", "died_on"), ("3", "removed_on")):
        row = resident(MINATO, f"D001{kind}", f"570000001{kind}", 異動区分=kind, 異動日="20210601")
        register(c, [row])
        equal(one(c, addressee_number=row["宛名番号"])[field], "2021-06-01",
              f"異動区分 {kind} sets {field}")


def doses(stack, c):
    def send(rows, header=None):
        out = io.StringIO()
        writer = csv.DictWriter(out, header or DOSE_HEADER, lineterminator="\r\n",
                                extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
        return Import(c, "doses", out.getvalue().encode()).commit()

    register(c, [resident(MINATO, "K0001", "5800000001", 生年月日="19600401"),
                 resident(MINATO, "K0002", "5800000002", 生年月日="20210801")])
    row = lambda n, **more: dose_row(MINATO, f"580000000{n}", **more)  # noqa: E731
    cases = [("R104", "OCRライン", row(1, OCRライン="2113103258000000")),
             ("R102", "OCRライン", row(1, OCRライン="211310335800000001")),
             ("R103", "OCRライン", row(1, OCRライン=residents.ocr_line(FUJISAWA, "5800000001", 1))),
             ("R120", "OCRライン", row(1, OCRライン="201310325800000001")),
             ("R106", "OCRライン", row(1, OCRライン="911310325800000001")),
             ("R110", "接種日", row(1, day="2021/07/01")),
             ("R111", "接種日", row(1, day="20210231")),
             ("R112", "接種日", row(1, day="21210701")),
             ("R113", "接種日", row(2, day="20210701")),
             ("R181", "接種日", row(1, day="")),
             ("R132", "製品コード", row(1, 製品コード="aspirin")),
             ("R130", "ロット番号", row(1, ロット番号="")),
             ("bad_field", "接種状況", row(1, 接種状況="9"))]
    done = send([r for _, _, r in cases] + [row(1)])
    equal([(r["コード"], r["列"]) for r in done.results()[:-1]], [x[:2] for x in cases],
          "doses: each wrong row has its code and column")
    equal((done.results()[-1]["結果"], done.state["new"]), ("新規", 1), "doses: the right one is taken")
    resident_id = one(c, addressee_number="K0001")["resident_id"]
    found = doses_of(c, resident_id)
    equal([(d["dose_number"], d["vaccinated_on"], d["product"], d["lot"], d["state"], d["read_by"],
            d["origin"]) for d in found],
          [(1, "2021-07-01", "comirnaty", "FF3620", "recorded", "punch", "import")],
          "doses: it is on the person's record with its origin")
    equal([(d["terminal"], d["staff"]) for d in found], [("lgwan-131032", "minato-1")], "doses: and with who sent the file")
    equal(send([row(1, 会場="別会場"), row(1, 会場="第三会場")]).counts(), (2, 0, 0, 2, 0),
          "doses: the same dose again is the same")
    equal(len(doses_of(c, resident_id)), 1, "doses: and is shown once")
    done = send([row(9), row(1, dose=2, day="20210722", 製品コード="ファイザー")])
    equal([r["結果"] for r in done.results()], ["新規", "新規"],
          "doses: an unregistered coupon waits, a maker's name is taken for its product")
    equal([d["product"] for d in doses_of(c, resident_id)], ["comirnaty"] * 2,
          "doses: the maker's standard product")
    waiting = c.get("/v1/reviews?kind=waiting_for_coupon").json["reviews"]
    equal([w["dose"]["coupon_number"] for w in waiting], ["5800000009"],
          "doses: the waiting one is on the work list")
    register(c, [resident(MINATO, "K0009", "5800000009")])
    equal([d["state"] for d in doses_of(c, one(c, addressee_number="K0009")["resident_id"])],
          ["recorded"], "doses: the coupon's registration takes the waiting dose")
    done = send([row(1, OCRライン="２１１３１０３２５８０００００００１", 接種状況="１")])
    equal(done.counts(), (1, 0, 0, 1, 0), "doses: full-width digits are taken")
    bad = send([row(1)], DOSE_HEADER[:-1])
    equal((bad.state["state"], bad.state["error"]["code"], bad.state["error"]["column"]),
          ("refused", "F005", "登録元"), "doses: a missing column refuses the file")
    ok(metrics(stack)['vrs_outcomes_total{outcome="recorded"}'] >= 3, "outcomes are counted")


def crash(stack, c):
    """A commit that kill -9 cut off goes on behind the last part; nothing twice."""
    rows = [resident(MINATO, f"X{i:05d}", f"{6000000000 + i}") for i in range(6000)]
    done = Import(c, "residents", residents_csv(rows)).check()
    c.post(done.url + ":commit")
    until(lambda: 0 < done.look()["rows"] < 6000 or done.state["state"] == "committed", 5)
    middle = dict(done.state)
    stack.kill("vrs-server")
    stack.restart("vrs-server")
    c = done.client = stack.staff(MINATO)
    after = done.look()
    ok(after["rows"] >= middle["rows"] and after["state"] in ("committing", "committed"),
       f"after kill -9 at row {middle['rows']} the position stands", after)
    if after["state"] == "committing":
        done.phase("commit")
    equal((done.state["state"], done.counts()), ("committed", (6000, 6000, 0, 0, 0)),
          "commit goes on and every row is new exactly once")
    equal([r["行"] for r in done.results()], [str(i) for i in range(2, 6002)],
          "the result file has every row once")
    ids = {one(c, coupon_number=f"{6000000000 + i}")["resident_id"] for i in range(0, 6000, 600)}
    equal(len(ids), 10, "they are there")


def main(stack):
    c = stack.staff(MINATO)
    two_phases(c)
    announcements(c)
    parts(c)
    whole_file(c)
    encodings(c)
    rows_refused(c)
    joins(c)
    removal(c)
    doses(stack, c)
    crash(stack, c)
    fujisawa = stack.staff(FUJISAWA)
    equal(find(fujisawa, addressee_number="A0000"), [], "C01 another municipality sees none of it")


run(main, count=20)
