#!/usr/bin/env python3
"""Account life: applications by one and decided by another, rights person by person, sections, ends,
leavers, the yearly list — and that nothing gives an account but an approved application."""
import datetime
import os
import signal
import subprocess
import uuid

from case import (BUILD, FUJISAWA, MINATO, access_log, client_for, day_in_japan, equal, ok, one,
                  problem, register, resident, run, stack_module, tag)

APPLY = "/v1/applications"


def application(user, person, few, **more):
    body = {"user_id": user, "person_name": person, "section": "予防接種課", "unit": "接種係",
            "roles": ["municipal_staff"], "rights": few.split(), "valid_until": day_in_japan(300),
            "reason": "新規採用", "password": "initial " + uuid.uuid4().hex[:12]}
    body.update(more)
    return {k: v for k, v in body.items() if v is not None}


class People:
    """The office that files, the chief that decides, and a terminal for everybody else."""

    def __init__(self, stack):
        self.stack = stack
        user = stack.add_user("minato-office", MINATO, ["municipal_staff"], "demo-applicant",
                              "minato-approver", "人事課", "人事 担当", "staff.manage")
        stack.demo["users"].append(user)
        self.office = stack.staff(MINATO, "minato-office")
        self.chief = stack.staff(MINATO, "minato-approver")

    def file(self, body):
        return self.office.post(APPLY, body, key=True)

    def decide(self, answer, verb="approve", who=None, body=None):
        return (who or self.chief).post(f"{APPLY}/{answer.json['application_id']}:{verb}", body)

    def enter(self, user, password, fresh=None):
        """First log-in with the change that it asks for; a logged-in client."""
        c = self.stack.terminal(f"lgwan-{MINATO}")
        r = c.login(user, password)
        if r.status == 201 and fresh:
            c.post("/v1/sessions/current:change-password", {"old_password": password,
                                                            "new_password": fresh})
        return c


def row_of(people, user):
    return next(u for u in people.office.get("/v1/users").json["users"] if u["user_id"] == user)


