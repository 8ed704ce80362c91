#!/usr/bin/env python3
"""S10 and what stands around a log-in: password rules, the same answer and time for everybody unknown,
throttles, one-time codes, the settings of a municipality for passwords, codes, sessions and purposes."""
import base64
import datetime
import hashlib
import hmac
import time

from case import (FUJISAWA, MINATO, access_log, client_for, equal, metrics, ok, one, personal_number, problem,
                  register, resident, run, tag, until)

CHANGE = "/v1/sessions/current:change-password"


def clerk(stack, name, rights="", code=MINATO):
    user = stack.add_user(name, code, ["municipal_staff"], "demo-applicant", "minato-approver", "予防接種課",
                          f"{name} の人", rights)
    stack.demo["users"].append(user)
    return user


def more_terminals(stack, count):
    made = [stack.add_terminal(f"lgwan-more-{n}", "lgwan", MINATO) for n in range(count)]
    return [client_for(stack, (t["cert"], t["key"])) for t in made]


def settings(stack, change):
    c = stack.staff(MINATO, "minato-approver")
    answer = c.request("PUT", "/v1/settings", change, headers=tag(c.get("/v1/settings").json["version"]))
    if answer.status != 200:
        raise AssertionError(f"settings {change}: {answer}")
    return answer


def rules(stack):
    user = clerk(stack, "minato-sakura")
    c = stack.staff(MINATO, "minato-sakura")

    def change(new):
        return c.post(CHANGE, {"old_password": user["password"], "new_password": new})

    hashed = metrics(stack)["vrs_password_hashes_total"]
    for what, new in (("eleven characters", "kX7#pQ9!zL2"), ("on the list", "password1234"),
                      ("on the list, other case", "PassWord1234"), ("on the list, full width", "ｐａｓｓｗｏｒｄ１２３４"),
                      ("on the list, with signs", "!!password!!2026"), ("with digits for letters", "p4ssw0rd2026"),
                      ("a listed word twice", "qwertyqwerty"), ("a row of keys", "1qaz2wsx3edc"),
                      ("the user's ID", "Minato-Sakura-26"), ("the town's name", "minatoku2026!"),
                      ("the town's name in kanji", "港区港区港区接種課26"), ("one character", "aaaaaaaaaaaa"),
                      ("two characters", "121212121212"), ("257 characters", "長い" * 128 + "!")):
        problem(change(new), 422, "password_weak", f"C24 a password is refused: {what}")
    equal(metrics(stack)["vrs_password_hashes_total"], hashed, "C24 and none of them was hashed")
    for what, new in (("a passphrase of 256 characters", "山路を登りながらこう考えた智に働けば角が立つ情に棹させば" * 9 + "流される意"[:4]),
                      ("twelve characters", "kX7#pQ9!zL2m"), ("words", "lantern wet bicycle mercy")):
        equal(change(new[:256]).status, 204, f"C24 control: {what} is taken")
        user["password"] = new[:256]
        equal(c.get("/v1/reviews").status, 200, "the session goes on")
    problem(change(user["password"]), 422, "password_weak", "the same password again is none")
    fresh = stack.terminal(f"lgwan-{MINATO}")
    equal(fresh.login("minato-sakura", user["password"]).status, 201, "and the new one is good")
    problem(stack.terminal(f"lgwan-{MINATO}").login("site-1", next(
        u["password"] for u in stack.demo["users"] if u["user_id"] == "site-1")), 401, "bad_login",
        "C05 what stands on the Internet side opens nothing inside")


def enumeration(stack):
    """Known, unknown, ended: one answer, one time, one hash each."""
    clerk(stack, "minato-known")
    ended = clerk(stack, "minato-ended")
    stack.command("user.disable", user_id="minato-ended")
    one_, two, three = more_terminals(stack, 3)
    kinds = {"known": (one_, lambda n: ("minato-known", "not the right one")),
             "unknown": (two, lambda n: (f"nobody-{n}", "not the right one")),
             "ended": (three, lambda n: ("minato-ended", ended["password"]))}
    times, answers = {k: [] for k in kinds}, {k: set() for k in kinds}
    before = metrics(stack)["vrs_password_hashes_total"]
    for n in range(8):
        for kind, (c, who) in kinds.items():
            began = time.monotonic()
            answer = c.login(*who(n))
            times[kind].append(time.monotonic() - began)
            answers[kind].add((answer.status, answer.body))
    hashed = metrics(stack)["vrs_password_hashes_total"] - before
    equal(hashed, 24, "S10 C24 every try of 24 cost one hash, whoever was asked for")
    equal(len(set.union(*answers.values())), 1, "S10 C24 known, unknown and ended get one answer, byte for byte")
    least = {k: min(v) for k, v in times.items()}  # what else runs only adds
    ok(max(least.values()) < 1.5 * min(least.values()) + 0.01, "S10 C24 and take one time", least)
    for n in range(3):
        one_.login("minato-known", "not the right one")
    began = time.monotonic()
    quick = [one_.login("minato-known", "not the right one") for n in range(5)]
    quick_s = (time.monotonic() - began) / 5
    ok(all(a.code == "too_many_requests" for a in quick) and quick_s < min(least.values()) / 2,
       "S10 control: what is not hashed is told apart by its time", (quick_s, least))


