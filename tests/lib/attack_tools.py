"""What the attacks share: tools of others (installed when missing), stunnel in front of listeners
that want a client certificate, and a look at what the attacked process became."""
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from case import free_port, skip, stack_module, until

PROGRAMS = {"testssl.sh": "testssl", "sslscan": "sslscan", "slowhttptest": "slowhttptest",
            "sqlmap": "sqlmap", "stunnel4": "stunnel4"}


def tool(package):
    """The path of a package's program, installed when it is missing; None where that cannot be."""
    name = PROGRAMS[package]
    if shutil.which(name) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        for argv in (["apt-get", "-qq", "update"],
                     ["apt-get", "-qq", "-y", "--no-install-recommends", "install", package]):
            subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=300)
    return shutil.which(name)


def tools(test, *packages):
    """Paths of all, or None after the test was said to be skipped."""
    paths = [tool(p) for p in packages]
    missing = [p for p, path in zip(packages, paths) if path is None]
    if missing:
        skip(test, f"{' '.join(missing)} is not installed and cannot be")
        return None
    return paths


@contextlib.contextmanager
def stunnel(program, stack, listener, terminal):
    """A plain port that speaks mutual TLS to a listener: tools that know no client certificate
    attack through it."""
    t = next(t for t in stack.demo["terminals"] if t["name"] == terminal)
    address = stack_module.PORTS[listener][0]
    port = free_port()
    with tempfile.TemporaryDirectory() as work:
        conf = os.path.join(work, "stunnel.conf")
        with open(conf, "w") as f:
            f.write(f"foreground = yes\npid =\ndebug = err\n[attack]\nclient = yes\n"
                    f"accept = 127.0.0.1:{port}\nconnect = {address}:{stack.ports[listener]}\n"
                    f"cert = {t['cert']}\nkey = {t['key']}\nCAfile = {stack.path('pki', 'ca.pem')}\n"
                    f"verifyChain = yes\nTIMEOUTclose = 0\n")
        p = subprocess.Popen([program, conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: connects(port), 10)
            yield port
        finally:
            p.terminate()
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


def connects(port, address="127.0.0.1"):
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False


def resident_mib(stack, name):
    """Memory of a daemon now."""
    with open(f"/proc/{stack.processes[name].pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) / 1024


class Others:
    """An honest client that goes on asking while an attack runs."""

    def __init__(self, ask, every=0.2):
        self.ask, self.every = ask, every
        self.took, self.failed, self.end = [], [], threading.Event()
        self.thread = threading.Thread(target=self.go_on)

    def go_on(self):
        while not self.end.wait(self.every):
            began = time.monotonic()
            try:
                status = self.ask().status
                if status != 200:
                    self.failed.append(status)
            except OSError as e:
                self.failed.append(repr(e))
            self.took.append(time.monotonic() - began)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *why):
        self.end.set()
        self.thread.join()

    def summary(self):
        return (f"{len(self.took)} asked, {len(self.failed)} failed, "
                f"slowest {max(self.took, default=0):.1f} s")

    def served(self, within=5):
        return len(self.took) > 3 and not self.failed and max(self.took) < within
