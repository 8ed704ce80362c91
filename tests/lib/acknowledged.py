"""What was acknowledged, and whether it is there: shared by the tests that kill, cut the power, fill
the disk, move the clock and break the line.

    work = Work(stack, rng)          doses, registrations and refused readings, until stopped
    work.grown(200)                  waits for acknowledgements, not for a clock
    work.stop(); look(stack, work, "D1")

The look asks for: every 2xx once, with its ledger row, log entry, outcome and counter; every number
with its record; nothing that was refused or never acknowledged."""
import collections
import csv
import glob
import hashlib
import http.client
import io
import os
import random
import shutil
import sqlite3
import sys
import threading
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "tests/load", "dev"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import generator  # noqa: E402
import residents  # noqa: E402
from case import (FUJISAWA, Import, access_log, after_stop, client_for, equal, ok,  # noqa: E402
                  personal_number, resident, residents_csv, until)
from stack import TOWNS, StackError  # noqa: E402

RATE = 600
JOURNAL_ROW = 100  # bytes; a row has a little more
DOSES, REFUSED_DOSE = 8, 9  # the generator's doses of a coupon; the one that only refused readings have
PEOPLE = 10  # a registration
AWAY = (OSError, http.client.HTTPException, StackError, KeyError, TypeError, AttributeError,
        AssertionError)  # what asking a program meets that has just died


class Load:
    """vrs-load at work; moments are told by the growth of its journal, not by a clock."""

    def __init__(self, gen, *options, rate=RATE):
        self.gen = gen
        self.process = gen.start("--seconds", 3600, "--drain", 90, "--rate", rate,
                                 "--connections", 32, "--again", 20, "--timeout-ms", 3000,
                                 "--dose-last", DOSES, *options)
        gen.wait_begin(self.process)

    def size(self):
        return os.path.getsize(self.gen.journal) if os.path.exists(self.gen.journal) else 0

    def grown(self, rows, seconds=30):
        """Waits for so many acknowledgements more; False: they did not come."""
        want = self.size() + rows * JOURNAL_ROW
        return until(lambda: self.size() >= want, seconds)

    def stop(self):
        self.process.terminate()
        return self.gen.finish(self.process)


class Registrar:
    """A clerk who registers people with their numbers, a few at a time, each file again and again
    until it is told to be committed: numbers and records must stay in step whatever dies."""

    def __init__(self, stack, code=FUJISAWA):
        self.stack, self.code, self.client = stack, code, None
        self.committed, self.tries, self.running = [], 0, True
        self.unsettled, self.refused = None, 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        turn = 0
        while self.running:
            rows = [resident(self.code, f"R{turn:05d}-{i}", f"{7_100_000_000 + turn * PEOPLE + i}",
                             個人番号=personal_number()) for i in range(PEOPLE)]
            self.unsettled = residents_csv(rows)
            if self.register(lambda: self.running):
                self.committed += rows
            turn += 1

    def register(self, going_on):
        """False: still unsettled."""
        while going_on():
            self.tries += 1
            try:
                self.client = self.client or self.stack.staff(self.code)
                name = hashlib.sha256(self.unsettled).hexdigest() + ".csv"  # one name a content
                it = Import(self.client, "residents", self.unsettled, name=name)
                it.patience_s = 10  # who would go on with it may be dead
                if it.state["state"] in ("created", "receiving") and it.announced.status == 200:
                    it.send(it.state["received"], self.unsettled[it.state["received"]:])
                state = (it.phase("commit") if it.state["state"] == "committing" else it.commit()).state
                if state["state"] == "committed":
                    self.refused += state["refused"]
                    self.unsettled = None
                    return True
            except AWAY:
                pass
            self.client = None
            until(lambda: not going_on(), 0.2)
        return False

    def stop(self):
        self.running = False
        self.thread.join()
        if self.unsettled is not None:  # cut off: the same file settles it
            end = time.monotonic() + 30
            self.register(lambda: time.monotonic() < end)


