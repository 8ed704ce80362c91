#!/usr/bin/env python3
"""Every route of the Internet side against a real tablet-api, with a stand-in for the inside."""

import http.client
import json
import os
import ssl
import threading
import time
import uuid

from tablet_side import (CANCEL, DOSE, EVENT, Client, Inside, TabletSide, Tap, coupon, dose,
                         request)

tap = Tap()


def key():
    return str(uuid.uuid4())


def problem(answer, status, code, name):
    try:
        got = (answer.status, answer.get("code"))
    except ValueError:
        got = (answer.status, answer.body)
    return tap.equal(got, (status, code), name)


def handshake_fails(make, name):
    connection = make()
    try:
        request(connection, "GET", "/v1/vaccines")
        tap.ok(False, name, "was answered")
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        tap.ok(True, name)
    finally:
        connection.close()


def certificates(side, inside):
    handshake_fails(lambda: side.terminal(None), "C21 terminals: no certificate fails in the handshake")
    handshake_fails(lambda: side.terminal("foreign"),
                    "C21 terminals: a foreign certificate fails in the handshake")
    handshake_fails(lambda: side.terminal("inside"),
                    "terminals: a certificate of the line fails in the handshake")
    handshake_fails(lambda: side.line_connection("tablet-1"),
                    "line: a tablet's certificate fails in the handshake")
    problem(request(side.line_connection("not-inside"), "POST", "/line/v1/pull"), 403, "forbidden",
            "line: its authority without OU=line is refused")
    for cert in ("old", "lost"):
        connection = side.terminal(cert)
        for method, path in (("POST", "/v1/sessions"), ("DELETE", "/v1/sessions/current"),
                             ("POST", "/v1/doses"), ("POST", "/v1/doses:batch"),
                             ("GET", "/v1/doses/" + "0" * 32), ("GET", "/v1/vaccines"),
                             ("POST", "/v1/doses/" + "0" * 32 + ":cancel"),
                             ("POST", "/v1/coupons:check")):
            problem(request(connection, method, path, b"{}" if method == "POST" else None), 403,
                    "terminal_revoked", f"{cert}: {method} {path.split('0000')[0]}")
    client = Client(side.terminal(), None)
    for method, path, body in (("POST", "/v1/doses", dose()), ("POST", "/v1/doses:batch", dose()),
                               ("GET", "/v1/doses/" + "0" * 32, None),
                               ("POST", "/v1/coupons:check", {"ocr_line": coupon(1)}),
                               ("DELETE", "/v1/sessions/current", None)):
        problem(client.call(method, path, body, key()), 401, "login_required",
                f"C21 certificate without log-in: {method} {path.split('0000')[0]}")
    for path in ("/v1/residents:search", "/v1/inquiries", "/line/v1/pull", "/metrics", "/healthz"):
        problem(client.call("POST", path, {}), 404, "not_found", f"not on this side: {path}")
    public = side.public_connection()
    tap.equal(request(public, "GET", "/v1/vaccines").status, 200, "public: vaccines")
    problem(request(public, "POST", "/v1/doses", dose()), 404, "not_found", "public: no doses")
    problem(request(public, "GET", "/healthz"), 404, "not_found", "public: no health page")


