"""N4, C142, C143: the daemons in network name spaces of their own, like two hosts, under the shipped
nftables rules: only the listed ports answer, and from the Internet side there is no way inside.

    tablets ── outside: tablet-api ── (the line) ── inside: vrs-server ── clerks
"""
import concurrent.futures
import ctypes
import errno
import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import case
from case import BUILD, ROOT, ok, skip
from client import Client
import stack as stack_module

RULES = os.path.join(ROOT, "deploy", "nftables")
OUTSIDE, OUTSIDE_LINE, INSIDE_LINE, INSIDE = "10.91.0.1", "10.92.0.1", "10.92.0.2", "10.93.0.1"
TABLETS, CLERKS = "10.91.0.2", "10.93.0.2"
TERMINALS, PUBLIC, LINE, READER, LGWAN, DECOY = 8443, 8444, 8445, 8446, 9443, 5432
CLONE_NEWNET = 0x40000000
BATCH = 2048  # connections tried at once
libc = ctypes.CDLL(None, use_errno=True)


def command(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


class Net:
    """Four name spaces in a row; each a dict entry `name: the name it has`."""

    def __init__(self):
        self.name = {n: f"vrs{os.getpid()}{n}" for n in ("tablets", "outside", "inside", "clerks")}
        self.made = []

    def ip(self, where, *argv):
        return command("ip", "-n", self.name[where], *argv)

    def make(self):
        for name in self.name.values():
            command("ip", "netns", "add", name)
            self.made.append(name)
        for a, at, b, bt, i in (("tablets", TABLETS, "outside", OUTSIDE, 0),
                                ("outside", OUTSIDE_LINE, "inside", INSIDE_LINE, 1),
                                ("clerks", CLERKS, "inside", INSIDE, 2)):
            left, right = f"v{os.getpid()}a{i}", f"v{os.getpid()}b{i}"
            command("ip", "link", "add", left, "netns", self.name[a], "type", "veth", "peer",
                    "name", right, "netns", self.name[b])
            for where, link, address in ((a, left, at), (b, right, bt)):
                self.ip(where, "addr", "add", address + "/24", "dev", link)
                self.ip(where, "link", "set", link, "up")
        for where in self.name:
            self.ip(where, "link", "set", "lo", "up")
        # Somebody on the Internet may try to go through tablet-api's host.
        self.ip("tablets", "route", "add", "default", "via", OUTSIDE)
        self.run("outside", lambda: open("/proc/sys/net/ipv4/ip_forward", "w").write("1"))

    def remove(self):
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def run(self, where, what):
        """what() on a thread that stands in the name space."""
        result = []

        def body():
            fd = os.open("/run/netns/" + self.name[where], os.O_RDONLY)
            try:
                if libc.setns(fd, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
                result.append((what(), None))
            except Exception as e:  # handed to the caller
                result.append((None, e))
            finally:
                os.close(fd)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        value, error = result[0]
        if error is not None:
            raise error
        return value

    def rules(self, where, file, folder):
        command("ip", "netns", "exec", self.name[where], "nft", "-I", folder, "-f",
                os.path.join(RULES, file))


class Spread(stack_module.Stack):
    """The stack over two name spaces; vrs-number and vrs-signer in empty ones."""

    def __init__(self, home, net):
        common = {"forbidden_addresses": INSIDE, "admin_address": "127.0.0.1"}
        super().__init__(home, build=BUILD, count=0, say=lambda text: None, overrides={
            "tablet-api": {**common, "terminals_address": OUTSIDE, "public_address": OUTSIDE,
                           "line_address": OUTSIDE_LINE, "reader_address": OUTSIDE},
            "vrs-server": {"forbidden_addresses": f"{OUTSIDE} {OUTSIDE_LINE}",
                           "admin_address": "127.0.0.1", "lgwan_address": INSIDE,
                           "line_url": f"https://{OUTSIDE_LINE}:{LINE}"}})
        self.net = net
        self.ports = {"terminals": TERMINALS, "public": PUBLIC, "line": LINE, "reader": READER,
                      "lgwan": LGWAN, "tablet_admin": 9100, "inside_admin": 9100}

    def make_files(self):
        self.vrsctl("init", self.home, f"server={OUTSIDE},{OUTSIDE_LINE}", f"inside={INSIDE}")
        if self.separate:
            self.give_away()

    def start_one(self, name):
        where = {"tablet-api": "outside", "vrs-server": "inside"}.get(name)
        prefix = ["ip", "netns", "exec", self.net.name[where]] if where else ["unshare", "--net"]
        with open(self.path("log", name + ".log"), "ab") as log:
            self.processes[name] = subprocess.Popen(
                prefix + [self.program(name), "--config", self.path("etc", name + ".conf")],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env=dict(os.environ, VRS_DIE_WITH_PARENT="1"))

    def is_ready(self, name):
        return self.processes[name].poll() is None and "daemon.ready" in self.tail(name, 200)

    def start(self):
        os.makedirs(self.home, exist_ok=True)
        self.make_files()
        self.configurations()
        for name in stack_module.ORDER:
            self.start_one(name)
            self.wait_ready(name)


def sweep(address):
    """The ports of 1–65535 that take a connection, and the errors that came at once."""
    answering, errors = set(), set()
    for first in range(1, 65536, BATCH):
        poll, waiting = select.poll(), {}
        for port in range(first, min(first + BATCH, 65536)):
            s = socket.socket()
            s.setblocking(False)
            e = s.connect_ex((address, port))
            if e == errno.EINPROGRESS:
                waiting[s.fileno()] = (s, port)
                poll.register(s, select.POLLOUT)
            else:
                errors.add(errno.errorcode.get(e, e))
                s.close()
        end = time.monotonic() + 0.4
        late = False
        while waiting and not late:
            late = time.monotonic() > end  # looked at once more, however long this thread stood still
            for fd, _ in poll.poll(50):
                s, port = waiting.pop(fd)
                poll.unregister(fd)
                if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    answering.add(port)
                s.close()
        for s, _ in waiting.values():
            s.close()
    return answering, errors


def connects(address, port, seconds=1):
    try:
        socket.create_connection((address, port), seconds).close()
        return True
    except OSError:
        return False


def decoy(port=DECOY):
    """A service that somebody forgot on the host."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", port))
    s.listen(16)
    return s


def asks(stack, net, where, address, terminal):
    """The status of a request, once it is 200 or after some time."""
    status = []

    def ask():
        c = Client(f"https://{address}", stack.path("pki", "ca.pem"), terminal["cert"],
                   terminal["key"], timeout=5)
        try:
            status.append(c.get("/v1/vaccines").status)
        finally:
            c.close()
        return status[-1] == 200
    case.until(lambda: net.run(where, ask), 20)
    return status[-1]


def prove(net, home):
    net.make()
    decoys = [net.run("outside", decoy), net.run("inside", decoy)]
    addresses = os.path.join(home, "addresses.nft")
    with open(addresses, "w") as f:
        for name, value in {
                "OUTSIDE_PUBLIC": OUTSIDE, "OUTSIDE_LINE": OUTSIDE_LINE,
                "INSIDE_LINE": INSIDE_LINE, "INSIDE_LGWAN": INSIDE, "LGWAN_NET": "10.93.0.0/24",
                "ADMIN_NET": "10.94.0.0/24", "NTP_SERVERS": "{ 10.94.0.5 }",
                "ALERT_RECEIVER": "10.94.0.6", "TERMINALS_PORT": TERMINALS, "READER_PORT": READER,
                "PUBLIC_PORT": PUBLIC, "LINE_PORT": LINE, "LGWAN_PORT": LGWAN,
                "WEBHOOK_PORT": 443}.items():
            f.write(f"define {name} = {value}\n")
    line = net.run("outside", lambda: decoy(LINE))
    stack = Spread(os.path.join(home, "run"), net)
    try:
        ok(net.run("tablets", lambda: connects(OUTSIDE, DECOY)) and
           net.run("clerks", lambda: connects(INSIDE, DECOY)) and
           net.run("outside", lambda: connects(INSIDE_LINE, DECOY)) and
           net.run("tablets", lambda: connects(OUTSIDE_LINE, LINE)),
           "N4 control: without the rules other ports answer, and the line from the Internet")
        line.close()
        # As at boot: the rules first.  An answer on its way when they are loaded has no known
        # connection and is dropped, and the line would wait for it.
        net.rules("outside", "outside.nft", home)
        net.rules("inside", "inside.nft", home)
        stack.start()
        looks = (("tablets", OUTSIDE, {TERMINALS, PUBLIC, READER}), ("inside", OUTSIDE_LINE, {LINE}),
                 ("clerks", INSIDE, {LGWAN}), ("tablets", OUTSIDE_LINE, set()),
                 ("outside", INSIDE_LINE, set()))
        with concurrent.futures.ThreadPoolExecutor(len(looks)) as pool:
            seen = list(pool.map(lambda look: net.run(look[0], lambda: sweep(look[1])), looks))
        for (where, address, ports), (found, _) in zip(looks, seen):
            ok(found == ports, f"C142: of 65,535 ports of {address}, from {where}, answer: "
               f"{sorted(found) or 'none'}", f"want {sorted(ports)}")
        found, errors = net.run("outside", lambda: sweep(INSIDE))
        ok(not found and errors == {"ENETUNREACH"},
           "N4 C143: from tablet-api's name space there is no route to vrs-server's LG-WAN address",
           (found, errors))
        ok(not net.run("tablets", lambda: connects(INSIDE, LGWAN)) and
           not net.run("tablets", lambda: connects(INSIDE_LINE, LGWAN)),
           "N4 C143: nor through tablet-api's host from the Internet")
        listener = net.run("tablets", decoy)
        ok(not net.run("outside", lambda: connects(TABLETS, DECOY)) and
           net.run("tablets", lambda: connects(TABLETS, DECOY)),
           "C143: tablet-api's host opens no connection to the Internet")
        listener.close()
        tablet = stack.add_terminal("tablet-1", "tablet", "131032")
        clerk = stack.add_terminal("lgwan-1", "lgwan", "131032")
        ok(case.until(lambda: "snapshot.in_force" in stack.tail("tablet-api", 50), 10),
           "C143: the line works, opened from inside")
        answers = (asks(stack, net, "tablets", f"{OUTSIDE}:{TERMINALS}", tablet),
                   asks(stack, net, "clerks", f"{INSIDE}:{LGWAN}", clerk))
        ok(answers == (200, 200), "C142: tablets and clerks are served under the rules",
           (answers, stack.tail("tablet-api", 20), stack.tail("vrs-server", 20)))
        for name in ("vrs-number", "vrs-signer"):
            with open(f"/proc/{stack.processes[name].pid}/net/dev") as f:
                links = [line.split(":")[0].strip() for line in f if ":" in line]
            ok(links == ["lo"], f"C05 C143: {name} works without any network", links)
    finally:
        stack.stop()
        for s in decoys:
            s.close()


def can():
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("ip", "nft", "unshare"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    probe = subprocess.run(["unshare", "--net", "nft", "-c", "-I", RULES, "-f",
                            os.path.join(RULES, "inside.nft")], capture_output=True, text=True)
    return "" if probe.returncode == 0 else "no network name spaces: " + probe.stderr.strip()[:100]


def main():
    why = can()
    if why:
        for name in ("N4 no way from the Internet side inside", "C142 only the listed ports answer"):
            skip(name, why)
        return 0
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    net, home = Net(), tempfile.mkdtemp(prefix="vrs-case-")
    os.chmod(home, 0o711)
    try:
        prove(net, home)
    except Exception:  # whatever it was, the file has failed
        import traceback
        ok(False, "the case ran to its end", traceback.format_exc())
    finally:
        net.remove()
        shutil.rmtree(home, ignore_errors=True)
    return 1 if case._tally["not ok"] else 0


sys.exit(main())