def four_eyes(people):
    stack, office, chief = people.stack, people.office, people.chief
    body = application("minato-new", "新人 花子", "resident.read dose.read")
    answer = people.file(body)
    equal(answer.status, 201, "C47 an application is filed")
    equal((answer.json["state"], answer.json["rights"], answer.json["applicant"]),
          ("open", ["resident.read", "dose.read"], "minato-office"), "C41 with its rights, one by one")
    ok(body["password"] not in str(answer.json) and "argon2" not in str(answer.json), "and without its password")
    c = stack.terminal(f"lgwan-{MINATO}")
    problem(c.login("minato-new", body["password"]), 401, "bad_login",
            "C22 an application alone opens nothing")
    problem(people.decide(answer, who=office), 403, "forbidden", "C47 who files has no right to approve")
    problem(people.decide(answer, who=stack.staff(FUJISAWA, "fujisawa-approver")), 404, "not_found",
            "C02 another municipality's approver finds nothing")
    key = str(uuid.uuid4())
    first = office.post(APPLY, application("minato-twice", "二度 送る", "dose.read", password="a long passphrase here"), key=key)
    again = office.post(APPLY, application("minato-twice", "二度 送る", "dose.read", password="a long passphrase here"), key=key)
    equal(again.json, first.json, "the same key again is the same application")
    problem(office.post(APPLY, application("minato-twice", "別人 送る", "dose.read"), key=key), 409,
            "idempotency_key_reused", "the same key with another person is refused")
    equal(people.decide(first, "refuse", body={"reason": "不要"}).json["state"], "refused",
          "C47 an application can be refused")
    problem(people.decide(first), 409, "conflict", "C47 and stays it")
    listed = chief.get(APPLY + "?state=open").json["applications"]
    equal([a["user_id"] for a in listed], ["minato-new"], "C47 the approver sees what is open")
    equal(people.decide(answer).json["state"], "approved", "C22 C47 another person approves")
    problem(people.decide(answer), 409, "conflict", "C47 once")

    own = people.file(application("minato-approver", "minato 課長", "user.approve",
                                  roles=["municipal_approver"], password=None))
    equal(own.status, 201, "C46 an extension is an application")
    problem(people.decide(own), 403, "forbidden", "C47 nobody approves the own application")
    problem(people.decide(people.file(application("minato-second-id", "minato 課長", "dose.read"))),
            403, "forbidden", "C26 C47 nor one for the own person under another ID")
    problem(people.file(application("minato-office-2", "人事　担当", "user.approve", roles=["municipal_approver"])),
            409, "conflict", "C26 C47 who files gets no second ID for approving it, however the name is spaced")
    eraser = people.file(application("minato-eraser", "消去 係", "erase"))
    people.decide(eraser)
    problem(people.file(application("minato-eraser-2", "消去係", "erase.approve", roles=["municipal_approver"])),
            409, "conflict", "C26 C47 nor who erases one for allowing it")
    equal(people.file(application("minato-eraser-3", "消去 係", "dose.read")).status, 201,
          "control: a second ID of the same side is taken")
    reset = people.file(application("minato-approver", "minato 課長", "user.approve", roles=["municipal_approver"]))
    known = next(a for a in chief.get(APPLY).json["applications"] if a["application_id"] == reset.json["application_id"])
    equal((own.json.get("sets_password"), known.get("sets_password")), (False, True),
          "C47 who approves sees that an application sets a password, which the applicant knows")
    fresh = "新しい合い言葉は長いほど良い"
    c = stack.terminal(f"lgwan-{MINATO}")
    session = c.login("minato-new", body["password"])
    equal((session.status, session.json["password_change_required"]), (201, True),
          "an initial password opens a session for changing it")
    problem(c.get("/v1/reviews"), 403, "password_expired", "and for nothing else")
    problem(c.post("/v1/sessions/current:change-password", {"old_password": "wrong one, quite wrong",
                                                            "new_password": fresh}), 401, "bad_login",
            "the old password is asked for")
    equal(c.post("/v1/sessions/current:change-password", {"old_password": body["password"],
                                                          "new_password": fresh}).status, 204, "it is changed")
    equal(c.get("/v1/reviews").status, 200, "C40 then the rights are there")
    problem(c.login("minato-new", body["password"]), 401, "bad_login", "the initial one is worth nothing any more")
    return people.enter("minato-new", fresh), fresh


def bounds(people):
    for what, more, field in (
            ("C44 more than 366 days", {"valid_until": day_in_japan(367)}, "valid_until"),
            ("C44 an end in the past", {"valid_until": day_in_japan(-1)}, "valid_until"),
            ("C44 no date", {"valid_until": "9999-99-99"}, "valid_until"),
            ("C40 an unknown right", {"rights": ["resident.readd"]}, "rights"),
            ("C40 a right of another role", {"rights": ["user.approve"]}, "rights"),
            ("C40 a right of the Internet side", {"rights": ["dose.post"]}, "rights"),
            ("C40 an unknown role", {"roles": ["mayor"]}, "roles"),
            ("C30 a system is no person", {"roles": ["system_client"]}, "roles"),
            ("C11 operator and municipal staff in one", {"roles": ["municipal_staff", "operator"]}, "roles"),
            ("C11 site staff and municipal staff in one", {"roles": ["site_staff", "municipal_staff"]}, "roles"),
            ("C11 an operator of a municipality", {"roles": ["operator"], "rights": []}, "municipality_code"),
            ("C06 a prefecture's account by a municipality", {"roles": ["prefecture"], "rights": ["statistics"]},
             "municipality_code"),
            ("C47 filing and approving in one", {"roles": ["municipal_staff", "municipal_approver"],
                                                 "rights": ["staff.manage", "user.approve"]}, "rights"),
            ("C47 erasing and allowing it in one", {"roles": ["municipal_staff", "municipal_approver"],
                                                    "rights": ["erase", "erase.approve"]}, "rights"),
            ("C54 exporting and allowing it in one", {"roles": ["municipal_staff", "municipal_approver"],
                                                      "rights": ["export", "export.approve"]}, "rights"),
            ("a name with spaces", {"user_id": "a b c"}, "user_id"),
            ("a known password", {"password": "password1234"}, "password")):
        answer = people.file(application("minato-bad", "不可 人", "dose.read", **more))
        ok(answer.status == 422 and answer.json.get("field") == field, f"{what} is refused", answer)
    answer = people.file(application("minato-366", "一年 人", "dose.read", valid_until=day_in_japan(366)))
    equal(answer.status, 201, "C44 control: 366 days are taken")
    answer = people.file(application("minato-few", "少 人", ""))
    equal(answer.json["rights"], ["resident.read", "dose.read"], "C40 who names no rights gets a few")
    problem(people.file(application("minato-1", "別 人", "dose.read")), 409, "conflict",
            "C26 an ID in use is not another person's")