class Refused:
    """Readings that must be refused, of coupons that the others use, too."""

    def __init__(self, stack, coupons):
        self.stack, self.coupons = stack, coupons
        self.answers, self.running = collections.Counter(), True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        t = next(t for t in self.stack.demo["terminals"] if t["name"] == "reader-1")
        client, rng = None, random.Random(1)
        while self.running:
            code, number = rng.choice(self.coupons)
            wrong = rng.choice([{"vaccinated_on": "2099-01-01"}, {"product": "water"}, {"lot": ""}])
            body = {"ocr_line": residents.ocr_line(code, number, REFUSED_DOSE), "status": "given",
                    "vaccinated_on": "2021-07-01", "product": "comirnaty", "lot": "FF3620",
                    "site": "試験会場", "read_by": "ocr", **wrong}
            try:
                client = client or client_for(self.stack, (t["cert"], t["key"]), "tablet_api")
                self.answers[client.post("/v1/doses", body, key=str(uuid.uuid4())).status] += 1
            except AWAY:
                client = None
            until(lambda: not self.running, 0.05)

    def stop(self):
        self.running = False
        self.thread.join()


class Work:
    """All of it at once.  `options` are vrs-load's."""

    def __init__(self, stack, folder=None, *options, rate=RATE):
        self.stack = stack
        self.gen = generator.Generator(stack, folder or stack.home)
        with open(self.gen.coupons_file) as f:
            coupons = [tuple(line.split()) for line in f]
        self.load = Load(self.gen, *options, rate=rate)
        after_stop.append(self.load.process.kill)  # when the test ends otherwise
        self.registrar = Registrar(stack)
        self.refused = Refused(stack, coupons[::97])
        self.grown = self.load.grown

    def stop(self):
        """vrs-load's result."""
        self.registrar.stop()
        self.refused.stop()
        return self.load.stop()


# ---- what is there afterwards


def acknowledged(gen):
    """{(municipality, coupon, dose number, date): doses}."""
    return collections.Counter((line[2:8], line[8:], int(line[1]), day)
                               for *_, line, day in gen.journal_rows())


def in_ledgers(stack):
    found = collections.Counter()
    for code in TOWNS:
        text = stack.staff(code).get("/v1/exports/ledger.csv").body.decode("utf-8-sig")
        for row in csv.reader(io.StringIO(text, newline="")):
            found.update((row[at + 3], row[at + 2], f"{row[at + 1][:4]}-{row[at + 1][4:6]}-{row[at + 1][6:]}")
                         for at in range(1, len(row), 8) if row[at])
    return found


def in_logs(stack):
    """dose.record entries by 宛名番号."""
    found = collections.Counter()
    for code, town in TOWNS.items():
        entries = access_log(stack.staff(code, f"{town}-approver"))
        found.update((code, e["addressee_number"]) for e in entries if e["act"] == "dose.record")
    return found


def in_counters(stack):
    return collections.Counter({(code, c["key"], c["dose_number"]): c["count"] for code in TOWNS
                                for c in stack.staff(code).get("/v1/statistics?by=date").json["cells"]
                                if c["count"]})


def by_addressee(stack, doses):
    holder = {(code, row["接種券番号"]): (code, row["宛名番号"]) for code in TOWNS
              for row in residents.generate(code, stack.count)[0]}
    found = collections.Counter()
    for (code, coupon, *_), count in doses.items():
        found[holder[code, coupon]] += count
    return found


def rows(stack, area, code, table):
    """How many rows a table has, in a copy of the file (contents are sealed)."""
    work = os.path.join(stack.home, "copy")
    shutil.rmtree(work, ignore_errors=True)
    os.mkdir(work)
    folder = {"vrs-server": "partitions", "vrs-number": "files"}[area]
    for path in glob.glob(stack.path(area, folder, code + ".db*")):
        shutil.copy(path, work)
    db = sqlite3.connect(os.path.join(work, code + ".db"))
    try:
        made = db.execute("SELECT count(*) FROM sqlite_master WHERE name=?", (table,)).fetchone()[0]
        return db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] if made else 0
    finally:
        db.close()
        shutil.rmtree(work)