def logins(side, inside):
    connection = side.terminal()
    problem(request(connection, "POST", "/v1/sessions", {"user_id": "site-1", "password": "no"}),
            401, "bad_login", "C24 wrong password")
    problem(request(connection, "POST", "/v1/sessions", {"user_id": "nobody", "password": "no"}),
            401, "bad_login", "C24 unknown user, same answer")
    problem(request(connection, "POST", "/v1/sessions",
                    {"user_id": "ended", "password": "correct horse"}),
            401, "bad_login", "C45 an account past its end, same answer")
    problem(request(connection, "POST", "/v1/sessions", {"user_id": "site-1"}), 422,
            "missing_field", "log-in without password")
    problem(request(connection, "POST", "/v1/sessions",
                    {"user_id": "site-1", "password": "x", "admin": True}), 400, "unknown_field",
            "log-in with an unknown field")
    problem(request(connection, "POST", "/v1/sessions", b"{"), 400, "bad_json", "log-in, no JSON")
    client = side.login()
    answer = request(side.terminal(), "POST", "/v1/sessions",
                     {"user_id": "site-1", "password": "correct horse"}).json()
    tap.ok(set(answer) >= {"token", "expires_at", "user_id", "roles"}
           and answer["roles"] == ["site_staff"], "log-in answers token, end, user and roles", answer)
    other = Client(side.terminal("tablet-2"), client.token)
    problem(other.call("POST", "/v1/coupons:check", {"ocr_line": coupon(1)}), 401, "session_ended",
            "a token on another terminal")
    problem(Client(side.terminal(), "0" * 64).dose(dose()), 401, "session_ended", "an invented token")
    problem(side.login("reader-only").dose(dose()), 403, "forbidden", "C40 without the right")
    tap.equal(client.call("DELETE", "/v1/sessions/current").status, 204, "log-out")
    problem(client.dose(dose()), 401, "session_ended", "C28 the token after log-out")
    known, unknown = [], []
    for n in range(8):  # in turns, so that other load falls on both; the least is the work itself
        for name, times in (("site-1", known), (f"nobody-{n}", unknown)):
            started = time.monotonic()
            request(connection, "POST", "/v1/sessions", {"user_id": name, "password": "no"})
            times.append(time.monotonic() - started)
    tap.ok(0.5 < min(unknown) / min(known) < 2, "C24 unknown users take the same time",
           f"{min(known):.4f} {min(unknown):.4f}")
    events = [e for e in inside.seen if e["kind"] == EVENT]
    tap.ok(len(events) >= 10 and {"131032", "462012"} <= {e["municipality"] for e in events},
           "C65 log-ins and refusals travel inwards, to the town of the terminal",
           {e["municipality"] for e in events})


def throttle(side):
    connection = side.terminal("tablet-2")
    answers = [request(connection, "POST", "/v1/sessions", {"user_id": "guessed", "password": "no"})
               for _ in range(side.config["login_tries"] + 2)]
    tap.equal([a.status for a in answers[-2:]], [429, 429], "C141 guessing is throttled")
    tap.ok(int(answers[-1].headers["Retry-After"]) > 0, "throttled: Retry-After")
    problem(request(connection, "POST", "/v1/sessions",
                    {"user_id": "site-2", "password": "correct horse"}), 429, "too_many_requests",
            "the terminal is throttled, whoever logs in")
    tap.equal(side.login("site-2").call("DELETE", "/v1/sessions/current").status, 204,
              "the same person elsewhere is not")


