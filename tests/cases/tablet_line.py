#!/usr/bin/env python3
"""The door that the inside pulls from, the snapshot that it pushes, the admin listeners, and which
addresses a daemon may bind: with the running stack."""
import base64
import datetime
import json
import os
import re
import subprocess
import urllib.error
import urllib.request

from case import (BUILD, MINATO, Watched, day_in_japan, equal, handshake_fails, make_ca, make_cert,
                  metrics, ok, problem, run, until)


def line_client(stack, cert):
    base = f"https://127.0.0.1:{stack.ports['line']}"
    return Watched(base, stack.demo["ca_line"], *(cert or (None, None)))


def cert_of(stack, name):
    return next((t["cert"], t["key"]) for t in stack.demo["terminals"] if t["name"] == name)


def line_door(stack):
    stack.demo["ca_line"] = stack.path("pki", "ca-line.pem")
    ca = stack.path("pki", "ca-line")
    foreign = make_cert(stack.home, "foreign-line", make_ca(stack.home, "ca-foreign"),
                        "/CN=vrs-server/OU=line")
    for what, cert in (("no certificate", None), ("a tablet's certificate", cert_of(stack, "tablet-1")),
                       ("a system client's", cert_of(stack, "reader-1")),
                       ("an LG-WAN certificate", cert_of(stack, f"lgwan-{MINATO}")),
                       ("a foreign certificate", foreign)):
        handshake_fails(line_client(stack, cert), f"C32 line: {what} fails in the handshake",
                        "/line/v1/pull")
    other = make_cert(stack.home, "other-line", ca, "/CN=somebody/OU=reader")
    problem(line_client(stack, other).post("/line/v1/pull", b""), 403, "forbidden",
            "line: its authority's certificate of another kind is refused")
    old = make_cert(stack.home, "old-line", ca, "/CN=vrs-server/OU=line", end="20210101000000Z")
    problem(line_client(stack, old).post("/line/v1/pull", b""), 403, "terminal_revoked",
            "line: an expired certificate is refused")
    inside = line_client(stack, (stack.path("pki", "line-client.pem"),
                                 stack.path("pki", "line-client.key")))
    for path in ("/v1/doses", "/v1/sessions", "/healthz", "/line/v1/other"):
        problem(inside.post(path, {}), 404, "not_found", f"line: {path} is not there")
    for name in ("pull", "outcomes", "answers", "replay"):
        problem(inside.post(f"/line/v1/{name}", b"\x01\x00\x00"), 400, "bad_request",
                f"line: a malformed message to {name}")
    return inside


def version(stack):
    return metrics(stack).get("vrs_snapshot_outside_version", 0)


def sign(stack, text):
    """As the inside signs: the key file holds the seed of an Ed25519 key in hex."""
    seed = bytes.fromhex(open(stack.path("pki", "snapshot.key")).read().strip())
    der = bytes.fromhex("302e020100300506032b657004220420") + seed
    key, data = os.path.join(stack.home, "sign.der"), os.path.join(stack.home, "sign.txt")
    for path, content in ((key, der), (data, text.encode())):
        with open(path, "wb") as f:
            f.write(content)
    signature = subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", key, "-keyform", "DER",
                                "-rawin", "-in", data], check=True, stdout=subprocess.PIPE).stdout
    return {"signature": base64.b64encode(signature).decode(), "snapshot": text}


