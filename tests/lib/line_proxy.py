"""Stands between vrs-server and tablet-api with the certificates of both, and does to the line what a
network does at its worst.  `mode` says what, from the next request on:

    through    nothing
    down       connections end before anything is passed on
    slow       answers take a while, and come in pieces
    cut        the connection ends before the request, behind it, or within the answer
    twice      the request arrives twice
    answers    the answer comes twice: the second one stands before the next request's answer
    late       one request of each kind is answered after its time-out
    lie        outcomes are said to be kept, and are not passed on (the control)"""
import collections
import http.client
import random
import socket
import ssl
import threading

from tablet_side import ACKED, field, fields, number

MOSTLY = ("through", "down", "slow", "cut", "twice", "answers")


class Gone(Exception):
    pass


class Reader:
    """HTTP messages with a length from a socket."""

    def __init__(self, sock):
        self.sock, self.kept = sock, b""

    def more(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise Gone
        self.kept += data

    def request(self):
        """(method, path, headers, body)"""
        while b"\r\n\r\n" not in self.kept:
            self.more()
        head, self.kept = self.kept.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        if "100-continue" in headers.pop("Expect", ""):
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(headers.get("Content-Length", 0))
        while len(self.kept) < length:
            self.more()
        body, self.kept = self.kept[:length], self.kept[length:]
        return method, path, headers, body


class LineProxy:
    def __init__(self, stack, rng):
        self.stack, self.rng = stack, random.Random(rng.random())
        self.mode, self.late_s = "through", 40
        self.felt = collections.Counter()  # requests by mode
        self.lied_about = 0
        self.held, self.stopping = set(), threading.Event()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def start(self):
        """The certificates are there."""
        pki = self.stack.path
        self.inward = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki("pki", "ca-line.pem"))
        self.inward.load_cert_chain(pki("pki", "line-server.pem"), pki("pki", "line-server.key"))
        self.inward.verify_mode = ssl.CERT_REQUIRED
        self.outward = ssl.create_default_context(cafile=pki("pki", "ca-line.pem"))
        self.outward.load_cert_chain(pki("pki", "line-client.pem"), pki("pki", "line-client.key"))
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self.listener.close()

    def accept(self):
        while not self.stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        upstream = http.client.HTTPSConnection("127.0.0.1", self.stack.ports["line"], timeout=90,
                                               context=self.outward)
        try:
            with self.inward.wrap_socket(sock, server_side=True) as tls:
                reader = Reader(tls)
                while True:
                    request = reader.request()
                    mode = self.mode
                    self.felt[mode] += 1
                    getattr(self, mode)(tls, upstream, *request)
        except (Gone, OSError, http.client.HTTPException):
            pass
        finally:
            upstream.close()
            sock.close()

    # ---- what is done to a request

    def pass_on(self, upstream, method, path, headers, body):
        """The answer as bytes."""
        kept = {k: v for k, v in headers.items() if k.lower() not in ("host", "content-length")}
        for again in (False, True):
            try:
                upstream.request(method, path, body, kept)
                reply = upstream.getresponse()
                break
            except (ConnectionError, http.client.RemoteDisconnected):
                upstream.close()  # it was idle for too long
                if again:
                    raise
        data = reply.read()
        names = {k: v for k, v in reply.getheaders() if k.lower() not in ("content-length", "connection")}
        head = f"HTTP/1.1 {reply.status} {reply.reason}\r\n" + "".join(
            f"{k}: {v}\r\n" for k, v in names.items())
        if reply.status != 204:
            head += f"Content-Length: {len(data)}\r\n"
        return (head + "\r\n").encode() + data

    def through(self, tls, upstream, *request):
        tls.sendall(self.pass_on(upstream, *request))

    def down(self, tls, upstream, *request):
        raise Gone

    def slow(self, tls, upstream, *request):
        data = self.pass_on(upstream, *request)
        for at in range(0, len(data), len(data) // 3 + 1):
            self.stopping.wait(self.rng.uniform(0.05, 0.4))
            tls.sendall(data[at:at + len(data) // 3 + 1])

    def cut(self, tls, upstream, *request):
        where = self.rng.randrange(4)
        if where == 0:
            raise Gone
        data = self.pass_on(upstream, *request)
        if where < 3:
            tls.sendall(data[:self.rng.randrange(len(data)) if where == 2 else 0])
            raise Gone
        tls.sendall(data)

    def twice(self, tls, upstream, *request):
        data = [self.pass_on(upstream, *request), self.pass_on(upstream, *request)]
        tls.sendall(self.rng.choice(data))

    def answers(self, tls, upstream, *request):
        tls.sendall(self.pass_on(upstream, *request) * 2)

    def late(self, tls, upstream, method, path, headers, body):
        with self.lock:
            hold = path not in self.held
            self.held.add(path)
        data = self.pass_on(upstream, method, path, headers, body)
        if hold:
            self.stopping.wait(self.late_s)
        tls.sendall(data)

    def lie(self, tls, upstream, method, path, headers, body):
        if not path.endswith("/outcomes"):
            return self.through(tls, upstream, method, path, headers, body)
        receipts = [dict(fields(inner))[1] for tag, inner in fields(body) if tag == 5]
        data = number(1, ACKED) + b"".join(field(5, r) for r in receipts)
        self.lied_about += len(receipts)
        return tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.vrs.line\r\n"
                           + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
