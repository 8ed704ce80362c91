#!/usr/bin/env python3
"""A tablet-api that somebody else has taken over: what it may answer to the inside on the line.  It stands
between the real one and vrs-server, with the real one's key, and changes answers at will."""
import http.client
import http.server
import os
import re
import ssl
import threading

from case import FUJISAWA, MINATO, equal, metrics, ok, post_dose, problem, run, until
from tablet_side import field, fields

ENTRY, QUERY, ACKED_ITEM = 3, 4, 5


class Liar(http.server.ThreadingHTTPServer):
    """Relays; `change[path](body)` makes the answer."""
    daemon_threads = True

    def __init__(self, stack):
        pki = lambda name: stack.path("pki", name)  # noqa: E731
        super().__init__(("127.0.0.1", 0), Relay)
        self.change, self.told = {}, []
        self.real = ("127.0.0.1", stack.ports["line"])
        self.out = ssl.create_default_context(cafile=pki("ca-line.pem"))
        self.out.check_hostname = False
        self.out.load_cert_chain(pki("line-client.pem"), pki("line-client.key"))
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pki("line-server.pem"), pki("line-server.key"))
        self.socket = server.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # vrs-server goes and comes

    def once(self, path, how):
        """The next answer of that path is made by `how`; waits until it is told."""
        done = threading.Event()

        def change(body):
            new = how(body)
            if new is None:
                return body
            del self.change[path]
            done.set()
            return new
        self.change[path] = change
        return done


class Relay(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        c = http.client.HTTPSConnection(*self.server.real, context=self.server.out, timeout=60)
        c.request(self.command, self.path, body, {"Content-Type": self.headers["Content-Type"]})
        r = c.getresponse()
        answer = r.read()
        if r.status == 200:
            answer = self.server.change.get(self.path, lambda b: b)(answer)
        self.send_response(r.status)
        if r.status != 204:
            self.send_header("Content-Type", r.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if r.status != 204:
            self.wfile.write(answer)
        c.close()

    do_PUT = do_POST

    def log_message(self, *_):
        pass


def put_between(stack):
    liar = Liar(stack)
    conf = stack.path("etc", "vrs-server.conf")
    with open(conf) as f:
        text = re.sub(r'line_url = "[^"]*"', f'line_url = "https://127.0.0.1:{liar.server_port}"', f.read())
    with open(conf, "w") as f:
        f.write(text)
    stack.kill("vrs-server")
    stack.restart("vrs-server")
    return liar


def alive(stack, pid, what):
    here = stack.processes["vrs-server"]
    ok(here.poll() is None and here.pid == pid and until(lambda: stack.staff(MINATO).get("/v1/reviews").status == 200),
       f"vrs-server goes on after {what}")


def main(stack):
    liar = put_between(stack)
    pid = stack.processes["vrs-server"].pid
    lines = iter([s["ocr_line"] for s in stack.demo["samples"] if s["municipality_code"] == MINATO])
    tablet = stack.tablet()
    equal(post_dose(tablet, next(lines))["outcome"], "recorded", "control: honest, the line works")

    # A receipt is acknowledged as often as an answer has room for.
    def again_and_again(body):
        items = [data for tag, data in fields(body) if tag == ACKED_ITEM]
        return body + field(ACKED_ITEM, items[0]) * 100000 if items else None
    told = liar.once("/line/v1/outcomes", again_and_again)
    equal(post_dose(tablet, next(lines))["outcome"], "recorded", "a dose whose outcome is acknowledged 100,000 times")
    ok(told.wait(10), "control: the lie was told")
    alive(stack, pid, "one receipt acknowledged over and over")
    equal(post_dose(tablet, next(lines))["outcome"], "recorded", "and the next dose is recorded")

    # Entries that were never sealed to the inside, for towns of all kinds.
    def planted(body):
        entries = [data for tag, data in fields(body) if tag == ENTRY]
        if not entries:
            return None
        own = dict(fields(entries[0]))

        def forged(**changes):
            inner = {t: changes.get(str(t), d) for t, d in own.items()}
            return field(ENTRY, b"".join(field(t, d) for t, d in inner.items()))
        return body + forged(**{"5": b"999999", "4": os.urandom(16)}) + \
            forged(**{"5": b"000000", "4": os.urandom(16)}) + forged(**{"7": os.urandom(300), "4": os.urandom(16)})
    unreadable = metrics(stack)["vrs_line_unreadable_total"]
    told = liar.once("/line/v1/pull", planted)
    post_dose(tablet, next(lines))
    ok(told.wait(10), "control: entries were planted")
    ok(until(lambda: metrics(stack)["vrs_line_unreadable_total"] >= unreadable + 3), "C140 what was planted is counted as unreadable",
       metrics(stack)["vrs_line_unreadable_total"])
    alive(stack, pid, "planted entries")
    ok(not os.path.exists(stack.path("vrs-server", "partitions", "999999.db")), "C01 and no town that is none has a file")
    equal(post_dose(tablet, next(lines))["outcome"], "recorded", "and the next dose is recorded")

    other_town(stack, liar, tablet)


def other_town(stack, liar, tablet):
    """A question of one town's terminal is handed on as if it were about another town."""
    for code, approver in ((MINATO, "minato-approver"), (FUJISAWA, "fujisawa-approver")):
        chief = stack.staff(code, approver)
        chief.request("PUT", "/v1/settings", {"coupon_filter": 1},
                      headers={"If-Match": chief.get("/v1/settings").headers["etag"]})
    until(lambda: tablet.get("/v1/coupon-filter/00").status == 200)
    equal(tablet.get("/v1/coupon-filter/00").json["municipality_code"], MINATO, "control: honest, the town's own filter")

    def moved(body):
        parts = list(fields(body))
        if all(tag != QUERY for tag, _ in parts):
            return None
        return b"".join(field(tag, b"".join(field(t, FUJISAWA.encode() if t == 2 else d) for t, d in fields(data)))
                        if tag == QUERY else field(tag, data) for tag, data in parts)
    told = liar.once("/line/v1/pull", moved)
    problem(tablet.get("/v1/coupon-filter/00"), 403, "other_municipality",
            "C02 a taken-over outside gets no other town's coupon filter through a terminal")
    ok(told.wait(10), "control: the lie was told")


run(main, count=40)
