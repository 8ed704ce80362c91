"""C144: imports go through a virus scanner (clamd's INSTREAM): a finding refuses the file, a scanner
that is away, hangs up or does not understand refuses the import, and both raise alerts."""
import hashlib
import os
import socket
import struct
import tempfile
import threading

from alert_receiver import journal
from case import MINATO, Import, equal, logged, ok, problem, resident, residents_csv, run, until

EICAR = r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class Clamd:
    """As much of clamd as a stream needs.  `mode`: "scan", "hang up", "error"."""

    def __init__(self, path):
        self.path, self.mode, self.seen, self.socket = path, "scan", [], None
        self.up()

    def up(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)
        self.socket.listen(8)
        threading.Thread(target=self.serve, args=(self.socket,), daemon=True).start()

    def down(self):
        os.unlink(self.path)
        self.socket.close()

    def serve(self, listener):
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        with c, c.makefile("rb") as stream:
            if stream.read(len(b"zINSTREAM\0")) != b"zINSTREAM\0":
                return
            data = b""
            while True:
                head = stream.read(4)
                if len(head) < 4:
                    return
                n = struct.unpack(">I", head)[0]
                if n == 0:
                    break
                data += stream.read(n)
                if self.mode == "hang up":
                    return
            self.seen.append(hashlib.sha256(data).hexdigest())
            if self.mode == "error":
                c.sendall(b"INSTREAM size limit exceeded. ERROR\0")
            elif EICAR.encode() in data:
                c.sendall(b"stream: Eicar-Signature FOUND\0")
            else:
                c.sendall(b"stream: OK\0")


def main(stack):
    c = stack.staff(MINATO)
    ok(len(clamd.seen) >= 3, "C144 the residents of the demonstration went through the scanner",
       clamd.seen)
    # larger than a part, so that the finding stands across two of them
    rows = [resident(MINATO, f"9{i:09d}", f"6{i:09d}") for i in range(700)]
    clean = residents_csv(rows)
    pad = (1 << 16) - 20
    at = clean.index(b"\r\n", pad - 200) + 2
    done = Import(c, "residents", clean).check()
    equal(done.state["state"], "checked", "C144 a clean file is checked")
    ok(hashlib.sha256(clean).hexdigest() in clamd.seen, "C144 the scanner saw every byte of it")
    equal(done.phase("commit").state["state"], "committed", "C144 and committed")
    infected = clean[:at] + b'"' + EICAR.encode() + b'"' + b"," * 12 + b"\r\n" + clean[at:]
    found = Import(c, "residents", infected).check()
    equal((found.state["state"], (found.state.get("error") or {}).get("code")), ("refused", "F011"),
          "C144 a finding refuses the file")
    ok(until(lambda: any(a["rule"] == "malware_found" and a["subject"] == MINATO
                         for a in journal(stack)), 20), "C144 C140: and raises malware_found")
    equal(found.phase("commit").answer.status, 409, "C144 what was refused cannot be committed")
    with open(stack.path("log", "vrs-server.log")) as f:
        ok("Eicar-Signature" in f.read(), "C144 the journal names the finding")
    clamd.down()
    waiting = Import(c, "residents", residents_csv([resident(MINATO, "8800000001", "6800000001")]))
    problem(c.post(waiting.url + ":check"), 503, "scanner_away",
            "C144 a scanner that is away refuses the import")
    equal(waiting.look()["state"], "received", "C144 the file waits")
    ok(until(lambda: any(a["rule"] == "scanner_away" for a in journal(stack)), 20),
       "C144 C140: and scanner_away is raised")
    for mode in ("hang up", "error"):
        clamd.mode = mode
        if not os.path.exists(clamd.path):
            clamd.up()
        before = logged(stack, "import.stopped")
        c.post(waiting.url + ":check")
        ok(until(lambda: logged(stack, "import.stopped") > before) and waiting.look()["state"] != "checked", f"C144 a scanner that answers with {mode} checks nothing",
           waiting.state)
    clamd.mode = "scan"
    equal(waiting.commit().state["state"], "committed", "C144 when it is back the import goes on")
    ok(until(lambda: journal(stack, "alert.over"), 20), "C144 C140: and the alert is over")


work = tempfile.TemporaryDirectory(prefix="vrs-clamd-")
os.chmod(work.name, 0o755)
clamd = Clamd(os.path.join(work.name, "clamd.sock"))
run(main, count=20, overrides={"vrs-server": {"import_scanner_socket": clamd.path}})
