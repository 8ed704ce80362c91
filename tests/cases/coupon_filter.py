#!/usr/bin/env python3
"""The signed coupon filter: who gets it, what is in it, when it is made anew, and that the tablet's own code
opens what the daemons make and nothing that was changed."""
import base64
import datetime
import json
import os
import subprocess

from case import FUJISAWA, MINATO, ROOT, access_log, equal, ok, problem, register, resident, run, until

PATH = "/v1/coupon-filter/07"
QUOTA = 12
NODE = """
import { looked, opened } from %s;
const asked = JSON.parse(await new Response(process.stdin).text());
const filter = await opened(asked.filter, asked.keys, asked.municipality);
const answers = [];
for (const line of filter ? asked.lines : []) answers.push((await looked(line, [filter], asked.now)).answer);
console.log(JSON.stringify(filter ? answers : null));
"""


def line(n, code=MINATO):
    return f"21{code}{n:010d}"


def on_tablet(t, answer, lines=(), late_ms=0, municipality=MINATO):
    """What tablet-api/app/src/filter.js makes of an answer; None: not opened."""
    f = answer if isinstance(answer, dict) else answer.json
    at = json.dumps(os.path.join(ROOT, "tablet-api", "app", "src", "filter.js"))
    asked = {"filter": f, "keys": t.get("/v1/app-state").json["log_keys"], "lines": list(lines),
             "municipality": municipality, "now": int(made(f) * 1000) + 1 + late_ms}
    done = subprocess.run(["node", "--input-type=module", "-e", NODE % at], input=json.dumps(asked), text=True,
                          stdout=subprocess.PIPE, check=True, timeout=30)
    return json.loads(done.stdout)


def made(f):
    return datetime.datetime.fromisoformat(f["made_at"].replace("Z", "+00:00")).timestamp()


def fetch(t):
    """Made on demand: busy until it is."""
    seen = []

    def there():
        seen.append(t.get(PATH))
        return seen[-1].status != 503
    until(there)
    return seen[-1]


def switch(stack, code, approver, on):
    c = stack.staff(code, approver)
    answer = c.request("PUT", "/v1/settings", {"coupon_filter": on},
                       headers={"If-Match": c.get("/v1/settings").headers["etag"]})
    assert answer.status in (200, 204), answer


def content(t, issued):
    got = fetch(t)
    equal(got.status, 200, "switched on: the terminal of that municipality gets it")
    f = got.json
    equal((f["municipality_code"], f["shard"]), (MINATO, ""), "its own municipality's, all in one shard")
    size = len(base64.b64decode(f["bits"]))
    ok(2 * issued <= size <= 2 * issued + 20, "of 16 bits a coupon", size)
    equal(got.headers["cache-control"], "no-store", "nobody in between keeps it")
    same = t.get(PATH, headers={"If-None-Match": got.headers["etag"]})
    equal((same.status, same.body), (304, b""), "the same again: 304")
    ok(t.get("/v1/coupon-filter/93").json == f, "another number of the same shard: the same filter")
    lines = [line(8100000000 + i) for i in range(40)]
    equal(on_tablet(t, got, lines), ["issued"] * 40, "the app's code finds each issued coupon in it")
    others = on_tablet(t, got, [line(8200000000 + i) for i in range(300)])
    ok(others.count("not_issued") >= 296, "and warns of numbers that were not issued", others.count("not_issued"))
    equal(on_tablet(t, got, [line(8100000000)], late_ms=25 * 3600000), ["expired"], "a day later: no word on it")
    bits = bytearray(base64.b64decode(f["bits"]))
    bits[5] ^= 4
    changed = [dict(f, bits=base64.b64encode(bits).decode()), dict(f, expires_at=f["expires_at"].replace("20", "21", 1)),
               dict(f, municipality_code=FUJISAWA), dict(f, shard="0")]
    equal([on_tablet(t, c, lines) for c in changed], [None] * 4,
          "bits, end, municipality or shard changed: the app does not open it")
    equal(on_tablet(t, got, lines, municipality=FUJISAWA), None, "nor for another municipality")
    return got


def anew(stack, t, clerk, got):
    later = range(8300000001, 8300000004)  # three: one in 2,000 not issued looks issued
    register(clerk, [resident(MINATO, f"CF-{n}", str(n)) for n in later])
    ok("not_issued" in on_tablet(t, got, [line(n) for n in later]),
       "control: issued later, they are not in the old filter")

    def there():
        return on_tablet(t, fetch(t), [line(n) for n in later]) == ["issued"] * 3
    ok(until(there), "made anew when coupons changed")


def who(stack, t):
    stack.demo["terminals"].append(stack.add_terminal("tablet-f", "tablet", FUJISAWA))
    stack.demo["users"].append(stack.add_user("site-f", FUJISAWA, ["site_staff"], "fujisawa-personnel",
                                              "fujisawa-approver", "接種会場", "会場 担当"))
    other = stack.tablet("tablet-f", "site-f")
    problem(other.get(PATH), 404, "not_found", "C02 a municipality that has it switched off gives nothing")
    switch(stack, FUJISAWA, "fujisawa-approver", 1)
    f = fetch(other).json
    equal(f["municipality_code"], FUJISAWA, "C02 another municipality's terminal gets its own")
    equal(on_tablet(other, f, [line(8100000000, FUJISAWA)], municipality=FUJISAWA), ["not_issued"],
          "C02 which knows nothing of ours")
    bare = stack.terminal("tablet-1")
    problem(bare.get(PATH), 401, "login_required", "C21 not without a session")
    problem(t.get("/v1/coupon-filter/7"), 404, "not_found", "two digits name a shard")
    problem(t.get("/v1/coupon-filter/0x"), 404, "not_found", "digits only")


def logged(stack):
    entries = [e for e in access_log(stack.staff(MINATO, "minato-approver")) if e["act"] == "coupon.filter"]
    ok({"ok", "not_found", "busy", "too_many_requests"} <= {e["result"] for e in entries}
       and {e["terminal"] for e in entries} == {"tablet-1", "tablet-2"},
       "C60 each question is logged, refused ones too", [(e["terminal"], e["result"]) for e in entries][-20:])


def main(stack):
    clerk = stack.staff(MINATO)
    register(clerk, [resident(MINATO, f"CF-{i}", str(8100000000 + i)) for i in range(40)])
    t = stack.tablet()
    problem(t.get(PATH), 404, "not_found", "switched off unless the municipality wants it")
    switch(stack, MINATO, "minato-approver", 1)
    got = content(t, 20 + 40)
    anew(stack, t, clerk, got)
    who(stack, t)
    second = stack.tablet("tablet-2", "site-2")
    got = [second.get(PATH).status for _ in range(QUOTA + 1)]
    equal(got, [200] * QUOTA + [429], "C14 as many as the quota of a day, counted inside")
    switch(stack, MINATO, "minato-approver", 0)
    problem(t.get(PATH), 404, "not_found", "switched off again: nothing more, at once")
    logged(stack)


run(main, count=20, overrides={"tablet-api": {"queries_per_minute": 10000}, "vrs-server": {"coupon_filter_per_day": QUOTA, "coupon_filter_rebuild_s": 1}})
