"""The whole stack on loopback under a small supervisor: `make run`, and what the demo and the tests
start.  State lives in run/ (or $VRS_HOME) and survives.

    python3 dev/stack.py run
"""
import datetime
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "dev"))
import residents  # noqa: E402
from client import Client  # noqa: E402
from ports import free_port  # noqa: E402

TOWNS = {"131032": "minato", "142051": "fujisawa", "462012": "kagoshima"}
ORDER = ["vrs-number", "vrs-signer", "tablet-api", "vrs-server"]  # started in this order, stopped in reverse
OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"
PORTS = {"terminals": (OUTSIDE, 8443), "public": (OUTSIDE, 8444), "line": (OUTSIDE, 8445), "reader": (OUTSIDE, 8446),
         "tablet_admin": (OUTSIDE, 9100), "lgwan": (INSIDE, 9443), "inside_admin": (INSIDE, 9100)}
# What the demonstration's people apply for: an application names its rights one by one.
RIGHTS = {
    "municipal_staff": "resident.read resident.register dose.read dose.correct inquire inquire.bulk number.search "
                       "number.reveal certificate export erase provision.read statistics log.read",
    "municipal_approver": "resident.read dose.read provision.read statistics user.approve inquiry.approve "
                          "export.approve erase.approve terminal.manage setting.manage log.read log.review log.proof"}
UIDS = {"vrs-number": 63001, "vrs-server": 63002, "tablet-api": 63003,
        "vrs-signer": 63004}
SOCKETS = {"vrs-number": "number.sock", "vrs-signer": "signer.sock"}  # below sock/


class StackError(Exception):
    pass


def others_may_pass(path):
    """Every folder above is passable by another uid (0711 or wider)."""
    path = os.path.abspath(path)
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            return False
    return True


def listens(pid, socket_path):
    """Does the program take connections there?  A path alone comes before that.  (Asked of the kernel:
    a try would be a stranger's connection, which the program would tell of.)"""
    accepting = 0x10000
    with open(f"/proc/{pid}/net/unix") as f:
        rows = [line.split() for line in f][1:]
    return any(row[7:] == [socket_path] and int(row[3], 16) & accepting for row in rows)