def numbers_and_records(stack):
    """[(numbers, records that have one)] of each municipality."""
    return [(rows(stack, "vrs-number", code, "number"), rows(stack, "vrs-server", code, "number_link"))
            for code in TOWNS]


def numbers_held(stack, registrar, tag):
    people = registrar.committed
    stack.kill("vrs-server")  # its start sweeps numbers whose record never came
    stack.restart("vrs-server")
    until(lambda: all(n == r for n, r in numbers_and_records(stack)), 10)
    got = numbers_and_records(stack)
    ok(all(n == r for n, r in got),
       f"{tag} vrs-number holds {sum(n for n, _ in got)} numbers: one for each record, none without", got)
    client, wrong = stack.staff(registrar.code), []
    sample = random.Random(2).sample(people, min(60, len(people)))
    for person in sample:
        found = client.post("/v1/residents:search", {"personal_number": person["個人番号"],
                                                     "purpose": "certificate"}).json["residents"]
        if [r["addressee_number"] for r in found] != [person["宛名番号"]]:
            wrong.append((person["宛名番号"], len(found)))
    ok(people and not wrong and not registrar.refused and registrar.unsettled is None,
       f"{tag} {len(people)} people registered meanwhile, over {registrar.tries} tries;"
       f" {len(sample)} of them asked for: each number finds its one person", (wrong[:5], registrar.refused, registrar.unsettled))


def difference(got, want):
    return f"{sum((want - got).values())} missing, {sum((got - want).values())} too many"


def none(counter):
    return difference(counter, counter)


def receipts(gen, tag, seconds=60):
    """Every receipt asked for until it is final; of one in 16 the proof."""
    seen = gen.verify(seconds)
    names = ("lost", "pending", "changed", "doubled", "bad_proofs")
    equal({k: seen.get(k) for k in names}, dict.fromkeys(names, 0),
          f"{tag} {seen.get('receipts')} receipts: each is there, final, and stands for one dose;"
          f" {seen.get('proven')} proofs hold")
    return seen


def look(stack, work, tag):
    """Everything that must hold, one line each.  `work` has been stopped."""
    receipts(work.gen, tag)
    doses = acknowledged(work.gen)
    want = collections.Counter()
    for (code, coupon, _, day), count in doses.items():
        want[code, coupon, day] += count
    got = in_ledgers(stack)
    refused = work.refused.answers
    equal(difference(got, want), none(want), f"{tag} the ledgers hold {sum(got.values())} doses: each"
          f" acknowledged one, once, and none of {refused[422]} that were refused")
    got, want = in_logs(stack), by_addressee(stack, doses)
    equal(difference(got, want), none(want),
          f"{tag} the access logs hold {sum(got.values())} entries: one for each dose")
    want = collections.Counter()
    for (code, _, turn, day), count in doses.items():
        want[code, day, turn] += count
    got = in_counters(stack)
    equal(difference(got, want), none(want), f"{tag} {len(got)} counters add up to {sum(got.values())} doses")
    numbers_held(stack, work.registrar, tag)
    entries = [stack.command("log.verify", municipality_code=code)["entries"] for code in TOWNS]
    ok(min(entries) > 0, f"{tag} the log chains verify ({sum(entries)} entries)", entries)


def felt(result, refused, tag, what, both=True):
    """The test has tested something: doses of both answers, repeated ones, and refused ones."""
    shown = {k: result.get(k) for k in ("acknowledged", "201", "202", "retried", "lost", "again")}
    ok(result["ok"], f"{tag} every dose was settled with its key, no key got two receipts: {shown}", result)
    ok(result.get("201", 0) > 0 and (result.get("202", 0) > 0 or not both) and result.get("retried", 0) > 0
       and set(refused.answers) <= {422, 503} and refused.answers[422] > 0,
       f"{tag} {what} were felt: there are 201s, 202s, repeated and refused readings", (result, refused.answers))