def snapshot(stack, inside):
    """Its version only grows, whatever is pushed and whoever starts again."""
    def put(body):
        return inside.request("PUT", "/line/v1/snapshot", body)

    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def text(v, **changes):
        return json.dumps({"version": v, "made_at": now, "max_age_s": 86400, "users": [],
                           "inbox_key": base64.b64encode(bytes(range(32))).decode(), "revoked": [],
                           "terminals": [], "system_clients": [], **changes})

    v = int(version(stack))
    problem(put(sign(stack, text(v))), 409, "conflict", "the snapshot's version again: refused")
    problem(put(sign(stack, text(1))), 409, "conflict", "an old version, well signed: refused")
    forged = sign(stack, text(v + 1000))
    forged["snapshot"] = forged["snapshot"].replace('"users": []', '"users": [ ]')
    problem(put(forged), 422, "bad_field", "a changed text under its signature: refused")
    ok(put(sign(stack, text(v + 1000, surprise=1))).status in (400, 422), "an unknown field: refused")
    problem(put(b"{"), 400, "bad_json", "no JSON: refused")
    equal(stack.tablet().token is not None, True, "none of it changed who may log in")

    def changed(how):
        before = version(stack)
        how()
        return until(lambda: version(stack) > before), before, version(stack)

    grown = changed(lambda: stack.add_user("site-new", MINATO, ["site_staff"], "minato-personnel",
                                           "minato-approver", "接種会場", "新 人"))
    ok(grown[0], "a new account: a newer snapshot outside", grown)

    def restart(name):
        stack.kill(name)
        stack.restart(name)
    grown = changed(lambda: restart("vrs-server"))
    ok(grown[0], "vrs-server starts again: its version is above the last", grown)
    before = version(stack)
    restart("tablet-api")
    ok(until(lambda: metrics(stack, "tablet_api").get("vrs_snapshot_version") == before),
       "tablet-api starts again: with the snapshot that it kept")
    inside.close()
    # The registry restored from an older day: the outside is ahead.  A snapshot far above stands for it.
    equal(put(sign(stack, text(10 ** 6))).status, 204, "a well-signed newer one is taken")
    ok(until(lambda: version(stack) > 10 ** 6, 25), "the inside climbs above what the outside has",
       version(stack))
    ok(stack.tablet().token, "and the accounts are back")


def clock_only(stack, days):
    with open(stack.path("clock"), "r+") as f:
        f.write(f"{days * 86400}\n")
        f.truncate()
    want = day_in_japan(days)
    until(lambda: want in urllib.request.urlopen(stack.admin("tablet_api") + "/healthz").read().decode())


def too_old(stack):
    """The inside is away for longer than a snapshot may stand."""
    t = stack.tablet()
    word = next(u["password"] for u in stack.demo["users"] if u["user_id"] == "site-2")
    stack.kill("vrs-server")
    clock_only(stack, 2)
    second = stack.terminal("tablet-2")
    answer = second.login("site-2", word)
    problem(answer, 503, "snapshot_too_old", "a snapshot too old: no new log-ins, 503")
    ok("retry-after" in answer.headers, "with Retry-After", answer.headers)
    line = next(s["ocr_line"] for s in stack.demo["samples"] if s["municipality_code"] == MINATO)
    answer = t.post("/v1/doses", {"ocr_line": line, "status": "given", "vaccinated_on": "2021-07-01",
                                  "product": "comirnaty", "lot": "FF3620", "site": "会場",
                                  "read_by": "ocr"}, key=True)
    equal((answer.status, answer.json["outcome"]), (202, "pending"),
          "who is logged in goes on posting: 202")
    equal(urllib.request.urlopen(stack.admin("tablet_api") + "/readyz").status, 200,
          "and tablet-api stays ready")
    waiting = until(lambda: metrics(stack, "tablet_api")["vrs_inbox_pending_entries"] >= 1)
    ok(waiting, "the depth of the inbox is measured")
    stack.restart("vrs-server")
    ok(until(lambda: second.login("site-2", word).status == 201), "the inside is back: log-ins again")
    path = f"/v1/doses/{answer.json['receipt_id']}"
    ok(until(lambda: t.get(path).json["outcome"] == "recorded"), "and the dose is recorded",
       t.get(path))
    stack.set_clock(None)


# ---- admin listeners and addresses