def one_right_at_a_time(people, c, password):
    """C41: what changes for one person changes only that, and only for that person."""
    before = {u["user_id"]: u["rights"] for u in people.office.get("/v1/users").json["users"]}
    answer = people.file(application("minato-new", "新人 花子", "resident.read dose.read provision.read", password=None))
    problem(c.get("/v1/provisions"), 403, "forbidden", "C41 without the right")
    people.decide(answer)
    problem(c.get("/v1/reviews"), 401, "session_ended", "C43 other rights: the session with the old ones ends")
    c = people.enter("minato-new", password)
    equal(c.get("/v1/provisions").status, 200, "C41 with it")
    problem(c.get("/v1/exports/ledger.csv"), 403, "forbidden", "C41 and with nothing more")
    after = {u["user_id"]: u["rights"] for u in people.office.get("/v1/users").json["users"]}
    changed = {u for u in after if set(after[u]) != set(before[u])}
    equal((changed, set(after["minato-new"]) - set(before["minato-new"])),
          ({"minato-new"}, {"provision.read"}), "C41 one right of one person changed")
    problem(people.stack.staff(MINATO, "minato-office").get("/v1/reviews"), 403, "forbidden",
            "C53 managing staff shows no resident")
    people.office = people.stack.staff(MINATO, "minato-office")
    return c


def section(people, c, password):
    url = "/v1/users/minato-new:change-section"
    problem(people.chief.post(url, {"section": "税務課", "reason": "異動"}), 403, "forbidden",
            "C47 an approver does not move people")
    problem(people.office.post(url, {"section": "税務課"}), 422, "reason_required", "a section change needs a reason")
    equal(c.get("/v1/reviews").status, 200, "C43 control: before the change")
    moved = people.office.post(url, {"section": "税務課", "unit": "収納係", "reason": "定期異動"})
    equal((moved.status, moved.json["section"], moved.json["unit"], moved.json["rights"]),
          (200, "税務課", "収納係", []), "C42 C43 a section change takes the rights of the old section")
    problem(c.get("/v1/reviews"), 401, "session_ended", "C43 and ends live sessions: the next request is 401")
    c = people.enter("minato-new", password)
    for path in ("/v1/reviews", "/v1/provisions", "/v1/statistics", "/v1/exports/ledger.csv"):
        problem(c.get(path), 403, "forbidden", f"C43 after a new log-in: {path}")
    people.decide(people.file(application("minato-new", "新人 花子", "dose.read", section="健康課", unit="", password=None)))
    c = people.enter("minato-new", password)
    equal(c.get("/v1/reviews").status, 200, "C46 a new approved application gives rights for the new section")
    entries = access_log(people.chief)
    mine = [e for e in entries if e["user"] == "minato-new"]
    ok(any(e["section"].startswith("予防接種課 接種係") for e in mine) and mine[-1]["section"] == "健康課",
       "C42 section and unit of the time are in the log", [e["section"] for e in mine])
    moves = [e for e in entries if e["act"] == "user.change_section" and e["result"] == "ok"]
    ok(len(moves) == 1 and "税務課" in moves[0]["detail"] and "resident.read" in moves[0]["detail"],
       "C43 the entry holds before and after", moves)
    return c


