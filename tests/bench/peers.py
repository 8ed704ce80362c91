"""What a user would pick instead, and ceilings: installed into the build folder, started in the run's
temporary folder on loopback, stopped with it.  All take the same requests from the same generator."""
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import time
import urllib.request

from measure import BUILD, ROOT, WITH_US, program
from ports import free_port

SOURCE = os.path.join(ROOT, "tests", "bench", "peers")
INSTALLED = os.path.join(BUILD, "bench", "peers")
POSTGRES = "/usr/lib/postgresql/15/bin"
READY_S = 60


class PeerError(Exception):
    pass


def install():
    """The packages of the lock file, once; a Node of one version on every machine is among them."""
    files = ["package.json", "package-lock.json"]
    want = hashlib.sha256(b"".join(open(os.path.join(SOURCE, f), "rb").read() for f in files)).hexdigest()
    stamp = os.path.join(INSTALLED, ".installed")
    if not os.path.exists(stamp) or open(stamp).read() != want:
        shutil.rmtree(INSTALLED, ignore_errors=True)
        os.makedirs(INSTALLED)
        for f in files:
            shutil.copy(os.path.join(SOURCE, f), INSTALLED)
        r = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                           cwd=INSTALLED, capture_output=True, text=True)
        if r.returncode != 0:
            raise PeerError("npm ci: " + r.stderr + r.stdout)
        with open(stamp, "w") as f:
            f.write(want)
    for name in os.listdir(SOURCE):
        if name.endswith(".mjs"):
            shutil.copy(os.path.join(SOURCE, name), INSTALLED)


def node():
    arch = {"x86_64": "x64", "aarch64": "arm64"}[os.uname().machine]
    return os.path.join(INSTALLED, "node_modules", f"node-linux-{arch}", "bin", "node")


class Peer:
    """A system that answers `url`; `options` is what vrs-load needs besides."""
    name, options, posts = "", [], True

    def __init__(self, home):
        self.home = os.path.join(home, self.name)
        os.makedirs(self.home)
        self.processes = []
        self.port = free_port("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.port}"

    def spawn(self, argv, **more):
        log = open(os.path.join(self.home, "log"), "ab")
        p = subprocess.Popen(WITH_US + argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **more)
        log.close()
        self.processes.append(p)
        return p

    def wait(self, what, probe):
        end = time.monotonic() + READY_S
        while not probe():
            died = next((p for p in self.processes if p.poll() is not None), None)
            if died or time.monotonic() > end:
                with open(os.path.join(self.home, "log"), errors="replace") as f:
                    raise PeerError(f"{self.name}: {what} {'ended' if died else 'is not ready'}:\n{f.read()[-2000:]}")
            time.sleep(0.05)

    def answers(self):
        try:
            with urllib.request.urlopen(self.url + "/count", timeout=2) as r:
                return r.status == 200
        except OSError:
            return False

    def rows(self):
        with urllib.request.urlopen(self.url + "/count", timeout=60) as r:
            return json.load(r)["rows"]

    def roots(self):
        return [p.pid for p in self.processes]

    def stop(self):
        for p in reversed(self.processes):
            if p.poll() is None:
                p.terminate()
                try:
                    p.wait(20)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()


class FastifyPostgres(Peer):
    name = "fastify-postgresql"
    # Of 8, 16, 32, 64: where it was fastest on two processors.
    pool = 32

    def start(self):
        data = os.path.join(self.home, "data")
        who = {}
        if os.geteuid() == 0:  # initdb and postgres refuse to run as root
            user = pwd.getpwnam("postgres")
            who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.home, user.pw_uid, user.pw_gid)
        # Defaults but for the address: fsync and synchronous_commit are on.
        subprocess.run([f"{POSTGRES}/initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-locale"],
                       check=True, capture_output=True, cwd=self.home, **who)
        self.spawn([f"{POSTGRES}/postgres", "-D", data, "-c", "listen_addresses=", "-c",
                    f"unix_socket_directories={self.home}"], cwd=self.home, **who)
        self.wait("postgres", lambda: subprocess.run(
            [f"{POSTGRES}/createdb", "-h", self.home, "-U", "bench", "bench"], capture_output=True, cwd="/",
            check=False).returncode == 0)
        self.spawn([node(), os.path.join(INSTALLED, "fastify-pg.mjs"), str(self.port), self.home, str(self.pool)],
                   env=dict(os.environ, NODE_ENV="production"))
        self.wait("fastify", self.answers)


class ExpressSqlite(Peer):
    name = "express-sqlite"

    def start(self):
        self.spawn([node(), os.path.join(INSTALLED, "express-sqlite.mjs"), str(self.port),
                    os.path.join(self.home, "dose.db")], env=dict(os.environ, NODE_ENV="production"))
        self.wait("express", self.answers)


NGINX = """daemon off;
{user}worker_processes auto;
pid {home}/pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  keepalive_requests 100000000;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {pki}/tablet-api.pem; ssl_certificate_key {pki}/tablet-api.key;
    ssl_client_certificate {pki}/ca-tablets.pem; ssl_verify_client on;
    ssl_protocols TLSv1.3;
    location / {{ return 200 "ok"; }}
  }}
}}
"""


class Nginx(Peer):
    """`return 200` behind mutual TLS, with the keys of our stack: what the handshake and HTTP cost."""
    name, posts = "nginx", False

    def __init__(self, home, stack):
        super().__init__(home)
        self.stack, self.url = stack, f"https://127.0.0.1:{self.port}"
        tablet = next(t for t in stack.demo["terminals"] if t["name"] == "tablet-1")
        self.options = ["--ca", stack.demo["ca"], "--cert", tablet["cert"], "--key", tablet["key"], "--get", "/"]

    def start(self):
        conf = os.path.join(self.home, "nginx.conf")
        with open(conf, "w") as f:
            f.write(NGINX.format(home=self.home, port=self.port, pki=self.stack.path("pki"),
                                 user="user www-data;\n" if os.geteuid() == 0 else ""))
        self.spawn([shutil.which("nginx") or "/usr/sbin/nginx", "-e", "stderr", "-p", self.home, "-c", conf])
        self.wait("nginx", self.listens)

    def listens(self):
        with open("/proc/net/tcp") as f:
            return any(line.split()[1] == f"0100007F:{self.port:04X}" and line.split()[3] == "0A"
                       for line in f.readlines()[1:])


def raw_sqlite(home, seconds, rows=64, keys=1, files=1):
    """Bare synced commits: one run, as a result of vrs-load looks."""
    out = subprocess.run([program("sqlite_ceiling"), home, *map(str, (seconds, rows, keys, files))], check=True,
                         capture_output=True, text=True).stdout
    r = json.loads(out)
    return {"per_s": r["rows_per_s"], "p50_ms": 1000 / r["commits_per_s"], "p99_ms": None, "ok": True,
            "system_cpu_ms": r["cpu_ms"]}
