#!/usr/bin/env python3
"""The program vrs-number as it runs: socket, uid, limits, sandbox, configuration, a restart."""

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

BUILD = os.environ.get("VRS_BUILD", "build")
PROGRAM = os.path.join(BUILD, "bin", "vrs-number")
UID = 63001
ROOT = os.geteuid() == 0

VERB, ID, MUNICIPALITY, ROW, NUMBER, RIGHT, PURPOSE, USER = range(1, 9)
ERR, TEXT = 10, 11
PUT, MATCH, REVEAL, STATUS = 1, 2, 3, 8


def ok(good, name, why=""):
    print(f"{'ok' if good else 'not ok'} - {name}", flush=True)
    if not good and why != "":
        print(f"# {why}", flush=True)


def field(tag, value):
    if isinstance(value, int):
        value = struct.pack(">Q", value)
    elif isinstance(value, str):
        value = value.encode()
    return bytes([tag]) + struct.pack(">I", len(value)) + value


def exactly(s, n):
    got = b""
    while len(got) < n:
        part = s.recv(n - len(got))
        if not part:
            raise ConnectionError("closed")
        got += part
    return got


def ask(s, *pairs):
    body = b"".join(field(t, v) for t, v in pairs)
    s.sendall(struct.pack(">I", len(body)) + body)
    body = exactly(s, struct.unpack(">I", exactly(s, 4))[0])
    answer = {}
    while body:
        n = struct.unpack(">I", body[1:5])[0]
        answer[body[0]] = body[5:5 + n]
        body = body[5 + n:]
    return answer


class Daemon:
    def __init__(self, home):
        self.home = home
        self.process = None
        self.path = os.path.join(home, "sock", "number.sock")
        self.log = os.path.join(home, "log")
        for name in ("sock", "kek", "state"):
            os.mkdir(os.path.join(home, name), 0o700)
        with open(os.path.join(home, "kek", "kek-numbers"), "wb") as f:
            f.write(os.urandom(32))
        os.chmod(f.name, 0o600)
        if ROOT:
            for name in ("kek/kek-numbers", "kek", "state"):
                os.chown(os.path.join(home, name), UID, UID)
            os.chmod(home, 0o711)

    def configure(self, **changes):
        conf = {"socket": self.path, "state_dir": os.path.join(self.home, "state"),
                "kek_source": "file", "kek_dir": os.path.join(self.home, "kek"),
                "peer_uid": os.geteuid(), "socket_gid": os.getegid(), "max_open": 100,
                "development": True, **({"uid": UID} if ROOT else {}), **changes}
        path = os.path.join(self.home, "number.conf")
        with open(path, "w", encoding="utf-8") as f:
            for key, value in conf.items():
                if value is None:
                    continue
                shown = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else (
                    f'"{value}"' if isinstance(value, str) else str(value))
                f.write(f"{key} = {shown};\n")
        os.chmod(path, 0o644)
        return path

    def run(self, *more, **changes):
        return subprocess.run([PROGRAM, "--config", self.configure(**changes), *more],
                              capture_output=True, text=True, timeout=20, check=False)

    def start(self):
        with open(self.log, "ab") as log:
            at = log.tell()
            self.process = subprocess.Popen([PROGRAM, "--config", self.configure()], stderr=log)
        for _ in range(1000):
            with open(self.log, encoding="utf-8") as log:
                log.seek(at)
                if "daemon.ready" in log.read():
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        with open(self.log, encoding="utf-8") as log:
            raise RuntimeError(log.read())

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(self.path)
        return s

    def proc(self, name):
        with open(f"/proc/{self.process.pid}/{name}", encoding="utf-8") as f:
            return f.read()


