#!/usr/bin/env python3
"""C04: after real traffic, no file of the running stack holds a name, an address, a coupon number, a
宛名番号, a 個人番号 or a password, in any encoding.  demo.json (made for people) and pki/ are left
out; demo.json is the control, and so is a planted file."""
import base64
import os
import struct
import urllib.parse
import uuid

from case import (FUJISAWA, KAGOSHIMA, MINATO, Import, dose_row, equal, erase, find, inquiry, ok,
                  one, personal_number, post_dose, record, register, resident, residents_csv, run,
                  tag, wrong_number)
import residents

LEFT_OUT = ("demo.json", "pki/")


# ---- needles: every form that somebody might have written


def base64_forms(data):
    """Base64 of `data` wherever it begins in a longer text: three alignments, whole characters."""
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + data)
        first = {0: 0, 1: 2, 2: 3}[shift]
        last = len(data) + shift
        whole = last // 3 * 4 if last % 3 == 0 else last // 3 * 4
        piece = text[first:whole]
        if len(piece) >= 8:
            yield piece
            yield piece.replace(b"+", b"-").replace(b"/", b"_")


def bcd(digits):
    padded = digits if len(digits) % 2 == 0 else "0" + digits
    high_first = bytes(int(padded[i]) << 4 | int(padded[i + 1]) for i in range(0, len(padded), 2))
    return [high_first, bytes((b & 15) << 4 | b >> 4 for b in high_first), high_first[::-1]]


def forms(text):
    """{encoding: bytes to look for}"""
    found = {}

    def add(name, data):
        if len(data) >= 5:
            found.setdefault(data, name)

    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "cp932", "euc_jp", "utf-32-le"):
        try:
            data = text.encode(encoding)
        except UnicodeEncodeError:
            continue
        add(encoding, data)
        add(f"hex of {encoding}", data.hex().encode())
        add(f"HEX of {encoding}", data.hex().upper().encode())
        for piece in base64_forms(data):
            add(f"base64 of {encoding}", piece)
    add("percent", urllib.parse.quote(text).encode()) if not text.isascii() else None
    add("JSON escapes", "".join(f"\\u{ord(c):04x}" for c in text if ord(c) < 0x10000).encode())
    add("reversed", text.encode()[::-1])
    if text.isdigit():
        for data in bcd(text):
            add("BCD", data)
        add("integer, little-endian", struct.pack("<Q", int(text)))
        add("integer, big-endian", struct.pack(">Q", int(text)))
        add("full width", "".join(chr(ord(d) + 0xfee0) for d in text).encode())
        add("digits apart", "-".join(text[i:i + 4] for i in range(0, len(text), 4)).encode())
    return found


def all_files(stack):
    for folder, _, names in os.walk(stack.home):
        for name in names:
            path = os.path.join(folder, name)
            inside = os.path.relpath(path, stack.home)
            if not inside.startswith(LEFT_OUT) and os.path.isfile(path):
                yield inside, path


def look(data, needles):
    return [(what, encoding) for data_, (what, encoding) in needles.items() if data_ in data]


# ---- traffic