def no_way_around(people):
    """C46, C49: no route moves an end date; a disabled ID is nobody else's; vrsctl cannot either."""
    stack, office = people.stack, people.office
    body = application("minato-leaver", "去る 人", "dose.read")
    people.decide(people.file(body))
    people.enter("minato-leaver", body["password"], "ゆっくり歩く亀は遠くへ行く")
    for path in ("/v1/users/minato-leaver", "/v1/users/minato-leaver:extend", "/v1/users/minato-leaver:enable"):
        for method in ("PUT", "PATCH", "POST"):
            answer = office.request(method, path, {"valid_until": day_in_japan(366)})
            ok(answer.status in (404, 405), f"C46 {method} {path} does not exist", answer)
    problem(office.post("/v1/users/minato-leaver:disable", {}), 422, "reason_required", "disabling needs a reason")
    problem(office.post("/v1/users/fujisawa-1:disable", {"reason": "x"}), 404, "not_found",
            "C02 another municipality's account cannot be disabled")
    equal(office.post("/v1/users/minato-leaver:disable", {"reason": "休職"}).json["state"], "disabled", "an account is disabled")
    problem(stack.terminal(f"lgwan-{MINATO}").login("minato-leaver", "ゆっくり歩く亀は遠くへ行く"), 401, "bad_login",
            "C49 it cannot log in")
    problem(people.file(application("minato-leaver", "新しい 人", "dose.read")), 409, "conflict",
            "C49 its ID is not given to another person")
    answer = people.file(application("minato-op", "運用 人", "dose.read"))
    try:
        stack.command("user.approve", application_id=answer.json["application_id"], by="operator")
        ok(False, "C22 C47 an operator cannot approve where an approver is")
    except stack_module.StackError as e:
        ok("forbidden" in str(e), "C22 C47 an operator cannot approve where an approver is", e)
    a = stack.command("user.apply", user_id="aogashima-chief", person_name="島の 課長", municipality_code="134023",
                      section="総務課", roles="municipal_approver", rights="user.approve", valid_until=day_in_japan(100),
                      by="operator-a", password="絶海の孤島に咲く花の名は")
    try:
        stack.command("user.approve", application_id=a["application_id"], by="operator-a")
        ok(False, "C47 vrsctl, too, wants two persons")
    except stack_module.StackError as e:
        ok("forbidden" in str(e), "C47 vrsctl, too, wants two persons", e)
    stack.command("user.approve", application_id=a["application_id"], by="operator-b")
    try:
        stack.command("user.disable", user_id="aogashima-chief", by="operator-a")
        ended = True
    except stack_module.StackError as e:
        ended = "approval_required" not in str(e)
    ok(not ended, "C22 the operator cannot end the last approver and begin anew")
    ok(any(u["user_id"] == "aogashima-chief" for u in stack.command("user.list")["users"]),
       "C22 control: where there is none, the first approver is made by two operators")