def configuration(d):
    r = d.run("--check")
    ok(r.returncode == 0, "a good configuration is accepted", r.stderr)
    r = d.run("--print-config")
    ok(r.returncode == 0 and "peer_uid" in r.stdout and "kek_dir" in r.stdout,
       "the configuration is printed", r.stderr)
    r = d.run(surprise=1)
    ok(r.returncode == 1 and "surprise" in r.stderr, "an unknown key refuses the start", r.stderr)
    for what, changes in (("key file", {"development": False}),
                          ("source", {"kek_source": "paper"}),
                          ("clock file", {"development": False, "clock_file": "/dev/null"}),
                          ("missing key file", {"kek_dir": "/nonexistent"})):
        r = d.run(**changes)
        ok(r.returncode == 1 and ("daemon.failed" in r.stderr or "development only" in r.stderr),
           f"refused: {what}", r.stderr)


def process(d):
    st = os.stat(d.path)
    ok(st.st_mode & 0o7777 == 0o660, "the socket is 0660", oct(st.st_mode))
    status = dict(line.split(":\t", 1) for line in d.proc("status").splitlines() if ":\t" in line)
    if ROOT:
        ok(st.st_uid == UID and st.st_gid == os.getegid(), "the socket has its owners", st)
        ok(status["Uid"].split() == [str(UID)] * 4, "runs under its own uid", status["Uid"])
        ok(status.get("Groups", "").strip() == "", "has no other group", status.get("Groups"))
    ok(status["Threads"] == "1", "has one thread", status["Threads"])
    ok(status["NoNewPrivs"] == "1", "gains no rights", status["NoNewPrivs"])
    if status.get("Seccomp") == "2":
        ok(True, "is under seccomp")
    else:
        print("ok - is under seccomp # SKIP the kernel has none", flush=True)
    core = [line for line in d.proc("limits").splitlines() if line.startswith("Max core file size")]
    ok(core and core[0].split()[4:6] == ["0", "0"], "leaves no core", core)
    if ROOT:
        ok(os.stat(f"/proc/{d.process.pid}/status").st_uid == 0, "is not dumpable")
    modes = {os.path.join(t, n): os.stat(os.path.join(t, n)).st_mode & 0o077
             for t, ds, fs in os.walk(os.path.join(d.home, "state")) for n in ds + fs}
    ok(modes and not any(modes.values()), "its files are its own alone", modes)
    links = [os.readlink(f"/proc/{d.process.pid}/fd/{n}")
             for n in os.listdir(f"/proc/{d.process.pid}/fd")] if ROOT else []
    ok(not any("kek" in link for link in links), "holds no key file open", links)


def main():
    home = tempfile.mkdtemp(prefix="vrs-number-")
    d = Daemon(home)
    try:
        configuration(d)
        d.start()
        s = d.connect()
        row = bytes(range(16))
        put = ((VERB, PUT), (ID, 1), (MUNICIPALITY, "462012"), (ROW, row),
               (NUMBER, "123456789018"), (RIGHT, "resident.register"))
        match = ((VERB, MATCH), (ID, 2), (MUNICIPALITY, "462012"), (NUMBER, "123456789018"),
                 (RIGHT, "inquire"), (PURPOSE, "transfer_in"))
        ok(ask(s, *put)[ERR] == b"ok", "a number is put")
        answer = ask(s, *match)
        ok(answer[ERR] == b"ok" and answer[ROW] == row, "and matched", answer)
        text = ask(s, (VERB, STATUS), (ID, 3))[TEXT].decode()
        facts = dict(line.split("=", 1) for line in text.splitlines())
        ok(facts.get("dumpable") == "0" and facts.get("matches_total") == "1"
           and facts.get("journal_mode") == "wal", "status tells what matters", text)
        process(d)
        ok(d.stop(signal.SIGKILL) != 0, "killed")
        d.start()
        s = d.connect()
        answer = ask(s, *match)
        ok(answer[ERR] == b"ok" and answer[ROW] == row, "it is there after a kill", answer)
        ok(d.stop() == 0, "SIGTERM ends it well")
        with open(d.log, encoding="utf-8") as log:
            said = log.read()
        ok("123456789018" not in said and row.hex() not in said, "the log names no number, no row")
    except (OSError, RuntimeError, KeyError) as e:
        ok(False, "runs to the end", repr(e))
    finally:
        if d.process is not None and d.process.poll() is None:
            d.process.kill()
            d.process.wait()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