def throttles(stack):
    user = clerk(stack, "minato-target")
    manager = clerk(stack, "minato-manager", "staff.manage")
    terminals = more_terminals(stack, 0) or [client_for(stack, (t["cert"], t["key"])) for t in (
        stack.add_terminal(f"lgwan-try-{n}", "lgwan", MINATO) for n in range(3))]
    tries = [terminals[n % 2].login("minato-target", "wrong, quite wrong").code for n in range(10)]
    equal(set(tries), {"bad_login"}, "C141 ten tries from two terminals are refused one by one")
    before = metrics(stack)["vrs_password_hashes_total"]
    answer = terminals[2].login("minato-target", user["password"])
    problem(answer, 429, "too_many_requests", "C141 then the account is locked, for the right password and a third terminal too")
    ok(1 <= int(answer.headers["retry-after"]) <= 300, "C141 it says when it is over: by time", answer.headers)
    equal(metrics(stack)["vrs_password_hashes_total"], before, "C141 and nothing is hashed meanwhile")
    equal(terminals[2].login("minato-manager", manager["password"]).status, 201, "C141 others are not locked out")
    c = terminals[2]
    few = stack.staff(MINATO)
    problem(few.post("/v1/users/minato-target:clear-throttle"), 403, "forbidden", "C141 only an administrator clears it")
    problem(c.post("/v1/users/fujisawa-1:clear-throttle"), 404, "not_found", "C02 and of the own municipality")
    equal(c.post("/v1/users/minato-target:clear-throttle").status, 204, "C141 an administrator clears it")
    equal(terminals[0].login("minato-target", user["password"]).status, 201, "C141 then the right password is good again")
    log = access_log(stack.staff(MINATO, "minato-approver"))
    acts = [(e["act"], e["result"], e["user"]) for e in log]
    for wanted in (("user.clear_throttle", "ok", "minato-manager"), ("session.open", "bad_login", "minato-target"),
                   ("session.open", "too_many_requests", "minato-target"), ("session.open", "ok", "minato-target")):
        ok(wanted in acts, f"C65 C141 logged: {' '.join(wanted)}")
    failed = [e for e in log if (e["act"], e["result"], e["user"]) == ("session.open", "bad_login", "minato-target")]
    equal(len(failed), 10, "C65 each failed log-in is one entry")