def doses(side, inside):
    client = side.login()
    k = key()
    first = client.dose(dose(1), k)
    tap.ok(first.status == 201 and first.get("outcome") == "recorded" and first.get("dose_id")
           and first.get("warnings") == [], "a dose: 201 with its outcome", first.body)
    again = client.dose(dose(1), k)
    tap.equal((again.status, again.json()), (201, first.json()), "same key, same body: same receipt")
    again = client.dose(json.dumps(dose(1), indent=2).encode(), k)
    tap.equal(again.json(), first.json(), "same key, same content in other spacing")
    problem(client.dose(dose(1, lot="EX0001"), k), 409, "idempotency_key_reused",
            "same key, other body")
    receipt = first.get("receipt_id")
    problem(client.call("POST", f"/v1/doses/{receipt}:cancel", {"reason": "読み違い"}, k), 409,
            "idempotency_key_reused", "a dose's key for a cancellation")
    other = side.login(cert="tablet-2", user="site-2")
    tap.ok(other.dose(dose(1), k).get("receipt_id") != receipt, "keys of two terminals never meet")
    problem(other.call("GET", f"/v1/doses/{receipt}"), 404, "not_found",
            "a receipt of another terminal")
    got = client.call("GET", f"/v1/doses/{receipt}")
    tap.equal((got.status, got.json()), (200, first.json()), "the receipt looked up")
    problem(client.call("GET", "/v1/doses/xyz"), 404, "not_found", "a receipt that is none")
    problem(client.call("POST", "/v1/doses", dose(3)), 400, "idempotency_key_required", "no key")
    problem(client.dose(dose(3), "not-a-uuid"), 400, "idempotency_key_required", "a key that is none")
    for name, body, status, code in (
            ("no JSON", b"ocr_line=1", 400, "bad_json"),
            ("two documents", b"{}{}", 400, "bad_json"),
            ("a repeated field", b'{"status":"given","status":"given"}', 400, "bad_json"),
            ("an array", b"[]", 400, "bad_request"),
            ("deep JSON", b"[" * 100 + b"]" * 100, 400, "json_too_deep"),
            ("an unknown field", dose(personal_number="123456789018"), 400, "unknown_field"),
            ("a wrong type", dose(lot=5), 422, "bad_field"),
            ("no status", dose(status=None), 422, "missing_field"),
            ("a wrong status", dose(status="maybe"), 422, "bad_field"),
            ("no line", dose(ocr_line=None), 422, "missing_field"),
            ("17 digits", dose(ocr_line=coupon(1)[:17]), 422, "R104"),
            ("a 10-digit scan", dose(ocr_line="0000000001", read_by="nw7"), 422, "R104"),
            ("a wrong check digit", dose(ocr_line=coupon(1, "131033")), 422, "R102"),
            ("no such municipality", dose(ocr_line=coupon(1, "999997")), 422, "R105"),
            ("an unknown kind", dose(ocr_line=coupon(1, kind=7)), 422, "R106"),
            ("dose number 0", dose(ocr_line=coupon(1, dose=0)), 422, "R120"),
            ("an examined-only coupon for a shot", dose(ocr_line=coupon(1, kind=1)), 422, "R107"),
            ("a future date", dose(vaccinated_on="2199-01-01"), 422, "R112"),
            ("no such day", dose(vaccinated_on="2021-02-30"), 422, "R111"),
            ("a date in another form", dose(vaccinated_on="1.7.2021"), 422, "R110"),
            ("an unknown product", dose(product="snake-oil"), 422, "R132"),
            ("an empty lot", dose(lot="　"), 422, "R130"),
            ("control characters", dose(site="a\u0007b"), 422, None),
            ("an empty site", dose(site=""), 422, "R181"),
            ("a wrong way of reading", dose(read_by="guess"), 422, "bad_field"),
            ("a wrong time", dose(read_at="yesterday"), 422, "bad_field"),
            ("a large body", dose(site="x" * 20000), 413, "too_large")):
        answer = client.dose(body)
        if code is None:
            tap.equal(answer.status, status, f"refused: {name}")
        else:
            problem(answer, status, code, f"refused: {name}")
        if answer.status == 413:
            client.connection.close()
    answer = client.dose(dose(ocr_line=coupon(1)[:17] + "O"))
    tap.ok(answer.status == 422
           and {"ocr_line": coupon(0), "changes": 1} in answer.get("candidates"),
           "a misread line: candidates with their changes", answer.body)
    parts = {"kind": "2", "dose_number": 1, "municipality_code": "131032",
             "coupon_number": "0000000009"}
    tap.equal(client.dose(dose(ocr_line=None, coupon=parts)).status, 201, "a coupon in parts")
    problem(client.dose(dose(ocr_line=None, coupon={**parts, "name": "x"})), 400, "unknown_field",
            "a coupon with an unknown part")
    tap.equal(client.dose(dose(ocr_line="２１１３１０３２ ００００００００１０")).status, 201,
              "full-width digits and spaces")
    tap.equal(client.dose(dose(2, status="not_given", product=None, lot=None)).status, 201,
              "a visit without a shot needs no product and no lot")
    tap.equal(client.dose(dose(ocr_line=coupon(1, "462012"))).status, 201,
              "a coupon of another municipality at this site")
    now = time.time()
    wrong = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now + 7200))
    right = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now))
    inside.judge = lambda entry: None
    answer = client.dose(dose(11), Date=wrong)
    tap.ok(answer.status == 202 and answer.get("outcome") == "pending"
           and [w["code"] for w in answer.get("warnings")] == ["terminal_clock_wrong"],
           "a wrong terminal clock is told at once; 202 when no outcome comes", answer.body)
    tap.ok("warnings" not in client.dose(dose(12), Date=right).json(), "a right clock is not")
    future = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 7200))
    tap.ok("warnings" in client.dose(dose(13, read_at=future)).json(),
           "a reading from the future gives the clock away")


