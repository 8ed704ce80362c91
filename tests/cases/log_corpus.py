#!/usr/bin/env python3
"""What the access log says: a corpus of requests over every route, good and bad, and exactly one
entry for each (C60, C67); the Internet side's log-ins and refusals, each once also after crashes;
commands of the operator (C72); order over steps of the clock (C71)."""
import os
import re
import subprocess
import time

from case import (BUILD, MINATO, ROOT, access_log, client_for, dose_row, doses_of, equal, ok, one,
                  record, register, resident, run, tag, until)

AUDITED = "000000"  # the registry


# ---- the table of acts


def acts():
    """{act: kind} of vrs-server/log/act.c."""
    with open(os.path.join(ROOT, "vrs-server", "log", "act.c"), encoding="utf-8") as f:
        return dict(re.findall(r'\{"([^"]+)", (ACT_\w+), "', f.read()))


def acts_in_sources():
    """Every name that is given to an entry: handlers, verbs, events of the Internet side."""
    found = {}
    for folder in ("vrs-server", "partitions", "tablet-api"):
        for base, _, files in os.walk(os.path.join(ROOT, folder)):
            for name in files:
                if not name.endswith(".c") or name == "act.c":
                    continue
                with open(os.path.join(base, name), encoding="utf-8") as f:
                    text = f.read()
                if name == "control_verbs.c":
                    names = re.findall(r'\.name = "([^"]+)"', text)
                else:
                    names = re.findall(r'(?:->|\.)act = (?:[^;"]*? \? )?"([^"]+)"(?: : "([^"]+)")?', text)
                    names = [n for pair in names for n in pair if n]
                if folder == "tablet-api":
                    names += re.findall(r'(?:\.name = |note_refused\(rq, |const char \*name = |name = |, e, |'
                                        r'RE\w+, |return |\? |: )"([a-z]+\.[a-z_]+)"', text)
                for n in names:
                    found.setdefault(n, name)
    return found


def every_act_has_a_name():
    known, used = acts(), acts_in_sources()
    ok(len(known) > 60 and len(used) > 50, f"{len(used)} acts in the sources, {len(known)} in the table")
    missing = {act: where for act, where in used.items() if act not in known}
    ok(not missing, "C67 every act that the sources name is called something in Japanese", missing)
    ok("planted.act" not in known, "control: an act that nobody named would be seen")


# ---- counting


class Reader:
    """Reads a municipality's log behind a cursor; its own reading is no part of what it counts."""

    def __init__(self, client, query=""):
        self.client, self.query, self.kinds = client, query, acts()
        self.after = 0
        self.new()

    def new(self):
        """Entries of requests since the last call."""
        found = []
        while True:
            answer = self.client.get(f"/v1/access-log?after={self.after}{self.query}").json
            entries = answer["entries"]
            if entries:
                self.after = entries[-1]["sequence"]
            found += entries
            if not answer.get("next"):
                break
        self.last = found
        return [e for e in found if (e["act"], e["user"]) != ("log.read", "corpus-audit") and
                self.kinds.get(e["act"]) not in ("ACT_FOLLOWS", "ACT_SYSTEM", "ACT_OUTSIDE", "ACT_REFUSED")]


def unlogged(reader, corpus):
    """Asks each (name, function) and returns those that did not leave exactly one entry, and all
    entries with the answers."""
    bad, entries = [], []
    reader.new()
    for name, ask in corpus:
        answer = ask()
        new = reader.new()
        if len(new) != 1:
            bad.append(f"{name}: {answer.status} left {len(new)} entries {[e['act'] for e in new]}")
        entries += [(name, answer, e) for e in new]
    return bad, entries