class Stack:
    """`build`: folder of the programs; `count`: residents a town; `fixed_ports`: try the usual ones
    first; `overrides`: {program: {key: value}} for the configuration files; `valid_from`: first day
    (YYYY-MM-DD) of certificates, for a run whose clock is set back."""

    def __init__(self, home, build=None, count=20000, fixed_ports=False, overrides=None, say=print,
                 valid_from=""):
        self.home = os.path.abspath(home)
        self.build = build or os.environ.get("VRS_BUILD") or os.path.join(ROOT, "build")
        self.count, self.fixed_ports, self.say = count, fixed_ports, say
        self.overrides, self.valid_from = overrides or {}, valid_from
        self.processes, self.ports, self.stopping, self.lock = {}, {}, False, None
        self.chiefs = {}  # who approves applications: a client a municipality
        self.separate = os.geteuid() == 0 and others_may_pass(self.home) and others_may_pass(ROOT)

    # --- files ---

    def path(self, *parts):
        return os.path.join(self.home, *parts)

    def app(self):
        """The tablet app as built; none where it was not."""
        folder = os.path.join(self.build, "app")
        return folder if os.path.exists(os.path.join(folder, "index.html")) else ""

    def program(self, name):
        return os.path.join(self.build, "bin", name)

    @property
    def control(self):
        return self.path("vrs-server", "control.sock")

    def vrsctl(self, *words, secret=None):
        r = subprocess.run([self.program("vrsctl"), *words], input=secret, capture_output=True,
                           text=True)
        if r.returncode != 0:
            raise StackError(f"vrsctl {words[2] if len(words) > 2 else words}: {r.stderr}{r.stdout}")
        return r.stdout

    def command(self, verb, **values):
        secret = values.pop("password", None)
        words = [f"{k}={v}" for k, v in values.items()] + (["password=-"] if secret else [])
        return json.loads(self.vrsctl("-s", self.control, verb, *words,
                                      secret=secret + "\n" if secret else None))

    @property
    def log_keys(self):
        return self.path("pki", "log.pub")

    def write_log_keys(self):
        """The log's public keys, for whoever checks proofs; again after vrs-signer got another."""
        with open(self.log_keys + ".new", "w") as f:
            for path in sorted(glob.glob(self.path("signer-keys", "log-*.pub"))):
                f.write(open(path).read().strip() + "\n")
        os.chmod(self.log_keys + ".new", 0o644)
        os.rename(self.log_keys + ".new", self.log_keys)

    def make_files(self):
        if os.path.exists(self.path("pki", "ca.pem")):
            if not os.path.exists(self.path("signer-keys")):  # made before there was vrs-signer
                self.vrsctl("signer.init", self.home)
                if self.separate:
                    self.give_away()
            if not os.path.exists(self.path("pki", "allow-list.pub")):
                self.vrsctl("allow-list.init", self.home)
                self.sign_allow_list(os.path.join(ROOT, "data", "allow_list.json"))
            return
        os.makedirs(self.home, exist_ok=True)
        self.vrsctl("init", self.home, f"server={OUTSIDE},localhost", f"inside={INSIDE}",
                    f"valid_from={self.valid_from}")
        self.sign_allow_list(os.path.join(ROOT, "data", "allow_list.json"))
        if self.separate:
            self.give_away()

    def sign_allow_list(self, path):
        """The list as vrs-server reads it; the demonstration plays its authority, too."""
        signed = self.vrsctl("allow-list.sign", path, self.path("pki", "allow-list.key"))
        with open(self.path("vrs-server", "allow-list.json"), "w") as f:
            f.write(signed)
        os.chmod(self.path("vrs-server", "allow-list.json"), 0o600)

    def give_away(self):
        """Each program's folders and keys to its own uid; passable where it must pass."""
        os.chmod(self.home, 0o711)
        for folder in ("pki", "sock", "etc"):
            os.chmod(self.path(folder), 0o711)
        owners = {"vrs-number": ["vrs-number", "kek-number"],
                  "vrs-signer": ["vrs-signer", "signer-keys"],
                  "vrs-server": ["vrs-server", "kek", "pki/vrs-server.key", "pki/line-client.key",
                                 "pki/inbox.key", "pki/snapshot.key"],
                  "tablet-api": ["tablet-api", "pki/tablet-api.key", "pki/line-server.key"]}
        for name, paths in owners.items():
            for top in paths:
                top = self.path(top)
                below = [os.path.join(d, f) for d, ds, fs in os.walk(top) for f in ds + fs]
                for path in [top] + below:
                    os.chown(path, UIDS[name], UIDS[name])
        for cert in glob.glob(self.path("pki", "*.pem")) + [
                self.path("pki", "snapshot.pub"), self.path("pki", "allow-list.pub")]:
            os.chmod(cert, 0o644)

    def configurations(self):
        pki, data = self.path("pki"), os.path.join(ROOT, "data")
        clock = self.path("clock")
        if not os.path.exists(clock):
            with open(clock, "w") as f:
                f.write("0\n")
            os.chmod(clock, 0o644)
        p = self.ports
        common = {"development": True, "clock_file": clock}
        confs = {
            "vrs-number": {
                "socket": self.path("sock", "number.sock"), "state_dir": self.path("vrs-number"),
                "kek_source": "file", "kek_dir": self.path("kek-number"),
                "peer_uid": UIDS["vrs-server"] if self.separate else os.geteuid(),
                "socket_gid": UIDS["vrs-server"] if self.separate else -1},
            "vrs-signer": {
                "socket": self.path("sock", "signer.sock"), "state_dir": self.path("vrs-signer"),
                "keys_dir": self.path("signer-keys"),
                "peer_uid": UIDS["vrs-server"] if self.separate else os.geteuid(),
                "socket_gid": UIDS["vrs-server"] if self.separate else -1},
            "tablet-api": {
                "terminals_address": OUTSIDE, "terminals_port": p["terminals"],
                "public_address": OUTSIDE, "public_port": p["public"],
                "line_address": OUTSIDE, "line_port": p["line"], "admin_address": OUTSIDE,
                "reader_address": OUTSIDE, "reader_port": p["reader"],
                "admin_port": p["tablet_admin"], "forbidden_addresses": INSIDE,
                "state_dir": self.path("tablet-api"), "data_dir": data, "app_dir": self.app(),
                "cert_file": f"{pki}/tablet-api.pem", "key_file": f"{pki}/tablet-api.key",
                "terminal_ca_file": f"{pki}/ca-tablets.pem",
                "line_cert_file": f"{pki}/line-server.pem",
                "line_key_file": f"{pki}/line-server.key", "line_ca_file": f"{pki}/ca-line.pem",
                "snapshot_key": open(f"{pki}/snapshot.pub").read().strip()},
            "vrs-server": {
                "lgwan_address": INSIDE, "lgwan_port": p["lgwan"], "forbidden_addresses": OUTSIDE,
                "admin_address": INSIDE, "admin_port": p["inside_admin"],
                "state_dir": self.path("vrs-server"), "data_dir": data, "kek_source": "file",
                "kek_dir": self.path("kek"), "cert_file": f"{pki}/vrs-server.pem",
                "key_file": f"{pki}/vrs-server.key", "terminal_ca_file": f"{pki}/ca-lgwan.pem",
                "allow_list_file": self.path("vrs-server", "allow-list.json"),
                "allow_list_key": open(f"{pki}/allow-list.pub").read().strip(),
                "tablet_ca_file": f"{pki}/ca-tablets.pem",
                "line_url": f"https://{OUTSIDE}:{p['line']}", "line_ca_file": f"{pki}/ca-line.pem",
                "line_cert_file": f"{pki}/line-client.pem",
                "line_key_file": f"{pki}/line-client.key", "inbox_key_file": f"{pki}/inbox.key",
                "snapshot_key_file": f"{pki}/snapshot.key",
                "number_socket": self.path("sock", "number.sock"),
                "signer_socket": self.path("sock", "signer.sock")}}
        for name, conf in confs.items():
            conf.update(common, **self.overrides.get(name, {}))
            if self.separate:
                conf["uid"] = UIDS[name]
            with open(self.path("etc", name + ".conf"), "w") as f:
                for key, value in conf.items():
                    text = json.dumps(value, ensure_ascii=False)
                    big = isinstance(value, int) and value > 2**31
                    f.write(f"{key} = {text}{'L' if big else ''};\n")
            os.chmod(self.path("etc", name + ".conf"), 0o644)

    def claim(self):
        """One stack a folder, and none in a folder with other things in it.  What a first start
        that was cut off has left is removed: nobody has used it yet.  True: a first start."""
        os.makedirs(self.home, exist_ok=True)
        self.lock = os.open(self.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unclaim()
            raise StackError(f"a stack is running in {self.home} already; another one needs "
                             "another folder: VRS_HOME=/some/folder make run") from None
        if os.path.exists(self.path("demo.json")):
            return False
        begun, there = self.path("first-start"), os.listdir(self.home)
        if there and not os.path.exists(begun):
            self.unclaim()
            raise StackError(f"{self.home} holds other things, or a stack without its demo.json; "
                             "nothing was touched. Name an empty folder or remove it yourself")
        for name in set(there) - {"first-start"}:
            path = self.path(name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        open(begun, "w").close()
        return True

    def unclaim(self):
        if self.lock is not None:
            os.close(self.lock)
        self.lock = None

    # --- processes ---

    def start_one(self, name):
        if name in SOCKETS and os.path.exists(self.path("sock", SOCKETS[name])):
            os.unlink(self.path("sock", SOCKETS[name]))  # a stale one would look ready
        log = open(self.path("log", name + ".log"), "ab")
        env = dict(os.environ, VRS_DIE_WITH_PARENT="1")
        self.processes[name] = subprocess.Popen(
            [self.program(name), "--config", self.path("etc", name + ".conf")], stdout=log,
            stderr=log, stdin=subprocess.DEVNULL, env=env, start_new_session=True)
        log.close()
        os.makedirs(self.path("pids"), exist_ok=True)
        with open(self.path("pids", name), "w") as f:
            f.write(str(self.processes[name].pid))

    def admin(self, side):
        address, port = {"tablet_api": (OUTSIDE, self.ports["tablet_admin"]),
                         "vrs_server": (INSIDE, self.ports["inside_admin"])}[side]
        return f"http://{address}:{port}"

    def is_ready(self, name):
        if self.processes[name].poll() is not None:
            return False
        if name in SOCKETS:
            return listens(self.processes[name].pid, self.path("sock", SOCKETS[name]))
        side = name.replace("-", "_")
        try:
            with urllib.request.urlopen(self.admin(side) + "/readyz", timeout=2) as r:
                return r.status == 200
        except OSError:
            return False

    def wait_ready(self, name, seconds=30):
        end = time.monotonic() + seconds
        while not self.is_ready(name):
            died = self.processes[name].poll() is not None
            if died or time.monotonic() > end:
                raise StackError(f"{name} {'ended' if died else 'is not ready'}:\n{self.tail(name)}")
            time.sleep(0.02)

    def tail(self, name, lines=12):
        with open(self.path("log", name + ".log"), errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def start(self):
        if self.lock is None:
            self.claim()
        self.make_files()
        self.write_log_keys()
        self.ports = {n: free_port(a, p if self.fixed_ports else 0) for n, (a, p) in PORTS.items()}
        self.configurations()
        for name in ORDER:
            self.start_one(name)
            self.wait_ready(name)
        if not os.path.exists(self.path("demo.json")):
            self.fill()
        else:
            self.write_demo(json.load(open(self.path("demo.json"))))
        return self

    def kill(self, name, how=signal.SIGKILL):
        p = self.processes[name]
        p.send_signal(how)
        p.wait()

    def restart(self, name):
        self.start_one(name)
        self.wait_ready(name)

    def stop(self):
        self.stopping = True
        for name in reversed(ORDER):
            p = self.processes.get(name)
            if p and p.poll() is None:
                p.terminate()
                try:
                    p.wait(10)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
        self.unclaim()

    def supervise(self):
        """Restarts what ends, at first at once, then more slowly; until stop()."""
        since, delay, due = {n: time.monotonic() for n in ORDER}, {}, {}
        while not self.stopping:
            now = time.monotonic()
            for name in ORDER:
                p = self.processes[name]
                if p.poll() is None:
                    continue
                if name not in due:
                    delay[name] = 0 if now - since[name] > 10 else min(delay.get(name, 0.1) * 2, 10)
                    due[name] = now + delay[name]
                    self.say(f"  {name} ended ({p.returncode}); starting it again")
                if now >= due[name]:
                    del due[name]
                    since[name] = now
                    self.start_one(name)
            time.sleep(0.1)

    # --- the demonstration's people, terminals and residents ---

    def set_clock(self, when):
        """Server time: a datetime, or None for the real one."""
        now = datetime.datetime.now(datetime.timezone.utc)
        offset = 0 if when is None else int((when - now).total_seconds())
        with open(self.path("clock.new"), "w") as f:
            f.write(f"{offset}\n")
        os.chmod(self.path("clock.new"), 0o644)
        # in place: the daemons' sandboxes know this file, not a new one under its name
        with open(self.path("clock"), "r+") as f:
            f.seek(0)
            f.write(f"{offset}\n")
            f.truncate()
        os.unlink(self.path("clock.new"))

        def want():
            now = datetime.datetime.now(datetime.timezone.utc)
            return (now + datetime.timedelta(seconds=offset, hours=9)).date().isoformat()

        for side in ("tablet_api", "vrs_server"):
            end = time.monotonic() + 5
            while want() not in urllib.request.urlopen(self.admin(side) + "/healthz").read().decode():
                if time.monotonic() > end:
                    raise StackError(f"{side} does not follow the clock")
                time.sleep(0.02)

    def add_user(self, user, code, roles, by, approver, section, person, rights="", scope=""):
        """Files and approves an application; without `rights` the roles' of the demonstration.  A
        municipality's first approver is approved through vrsctl, everybody else by its head, who
        is nobody else in the tests: no other session ends.  The initial password is changed at the
        first log-in.  Prefectures, nation and auditors: code "", terminal lgwan-nation."""
        rights = rights or " ".join(RIGHTS.get(role, "") for role in roles).strip()
        password = secrets.token_urlsafe(15)
        until = (datetime.date.today() + datetime.timedelta(days=360)).isoformat()
        a = self.command("user.apply", user_id=user, person_name=person, municipality_code=code,
                         section=section, roles=" ".join(roles), valid_until=until, by=by,
                         password=password, rights=rights, scope=scope)
        self.approve(a["application_id"], code, approver)
        if roles == ["site_staff"]:
            return {"user_id": user, "password": password, "side": "internet",
                    "municipality_code": code, "roles": roles}
        new = {"user_id": user, "password": self.first_log_in(user, code, password),
               "side": "lgwan", "roles": roles}
        return dict(new, municipality_code=code) if code else new

    def approve(self, application, code, by):
        """As the municipality's head, or through vrsctl where nobody can yet."""
        town = TOWNS.get(code)
        names = [u["user_id"] for u in self.demo["users"]]
        chief = next((n for n in (f"{town}-head", f"{town}-approver") if n in names), None)
        if chief is None:
            self.command("user.approve", application_id=application, by=by)
            return
        for fresh in (False, True):
            if fresh or code not in self.chiefs:
                self.chiefs[code] = self.staff(code, chief)
            r = self.chiefs[code].post(f"/v1/applications/{application}:approve")
            if r.status != 401:
                break
        if r.status != 200:
            raise StackError(f"approval refused: {r}")
        if chief.endswith("-approver"):  # of the head: not needed again
            del self.chiefs[code]

    def first_log_in(self, user, code, initial):
        password = secrets.token_urlsafe(15)
        c = self.terminal(f"lgwan-{code}" if code in TOWNS else "lgwan-nation")
        r = c.login(user, initial)
        if r.status == 201:
            r = c.post("/v1/sessions/current:change-password",
                       {"old_password": initial, "new_password": password})
        if r.status != 204:
            raise StackError(f"first log-in of {user}: {r}")
        c.request("DELETE", "/v1/sessions/current")
        c.close()
        return password

    def add_terminal(self, name, kind, code="", days=365, rights=""):
        self.vrsctl("-s", self.control, "terminal.issue", f"dir={self.home}", f"name={name}",
                    f"kind={kind}", f"municipality_code={code}", f"days={days}", f"rights={rights}",
                    f"valid_from={self.valid_from}")
        t = {"name": name, "side": "lgwan" if kind == "lgwan" else "internet",
             "cert": self.path("pki", name + ".pem"), "key": self.path("pki", name + ".key")}
        if code:
            t["municipality_code"] = code
        return t

    def fill(self):
        """The first time: accounts (the demonstration plays applicant and approver), terminals,
        residents through the import API like anybody's."""
        users, terminals, samples = [], [], []
        self.write_demo({"terminals": terminals, "users": users, "samples": samples}, done=False)
        for i in (1, 2):
            terminals.append(self.add_terminal(f"tablet-{i}", "tablet", "131032"))
        terminals.append(self.add_terminal("reader-1", "system", "131032", rights="dose.post receipt.read"))
        terminals.append(self.add_terminal("lgwan-nation", "lgwan"))
        for code, town in TOWNS.items():
            terminals.append(self.add_terminal(f"lgwan-{code}", "lgwan", code))
            users.append(self.add_user(f"{town}-approver", code, ["municipal_approver"],
                                       "demo-applicant", "demo-bootstrap", "予防接種課", f"{town} 課長"))
            users.append(self.add_user(f"{town}-head", code, ["municipal_approver"], "demo-applicant",
                                       f"{town}-approver", "保健部", f"{town} 部長", "user.approve"))
            users.append(self.add_user(f"{town}-1", code, ["municipal_staff"], f"{town}-personnel",
                                       f"{town}-approver", "予防接種課", f"{town} 担当"))
        for i in (1, 2):
            users.append(self.add_user(f"site-{i}", "131032", ["site_staff"], "minato-personnel",
                                       "minato-approver", "接種会場", f"会場 担当{i}"))
        demo = {"terminals": terminals, "users": users, "samples": samples}
        self.write_demo(demo, done=False)
        for code in TOWNS:
            began = time.monotonic()
            rows, some = residents.generate(code, self.count)
            self.import_residents(demo, code, rows)
            for s in some:
                s["ocr_line"] = residents.ocr_line(code, s["coupon_number"], 1)
            samples += some
            self.say(f"  {code} {TOWNS[code]}: {len(rows)} rows registered in "
                     f"{time.monotonic() - began:.1f} s")
            self.protect(demo, code, some)
        self.write_demo(demo)

    def protect(self, demo, code, samples):
        c = self.staff(code, demo=demo)
        for s in samples:
            if s["note"] == "protected":
                found = c.post("/v1/residents:search", {"addressee_number": s["addressee_number"]})
                r = found.json["residents"][0]
                c.post(f"/v1/residents/{r['resident_id']}:flag", {"flag": "undisclosed"}, key=True,
                       headers={"If-Match": f"\"{r['version']}\""})

    def import_residents(self, demo, code, rows, name=None):
        import io
        out = io.StringIO()
        residents.write_csv(out, rows)
        data = out.getvalue().encode()
        c = self.staff(code, demo=demo)
        return self.import_file(c, "residents", name or f"residents-{code}.csv", data)

    def import_file(self, c, kind, name, data, commit=True):
        """The two phases; returns the last state."""
        r = c.post("/v1/imports", {"kind": kind, "file_name": name, "size": len(data),
                                   "sha256": hashlib.sha256(data).hexdigest()})
        if r.status != 201:
            raise StackError(f"import refused: {r}")
        url = f"/v1/imports/{r.json['import_id']}"
        part = 8 << 20
        for at in range(0, len(data), part):
            piece = data[at:at + part]
            r = c.request("PUT", url + "/content", piece, headers={
                "Content-Type": "text/csv",
                "Content-Range": f"bytes {at}-{at + len(piece) - 1}/{len(data)}"})
            if r.status != 200:
                raise StackError(f"import content refused: {r}")
        state = self.phase(c, url, "check", "checked")
        return self.phase(c, url, "commit", "committed") if commit else state

    def phase(self, c, url, verb, wanted):
        r = c.post(f"{url}:{verb}")
        if r.status not in (200, 202):
            raise StackError(f"import {verb}: {r}")
        while True:
            state = c.get(url).json
            if state["state"] == wanted:
                return state
            if state["state"] == "refused":
                raise StackError(f"import {verb}: {state}")
            time.sleep(0.05)

    def write_demo(self, demo, done=True):
        demo = dict({"tablet_api": f"https://{OUTSIDE}:{self.ports['terminals']}",
                     "public": f"https://{OUTSIDE}:{self.ports['public']}",
                     "reader_line": f"{OUTSIDE}:{self.ports['reader']}",
                     "vrs_server": f"https://{INSIDE}:{self.ports['lgwan']}",
                     "admin": {"tablet_api": self.admin("tablet_api"),
                               "vrs_server": self.admin("vrs_server")},
                     "ca": self.path("pki", "ca.pem")},
                    **{k: demo[k] for k in ("terminals", "users", "samples")})
        self.demo = demo
        if done:
            new = self.path("demo.json.new")
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
                json.dump(demo, f, ensure_ascii=False, indent=1)
            os.rename(new, self.path("demo.json"))
            if os.path.exists(self.path("first-start")):
                os.unlink(self.path("first-start"))

    # --- clients ---

    def terminal(self, name, demo=None):
        demo = demo or self.demo
        t = next(t for t in demo["terminals"] if t["name"] == name)
        side = "vrs_server" if t["side"] == "lgwan" else "tablet_api"
        self.demo = getattr(self, "demo", demo)
        return Client(self.demo[side], self.demo["ca"], t["cert"], t["key"])

    def staff(self, code, user=None, demo=None):
        """A logged-in clerk of a municipality on its terminal."""
        demo = demo or self.demo
        user = user or f"{TOWNS[code]}-1"
        u = next(u for u in demo["users"] if u["user_id"] == user)
        c = self.terminal(f"lgwan-{code}", demo)
        r = c.login(user, u["password"])
        if r.status != 201:
            raise StackError(f"log-in of {user}: {r}")
        return c

    def tablet(self, name="tablet-1", user="site-1"):
        """A logged-in tablet; waits until the snapshot with its account has been pushed."""
        u = next(u for u in self.demo["users"] if u["user_id"] == user)
        c = self.terminal(name)
        end = time.monotonic() + 20
        while True:
            r = c.login(user, u["password"])
            if r.status == 201:
                return c
            if time.monotonic() > end:
                raise StackError(f"log-in of {user}: {r}")
            time.sleep(0.2)


def run():
    home = os.environ.get("VRS_HOME", os.path.join(ROOT, "run"))
    stack = Stack(home, fixed_ports=True)

    def stop(signum, frame):
        stack.stopping = True
        raise KeyboardInterrupt

    for s in (signal.SIGTERM, signal.SIGINT):  # also where a shell started us with it ignored
        signal.signal(s, stop)
    began = time.monotonic()
    try:
        first = stack.claim()
    except StackError as e:
        print(e, file=sys.stderr)
        return 1
    try:
        print("first start: keys, certificates, accounts and 3 × 20,000 residents are made"
              if first else "starting", flush=True)
        stack.start()
        if not stack.separate:
            print("  note: the programs run under one uid here (not root, or a private folder above)")
        d = stack.demo
        print(f"""ready in {time.monotonic() - began:.1f} s
  tablets      {d['tablet_api']}   (client certificate from {home}/pki)
  public       {d['public']}
  reader line  {d['reader_line']}   (one line a reading: docs/reader-line.md)
  LG-WAN       {d['vrs_server']}
  metrics      {d['admin']['tablet_api']}/metrics  {d['admin']['vrs_server']}/metrics
  logs         {home}/log/
  everything   {home}/demo.json
Ctrl-C stops everything; state stays in {home}.""", flush=True)
        stack.supervise()
    except KeyboardInterrupt:
        pass
    except StackError as e:
        print(e, file=sys.stderr)
        return 1
    finally:
        stack.stop()
        print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(run() if sys.argv[1:] == ["run"] else "usage: stack.py run")