def warnings(side, inside):
    client = side.login()
    inside.judge = lambda entry: ("recorded_for_review", "ab" * 16, "interval_short made_up_rule")
    found = client.dose(dose(21)).get("warnings")
    tap.equal([w["code"] for w in found], ["interval_short", "made_up_rule"], "warnings by name")
    tap.ok(all(w["detail"] for w in found), "warnings have a Japanese text", found)
    inside.judge = lambda entry: "waiting_for_coupon"
    answer = client.dose(dose(22))
    tap.equal((answer.status, answer.get("outcome")), (201, "waiting_for_coupon"),
              "waiting for its coupon")
    entry = [e for e in inside.seen if e["kind"] == DOSE][-1]
    connection = side.line_connection()
    settled = inside.settle(connection, [(entry["receipt"], "recorded", "cd" * 16, "")])
    tap.equal(settled, [entry["receipt"]], "a later outcome is acknowledged")
    path = "/v1/doses/" + answer.get("receipt_id")
    tap.equal(client.call("GET", path).get("outcome"), "recorded", "waiting moved to final")
    inside.settle(connection, [(entry["receipt"], "waiting_for_coupon", "", ""),
                               (entry["receipt"], "pending", "", ""),
                               (entry["receipt"], "conflict", "", "")])
    tap.equal(client.call("GET", path).get("outcome"), "recorded", "a final outcome never moves back")
    tap.equal(inside.settle(connection, [(b"\1" * 16, "recorded", "", "")]), [b"\1" * 16],
              "an unknown receipt is acknowledged, so that the inside forgets it")


def cancels(side, inside):
    client = side.login()
    inside.judge = lambda entry: "cancelled" if entry["kind"] == CANCEL else "recorded"
    receipt = client.dose(dose(31)).get("receipt_id")
    path = f"/v1/doses/{receipt}:cancel"
    problem(client.call("POST", path, {"reason": "誤り"}), 400, "idempotency_key_required",
            "cancel without a key")
    problem(client.call("POST", path, {}, key()), 422, "reason_required", "cancel without a reason")
    k = key()
    answer = client.call("POST", path, {"reason": "読み違い"}, k)
    tap.ok(answer.status == 201 and answer.get("outcome") == "cancelled"
           and answer.get("cancels") == receipt, "cancelled", answer.body)
    tap.equal(client.call("POST", path, {"reason": "読み違い"}, k).json(), answer.json(),
              "cancel: same key, same answer")
    problem(client.call("POST", path, {"reason": "ほか"}, k), 409, "idempotency_key_reused",
            "cancel: same key, other reason")
    other = side.login("site-2", cert="tablet-2")
    problem(other.call("POST", path, {"reason": "x"}, key()), 404, "not_found",
            "cancel from another terminal")
    inside.judge = lambda entry: "cancel_refused" if entry["kind"] == CANCEL else "recorded"
    receipt = client.dose(dose(32)).get("receipt_id")
    problem(client.call("POST", f"/v1/doses/{receipt}:cancel", {"reason": "x"}, key()), 409,
            "cancel_not_allowed", "a cancellation that the inside refuses")


def batch(side, inside):
    client = side.login()
    inside.judge = lambda entry: "recorded"
    items = [dict(dose(100 + n), idempotency_key=key()) for n in range(50)]
    items[7]["ocr_line"] = "123"
    items[8]["idempotency_key"] = "x"
    items[10] = items[9]
    text = "\n".join(json.dumps(i) for i in items) + "\r\n\n{broken\n"
    answer = client.call("POST", "/v1/doses:batch", text.encode())
    rows = [json.loads(row) for row in answer.body.splitlines()]
    tap.equal((answer.status, answer.headers["Content-Type"], len(rows)),
              (200, "application/x-ndjson", 51), "a batch: one answer a line")
    tap.equal([r["status"] for r in rows], [201] * 7 + [422, 400] + [201] * 41 + [400],
              "a batch: each its own status")
    tap.equal([r.get("idempotency_key") for r in rows[:7]],
              [i["idempotency_key"] for i in items[:7]], "a batch: in order, with their keys")
    tap.equal(rows[9]["receipt_id"], rows[10]["receipt_id"], "a batch: the same item twice, once")
    again = client.call("POST", "/v1/doses:batch", text.encode())
    tap.equal([json.loads(r).get("receipt_id") for r in again.body.splitlines()],
              [r.get("receipt_id") for r in rows], "a batch again: the same receipts")
    single = dict(items[0])
    k = single.pop("idempotency_key")
    tap.equal(client.dose(single, k).get("receipt_id"), rows[0]["receipt_id"],
              "an item of a batch, posted alone with its key")
    problem(client.call("POST", "/v1/doses:batch", b"\n\n"), 400, "bad_request", "an empty batch")
    problem(client.call("POST", "/v1/doses:batch", b"{}\n" * 1001), 413, "too_large",
            "1001 items are too many")


