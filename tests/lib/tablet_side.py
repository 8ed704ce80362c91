"""A tablet-api of one's own on loopback, and a stand-in for the inside at the other end of its line.

The stand-in cannot open what is sealed (it has no key): it settles receipts as it is told. Only the
Python standard library, openssl for certificates and libargon2 for password hashes."""

import base64
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "dev"))
from ports import free_port  # noqa: E402

BUILD = os.environ.get("VRS_BUILD", os.path.join(ROOT, "build"))

PULL, PULLED, OUTCOMES, ACKED, ANSWERS, REPLAY = range(1, 7)
OUTCOME = {name: number for number, name in enumerate(
    ["pending", "recorded", "recorded_for_review", "waiting_for_coupon", "conflict", "duplicate",
     "cancelled", "cancel_refused", "noted"])}
DOSE, CANCEL, EVENT = 1, 2, 3


# ---- certificates and keys


def openssl(*argv, **more):
    return subprocess.run(["openssl", *argv], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, **more).stdout


class Pki:
    """Authorities and certificates below one folder."""

    def __init__(self, folder):
        self.folder = folder
        self.made = {}  # client certificates: name → (authority, subject)
        os.makedirs(folder, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def key(self, name):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-out", self.path(name + ".key"))

    def ca(self, name):
        self.key(name)
        openssl("req", "-x509", "-new", "-key", self.path(name + ".key"), "-days", "30",
                "-subj", f"/CN={name}", "-out", self.path(name + ".pem"))

    def cert(self, ca, name, subject, san=None, days=30):
        """CN, O, OU in `subject`; with `san` a server's, else a client's. days < 0: expired."""
        if not san:
            self.made[name] = (ca, dict(part.split("=", 1) for part in subject[1:].split("/")))
        self.key(name)
        openssl("req", "-new", "-key", self.path(name + ".key"), "-subj", subject,
                "-out", self.path(name + ".csr"))
        extensions = self.path(name + ".ext")
        with open(extensions, "w", encoding="ascii") as out:
            usage = "serverAuth" if san else "clientAuth"
            out.write(f"basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n")
            if san:
                out.write(f"subjectAltName={san}\n")
        openssl("x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.path(ca + ".pem"),
                "-CAkey", self.path(ca + ".key"), "-set_serial", str(uuid.uuid4().int >> 8),
                "-days", str(days), "-extfile", extensions, "-out", self.path(name + ".pem"))

    def serial(self, name):
        return openssl("x509", "-in", self.path(name + ".pem"), "-noout",
                       "-serial").decode().strip().split("=")[1]

    def fingerprint(self, name):
        text = openssl("x509", "-in", self.path(name + ".pem"), "-noout", "-fingerprint",
                       "-sha256").decode().strip().split("=")[1]
        return text.replace(":", "").lower()


def public_bytes(key_file):
    return openssl("pkey", "-in", key_file, "-pubout", "-outform", "DER")[-32:]


def password_hash(password):
    lib = ctypes.CDLL("libargon2.so.1")
    number32, size = ctypes.c_uint32, ctypes.c_size_t
    lib.argon2id_hash_encoded.argtypes = [number32, number32, number32, ctypes.c_char_p, size,
                                          ctypes.c_char_p, size, size, ctypes.c_char_p, size]
    out = ctypes.create_string_buffer(256)
    salt = os.urandom(16)
    secret = password.encode()
    if lib.argon2id_hash_encoded(2, 19456, 1, secret, len(secret), salt, 16, 32, out, 256) != 0:
        raise RuntimeError("argon2")
    return out.value.decode()


# ---- the wire


def field(tag, data):
    return struct.pack(">BI", tag, len(data)) + data


def number(tag, value):
    return field(tag, struct.pack(">q" if value < 0 else ">Q", value))


def fields(data):
    at = 0
    while at < len(data):
        tag, size = struct.unpack_from(">BI", data, at)
        yield tag, data[at + 5:at + 5 + size]
        at += 5 + size


def u64(data):
    return struct.unpack(">Q", data)[0]


def read_pulled(body):
    head, entries, queries = {}, [], []
    for tag, data in fields(body):
        if tag == 1:
            assert u64(data) == PULLED
        inner = dict(fields(data)) if tag > 1 else {}
        if tag == 2:
            head = {"version": u64(inner[1]), "depth": u64(inner[2]), "oldest_ms": u64(inner[3])}
        elif tag == 3:
            entries.append({"seq": u64(inner[1]), "kind": u64(inner[3]), "receipt": inner[4],
                            "municipality": inner[5].decode(), "sealed": inner[7]})
        elif tag == 4:
            queries.append({"id": u64(inner[1]), "municipality": inner[2].decode(),
                            "from": inner.get(3, b"").decode(), "kind": u64(inner[5])})
    return head, entries, queries


# ---- HTTP


class Answer:
    def __init__(self, reply):
        self.status = reply.status
        self.headers = reply.headers
        self.body = reply.read()

    def json(self):
        return json.loads(self.body)

    def get(self, name, default=None):
        return self.json().get(name, default)


def request(connection, method, path, body=None, headers=None):
    if isinstance(body, (dict, list)):
        body = json.dumps(body, ensure_ascii=False).encode()
    connection.request(method, path, body=body, headers=headers or {})
    return Answer(connection.getresponse())


# ---- the daemon


class TabletSide:
    """One state folder with its certificates; start, kill and start again as often as needed."""

    def __init__(self, program=None, folder=None, state=None, **config):
        self.program = program or os.path.join(BUILD, "bin", "tablet-api")
        self.folder = folder or tempfile.mkdtemp(prefix="vrs-tablet-")
        self.state = state or os.path.join(self.folder, "state")
        os.makedirs(self.state, exist_ok=True)
        self.pki = Pki(os.path.join(self.folder, "pki"))
        self.process = None
        self.version = 0
        self.users = []
        self.revoked = []
        self.systems = []
        self.unregistered = set()
        self.serials = {}
        self.max_age_s = 86400
        self.made_at = None
        for ca in ("ca", "tablet-ca", "line-ca", "other-ca"):
            self.pki.ca(ca)
        self.pki.cert("ca", "server", "/CN=tablet-api", "IP:127.0.0.1,DNS:localhost")
        self.pki.cert("line-ca", "line-server", "/CN=line", "IP:127.0.0.1")
        self.pki.cert("line-ca", "inside", "/CN=vrs-server/OU=line")
        self.pki.cert("line-ca", "not-inside", "/CN=somebody/OU=tablet")
        self.pki.cert("tablet-ca", "tablet-1", "/CN=tablet-1/O=131032/OU=tablet")
        self.pki.cert("tablet-ca", "tablet-2", "/CN=tablet-2/O=462012/OU=tablet")
        self.pki.cert("tablet-ca", "lost", "/CN=tablet-lost/OU=tablet")
        self.pki.cert("tablet-ca", "old", "/CN=tablet-old/OU=tablet", days=-1)
        self.pki.cert("tablet-ca", "reader", "/CN=reader-1/OU=reader")
        self.pki.cert("other-ca", "foreign", "/CN=tablet-1/OU=tablet")
        self.sign_key = self.pki.path("sign.key")
        self.inbox_key = self.pki.path("inbox.key")
        openssl("genpkey", "-algorithm", "ED25519", "-out", self.sign_key)
        openssl("genpkey", "-algorithm", "X25519", "-out", self.inbox_key)
        ports = [free_port() for _ in range(4)]
        self.terminals, self.public, self.line, self.admin = ports
        self.config = {
            "terminals_address": "127.0.0.1", "terminals_port": self.terminals,
            "public_address": "127.0.0.1", "public_port": self.public,
            "line_address": "127.0.0.1", "line_port": self.line,
            "admin_address": "127.0.0.1", "admin_port": self.admin,
            "state_dir": self.state, "data_dir": os.path.join(ROOT, "data"),
            "cert_file": self.pki.path("server.pem"), "key_file": self.pki.path("server.key"),
            "terminal_ca_file": self.pki.path("tablet-ca.pem"),
            "line_cert_file": self.pki.path("line-server.pem"),
            "line_key_file": self.pki.path("line-server.key"),
            "line_ca_file": self.pki.path("line-ca.pem"),
            "snapshot_key": public_bytes(self.sign_key).hex(), "development": True,
            "again_window_s": 0,  # what a test repeats at once is meant
            **config}

    def write_config(self):
        path = os.path.join(self.folder, "tablet-api.conf")
        with open(path, "w", encoding="utf-8") as out:
            for name, value in self.config.items():
                text = ("true" if value else "false") if isinstance(value, bool) \
                    else str(value) if isinstance(value, int) else f'"{value}"'
                out.write(f"{name} = {text};\n")
        return path

    def start(self, wrapper=(), wait=True, env=None):
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(
            [*wrapper, self.program, "--config", self.write_config()], stdout=self.log,
            stderr=self.log, env={**os.environ, **(env or {})})
        if wait:
            self.wait_alive()

    def wait_alive(self, seconds=20):
        """Until the admin listener answers: then all listeners are open."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                if self.admin_get("/healthz").status == 200:
                    return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("tablet-api did not start: " + self.log_text()[-2000:])

    def log_text(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        status = self.process.wait(30)
        self.process = None
        self.log.close()
        return status

    def stop(self):
        if self.process is not None:
            self.kill(signal.SIGTERM)

    def close(self):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- connections

    def tls(self, cert=None):
        context = ssl.create_default_context(cafile=self.pki.path("ca.pem"))
        if cert:
            context.load_cert_chain(self.pki.path(cert + ".pem"), self.pki.path(cert + ".key"))
        return context

    def terminal(self, cert="tablet-1", timeout=20):
        return http.client.HTTPSConnection("127.0.0.1", self.terminals, context=self.tls(cert),
                                           timeout=timeout)

    def public_connection(self):
        return http.client.HTTPSConnection("127.0.0.1", self.public, context=self.tls(),
                                           timeout=10)

    def line_connection(self, cert="inside", timeout=70):
        context = ssl.create_default_context(cafile=self.pki.path("line-ca.pem"))
        context.load_cert_chain(self.pki.path(cert + ".pem"), self.pki.path(cert + ".key"))
        return http.client.HTTPSConnection("127.0.0.1", self.line, context=context,
                                           timeout=timeout)

    def admin_get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        try:
            return request(connection, "GET", path)
        finally:
            connection.close()

    def metric(self, name):
        for row in self.admin_get("/metrics").body.decode().splitlines():
            if row.startswith(name + " ") or row.startswith(name + "{"):
                return float(row.rsplit(" ", 1)[1])
        return None

    def login(self, user="site-1", password="correct horse", cert="tablet-1"):
        connection = self.terminal(cert)
        answer = request(connection, "POST", "/v1/sessions",
                         {"user_id": user, "password": password})
        assert answer.status == 201, answer.body
        return Client(connection, answer.get("token"))

    # -- the snapshot

    def registered(self):
        """Every certificate of the terminals' authority, open to whoever logs in."""
        return [{"serial": self.serial_of(name), "name": subject["CN"],
                 "kind": subject.get("OU", ""), "municipality_code": subject.get("O", ""),
                 "binding": "none"}
                for name, (ca, subject) in self.pki.made.items()
                if ca == "tablet-ca" and name not in self.unregistered]

    def serial_of(self, name):
        if name not in self.serials:
            self.serials[name] = self.pki.serial(name)
        return self.serials[name]

    def add_user(self, user="site-1", password="correct horse", **more):
        self.users.append({"user_id": user, "password_hash": password_hash(password),
                           "roles": ["site_staff"], **more})

    def snapshot(self, **changes):
        self.version += 1
        made = self.made_at or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = json.dumps({"version": self.version, "made_at": made, "max_age_s": self.max_age_s,
                           "inbox_key": base64.b64encode(public_bytes(self.inbox_key)).decode(),
                           "users": self.users, "revoked": self.revoked,
                           "terminals": self.registered(),
                           "system_clients": self.systems, **changes}, ensure_ascii=False)
        return self.sign(text)

    def sign(self, text):
        path = os.path.join(self.folder, "to-sign")
        with open(path, "wb") as out:
            out.write(text.encode())
        signature = openssl("pkeyutl", "-sign", "-inkey", self.sign_key, "-rawin", "-in", path)
        return {"signature": base64.b64encode(signature).decode(), "snapshot": text}


class Client:
    """A terminal's connection with a session."""

    def __init__(self, connection, token):
        self.connection = connection
        self.token = token

    def call(self, method, path, body=None, key=None, **headers):
        sent = {"Authorization": "Bearer " + self.token} if self.token else {}
        if key:
            sent["Idempotency-Key"] = key
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        return request(self.connection, method, path, body, sent)

    def dose(self, body, key=None, **headers):
        return self.call("POST", "/v1/doses", body, key or str(uuid.uuid4()), **headers)


class Inside:
    """Pulls and settles in a thread; `judge(entry)` names the outcome (None: leaves it pending)."""

    def __init__(self, side, judge=None, answer=None):
        self.side = side
        self.judge = judge or (lambda entry: "noted" if entry["kind"] == EVENT else "cancelled"
                               if entry["kind"] == CANCEL else "recorded")
        self.answer = answer or (lambda query: 1)
        self.seen = []
        self.queries = []
        self.after = 0
        self.stopping = False
        self.trouble = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(30)
        if self.trouble:
            raise self.trouble

    def post(self, connection, path, body):
        answer = request(connection, "POST", "/line/v1/" + path, body,
                         {"Content-Type": "application/vnd.vrs.line"})
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.body!r}")
        return answer.body

    def push(self, snapshot, connection=None):
        return request(connection or self.side.line_connection(), "PUT", "/line/v1/snapshot",
                       snapshot)

    def pull(self, connection, after=0, most=1000, wait_ms=0):
        body = number(1, PULL) + field(2, number(1, after) + number(2, most) + number(3, wait_ms))
        return read_pulled(self.post(connection, "pull", body))

    def replay(self, connection, municipality, after=0, most=1000):
        body = number(1, REPLAY) + field(
            2, field(1, municipality.encode()) + number(2, after) + number(3, most))
        return read_pulled(self.post(connection, "replay", body))

    def settle(self, connection, results):
        """(receipt, outcome name, dose id, warnings) …; returns the receipts that are durable."""
        body = number(1, OUTCOMES)
        for receipt, outcome, dose_id, warnings in results:
            body += field(5, field(1, receipt) + number(2, OUTCOME[outcome])
                          + field(3, dose_id.encode()) + field(4, warnings.encode()))
        reply = self.post(connection, "outcomes", body)
        return [data for tag, data in fields(reply) if tag == 5]

    def run(self):
        try:
            connection = self.side.line_connection()
            while not self.stopping:
                _, entries, queries = self.pull(connection, self.after, wait_ms=100)
                self.work(connection, entries, queries)
        except Exception as e:  # pylint: disable=broad-except
            if not self.stopping:
                self.trouble = e

    def work(self, connection, entries, queries):
        results = []
        for entry in entries:
            self.after = max(self.after, entry["seq"])
            self.seen.append(entry)
            outcome = self.judge(entry)
            if isinstance(outcome, str):
                outcome = (outcome, entry["receipt"].hex() if outcome == "recorded" else "", "")
            if outcome:
                results.append((entry["receipt"], *outcome))
        if results:
            self.settle(connection, results)
        for query in queries:
            self.queries.append(query)
            status = self.answer(query)
            if status:
                self.post(connection, "answers",
                          number(1, ANSWERS) + field(5, number(1, query["id"])
                                                     + number(2, status)))


def check_digit(code5):
    r = sum(int(d) * w for d, w in zip(code5, (6, 5, 4, 3, 2))) % 11
    return str((11 - r) % 10 if r > 1 else 1 - r)


def coupon(n, municipality="131032", dose=1, kind=2):
    return f"{kind}{dose}{municipality}{n:010d}"


def dose(n=1, **changes):
    body = {"ocr_line": coupon(n), "status": "given", "vaccinated_on": "2021-07-01",
            "product": "comirnaty", "lot": "FF3620", "site": "港区スポーツセンター",
            "read_by": "ocr"}
    body.update(changes)
    return {name: value for name, value in body.items() if value is not None}


# ---- counting


class Tap:
    def __init__(self):
        self.failed = 0

    def ok(self, good, name, why=""):
        print(("ok - " if good else "not ok - ") + name, flush=True)
        if not good:
            self.failed += 1
            if why:
                print("# " + str(why).replace("\n", "\n# "), flush=True)
        return good

    def equal(self, got, want, name):
        return self.ok(got == want, name, f"got {got!r}, wanted {want!r}")
