#!/usr/bin/env python3
"""Reader terminals: one line a reading over TLS, through the same intake as POST /v1/doses."""
import os
import ssl
import sys
import time
import uuid

from case import MINATO, equal, make_ca, make_cert, ok, register, resident, run, until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from reader_client import ReaderClient  # noqa: E402


def connect(stack, name="reader-1", pem=None):
    t = next(t for t in stack.demo["terminals"] if t["name"] == name)
    cert, key = pem or (t["cert"], t["key"])
    return ReaderClient(stack.demo["reader_line"], stack.demo["ca"], cert, key)


def line(n, dose=1):
    return f"2{dose}{MINATO}{n:010d}"


def settled(c, sequence, digits):
    """The answer once it is no longer pending."""
    end = time.monotonic() + 15
    while True:
        words = c.read(sequence, digits)
        if words[0] != "pending" or time.monotonic() > end:
            return words
        time.sleep(0.1)


def readings(stack):
    c = connect(stack)
    answer = c.header()
    ok(answer.startswith("OK VRS1 20") and answer.endswith("Z"), "a header is answered with the server's time",
       answer)
    first = settled(c, 1, line(6100000001))
    ok(first[0] == "recorded" and len(first[1]) == 32, "a reading is recorded, with its receipt", first)
    equal(c.read(1, line(6100000001)), first, "the same line again gives the same receipt")
    equal(c.read("001", line(6100000001)), first, "however its number is written")
    equal(c.read(1, line(6100000002))[:2], ["ERR", "idempotency_key_reused"],
          "the same number with other digits is refused")
    equal(settled(c, 2, line(6199999999))[0], "waiting_for_coupon", "a coupon that is not registered yet waits")
    bad = c.read(3, "2113103261000000O4")
    ok(bad[:2] == ["ERR", "R104"] and f"candidates={line(6100000004)}" in bad, "a letter is never corrected "
       "silently: candidates for a person", bad)
    equal(c.read(4, "211")[:2], ["ERR", "R104"], "a line that is no coupon is refused with its code")
    c.send("hello")
    ok(c.answer().startswith("ERR bad_request "), "what has no number is told so")
    tablet = connect(stack)
    equal(tablet.read(1, line(6100000004))[:2], ["ERR", "missing_field"], "no reading without a header")
    other = c.header(lot="FF0843")
    ok(other.startswith("OK"), "a new header may come at any time", other)
    equal(settled(c, 1, line(6100000005))[0], "recorded", "its numbers are its own")
    for words, code in (({"product": "nothing"}, "R132"), ({"date": "2999-01-01"}, "R112"),
                        ({"lot": ""}, "R130"), ({"site": None}, "missing_field"), ({"colour": "x"}, "unknown_field"),
                        ({"run": "1"}, "bad_field")):
        answer = c.header(**words)
        ok(answer.startswith(f"ERR {code} "), f"a header with {words} is refused at once", answer)
    equal(c.read(9, line(6100000006))[:2], ["ERR", "missing_field"],
          "after a refused header the one before does not hold any more")
    c.close()
    return first[1]


def twice(stack):
    c = connect(stack)
    c.header()
    first = settled(c, 1, line(6100000010))
    asked = c.read(2, line(6100000010))
    ok(asked[:2] == ["ASK", "same_coupon_again"], "the same 18 digits within seconds are a question", asked)
    equal(settled(c, 1, line(6100000010)), first, "the first one's number is no question")
    again = settled(c, "2!", line(6100000010))
    ok(again[0] == "duplicate" and again[1] != first[1], "confirmed it is a reading of its own: a duplicate", again)
    c.close()

    tablet = stack.tablet()
    body = {"ocr_line": line(6100000011), "status": "given", "vaccinated_on": "2021-07-01", "product": "comirnaty",
            "lot": "FF3620", "site": "港区 第1会場", "read_by": "ocr"}
    key = str(uuid.uuid4())
    one = tablet.post("/v1/doses", body, key=key)
    equal(one.status, 201, "a tablet posts a dose")
    same = tablet.post("/v1/doses", body, key=key)
    equal((same.status, same.json["receipt_id"]), (201, one.json["receipt_id"]), "the same key is no question")
    asked = tablet.post("/v1/doses", body, key=True)
    equal((asked.status, asked.code), (409, "same_coupon_again"), "another key within seconds is one")
    ok("券面" in asked.json["detail"], "in words for people", asked.json)
    other_turn = tablet.post("/v1/doses", dict(body, ocr_line=line(6100000011, 2)), key=True)
    equal(other_turn.status, 201, "another turn of the same coupon is none")
    elsewhere = stack.tablet("tablet-2", "site-2").post("/v1/doses", body, key=True)
    equal((elsewhere.status, elsewhere.json["outcome"]), (201, "duplicate"), "nor is another terminal's")
    confirmed = tablet.post("/v1/doses", dict(body, confirmed_again=True), key=True)
    equal((confirmed.status, confirmed.json["outcome"]), (201, "duplicate"), "confirmed it is a duplicate as ever")