def traffic(stack):
    """Every path that a name or a number takes; returns {what it is: text}."""
    c, other, asker = (stack.staff(x) for x in (MINATO, FUJISAWA, KAGOSHIMA))
    approver = stack.staff(MINATO, "minato-approver")
    secrets = {}
    rows = []
    people = [("五十嵐　髙志", "イガラシ タカシ", "白金台七丁目77番9号"),
              ("勅使河原　梓", "テシガワラ アズサ", "南青山九丁目31番7号"),
              ("クリストファー・オブライエン", "クリストファー オブライエン", "六本木八丁目88番8号"),
              ("MARGARETHE VAN DER BILT", "マルガレーテ ヴァン デル ビルト", "台場三丁目33番3号")]
    for i, (name, kana, address) in enumerate(people):
        row = resident(MINATO, f"777{i}4839201", f"{3948271650 + i * 7919}", 氏名=name, カナ=kana, 住所=address)
        rows.append(row)
        secrets.update({f"name {i}": name, f"kana {i}": kana, f"address {i}": address,
                        f"coupon {i}": row["接種券番号"], f"宛名番号 {i}": row["宛名番号"],
                        f"個人番号 {i}": row["個人番号"]})
    wrong, unknown, asked = wrong_number(), personal_number(), personal_number()
    secrets.update({"refused 個人番号": wrong, "個人番号 asked of the wrong town": unknown,
                    "個人番号 that was only searched": asked})
    register(c, rows)
    register(asker, [dict(rows[0], 自治体コード=KAGOSHIMA, 接種券番号="8172635940")])
    Import(c, "residents", residents_csv([resident(MINATO, "x", "1", 個人番号=wrong)])).commit()
    abandoned = personal_number()
    secrets["個人番号 of an import that was only checked"] = abandoned
    left = resident(MINATO, "5551212343", "6172839405", 氏名="蒲生　放置", 個人番号=abandoned)
    secrets["name of an import that was only checked"] = left["氏名"]
    Import(c, "residents", residents_csv([left])).check()
    half = residents_csv([dict(left, 氏名="半端　送信", 接種券番号="6172839999")])
    secrets["name in a half-sent import"] = "半端　送信"
    state = c.post("/v1/imports", {"kind": "residents", "file_name": "half.csv", "size": len(half) + 5,
                                   "sha256": "0" * 64}).json
    c.request("PUT", f"/v1/imports/{state['import_id']}/content", half, headers={
        "Content-Type": "text/csv", "Content-Range": f"bytes 0-{len(half) - 1}/{len(half) + 5}"})
    secrets.update({"physician": "御手洗　慎之介", "site": "増上寺大殿特設会場"})
    record(c, [dose_row(MINATO, rows[0]["接種券番号"], 1, 会場=secrets["site"], 医師名=secrets["physician"]),
               dose_row(MINATO, "9283746501", 1)])
    secrets["waiting coupon"] = "9283746501"
    tablet = stack.tablet()
    for row in rows[1:]:
        post_dose(tablet, residents.ocr_line(MINATO, row["接種券番号"], 1), site=secrets["site"],
                  physician=secrets["physician"])
    secrets["coupon posted while the inside was away"] = "7364519283"
    secrets["OCR line"] = residents.ocr_line(MINATO, rows[1]["接種券番号"], 1)
    tablet.post("/v1/doses", {"ocr_line": secrets["OCR line"][:17] + "O", "status": "given"}, key=True)
    tablet.post("/v1/coupons:check", {"ocr_line": secrets["OCR line"]})
    for terms in ({"name_kana": rows[0]["カナ"], "birth_date": "1960-04-01"},
                  {"coupon_number": rows[0]["接種券番号"]}, {"addressee_number": rows[0]["宛名番号"]},
                  {"personal_number": rows[0]["個人番号"], "purpose": "transfer_in"},
                  {"personal_number": asked, "purpose": "transfer_in"}):
        find(c, **terms)
    person = one(c, coupon_number=rows[0]["接種券番号"])
    url = f"/v1/residents/{person['resident_id']}"
    equal(c.post(url + ":reveal-number", {"purpose": "transfer_in"}).json,
          {"personal_number": rows[0]["個人番号"]}, "the stack holds the number: reveal shows it")
    secrets["changed name"] = "長曾我部　百合子"
    c.request("PATCH", url, {"name": secrets["changed name"], "reason": "婚姻"}, headers=tag(1))
    for number, town, result in ((rows[0]["個人番号"], MINATO, "match"), (unknown, FUJISAWA, "no_match")):
        answer = asker.post("/v1/inquiries", inquiry(number, town, addressee_number=rows[0]["宛名番号"]), key=True)
        equal(answer.json.get("result"), result, f"an inquiry ends as {result}")
    person = one(c, coupon_number=rows[3]["接種券番号"])
    c.post(f"/v1/residents/{person['resident_id']}:flag", {"flag": "undisclosed"}, key=True, headers=tag(1))
    held = asker.post("/v1/inquiries", inquiry(rows[3]["個人番号"], MINATO), key=True).json
    equal(held["result"], "pending", "one is held")
    c.post("/v1/certificates:lookup", {"personal_number": rows[0]["個人番号"], "purpose": "certificate"})
    for path in ("/v1/exports/ledger.csv", "/v1/exports/waiting.csv", "/v1/reviews", "/v1/provisions"):
        c.get(path)
    approver.get("/v1/access-log")
    gone = one(c, coupon_number=rows[2]["接種券番号"])
    ok(erase(c, approver, gone["resident_id"]), "one is erased")
    # what goes wrong: broken bodies, wrong log-ins, the inside away
    c.post("/v1/residents:search", b'{"personal_number":"' + rows[0]["個人番号"].encode() + b'"',
           headers={"Content-Type": "application/json"})
    c.post("/v1/residents:search", {"personal_number": rows[0]["個人番号"], "x": rows[0]["氏名"]})
    c.get("/v1/residents/" + rows[0]["個人番号"])
    c.get(f"/v1/reviews?after={rows[0]['個人番号']}")
    tablet.post("/v1/doses", {"personal_number": rows[0]["個人番号"]}, key=True)
    tablet.get("/v1/doses/" + rows[0]["個人番号"])
    secrets["password tried"] = "correct horse battery staple"
    stack.terminal(f"lgwan-{FUJISAWA}").login("fujisawa-1", secrets["password tried"])
    secrets["password"] = next(u["password"] for u in stack.demo["users"] if u["user_id"] == "minato-1")
    equal(other.get("/v1/provisions").json["provisions"], [], "the wrong town has no record")
    stack.command("backup", municipality_code=MINATO, name="scan")
    stack.kill("vrs-number")
    asker.post("/v1/inquiries", inquiry(rows[0]["個人番号"], MINATO), key=True)
    stack.kill("vrs-server")
    tablet.post("/v1/doses", {"ocr_line": residents.ocr_line(
        MINATO, secrets["coupon posted while the inside was away"], 1), "status": "given",
        "vaccinated_on": "2021-07-01", "product": "comirnaty", "lot": "FF3620", "site": "会場",
        "read_by": "ocr"}, key=str(uuid.uuid4()))
    stack.kill("tablet-api")  # journals stay as they are
    return secrets