def listening(pid):
    """(address, port) of every TCP listener of a process."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            m = re.match(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue
        if m:
            inodes.add(m.group(1))
    found = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as f:
            for row in list(f)[1:]:
                field = row.split()
                if field[3] == "0A" and field[9] in inodes:
                    address, port = field[1].split(":")
                    if table == "tcp":
                        address = ".".join(str(b) for b in bytes.fromhex(address)[::-1])
                    found.add((address, int(port, 16)))
    return found


def admin(stack):
    p = stack.ports
    want = {"tablet-api": {("127.0.0.1", p[n]) for n in ("terminals", "public", "line", "reader",
                                                           "tablet_admin")},
            "vrs-server": {("127.0.0.2", p[n]) for n in ("lgwan", "inside_admin")},
            "vrs-number": set()}
    for name, sockets in want.items():
        equal(listening(stack.processes[name].pid), sockets,
              f"C20 {name} listens on {len(sockets)} addresses of its own side and nowhere else")
    for side in ("tablet_api", "vrs_server"):
        base = stack.admin(side)
        before = day_in_japan()
        text = urllib.request.urlopen(base + "/healthz").read().decode()
        ok(json.loads(text)["date"] in (before, day_in_japan()), f"{side}: /healthz", text)
        for method, path, status in (("POST", "/healthz", 405), ("GET", "/v1/vaccines", 404),
                                     ("POST", "/v1/doses", 404), ("GET", "/", 404)):
            request = urllib.request.Request(base + path, method=method,
                                             data=b"{}" if method == "POST" else None)
            try:
                got = urllib.request.urlopen(request).status
            except urllib.error.HTTPError as e:
                got = e.code
            equal(got, status, f"{side} admin: {method} {path} is {status}")
    until(lambda: "vrs_line_since_pull_seconds" in metrics(stack))  # gauges are set by a timer
    outside, inside = metrics(stack, "tablet_api"), metrics(stack)
    for what, where, name in (
            ("inbox depth", outside, "vrs_inbox_pending_entries"),
            ("age of the oldest pending dose", outside, "vrs_inbox_oldest_pending_seconds"),
            ("seconds since the last pull, outside", outside, "vrs_line_since_pull_seconds"),
            ("seconds since the last pull, inside", inside, "vrs_line_since_pull_seconds"),
            ("commits of the inbox", outside, "vrs_inbox_commits_total"),
            ("their latency", outside, "vrs_inbox_commit_seconds_sum"),
            ("commits of partitions", inside, 'vrs_partition_commits_total{outcome="acked"}'),
            ("unknown commits", inside, 'vrs_partition_commits_total{outcome="unknown"}'),
            ("their latency", inside, "vrs_partition_commit_seconds_sum"),
            ("outcomes by kind, outside", outside, 'vrs_outcomes_total{outcome="recorded"}'),
            ("outcomes by kind, inside", inside, 'vrs_outcomes_total{outcome="recorded"}'),
            ("open files", inside, "vrs_partitions_open"),
            ("certificate days left, outside", outside, "vrs_certificate_days_left"),
            ("certificate days left, inside", inside, "vrs_certificate_days_left"),
            ("log entries", inside, "vrs_log_entries_total"),
            ("age of the snapshot", outside, "vrs_snapshot_age_seconds")):
        ok(name in where, f"measured: {what} ({name})")


def may_not_bind(stack):
    """C20: a start-up that would reach over to the other side, or everywhere, fails."""
    for program, key, address in (
            ("vrs-server", "lgwan_address", "0.0.0.0"), ("vrs-server", "lgwan_address", "::"),
            ("vrs-server", "lgwan_address", "127.0.0.1"), ("vrs-server", "admin_address", "0.0.0.0"),
            ("vrs-server", "admin_address", "192.0.2.1"),
            ("tablet-api", "terminals_address", "0.0.0.0"), ("tablet-api", "line_address", "::"),
            ("tablet-api", "terminals_address", "127.0.0.2"),
            ("tablet-api", "public_address", "127.0.0.2"),
            ("tablet-api", "line_address", "127.0.0.2"), ("tablet-api", "admin_address", "0.0.0.0"),
            ("tablet-api", "admin_address", "192.0.2.1")):
        with open(stack.path("etc", program + ".conf")) as f:
            text = f.read()
        line = f'{key} = "{address}";'
        text, count = re.subn(rf"(?m)^{key} = .*$", line, text)
        text += "" if count else line + "\n"
        folder = os.path.join(stack.home, "elsewhere")  # its own state, were it to start
        os.makedirs(folder, mode=0o700, exist_ok=True)
        text = re.sub(r'(?m)^state_dir = .*$', f'state_dir = "{folder}";', text)
        text = re.sub(r"(?m)^uid = .*$", "", text)
        text = re.sub(r"(?m)^(\w+_port) = .*$", r"\1 = 0;", text)
        path = os.path.join(stack.home, "bind.conf")
        with open(path, "w") as f:
            f.write(text)
        try:
            r = subprocess.run([f"{BUILD}/bin/{program}", "--config", path], timeout=5, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env=dict(os.environ, VRS_DIE_WITH_PARENT="1"))
            failed, why = r.returncode == 1 and "daemon.failed" in r.stdout, r.stdout[-500:]
        except subprocess.TimeoutExpired as e:
            failed, why = False, f"it runs: {e.stdout}"
        ok(failed, f"C20 {program} refuses {key} = {address}", why)


def main(stack):
    inside = line_door(stack)
    may_not_bind(stack)
    too_old(stack)
    admin(stack)
    snapshot(stack, inside)


run(main, overrides={"vrs-server": {"pull_wait_ms": 2000}})
