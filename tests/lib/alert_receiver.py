"""A receiver of alerts that can be made to fail, and what the journal says; for the cases that
provoke alerts on running daemons."""
import hashlib
import hmac
import http.server
import json
import threading
import time

from case import free_port

SECRET = b"a-secret-that-only-the-tests-know"


class Receiver:
    """Takes POSTs on a loopback port.  `mode`: "ok", "error" (500), "slow" (2 s, then ok).
    down() closes the port, up() opens it again.  `got`: every alert taken, with `heard_at`."""

    def __init__(self):
        self.got, self.calls, self.bad_signatures, self.mode = [], 0, 0, "ok"
        self.lock, self.port, self.server = threading.Lock(), free_port(), None
        self.up()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/alerts"

    def up(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                want = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
                with receiver.lock:
                    receiver.calls += 1
                    mode = receiver.mode
                    receiver.bad_signatures += self.headers.get("X-VRS-Signature") != want
                if mode == "slow":
                    time.sleep(2)
                if mode != "error":
                    with receiver.lock:
                        for alert in json.loads(body)["alerts"]:
                            receiver.got.append(dict(alert, heard_at=time.monotonic()))
                self.send_response(500 if mode == "error" else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()

    def of(self, rule, subject="", kind=None):
        """The alerts of a rule whose subject holds `subject`."""
        with self.lock:
            return [a for a in self.got if a["rule"] == rule and subject in a["subject"]
                    and kind in (None, a["kind"])]


def overrides(receiver, secret_file):
    """What vrs-server's configuration needs on top."""
    return {"alert_webhook_url": receiver.url, "alert_webhook_secret_file": secret_file,
            "alert_mail_to": "ops@example.jp"}


def journal(stack, event="alert.raised"):
    """The alert lines of vrs-server's journal."""
    found = []
    with open(stack.path("log", "vrs-server.log"), errors="replace") as f:
        for line in f:
            if f'"event":"{event}"' in line:
                entry = json.loads(line)
                if entry["event"] == event:
                    found.append(entry)
    return found
