#!/usr/bin/env python3
"""S4 with the running daemon: somebody who can write the files moves sealed rows and files about.  What was
moved to another row, another table's row or another municipality is never shown as if it were right; an old
file put back is told.  What seals cannot find is said, too: an old version of a row in its own place.

The unit tests (test_partition, test_keyring, test_rotate) do it column by column."""
import os
import shutil
import signal
import sqlite3
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "dev"):
    sys.path.insert(0, os.path.join(ROOT, folder))
from case import (FUJISAWA, MINATO, dose_row, doses_of, equal, find, ok, one, record, register,  # noqa: E402
                  resident, run, tag, until)
from stack import UIDS  # noqa: E402


def partition(stack, code):
    return stack.path("vrs-server", "partitions", code + ".db")


class Stopped:
    """vrs-server is away meanwhile, its journals are in the files; it starts again afterwards."""

    def __init__(self, stack):
        self.stack = stack

    def __enter__(self):
        self.stack.kill("vrs-server", signal.SIGTERM)
        return self

    def __exit__(self, *_):
        for code in (MINATO, FUJISAWA):
            for end in ("", "-wal"):
                if os.path.exists(partition(self.stack, code) + end) and self.stack.separate:
                    os.chown(partition(self.stack, code) + end, UIDS["vrs-server"], UIDS["vrs-server"])
        self.stack.restart("vrs-server")

    def sql(self, code, text, *values):
        db = sqlite3.connect(partition(self.stack, code))
        rows = db.execute(text, values).fetchall()
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        return rows


def alerts(stack, rule, since):
    with open(stack.path("log", "vrs-server.log"), errors="replace") as f:
        return [line for line in f.read()[since:].splitlines() if f'"rule":"{rule}"' in line]


def log_size(stack):
    return os.path.getsize(stack.path("log", "vrs-server.log"))


def shown(stack, code, person):
    """What a clerk is shown of a person: the name, or the refusal."""
    answer = stack.staff(code).get(f"/v1/residents/{person}")
    return answer.json.get("name") if answer.status == 200 else (answer.status, answer.code)


def moved(stack, what, people, table, change, put_back):
    """`change(it)` plants it, `put_back(it)` undoes it."""
    since = log_size(stack)
    with Stopped(stack) as it:
        change(it)
    seen = [shown(stack, MINATO, p) for p in people]
    refused = [s for s in seen if isinstance(s, tuple)]
    ok(refused and all(s[0] >= 500 for s in refused) and len(refused) == len(people),
       f"S4 {what}: refused, {sorted({s[1] for s in refused})}", seen)
    if people[1:]:  # the first one; the same again within the hour is quiet
        ok(until(lambda: alerts(stack, "log_break", since), 5), f"S4 {what}: and told: log_break")
    with Stopped(stack) as it:
        put_back(it)
    ok(all(isinstance(shown(stack, MINATO, p), str) for p in people),
       f"S4 control: {table} put back, both are shown again")


def swap(table, ids, columns):
    def work(it):
        first, second = (it.sql(MINATO, f"SELECT {','.join(columns)} FROM {table} WHERE id=?", i)[0] for i in ids)
        names = ",".join(f"{c}=?" for c in columns)
        for i, values in zip(ids, (second, first)):
            it.sql(MINATO, f"UPDATE {table} SET {names} WHERE id=?", *values, i)
    return work