def checks(side, inside):
    client = side.login()
    for status, name in ((1, "ok"), (2, "unknown"), (3, "dose_already_recorded"),
                         (4, "moved_out")):
        inside.answer = lambda query, status=status: status
        answer = client.call("POST", "/v1/coupons:check", {"ocr_line": coupon(1)})
        tap.equal((answer.status, answer.json()), (200, {"status": name, "candidates": []}),
                  f"coupons:check {name}")
        answer = client.call("POST", "/v1/coupons:check", {"ocr_line": coupon(1, "462012")})
        tap.equal(answer.get("status"), "unknown" if status == 2 else "ok",
                  f"coupons:check of another municipality: {name} is not told")
    answer = client.call("POST", "/v1/coupons:check", {"ocr_line": coupon(1)[:17] + "O"})
    tap.ok(answer.get("status") == "invalid" and answer.get("candidates"), "coupons:check invalid")
    inside.answer = lambda query: None
    answer = client.call("POST", "/v1/coupons:check", {"ocr_line": coupon(1)})
    problem(answer, 503, "inside_away", "coupons:check when the inside is away")
    tap.ok(answer.headers["Retry-After"], "inside_away: Retry-After")
    inside.answer = lambda query: 1
    statuses = [client.call("POST", "/v1/coupons:check", {"ocr_line": coupon(1)}).status
                for _ in range(side.config["queries_per_minute"])]
    tap.equal(statuses[-1], 429, "coupons:check: quota of a terminal")


def systems(side, inside):
    inside.judge = lambda entry: "recorded"
    reader = Client(side.terminal("reader"), None)
    tap.equal(reader.dose(dose(41)).status, 201, "C30 a registered system needs no log-in")
    problem(reader.call("POST", "/v1/coupons:check", {"ocr_line": coupon(1)}), 403, "forbidden",
            "C30 but has only its functions")
    side.systems = []
    tap.equal(inside.push(side.snapshot()).status, 204, "the snapshot without it")
    problem(reader.dose(dose(42)), 401, "login_required",
            "C31 de-registered: the next request on the live connection")


def snapshots(side, inside):
    client = side.login()
    stale = side.snapshot()
    side.version -= 1
    tap.equal(inside.push(side.snapshot()).status, 204, "a newer snapshot")
    problem(inside.push(stale), 409, "conflict", "the same version again")
    side.version += 1
    forged = side.snapshot()
    forged["snapshot"] = forged["snapshot"].replace("site_staff", "site_chief")
    problem(inside.push(forged), 422, "bad_field", "a changed text under the old signature")
    tap.equal(inside.push(side.sign("{}")).status, 422, "signed, but not a snapshot")
    problem(request(side.line_connection(), "PUT", "/line/v1/snapshot", b"{"), 400, "bad_json",
            "not JSON")
    side.made_at = "2021-01-01T00:00:00Z"
    tap.equal(inside.push(side.snapshot()).status, 204, "an old snapshot is taken")
    answer = request(side.terminal(), "POST", "/v1/sessions",
                     {"user_id": "site-1", "password": "correct horse"})
    problem(answer, 503, "snapshot_too_old", "too old: no new log-ins")
    tap.equal(client.dose(dose(51)).status, 201, "too old: posting goes on")
    side.made_at = None
    users = side.users
    side.users = [u for u in users if u["user_id"] != "site-1"]
    inside.push(side.snapshot())
    problem(client.dose(dose(52)), 401, "session_ended", "C43 an account taken away ends its session")
    side.users = users
    inside.push(side.snapshot())