def leavers(people):
    stack = people.stack
    for user, person in (("minato-l1", "退職 一"), ("minato-l2", "退職 二"), ("minato-l3", "退職 三")):
        body = application(user, person, "dose.read")
        people.decide(people.file(body))
        c = people.enter(user, body["password"], f"ながいながい合い言葉 {user[-1]}")
        if user == "minato-l1":
            first = c

    def feed(text, who=people.office):
        return who.request("POST", "/v1/users:leavers", text.encode(), headers={"Content-Type": "text/csv"})

    head = "user_id,person_name,left_on\n"
    good = f"minato-l1,退職 一,{day_in_japan(-1)}\n"
    state = [row_of(people, f"minato-l{n}")["state"] for n in (1, 2, 3)]
    for what, text in (("an unknown ID", head + good + f"minato-l9,退職 九,{day_in_japan(-1)}\n"),
                       ("another person's name", head + good + f"minato-l2,退職 三,{day_in_japan(-1)}\n"),
                       ("a broken date", head + good + "minato-l2,退職 二,20xx\n"),
                       ("another municipality's ID", head + good + f"fujisawa-1,fujisawa 担当,{day_in_japan(-1)}\n"),
                       ("a missing cell", head + good + "minato-l2\n")):
        answer = feed(text)
        ok(answer.status == 422 and answer.json["rows"][0]["row"] == 3, f"C48 a feed with {what} is refused", answer)
    for what, text in (("no rows", head), ("another header", "id,name,date\n" + good)):
        ok(feed(text).status == 422, f"C16 C48 a feed with {what} is refused")
    equal([row_of(people, f"minato-l{n}")["state"] for n in (1, 2, 3)], state, "C48 broken feeds change nothing")
    equal(first.get("/v1/reviews").status, 200, "C48 and end no session")
    problem(feed(head + good, people.chief), 403, "forbidden", "C48 the feed needs its right")
    answer = feed(head + good + f"minato-l2,退職 二,{day_in_japan(0)}\nminato-l3,退職 三,{day_in_japan(20)}\n")
    equal((answer.status, answer.json), (200, {"disabled": 3}), "C48 a good feed is taken whole")
    problem(first.get("/v1/reviews"), 401, "session_ended", "C48 C43 a leaver's session ends at once")
    equal([row_of(people, f"minato-l{n}")["state"] for n in (1, 2, 3)], ["disabled", "disabled", "active"],
          "C48 who has left is disabled")
    equal(row_of(people, "minato-l3")["valid_until"], day_in_japan(20), "C45 who will leave ends on that day, without a job")
    problem(people.file(application("minato-l1", "退職 一", "dose.read")), 409, "conflict",
            "C49 the ID of somebody who left is nobody's again, not even a namesake's")


def yearly(people):
    stack = people.stack
    users = people.chief.get("/v1/users").json["users"]
    known = {u["user_id"] for u in stack.command("user.list")["users"] if u["municipality_code"] == MINATO}
    equal({u["user_id"] for u in users}, known, f"C50 the list holds every ID of the municipality ({len(known)})")
    ok(all({"rights", "last_used_at", "valid_until", "reviewed_at", "unreviewed"} <= set(u) for u in users),
       "C50 with rights, last use, end and review")
    ok(not any("password" in k or "secret" in k for u in users for k in u), "and nothing secret")
    ok(not any(u["unreviewed"] for u in users), "C50 what was approved this year is reviewed")
    used = {u["user_id"]: u["last_used_at"] for u in users}
    ok(used["minato-approver"] and not used["site-1"], "C50 last use is known", used)
    stack.set_clock(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=299))
    chief = stack.staff(MINATO, "minato-approver")
    equal(chief.post("/v1/users/site-1:review").json["reviewed_by"], "minato-approver", "C50 a review is recorded")
    problem(chief.post("/v1/users/minato-approver:review"), 403, "forbidden", "C50 nobody reviews the own account")
    stack.set_clock(None)


def last_day(people):
    """C45: whoever is logged in when the last day ends is logged in no longer."""
    stack = people.stack
    body = application("minato-today", "今日 迄", "dose.read", valid_until=day_in_japan())
    people.decide(people.file(body))
    c = people.enter("minato-today", body["password"], "今日一日だけの長い合い言葉")
    equal(c.get("/v1/reviews").status, 200, "C45 on the last day the account works")
    stack.set_clock(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1))
    problem(c.get("/v1/reviews"), 401, "session_ended", "C45 the day after its live session is over")
    stack.set_clock(None)