def main(stack):
    secrets = traffic(stack)
    needles = {}
    for what, text in secrets.items():
        for data, encoding in forms(text).items():
            needles.setdefault(data, (what, encoding))
    files = list(all_files(stack))
    total, found, kinds = 0, [], set()
    for inside, path in files:
        with open(path, "rb") as f:
            data = f.read()
        total += len(data)
        kinds.add(inside.split("/")[0])
        found += [f"{inside}: {what} as {encoding}" for what, encoding in look(data, needles)]
    ok(not found, f"C04 {len(files)} files, {total >> 10} KiB, {len(needles)} forms of "
       f"{len(secrets)} secrets: none is there", "\n".join(found[:40]))
    ok({"vrs-server", "vrs-number", "tablet-api", "log"} <= kinds
       and any(f.endswith(".db-wal") for f, _ in files) and any("backup" in f for f, _ in files),
       "C04 records, numbers, inbox, logs, journals and a backup were looked at", sorted(kinds))
    # controls: the same look finds what is there
    with open(stack.path("demo.json"), "rb") as f:
        demo = f.read()
    sample = stack.demo["samples"][0]
    ok(look(demo, {d: ("sample", e) for d, e in forms(sample["personal_number"]).items()})
       and look(demo, {d: ("sample", e) for d, e in forms(sample["name_kana"]).items()}),
       "control: the 個人番号 and the name are found in demo.json")
    planted = os.urandom(4096).join(needles)
    equal(len(look(planted, needles)), len(needles), "control: each planted form is found")
    encodings = {e for _, e in needles.values()}
    ok({"utf-8", "utf-16-le", "cp932", "hex of utf-8", "base64 of utf-8", "BCD"} <= encodings,
       "control: the forms are UTF-8, UTF-16, CP932, hex, base64, BCD and more", sorted(encodings))
    number = secrets["個人番号 0"]
    text = base64.b64encode(b'{"n":"' + number.encode() + b'"}')
    ok(any(d in text for d in forms(number)), "control: base64 of a longer text is found")


run(main, count=20)