def resumed(stack):
    c = connect(stack)
    run_id = c.run
    c.header()
    lines = [f"{n} {line(6100000100 + n)}" for n in range(1, 301)]
    c.send(*lines)
    seen = {}
    for _ in range(40):  # and no more: the connection is lost
        number, _, receipt = c.answer().split(" ")[:3]
        seen[number] = receipt
    c.close()
    c = connect(stack)
    c.run = run_id
    c.header()
    c.send(*lines)
    again = {}
    for _ in lines:
        number, _, receipt = c.answer().split(" ")[:3]
        again[number] = receipt
    ok(len(again) == 300 and len(set(again.values())) == 300, "300 lines give 300 receipts")
    ok(all(again[n] == r for n, r in seen.items()), "those answered before the connection was lost have the same ones")
    c.close()
    clerk = stack.staff(MINATO)
    found = clerk.post("/v1/residents:search", {"coupon_number": "6100000110"}).json["residents"]
    doses = clerk.get(f"/v1/residents/{found[0]['resident_id']}/doses?include=all").json["doses"]
    equal(len(doses), 1, "and inside there is one dose, not two")


def gates(stack):
    for what, pem in (("no certificate", None), ("a certificate of another authority",
                                                 make_cert(stack.home, "foreign", make_ca(stack.home, "odd-ca"),
                                                           f"/CN=reader-1/O={MINATO}/OU=system"))):
        try:
            if pem:
                c = connect(stack, pem=pem)
            else:
                context = ssl.create_default_context(cafile=stack.demo["ca"])
                c = ReaderClient.__new__(ReaderClient)
                import socket
                host, port = stack.demo["reader_line"].rsplit(":", 1)
                c.tcp = context.wrap_socket(socket.create_connection((host, int(port)), 5), server_hostname=host)
                c.file = c.tcp.makefile("rb")
            c.send("VRS1")
            refused = c.answer() == ""
        except (ssl.SSLError, OSError):
            refused = True
        ok(refused, f"C30 {what} gets no word")
    tablet = connect(stack, "tablet-1")
    tablet.send("VRS1")
    ok(tablet.answer().startswith("ERR system_not_registered "), "C30 a tablet's certificate is no system client's")
    equal(tablet.answer(), "", "and the connection ends")
    few = stack.add_terminal("reader-2", "system", MINATO, rights="receipt.read")
    stack.demo["terminals"].append(few)

    def refused_for_right():
        c = connect(stack, "reader-2")
        answer = c.header()
        c.close()
        return answer.startswith("ERR forbidden ")
    ok(until(refused_for_right), "C40 a system without the right to post doses is refused")
    long = connect(stack)
    long.send("VRS1 site=" + "x" * 5000)
    ok(long.answer().startswith("ERR too_large "), "a line that is too long is refused")
    equal(long.answer(), "", "and ends the connection")
    many = [connect(stack) for _ in range(6)]
    equal([c.answer() for c in many[:2]], ["", ""], "of one terminal the newest four connections live")
    ok(many[5].header().startswith("OK"), "the newest works")
    for c in many:
        c.close()


def revoked(stack):
    c = connect(stack)
    ok(c.header().startswith("OK"), "C31 negative control: a live connection of a registered terminal")
    stack.command("terminal.revoke", name="reader-1")
    end = time.monotonic() + 10
    n, last = 100, ""
    while time.monotonic() < end:
        n += 1
        c.send(f"{n} {line(6100000500 + n)}")
        last = c.answer()
        if last.startswith("ERR"):
            break
        time.sleep(0.05)
    ok(last.startswith("ERR terminal_revoked この端末は"),
       "C31 de-registered, its next line on the live connection is refused in words", last)
    equal(c.answer(), "", "C31 and the connection ends")
    fresh = connect(stack)
    fresh.send("VRS1")
    ok(fresh.answer().startswith("ERR terminal_revoked "), "C31 so does a new one")


def main(stack):
    register(stack.staff(MINATO), [resident(MINATO, f"R-{n}", f"{6100000000 + n:010d}")
                                   for n in list(range(1, 20)) + list(range(101, 401))])
    tablet = stack.tablet()  # the snapshot is there
    tablet.close()
    readings(stack)
    twice(stack)
    resumed(stack)
    gates(stack)
    revoked(stack)


run(main, count=20)