def source(stack):
    """A whole address: ten terminals' worth of failures.  The last test: nobody gets in afterwards."""
    terminals = [client_for(stack, (t["cert"], t["key"])) for t in (
        stack.add_terminal(f"lgwan-src-{n}", "lgwan", MINATO) for n in range(10))]
    codes = []
    for n in range(100):
        codes.append(terminals[n // 10].login(f"guess-{n}", "a word tried everywhere").code)
        if codes[-1] == "too_many_requests":
            break
    ok(codes[-1] == "too_many_requests" and len(codes) > 30, f"C141 spraying from one address is throttled ({len(codes)})")
    fresh = stack.add_terminal("lgwan-fresh", "lgwan", MINATO)
    problem(client_for(stack, (fresh["cert"], fresh["key"])).login("minato-2", "never seen before"), 429,
            "too_many_requests", "C141 for an account and a terminal that are new, too")


def code_of(secret, at):
    key, step = base64.b32decode(secret), int(at) // 30
    mac = hmac.new(key, step.to_bytes(8, "big"), hashlib.sha1).digest()
    return "%06d" % (int.from_bytes(mac[mac[-1] & 15:][:4], "big") % (1 << 31) % 1000000)


def with_code(c, user, code):
    c.token = None
    answer = c.post("/v1/sessions", {"user_id": user["user_id"], "password": user["password"], "code": code})
    if answer.status == 201:
        c.token = answer.json["token"]
    return answer


def one_time_codes(stack):
    user = clerk(stack, "minato-codes")
    c = stack.staff(MINATO, "minato-codes")
    register(stack.staff(MINATO), [resident(MINATO, "符-1", "7600000001", 個人番号=personal_number())])
    person = one(c, addressee_number="符-1")
    reveal = f"/v1/residents/{person['resident_id']}:reveal-number"
    problem(c.post("/v1/sessions/current:enrol-totp", {"password": "not the password"}), 401, "bad_login",
            "C25 enrolling asks for the password")
    answer = c.post("/v1/sessions/current:enrol-totp", {"password": user["password"]})
    secret = answer.json["secret"]
    ok(answer.status == 201 and secret in answer.json["otpauth_uri"], "C25 a secret for an authenticator", answer.status)
    equal(c.login("minato-codes", user["password"]).status, 201, "C25 until the first code it is not asked for")
    settings(stack, {"totp_for_number": 1})
    for what, answer in (("reveal", c.post(reveal, {"purpose": "certificate"})),
                         ("search", c.post("/v1/residents:search", {"personal_number": personal_number(),
                                                                    "purpose": "certificate"})),
                         ("inquiry", c.post("/v1/inquiries", {}, key=True))):
        problem(answer, 403, "one_time_code_required", f"C25 where the municipality wants it: {what} without a code")
    equal(c.get(reveal.rsplit(":", 1)[0]).status, 200, "C25 what has no number goes on")
    equal(stack.staff(FUJISAWA).get("/v1/reviews").status, 200, "C25 another municipality's setting is its own")
    now = time.time()
    problem(with_code(c, user, code_of(secret, now - 120)), 401, "bad_login", "C25 an old code is refused")
    good = code_of(secret, now)
    equal(with_code(c, user, good).status, 201, "C25 log-in with certificate, password and code")
    equal(c.post(reveal, {"purpose": "certificate"}).status, 200, "C25 then numbers are shown")
    problem(with_code(stack.terminal(f"lgwan-{MINATO}"), user, good), 401, "bad_login", "C25 no code is taken twice")
    problem(c.login("minato-codes", user["password"]), 403, "one_time_code_required",
            "C25 from the first code on it is needed")
    again = {"password": user["password"]}
    mine = lambda: c.post("/v1/sessions/current:enrol-totp", again)  # noqa: E731
    problem(mine(), 403, "one_time_code_required", "C25 a new secret in place of one in use: not by the password alone")
    again["code"] = code_of(secret, now - 300)
    problem(mine(), 401, "bad_login", "C25 nor with a code of some other time")
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=90)
    stack.set_clock(later)
    ok(until(lambda: with_code(c, user, code_of(secret, later.timestamp())).status == 201, 2),
       "C25 control: the next code is good")
    stack.set_clock(later + datetime.timedelta(seconds=90))
    again["code"] = code_of(secret, later.timestamp() + 90)
    ok(until(lambda: mine().status == 201, 2), "C25 with the present code there is a new secret")
    stack.set_clock(None)
    settings(stack, {"totp_for_number": 0})


def no_look_up(stack):
    """C51, C52: with the number program stopped, a refusal shows that it was not even asked."""
    u = clerk(stack, "minato-blind", "resident.read dose.read")
    blind, sighted = stack.staff(MINATO, "minato-blind"), stack.staff(MINATO)
    person = one(sighted, addressee_number="符-1")
    reveal = f"/v1/residents/{person['resident_id']}:reveal-number"
    number = {"personal_number": personal_number()}
    ok(u is not None, "a clerk without rights to numbers")
    stack.kill("vrs-number")
    problem(blind.post("/v1/residents:search", dict(number, purpose="certificate")), 403, "forbidden",
            "C51 a search by number without the right is refused before any look-up")
    problem(blind.post(reveal, {"purpose": "certificate"}), 403, "forbidden", "C51 so is reveal")
    for purpose in (None, "curiosity", "vaccination_record", ""):
        body = {k: v for k, v in dict(number, purpose=purpose).items() if v is not None}
        problem(sighted.post("/v1/residents:search", body), 422, "purpose_not_allowed",
                f"C52 C83 a search by number for {purpose!r} is refused before any look-up")
        body.pop("personal_number")
        problem(sighted.post(reveal, body), 422, "purpose_not_allowed", f"C52 C83 reveal for {purpose!r}, too")
    problem(sighted.post("/v1/residents:search", dict(number, purpose="certificate")), 503, "number_away",
            "C52 control: with right and purpose the look-up is tried")
    stack.restart("vrs-number")


def purposes(stack):
    c = stack.staff(MINATO)
    number = {"personal_number": personal_number()}
    lookup = {"coupon_number": "7600000001", "purpose": "certificate"}
    equal(c.post("/v1/certificates:lookup", lookup).status, 200, "C83 control: a purpose that is on")
    settings(stack, {"purpose_certificate": 0})
    problem(c.post("/v1/certificates:lookup", lookup), 422, "purpose_not_allowed",
            "C83 a purpose that is switched off, in a session that was open before")
    problem(c.post("/v1/residents:search", dict(number, purpose="certificate")), 422, "purpose_not_allowed",
            "C83 for searches, too")
    equal(c.post("/v1/residents:search", dict(number, purpose="transfer_in")).status, 200, "C83 the others stay on")
    equal(stack.staff(FUJISAWA).post("/v1/residents:search", dict(number, purpose="certificate")).status, 200,
          "C83 another municipality's switches are its own")
    settings(stack, {"purpose_certificate": 1, "purpose_transfer_in": 0})
    c = stack.staff(MINATO)
    problem(c.post("/v1/residents:search", dict(number, purpose="transfer_in")), 422, "purpose_not_allowed",
            "C83 each by itself")
    settings(stack, {"purpose_transfer_in": 1})


def by_settings(stack):
    chief = stack.staff(MINATO, "minato-approver")
    first = chief.get("/v1/settings")
    version = first.json["version"]
    equal(first.headers["etag"], f'"{version}"', "settings have a version")
    values = {s["name"]: (s["value"], s["default"]) for s in first.json["settings"]}
    equal(values["password_max_age_days"], (0, 0), "C27 the age of passwords is not limited by default")
    problem(chief.request("PUT", "/v1/settings", {"totp_for_number": 1}), 428, "if_match_required", "PUT needs If-Match")
    problem(chief.request("PUT", "/v1/settings", {"totp_for_number": 1}, headers=tag(version + 5)), 412, "stale_version",
            "and the present one")
    for what, change, code in (("unknown", {"nothing": 1}, "unknown_field"), ("out of bounds", {"sessions_per_user": 9}, "bad_field"),
                               ("below the legal floor", {"retention_years": 3}, "bad_field"),
                               ("a text", {"sessions_per_user": "2"}, "bad_field"),
                               ("one good, one bad", {"sessions_per_user": 2, "totp_for_number": 7}, "bad_field")):
        equal(chief.request("PUT", "/v1/settings", change, headers=tag(version)).code, code, f"a setting is refused: {what}")
    equal(chief.get("/v1/settings").json["version"], version, "refused settings change nothing")
    problem(stack.staff(MINATO).get("/v1/settings"), 403, "forbidden", "settings are a right of their own")
    user = clerk(stack, "minato-two")
    a, b, c = (stack.staff(MINATO, "minato-two") for _ in range(3))
    problem(b.get("/v1/reviews"), 401, "session_ended", "C26 one session an ID: the earlier one ends")
    settings(stack, {"sessions_per_user": 2})
    a, b, c = (stack.staff(MINATO, "minato-two") for _ in range(3))
    equal([x.get("/v1/reviews").status for x in (a, b, c)], [401, 200, 200], "C26 more only where the setting allows it")
    other = more_terminal(stack)
    equal(other.login("minato-two", user["password"]).status, 201, "C26 from another terminal")
    log = access_log(stack.staff(MINATO, "minato-approver"))
    ok(any(e["user"] == "minato-two" and "open_elsewhere" in e["detail"] for e in log), "C26 which the log flags")
    changes = [e["detail"] for e in log if (e["act"], e["result"]) == ("setting.change", "ok")]
    ok("sessions_per_user: 1 -> 2" in changes, "C72 a change is logged with before and after", changes)
    settings(stack, {"sessions_per_user": 1})


def more_terminal(stack):
    t = stack.add_terminal("lgwan-second-desk", "lgwan", MINATO)
    return client_for(stack, (t["cert"], t["key"]))


def password_age(stack):
    """C27: off by default, a municipal setting."""
    user = clerk(stack, "minato-age")
    settings(stack, {"password_max_age_days": 30})
    equal(stack.staff(MINATO, "minato-age").get("/v1/reviews").status, 200, "C27 a young password is good")
    stack.set_clock(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=31))
    c = stack.terminal(f"lgwan-{MINATO}")
    answer = c.login("minato-age", user["password"])
    equal((answer.status, answer.json.get("password_change_required")), (201, True), "C27 an old one opens only its change")
    problem(c.get("/v1/reviews"), 403, "password_expired", "C27 and nothing else")
    equal(c.post(CHANGE, {"old_password": user["password"], "new_password": "winter fox under the bridge"}).status, 204,
          "C27 it is changed")
    equal(c.get("/v1/reviews").status, 200, "C27 then everything is open")
    other = stack.staff(FUJISAWA)
    equal(other.get("/v1/reviews").status, 200, "C27 another municipality has no limit")
    stack.set_clock(None)


def main(stack):
    rules(stack)
    enumeration(stack)
    one_time_codes(stack)
    no_look_up(stack)
    purposes(stack)
    by_settings(stack)
    throttles(stack)
    password_age(stack)
    source(stack)


run(main, count=20)