def rows(stack):
    c = stack.staff(MINATO)
    register(c, [resident(MINATO, f"S4-{i}", f"870000000{i}", 氏名=f"封印　{i}") for i in range(3)])
    record(c, [dose_row(MINATO, f"870000000{i}", 1) for i in range(3)])
    people = [one(c, addressee_number=f"S4-{i}")["resident_id"] for i in range(3)]
    register(stack.staff(FUJISAWA), [resident(FUJISAWA, "S4-F", "8700000009", 氏名="別町　人")])
    other = one(stack.staff(FUJISAWA), addressee_number="S4-F")["resident_id"]
    ids = [bytes.fromhex(p) for p in people]
    whole = ["generation", "key_id", "blob"]
    moved(stack, "a resident's seal in another resident's row", people[:2], "they",
          swap("person", ids[:2], whole), swap("person", ids[:2], whole))
    kept = {}

    def from_another_town(it):
        kept["row"] = it.sql(MINATO, f"SELECT {','.join(whole)} FROM person WHERE id=?", ids[0])[0]
        theirs = it.sql(FUJISAWA, f"SELECT {','.join(whole)} FROM person WHERE id=?", bytes.fromhex(other))[0]
        it.sql(MINATO, "UPDATE person SET generation=?,key_id=?,blob=? WHERE id=?", *theirs, ids[0])

    def back(it):
        it.sql(MINATO, "UPDATE person SET generation=?,key_id=?,blob=? WHERE id=?", *kept["row"], ids[0])

    moved(stack, "another municipality's seal in a row", people[:1], "it", from_another_town, back)

    def of_another_table(it):
        kept["row"] = it.sql(MINATO, f"SELECT {','.join(whole)} FROM person WHERE id=?", ids[0])[0]
        claim = it.sql(MINATO, f"SELECT {','.join(whole)} FROM claim LIMIT 1")[0]
        it.sql(MINATO, "UPDATE person SET generation=?,key_id=?,blob=? WHERE id=?", *claim, ids[0])

    moved(stack, "a dose's seal in a resident's row", people[:1], "it", of_another_table, back)
    return people


def old_row(stack, people):
    """What the seal cannot know: that there was a newer one."""
    c = stack.staff(MINATO)
    with Stopped(stack) as it:
        old = it.sql(MINATO, "SELECT version,generation,key_id,blob FROM person WHERE id=?", bytes.fromhex(people[2]))[0]
    c = stack.staff(MINATO)
    changed = c.request("PATCH", f"/v1/residents/{people[2]}", {"name": "封印　新", "reason": "婚姻"}, headers=tag(1))
    equal(changed.json.get("name"), "封印　新", "S4 a resident is changed")
    with Stopped(stack) as it:
        it.sql(MINATO, "UPDATE person SET version=?,generation=?,key_id=?,blob=? WHERE id=?", *old,
               bytes.fromhex(people[2]))
    equal(shown(stack, MINATO, people[2]), "封印　2",
          "S4 known limit: an old version of a row, put back into its own place, opens")
    entries = stack.staff(MINATO, "minato-approver").get(f"/v1/residents/{people[2]}/access-log").json["entries"]
    ok("resident.change" in [e["act"] for e in entries], "S4 the log, which cannot go back unseen, still has the change")


def files(stack):
    """The whole file: another municipality's, then an old one of its own."""
    old = stack.path("old.db")
    with Stopped(stack):
        shutil.copyfile(partition(stack, MINATO), old)
    c = stack.staff(MINATO)
    record(c, [dose_row(MINATO, "8700000000", 2, "20210801")])
    with Stopped(stack):
        shutil.copyfile(partition(stack, MINATO), stack.path("now.db"))
        shutil.copyfile(partition(stack, FUJISAWA), partition(stack, MINATO))
        shutil.rmtree(partition(stack, MINATO) + "-wal", ignore_errors=True)
    answer = stack.terminal(f"lgwan-{MINATO}").login("minato-1", next(
        u["password"] for u in stack.demo["users"] if u["user_id"] == "minato-1"))
    ok(answer.status >= 500, "S4 another municipality's file in its place: nobody is served from it", answer)
    with Stopped(stack):
        shutil.copyfile(stack.path("now.db"), partition(stack, MINATO))
    person = one(stack.staff(MINATO), addressee_number="S4-0")["resident_id"]
    equal(len(doses_of(stack.staff(MINATO), person)), 2, "S4 control: its own put back, all is there")
    since = log_size(stack)
    with Stopped(stack):
        shutil.copyfile(old, partition(stack, MINATO))
    find(stack.staff(MINATO), addressee_number="S4-0")  # an entry: its head wants a signature
    ok(until(lambda: alerts(stack, "log_fork", since), 10), "S4 an old file of its own put back: vrs-signer"
       " refuses its head, and it is told: log_fork")


def main(stack):
    people = rows(stack)
    old_row(stack, people)
    files(stack)


if __name__ == "__main__":
    run(main, count=20)