def unreviewed(people):
    """After a year the accounts that were extended by nobody have ended; one that was made for 366 days is
    flagged on its last day."""
    stack = people.stack
    t = stack.add_terminal("lgwan-years", "lgwan", MINATO, days=800)
    a = stack.staff(MINATO, "minato-office").post(APPLY, application(
        "minato-chief-2", "次の 課長", "user.approve", roles=["municipal_approver"], valid_until=day_in_japan(366),
        password="二年目も変わらぬ合い言葉"), key=True)
    stack.staff(MINATO, "minato-approver").post(f"{APPLY}/{a.json['application_id']}:approve")
    c = client_for(stack, (t["cert"], t["key"]))
    stack.set_clock(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=366))
    c.login("minato-chief-2", "二年目も変わらぬ合い言葉")
    c.post("/v1/sessions/current:change-password", {"old_password": "二年目も変わらぬ合い言葉",
                                                    "new_password": "三年目は少しだけ変えました"})
    users = {u["user_id"]: u for u in c.get("/v1/users").json["users"]}
    equal((users["minato-1"]["state"], users["minato-approver"]["state"]), ("ended", "ended"),
          "C45 accounts end on their day without a job")
    equal((users["minato-1"]["unreviewed"], users["site-1"]["unreviewed"]), (True, False),
          "C50 unreviewed for more than a year is flagged, what was reviewed is not")
    stack.set_clock(None)


def unknown_right_stops(stack):
    """Default deny: data with a right that the program does not know stops the start with a clear text."""
    own = os.stat(stack.path("vrs-server", "partitions", "000000.db"))
    before = " ".join(next(u for u in stack.command("user.list")["users"] if u["user_id"] == "minato-1")["rights"].split())
    stack.kill("vrs-server", signal.SIGTERM)

    def plant(rights):
        as_it = {"user": own.st_uid, "group": own.st_gid} if os.geteuid() == 0 else {}
        done = subprocess.run([os.path.join(BUILD, "bin", "plant_right"), stack.path("vrs-server"), stack.path("kek"),
                               "minato-1", rights], timeout=20, capture_output=True, text=True, **as_it)
        ok(done.returncode == 0, f"control: rights are planted: {rights[:30]}", done)

    for what, rights in (("an unknown right", "dose.read dose.forget"), ("a right of another role", "dose.read user.approve")):
        plant(rights)
        done = subprocess.run([stack.program("vrs-server"), "--config", stack.path("etc", "vrs-server.conf")], timeout=20,
                              capture_output=True, text=True)
        ok(done.returncode != 0 and "account minato-1 has an unknown right" in done.stdout + done.stderr,
           f"C40 {what} in stored data stops the start, and the text says whose", done)
    plant(before)
    stack.restart("vrs-server")
    equal(stack.staff(MINATO).get("/v1/reviews").status, 200, "C40 control: with its own rights it starts")


def separate(stack):
    """C53, C55, C52: reading is not changing, an inquiry is a right of its own."""
    c = stack.staff(MINATO)
    register(c, [resident(MINATO, "人-1", "7700000001")])
    person = one(c, addressee_number="人-1")
    u = stack.add_user("minato-reader", MINATO, ["municipal_staff"], "x-applicant", "minato-approver", "窓口",
                       "読む 人", "resident.read dose.read")
    stack.demo["users"].append(u)
    few = stack.staff(MINATO, "minato-reader")
    url = f"/v1/residents/{person['resident_id']}"
    equal(few.get(url).status, 200, "C53 who may read reads")
    problem(few.request("PATCH", url, {"name": "x", "reason": "x"}, headers=tag(1)), 403, "forbidden",
            "C53 and does not change")
    problem(few.post("/v1/inquiries", {}, key=True), 403, "forbidden", "C55 an inquiry is a right of its own")
    problem(few.get("/v1/exports/ledger.csv"), 403, "forbidden", "C54 so is an export")
    problem(few.post(url + ":reveal-number", {"purpose": "certificate"}), 403, "forbidden",
            "C51 so is every operation with a number")


def main(stack):
    people = People(stack)
    c, password = four_eyes(people)
    bounds(people)
    c = one_right_at_a_time(people, c, password)
    section(people, c, password)
    no_way_around(people)
    leavers(people)
    last_day(people)
    people.office, people.chief = stack.staff(MINATO, "minato-office"), stack.staff(MINATO, "minato-approver")
    yearly(people)
    unreviewed(people)
    separate(stack)
    unknown_right_stops(stack)


run(main, count=20)