def same_time(side, inside):
    """200 identical posts at once: one record, the same receipt for all."""
    client = side.login()
    k = key()
    before = len([e for e in inside.seen if e["kind"] == DOSE])
    results = []

    def post():
        mine = Client(side.terminal(), client.token)
        for _ in range(10):
            answer = mine.dose(dose(61), k)
            results.append((answer.status, answer.body))

    threads = [threading.Thread(target=post) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    seen = len([e for e in inside.seen if e["kind"] == DOSE]) - before
    tap.equal((len(set(results)), len(results), seen), (1, 200, 1),
              "200 identical posts: one entry, 200 identical answers")


def inside_down(side, make):
    """The inside away, then back, answering late and twice; tablet-api killed in between (D7)."""
    client = side.login()
    side.stop()
    side.start()
    tap.equal(side.admin_get("/readyz").status, 200, "ready after a restart, with the snapshot that it kept")
    problem(Client(side.terminal(), client.token).dose(dose(71)), 401, "session_ended",
            "sessions do not outlive a restart")
    client = side.login()
    keys = [key() for _ in range(5)]
    first = [client.dose(dose(72 + n), k) for n, k in enumerate(keys)]
    tap.equal([a.status for a in first], [202] * 5, "inside away: 202")
    time.sleep(1.1)
    tap.ok(side.metric("vrs_inbox_pending_entries") >= 5
           and side.metric("vrs_inbox_oldest_pending_seconds") >= 1, "metrics tell depth and age")
    side.kill()
    side.start()
    client = side.login()
    again = [client.dose(dose(72 + n), k) for n, k in enumerate(keys)]
    tap.equal([a.get("receipt_id") for a in again], [a.get("receipt_id") for a in first],
              "after kill -9 the same keys find the same receipts")
    with make() as inside:
        end = time.monotonic() + 10
        path = "/v1/doses/" + first[0].get("receipt_id")
        while client.call("GET", path).get("outcome") == "pending" and time.monotonic() < end:
            time.sleep(0.05)
        tap.equal([client.dose(dose(72 + n), k).status for n, k in enumerate(keys)], [201] * 5,
                  "the inside is back: the outcome, with the same keys")
        mine = [e for e in inside.seen if e["receipt"].hex() == first[0].get("receipt_id")]
        tap.equal(len(mine), 1, "delivered once")
        line = side.line_connection()
        _, entries, _ = inside.pull(line)
        tap.equal(entries, [], "nothing unsettled is left")
        _, replayed, _ = inside.replay(line, "131032", 0, 1000)
        tap.ok({a.get("receipt_id") for a in first} <= {e["receipt"].hex() for e in replayed},
               "replay gives settled entries again")
        _, others, _ = inside.replay(line, "462012", 0, 1000)
        tap.ok(others and all(e["municipality"] == "462012" for e in others),
               "replay gives one municipality only")
        _, page, _ = inside.replay(line, "131032", replayed[2]["seq"], 2)
        tap.equal([e["seq"] for e in page], [e["seq"] for e in replayed[3:5]], "replay goes on")
        problem(request(line, "POST", "/line/v1/pull", b"\x01\x00"), 400, "bad_request",
                "line: a malformed message")
    started = time.monotonic()
    inside.pull(side.line_connection(), 10**9, wait_ms=300)
    tap.ok(0.25 < time.monotonic() - started < 5, "line: a pull waits as long as it is told")


def time_and_queues():
    """A second tablet-api with short times: idle sessions, a full log-in queue, another day."""
    side = TabletSide(answer_wait_ms=0, session_idle_s=5, login_queue=2, login_tries=1000)
    side.config["clock_file"] = os.path.join(side.folder, "clock")
    try:
        with open(side.config["clock_file"], "w", encoding="ascii") as clock:
            clock.write("0")
        side.start()
        side.add_user("site-1")
        inside = Inside(side)
        inside.push(side.snapshot())
        client = side.login()
        time.sleep(3)
        tap.equal(client.dose(dose(1)).status, 202, "C28 use keeps a session alive")
        time.sleep(3)
        tap.equal(client.dose(dose(1)).status, 202, "C28 again")
        time.sleep(5.1)
        problem(client.dose(dose(1)), 401, "session_ended", "C28 idle time ends it")
        answers = []

        def log_in():
            answers.append(request(side.terminal(), "POST", "/v1/sessions",
                                   {"user_id": "site-1", "password": "correct horse"}))

        threads = [threading.Thread(target=log_in) for _ in range(30)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        busy = [a for a in answers if a.status != 201]
        tap.ok(busy and len(busy) < 30 and all(
            a.status == 503 and a.get("code") == "busy" and a.headers["Retry-After"] for a in busy),
            "a bounded queue of log-ins: 503 with Retry-After above it", len(busy))
        client = side.login()
        first = client.dose(dose(2)).get("receipt_id")
        second = client.dose(dose(3)).get("receipt_id")
        k = key()
        answer = client.call("POST", f"/v1/doses/{first}:cancel", {"reason": "x"}, k)
        tap.equal(answer.status, 202, "a cancellation while the inside is away: 202")
        with open(side.config["clock_file"], "w", encoding="ascii") as clock:
            clock.write("86400")
        time.sleep(0.3)
        problem(client.call("POST", f"/v1/doses/{second}:cancel", {"reason": "x"}, key()), 409,
                "cancel_not_allowed", "the next day is too late to cancel from a tablet")
        again = client.call("POST", f"/v1/doses/{first}:cancel", {"reason": "x"}, k)
        tap.equal((again.status, again.json()), (202, answer.json()),
                  "but the first day's request repeated gets its answer")
    finally:
        side.close()


def state_files(side):
    """C04: nothing of a person in what the Internet side keeps."""
    found = []
    needles = [t.encode() for t in (coupon(72), coupon(72)[8:], "港区スポーツ", "FF3620")]
    names = [os.path.relpath(os.path.join(at, n), side.state)
             for at, folders, files in os.walk(side.state) for n in files]
    for name in names:
        with open(os.path.join(side.state, name), "rb") as file:
            data = file.read()
            found += [f"{name}: {n!r}" for n in needles if n in data]
        mode = os.stat(os.path.join(side.state, name)).st_mode & 0o777
        tap.equal(mode, 0o600, f"{name} is for its owner only")
    tap.equal(found, [], "C04 no coupon, site or lot in clear in the state files")
    log = side.log_text()
    tap.equal([n for n in (coupon(72), "correct horse", "港区スポーツ") if n in log], [],
              "C04 nor in the log")


def main():
    side = TabletSide(answer_wait_ms=1500, query_wait_ms=1500, login_tries=40, queries_per_minute=20)
    try:
        side.start()
        tap.equal(side.admin_get("/readyz").status, 200, "ready before the inside has called")
        problem(request(side.terminal(), "POST", "/v1/sessions",
                        {"user_id": "site-1", "password": "x"}), 503, "snapshot_too_old",
                "no log-in without a snapshot")
        side.add_user("site-1", municipality_code="131032")
        side.add_user("site-2")
        side.add_user("ended", valid_until="2021-01-01")
        side.add_user("reader-only", rights=["receipt.read"])
        side.revoked = [side.pki.serial("lost")]
        side.systems = [{"fingerprint": side.pki.fingerprint("reader"), "name": "reader-1",
                         "rights": ["dose.post"]}]
        with Inside(side) as inside:
            tap.equal(inside.push(side.snapshot()).status, 204, "the first snapshot")
            certificates(side, inside)
            logins(side, inside)
            doses(side, inside)
            warnings(side, inside)
            cancels(side, inside)
            batch(side, inside)
            checks(side, inside)
            systems(side, inside)
            snapshots(side, inside)
            inside.judge = lambda entry: "recorded"
            same_time(side, inside)
            throttle(side)
        inside_down(side, lambda: Inside(side))
        state_files(side)
        tap.equal(side.kill(15), 0, "SIGTERM ends it cleanly")
    finally:
        side.close()
    time_and_queues()
    return 1 if tap.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