def routes():
    text = subprocess.run([f"{BUILD}/bin/vrs-server", "--print-routes"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return [line.split() for line in text.splitlines()]


UNLOGGED = {"GET /v1/vaccines"}  # public reference data: nobody's
LAST = {"DELETE /v1/sessions/current"}


def request_of(method, path, flags, ids, body=None):
    """A request of the route as anybody may send it: what it answers does not matter here."""
    def ask(c):
        headers = tag(99) if "if_match" in flags else {}
        for prefix, value in ids.items():
            if path.startswith(prefix):
                at = path.replace("{id}", value)
                break
        else:
            at = path.replace("{id}", "0" * 32)
        sent = body
        if body is None and method in ("POST", "PUT", "PATCH"):
            sent = {}
        if path.endswith("/content"):
            sent, headers = b"x", {"Content-Type": "text/csv", "Content-Range": "bytes 0-0/1"}
        elif path == "/v1/users:leavers":
            sent, headers = b"x", {"Content-Type": "text/csv"}
        return c.request(method, at, sent, headers=headers, key="idempotent" in flags)
    return ask


def corpus_over_routes(stack, reader, people, ids):
    """Every route × who asks: a clerk, an approver, nobody, a made-up token, a revoked terminal."""
    lost = stack.add_terminal("corpus-lost", "lgwan", MINATO)
    lost_client = client_for(stack, (lost["cert"], lost["key"]))
    stack.command("terminal.revoke", name="corpus-lost")
    nobody, nonsense = stack.terminal(f"lgwan-{MINATO}"), stack.terminal(f"lgwan-{MINATO}")
    nonsense.token = "f" * 64
    who = dict(people, nobody=nobody, nonsense=nonsense, lost=lost_client)
    corpus = []
    for listener, method, path, _, flags in routes():
        name = f"{method} {path}"
        if listener != "lgwan" or name in UNLOGGED or name in LAST or path == "/v1/sessions" or \
                ":enrol-totp" in path or "change-section" in path:
            continue
        ask = request_of(method, path, flags, ids)
        for person, client in who.items():
            corpus.append((f"{person} {name}", lambda ask=ask, client=client: ask(client)))
        if method == "POST" and not path.endswith(":leavers"):
            corpus.append((f"clerk {name} with malformed JSON", lambda m=method, p=path, f=flags:
                           request_of(m, p, f, ids, b'{"a":')(json_client(people["clerk"]))))
    for person in ("clerk", "nobody"):
        corpus.append((f"{person} GET /v1/nothing", lambda c=who[person]: c.get("/v1/nothing/123456789012")))
        corpus.append((f"{person} PUT /v1/reviews", lambda c=who[person]: c.request("PUT", "/v1/reviews", {})))
    bad, entries = unlogged(reader, corpus)
    ok(not bad, f"C67 {len(corpus)} requests over every route: {len(entries)} entries, one each",
       "\n".join(bad[:30]))
    return entries


class json_client:  # noqa: N801
    """Sends bytes as JSON."""

    def __init__(self, client):
        self.client = client

    def request(self, method, path, body=None, headers=None, key=None):
        headers = dict(headers or {}, **{"Content-Type": "application/json"})
        return self.client.request(method, path, body, headers=headers, key=key)


def entries_are_whole(entries, users):
    """C60: who, which section and terminal, when, why, what, with which result."""
    empty = [(name, k) for name, _, e in entries for k in
             ("at", "user", "section", "terminal", "source", "purpose", "act", "result", "addressee_number",
              "four_items", "detail") if not e.get(k)]
    ok(not empty, "C60 no item of any entry is empty", empty[:10])
    wrong = []
    for name, answer, e in entries:
        person = name.split(" ")[0]
        if person in users and (e["user"] != users[person] or e["section"] == "-"):
            wrong.append((name, e["user"], e["section"]))
        if person in ("nobody", "nonsense", "lost") and e["user"] != "-":
            wrong.append((name, e["user"]))
        if e["terminal"] != ("corpus-lost" if person == "lost" else f"lgwan-{MINATO}"):
            wrong.append((name, e["terminal"]))
        if answer.code and e["result"] != answer.code:
            wrong.append((name, answer.code, e["result"]))
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", e["at"]):
            wrong.append((name, e["at"]))
    ok(not wrong, "C60 C67 who, from which section and terminal, when, and the result that was answered",
       wrong[:10])
    nameless = {e["act"] for _, _, e in entries if e["act_name"] == e["act"]}
    ok(not nameless, "C67 every act in the log is called something in Japanese", nameless)
    ok(all("123456789012" not in str(e) for _, _, e in entries), "a path that is none is kept without its digits",
       [e for n, _, e in entries if "nothing" in n])


def checker_is_checked(reader, clerk):
    bad, _ = unlogged(reader, [("GET /v1/vaccines", lambda: clerk.get("/v1/vaccines")),
                               ("GET /v1/reviews", lambda: clerk.get("/v1/reviews"))])
    equal(len(bad), 1, "C67 control: a request without an entry (the public list of products) is seen")


def log_ins(stack, reader, password):
    """C65: log-in, refusals, the throttle (its first is an entry, the others are counted), log-out."""
    c = stack.terminal(f"lgwan-{MINATO}")
    bad, entries = unlogged(reader, [
        ("log-in", lambda: c.login("minato-1", password)),
        ("log-out", lambda: c.request("DELETE", "/v1/sessions/current")),
        ("a wrong password", lambda: c.login("minato-1", "wrong wrong wrong")),
        ("an unknown user", lambda: c.login("nobody", "wrong wrong wrong")),
        ("no password", lambda: c.post("/v1/sessions", {"user_id": "minato-1"})),
    ])
    ok(not bad, "C65 each log-in, log-out and refusal leaves one entry", bad)
    equal([e["act"] for _, _, e in entries], ["session.open", "session.close"] + ["session.open"] * 3,
          "C65 and says what it was")
    reader.new()
    answers = [c.login("guessed-user", f"wrong wrong {i}").status for i in range(40)]
    new = reader.new()
    refused = answers.count(401)
    ok(429 in answers and len(new) == refused + 1 and new[-1]["result"] == "too_many_requests",
       f"C65 of {len(answers)} tries {refused} are entries, and of those that were throttled the first: a "
       "disk cannot be filled with them", (answers, [e["result"] for e in new][-4:]))


# ---- C66 and what a person may be shown


def searches(reader, clerk, person):
    reader.new()
    for terms, kind, hits in (({"addressee_number": "LC001"}, "addressee_number", 1),
                              ({"coupon_number": "5400000001"}, "coupon_number", 1),
                              ({"coupon_number": "5400000009"}, "coupon_number near", 0),
                              ({"name_kana": "シケン タロウ", "birth_date": "1960-04-01"},
                               "name_kana+birth_date", 2)):
        clerk.post("/v1/residents:search", terms)
        e = reader.new()[-1]
        equal((e["act"], e["detail"], e["count"]), ("resident.search", kind, hits),
              f"C66 a search says its kind of terms ({kind}) and {hits} hits")
        ok(not any(v in e["detail"] for v in terms.values()), "C66 but not the terms")
    clerk.request("PATCH", f"/v1/residents/{person['resident_id']}", {"address": "新町", "reason": "転居"},
                  headers=tag(person["version"]))
    e = reader.new()[-1]
    ok("試験町1丁目1番1号 → 新町" in e["detail"] and "転居" in e["detail"],
       "C74 a correction's entry has the value before and after, and why", e)


# ---- the Internet side


def internet(stack, reader):
    """Events stand in the log of the site's town, each once."""
    def outside():
        reader.new()
        return [e for e in reader.last if e["source"] == "internet"]

    def told(acts_wanted):
        """Entries of those acts, until there are as many as wanted; (act, how many it stands for)."""
        found = []
        until(lambda: found.extend(e for e in outside() if e["act"] in acts_wanted) or
              sum(1 + e["count"] for e in found) >= sum(acts_wanted.values()), 15)
        return found

    c = stack.terminal("tablet-1")
    user = next(u for u in stack.demo["users"] if u["user_id"] == "site-1")
    outside()
    until(lambda: c.login("site-1", user["password"]).status == 201, 20)
    first = told({"session.opened": 1})
    equal([(e["act"], e["user"], e["terminal"], e["result"]) for e in first],
          [("session.opened", "site-1", "tablet-1", "ok")], "C65 a log-in at a site is an entry of its town")
    c.request("DELETE", "/v1/sessions/current")
    c.token = None
    c.login("site-1", "wrong wrong wrong")
    c.get("/v1/doses/" + "0" * 32)
    c.get("/v1/nothing")
    c.post("/v1/sessions", {"user_id": "x"})
    wanted = {"session.closed": 1, "session.refused": 1, "session.missing": 1, "request.unknown": 1,
              "session.malformed": 1}
    found = told(wanted)
    equal({e["act"]: 1 + e["count"] for e in found}, wanted,
          "C65 C67 log-out and every kind of refusal at a site are entries, one each")
    ok(all(e["act_name"] != e["act"] and "source=127.0.0.1" in e["detail"] and "at=" in e["detail"]
           for e in found), "C67 with where from and when it happened there", found[:1])
    return outside, c


def events_over_crashes(stack, outside, c, user):
    """The inside is killed again and again while it takes events: none is lost, none is there twice."""
    outside()
    names = 0
    for round_ in range(5):
        stack.kill("vrs-server")
        for _ in range(3):
            if c.login("site-1", user["password"]).status == 201:
                names += 1
        stack.restart("vrs-server")
        time.sleep(0.05 * round_)
    return names


# ---- commands


def commands(stack, audit):
    """C72: every verb of the control socket, in vain or not, leaves its entry in the registry."""
    with open(os.path.join(ROOT, "vrs-server", "operation", "control_verbs.c"), encoding="utf-8") as f:
        verbs = re.findall(r'\{\.name = "([^"]+)"', f.read())
    ok(len(verbs) >= 13, f"{len(verbs)} verbs", verbs)
    reader = Reader(audit, f"&municipality_code={AUDITED}")
    kinds = reader.kinds
    missing, failed = [], []
    for verb in verbs + ["no.such.verb"]:
        reader.new()
        subprocess.run([f"{BUILD}/bin/vrsctl", "-s", stack.control, verb, "municipality_code=131032",
                        "name=there-is-none", "user_id=there-is-none", "by=corpus"],
                       capture_output=True, check=False, timeout=60)
        reader.new()
        mine = [e for e in reader.last if e["source"] == "control"]
        want = verb if verb in kinds else "control.refused"
        if not [e for e in mine if e["act"] == want and e["user"] in ("corpus", "operator")]:
            missing.append((verb, [(e["act"], e["result"]) for e in reader.last]))
        failed += [e for e in mine if e["result"] not in ("ok", "begun")]
    ok(not missing, "C72 every command leaves its entry: who, which, with which result", missing)
    ok(len(failed) >= 3 and all(e["detail"] != "-" for e in failed),
       "C72 also those that failed, with what was named", failed[:3])


# ---- the clock


def set_clock(stack, seconds):
    with open(stack.path("clock"), "w", encoding="ascii") as f:
        f.write(f"{seconds}\n")
    time.sleep(0.4)


def clock_steps(stack, reader, clerk, approver):
    """C71: the sequence goes on while the clock steps back; the report tells."""
    reader.new()
    clerk.get("/v1/reviews")
    set_clock(stack, -3600)
    clerk.get("/v1/reviews")
    set_clock(stack, 0)
    clerk.get("/v1/reviews")
    new = reader.new()
    ok(len(new) == 3 and new[0]["sequence"] < new[1]["sequence"] < new[2]["sequence"] and
       new[1]["at"] < new[0]["at"] < new[2]["at"], "C71 order survives a clock that steps back",
       [(e["sequence"], e["at"]) for e in new])
    report = approver.get("/v1/log-reports").json
    steps = [f for f in report["findings"] if f["rule"] == "clock_step"]
    ok(any(new[1]["sequence"] in f["sequences"] for f in steps), "C63 C71 and the report names the entry", report)


def main(stack):
    every_act_has_a_name()
    clerk, approver = stack.staff(MINATO), stack.staff(MINATO, "minato-approver")
    user = stack.add_user("corpus-audit", "", ["auditor"], "corpus-applicant", "corpus-approver",
                          "監査", "監査 員", scope="*")
    stack.demo["users"].append(user)
    audit = stack.terminal("lgwan-nation")
    equal(audit.login("corpus-audit", user["password"]).status, 201, "an auditor logs in")
    reader = Reader(audit, f"&municipality_code={MINATO}")
    password = next(u["password"] for u in stack.demo["users"] if u["user_id"] == "minato-1")
    register(clerk, [resident(MINATO, "LC001", "5400000001"), resident(MINATO, "LC002", "5400000002")])
    record(clerk, [dose_row(MINATO, "5400000001")])
    person = one(clerk, addressee_number="LC001")
    dose = doses_of(clerk, person["resident_id"])[0]
    ids = {"/v1/residents/": person["resident_id"], "/v1/doses/": dose["dose_id"]}
    outside, tablet = internet(stack, reader)
    idle = stack.terminal("tablet-2")
    site_2 = next(u for u in stack.demo["users"] if u["user_id"] == "site-2")
    idle.login("site-2", site_2["password"])
    idle_since = time.monotonic()
    checker_is_checked(reader, clerk)
    searches(reader, clerk, person)
    people = {"clerk": clerk, "approver": approver}
    entries = corpus_over_routes(stack, reader, people, ids)
    entries_are_whole(entries, {"clerk": "minato-1", "approver": "minato-approver"})
    about = [e for n, _, e in entries if n.startswith("clerk") and "/v1/residents/{id}" in n and
             e["result"] in ("ok", "stale_version")]
    ok(about and all(e["addressee_number"] == "LC001" and "試験　太郎" in e["four_items"] for e in about),
       "C60 an act about a resident has 宛名番号 and the four items, refused or not", about[:2])
    clock_steps(stack, reader, clerk, approver)
    commands(stack, audit)
    site = next(u for u in stack.demo["users"] if u["user_id"] == "site-1")
    times = events_over_crashes(stack, outside, tablet, site)
    again = stack.terminal("lgwan-nation")
    until(lambda: again.login("corpus-audit", user["password"]).status == 201, 20)
    reader.client = again
    seen = []
    until(lambda: seen.extend(e for e in outside() if e["act"].startswith("session.opened")) or
          len(seen) >= times, 30)
    time.sleep(1)
    seen += [e for e in outside() if e["act"].startswith("session.opened")]
    at = [re.search(r"at=(\S+)", e["detail"]).group(1) for e in seen]
    ok(times > 5 and len(seen) == times and len(set(at)) == times,
       f"C65 {times} log-ins at a site while the inside is killed five times: {times} entries, each once",
       (len(seen), times))
    until(lambda: time.monotonic() > idle_since + 10.5, 12)
    idle.get("/v1/doses/" + "0" * 32)
    ended = "/v1/access-log?municipality_code=131032&act=session.timed_out&user=site-2"
    over = until(lambda: again.get(ended).json["entries"], 15)  # told by then, or by a sweep before
    equal([(e["terminal"], e["act_name"]) for e in over], [("tablet-2", "接種会場の端末での時間切れ")],
          "C65 a time-out at a site is an entry")
    log_ins(stack, reader, password)


run(main, count=20, overrides={"tablet-api": {"session_idle_s": 10}})
