"""A small HTTPS client over the standard library: mutual TLS, keep-alive, JSON."""
import http.client
import json
import ssl
import uuid
from urllib.parse import urlsplit


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body) if self.body else None

    @property
    def code(self):
        """The stable code of a problem, or None."""
        return self.json.get("code") if "problem" in self.headers.get("content-type", "") else None

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Client:
    """One terminal: its certificate, one kept connection, after login() its token."""

    def __init__(self, base, ca, cert=None, key=None, timeout=30):
        self.url, self.token, self.timeout = urlsplit(base), None, timeout
        self.tls = ssl.create_default_context(cafile=ca)
        self.tls.check_hostname = True
        if cert:
            self.tls.load_cert_chain(cert, key)
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def request(self, method, path, body=None, headers=None, key=None):
        """`body`: dict or list → JSON, str or bytes as they are.  `key`: Idempotency-Key; True: a
        new one.  A connection that the server has closed meanwhile is opened once more."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body, ensure_ascii=False).encode()
            headers.setdefault("Content-Type", "application/json")
        if self.token:
            headers.setdefault("Authorization", "Bearer " + self.token)
        if key:
            headers["Idempotency-Key"] = str(uuid.uuid4()) if key is True else key
        for again in (False, True):
            fresh = self.connection is None
            if fresh:
                self.connection = http.client.HTTPSConnection(
                    self.url.hostname, self.url.port, context=self.tls, timeout=self.timeout)
            try:
                self.connection.request(method, path, body, headers)
                r = self.connection.getresponse()
                data = r.read()
                if r.will_close:
                    self.close()
                return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, data)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.close()
                if fresh or again:
                    raise
            except OSError:
                self.close()
                raise

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.request("POST", path, body, **kw)

    def login(self, user, password):
        r = self.post("/v1/sessions", {"user_id": user, "password": password})
        if r.status == 201:
            self.token = r.json["token"]
        return r
