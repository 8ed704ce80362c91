"""S7: slow heads, bodies and readers (slowhttptest, on the public listener and through stunnel on the
terminals'), ten thousand idle connections, huge heads, deep JSON: others are served all the while,
memory stays bounded, and the alert comes."""
import resource
import socket
import ssl
import subprocess
import time

from alert_receiver import journal
from attack_tools import Others, resident_mib, stunnel, tools
from case import MINATO, client_for, equal, ok, run, skip, stack_module, until

IDLE = 10000
SECONDS = 15


def raised(stack, rule, seconds=60):
    return until(lambda: [a for a in journal(stack) if a["rule"] == rule], seconds)


def slow(program, stack, name, flag, url, others, more=()):
    before = resident_mib(stack, "tablet-api")
    with Others(others) as served:
        r = subprocess.run([program, "-c", "400", flag, "-i", "3", "-r", "200", "-l", str(SECONDS),
                            "-p", "3", *more, "-u", url], capture_output=True, text=True,
                           timeout=SECONDS + 60)
    grown = resident_mib(stack, "tablet-api") - before
    ok("closed" in r.stdout and served.served(),
       f"S7: slowhttptest {flag} on {name}: others are served ({served.summary()})",
       f"{served.failed[:5]} {r.stdout[-600:]}{r.stderr[-200:]}")
    ok(grown < 100, f"S7: slowhttptest {flag} on {name}: memory grew by {grown:.0f} MiB")


def slow_all(stack):
    found = tools("S7: slowhttptest", "slowhttptest", "stunnel4")
    if not found:
        return
    tablet = stack.terminal("tablet-2")

    def ask():
        return tablet.get("/v1/vaccines")

    public = f"https://{stack_module.OUTSIDE}:{stack.ports['public']}/.well-known/jwks.json"
    for flag, more in (("-H", ()), ("-B", ("-s", "8192")), ("-R", ("-a", "10", "-b", "3000")),
                       ("-X", ("-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"))):
        slow(found[0], stack, "public", flag, public, ask, more)
    with stunnel(found[1], stack, "terminals", "tablet-1") as port:
        for flag in ("-H", "-B"):
            slow(found[0], stack, "terminals", flag, f"http://127.0.0.1:{port}/v1/vaccines", ask)
    ok(raised(stack, "slow_clients"), "S7 C140: slow connections raise slow_clients", journal(stack))


def idle(stack):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = min(hard, IDLE + 500) - 500
    resource.setrlimit(resource.RLIMIT_NOFILE, (want + 500, hard))
    if want < 1000:
        skip("S7: idle connections", f"only {hard} descriptors")
        return
    context = ssl.create_default_context(cafile=stack.demo["ca"])
    context.check_hostname = False
    before, connections = resident_mib(stack, "tablet-api"), []
    tablet = stack.terminal("tablet-2")
    with Others(lambda: tablet.get("/v1/vaccines"), every=0.5) as served:
        for _ in range(want):
            s = socket.create_connection((stack_module.OUTSIDE, stack.ports["public"]))
            connections.append(context.wrap_socket(s))
        grown = resident_mib(stack, "tablet-api") - before
        equal(client_for(stack, side="public").get("/v1/nothing").status, 404,
              f"S7: one more is served beside {len(connections)} idle connections")
    ok(served.served(), f"S7: others are served beside them ({served.summary()})", served.failed[:5])
    ok(grown * 1024 / want < 80,
       f"S7: {want} idle TLS connections take {grown:.0f} MiB, {grown * 1024 / want:.0f} KiB each")
    for c in connections:
        c.close()
    ok(until(lambda: client_for(stack, side="public").get("/x").status == 404),
       "S7: and afterwards all is as before")


def huge(stack):
    """Heads and bodies over every limit, two hundred of each."""
    context = ssl.create_default_context(cafile=stack.demo["ca"])
    context.check_hostname = False
    address = (stack_module.OUTSIDE, stack.ports["public"])

    def send(data):
        s = context.wrap_socket(socket.create_connection(address, 10))
        try:
            s.sendall(data)
            return s.recv(100)
        except OSError:
            return b""
        finally:
            s.close()

    before = resident_mib(stack, "tablet-api")
    tablet, end = stack.terminal("tablet-2"), b"\r\nHost: localhost\r\n\r\n"
    with Others(lambda: tablet.get("/v1/vaccines")) as served:
        answers = set()
        for _ in range(200):
            answers.add(send(b"GET /x HTTP/1.1\r\nX: " + b"a" * 100000 + end)[:12])
            answers.add(send(b"GET /x HTTP/1.1\r\n" + b"a: b\r\n" * 20000 + end)[:12])
            answers.add(send(b"GET /" + b"%41" * 30000 + b" HTTP/1.1" + end)[:12])
    ok(answers <= {b"HTTP/1.1 413", b"HTTP/1.1 400", b""} and answers != {b""},
       "S7: heads over the limit are refused", answers)
    ok(served.served(), f"S7: others are served beside huge heads ({served.summary()})",
       served.failed[:5])
    with Others(lambda: tablet.get("/v1/vaccines"), every=0.02) as served:
        c, got = stack.terminal("tablet-1"), set()
        for body in (b"[" * 4000, b'{"a":' * 600 + b"1" + b"}" * 600, b"[" * 900000, b'{"a":' * 150000 + b"1" + b"}" * 150000, b"[" * 2000000,
                     b'{"user_id":"' + b"a" * 900000 + b'"}'):
            for _ in range(50):
                try:
                    got.add(c.request("POST", "/v1/sessions", body,
                                      headers={"Content-Type": "application/json"}).status)
                except OSError:
                    c.close()
    ok(got and got <= {400, 413, 422}, f"S7: deep and huge JSON is refused: {sorted(got)}")
    ok(served.served(), f"S7: others are served beside it ({served.summary()})", served.failed[:5])
    grown = resident_mib(stack, "tablet-api") - before
    ok(grown < 64, f"S7: after 900 huge requests memory grew by {grown:.0f} MiB")
    ok(raised(stack, "scanning"), "S7 C140: malformed requests raise scanning", journal(stack))


def inside(stack):
    """The LG-WAN listener, by somebody who holds a terminal's certificate."""
    found = tools("S7: slowhttptest on LG-WAN", "slowhttptest", "stunnel4")
    if not found:
        return
    clerk = stack.staff(MINATO)
    began = time.monotonic()
    with stunnel(found[1], stack, "lgwan", f"lgwan-{MINATO}") as port, \
            Others(lambda: clerk.get("/v1/reviews")) as served:
        subprocess.run([found[0], "-c", "300", "-H", "-i", "3", "-r", "200", "-l", str(SECONDS),
                        "-p", "3", "-u", f"http://127.0.0.1:{port}/v1/reviews"],
                       capture_output=True, timeout=SECONDS + 60)
    ok(served.served(), f"S7: LG-WAN: clerks are served ({served.summary()})", served.failed[:5])
    ok(until(lambda: [a for a in journal(stack) if a["rule"] == "slow_clients" and
                      a["subject"].startswith("source")], 60),
       f"S7 C140: and slow_clients is raised, {time.monotonic() - began:.0f} s")


def main(stack):
    huge(stack)
    slow_all(stack)
    inside(stack)
    idle(stack)


run(main, count=20)
