"""The main job, once, as a person would want to see it: `make demo`.

    python3 tests/demo/demo.py [--pause] [--keep]

A stack of its own (three real municipalities with synthetic residents, free ports, a temporary
folder) is started, lives through a summer and a winter of vaccinations by a clock that is set on,
and is removed.  Each line says what was expected and what came.  Exit 0: all of it held.
  --pause   wait for Enter between the steps          --keep   leave the stack's folder"""
import argparse
import collections
import csv
import datetime
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import unicodedata
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "dev")]
import no_trace  # noqa: E402
import residents  # noqa: E402
from show import Show, pad  # noqa: E402
from stack import Stack, StackError  # noqa: E402

JST = datetime.timezone(datetime.timedelta(hours=9))
MINATO, FUJISAWA, KAGOSHIMA, AOGASHIMA = "131032", "142051", "462012", "134023"
NAMES = {MINATO: "港区", FUJISAWA: "藤沢市", KAGOSHIMA: "鹿児島市", AOGASHIMA: "青ヶ島村"}
READINGS, TABLETS, A_TOWN = 300, 6, 2000
COMIRNATY, SPIKEVAX = ("comirnaty", "FF3620"), ("spikevax", "3004217")
SITE = "みなと保健所"

# Who the story is about: coupon number and 宛名番号 end in these, all of 港区.
HANAKO, TARO, PHUONG, ICHIRO, JIRO, KYOKO = range(1, 7)
LATE_1, LATE_2, NEVER = 11, 12, 99
PEOPLE = [  # number, name, kana, birth, sex, 異動区分, 異動日
    (HANAKO, "髙﨑　花子", "タカサキ ハナコ", "19840303", "2", "0", ""),
    (TARO, "山田　太郎", "ヤマダ タロウ", "19600512", "1", "1", "20210610"),
    (PHUONG, "グエン・ティ・フオン", "グエン ティ フオン", "19950817", "2", "0", ""),
    (ICHIRO, "佐藤　一郎", "サトウ イチロウ", "19780101", "1", "0", ""),
    (JIRO, "佐藤　二郎", "サトウ ジロウ", "19780101", "1", "0", ""),
    (KYOKO, "東　京子", "アズマ キョウコ", "19901231", "2", "0", "")]
LATER = [(LATE_1, "濵田　さくら", "ハマダ サクラ", "19991104", "2", "0", ""),
         (LATE_2, "德永　清", "トクナガ キヨシ", "19470220", "1", "0", "")]


def coupon(who):
    return f"{9000000 + who:010d}"


def day(text):
    return datetime.date.fromisoformat(text)


def spaced(line):
    """18 digits as they are printed: 券種 回数 自治体コード 券番号."""
    return f"{line[0]} {line[1]} {line[2:8]} {line[8:]}"


def short(identity):
    return identity[:8] + "…" if identity else "—"


class Posted:
    """One reading and what became of it."""

    def __init__(self, client, body, answer, seconds):
        self.client, self.body, self.answer, self.seconds = client, body, answer, seconds
        self.status, self.json = answer.status, answer.json
        self.receipt = self.json.get("receipt_id")
        self.line = unicodedata.normalize("NFKC", body["ocr_line"]).replace(" ", "")
        self.outcome = self.json.get("outcome") or answer.code

    def texts(self):
        return [w["detail"] for w in self.json.get("warnings", [])]

    def __str__(self):
        return f"{self.status} {self.outcome}"


class Demo:
    def __init__(self, stack, show):
        self.stack, self.show, self.now = stack, show, None
        self.posted, self.lock, self.lost = [], threading.Lock(), 0
        self.rng = random.Random(2021)
        self.numbers = {}

    # --- means ---

    def clock(self, date, hour=10):
        self.now = datetime.datetime.combine(day(date), datetime.time(hour), JST)
        self.stack.set_clock(self.now)
        self.since = time.monotonic()
        return date

    def time_text(self):
        """The date of a step's heading."""
        return f"{self.now:%Y-%m-%d} ({'月火水木金土日'[self.now.weekday()]})"

    def step(self, title, why):
        self.show.step(title, self.time_text(), why)

    def body(self, line, date=None, vaccine=COMIRNATY, **more):
        b = {"ocr_line": line, "status": "given", "vaccinated_on": date or str(self.now.date()),
             "product": vaccine[0], "lot": vaccine[1], "site": SITE, "physician": "港　一子",
             "read_by": "ocr", "read_at": self.now.isoformat()}
        b.update(more)
        return {k: v for k, v in b.items() if v is not None}

    def post(self, client, body, key=None):
        began = time.monotonic()
        answer = client.post("/v1/doses", body, key=key or str(uuid.uuid4()))
        p = Posted(client, body, answer, time.monotonic() - began)
        with self.lock:
            self.posted.append(p)
        return p

    def outcome_now(self, p):
        """The receipt's outcome, asked again while it is pending (it is, when the inside is busy)."""
        end = time.monotonic() + 20
        while True:
            r = p.client.get(f"/v1/doses/{p.receipt}")
            if r.status != 200:
                return str(r)
            if r.json["outcome"] != "pending" or time.monotonic() > end:
                p.json, p.outcome = r.json, r.json["outcome"]
                return p.outcome
            time.sleep(0.05)

    def settled(self, p):
        if p.outcome == "pending":
            self.outcome_now(p)
        return p

    def read(self, what, expected, body, key=None, status=201, texts=True):
        """Posts one reading and checks its outcome."""
        p = self.settled(self.post(self.tablet, body, key))
        ok = p.outcome == expected and p.status in (status, 202 if status == 201 else status)
        self.show.check(what, f"{status} {expected}", str(p), ok, *(p.texts() if texts else []))
        return p

    def line(self, who, turn, kind=2):
        return residents.ocr_line(MINATO, coupon(who), turn, kind)

    def row(self, person, code=MINATO, number=None, coupon_number=None, addressee=None):
        who, name, kana, birth, sex, moved, moved_on = person
        if who not in self.numbers:
            self.numbers[who] = residents.personal_number(self.rng)
        town, quarters = residents.TOWNS[code]
        return {"処理区分": "1", "個人番号": number or self.numbers[who],
                "宛名番号": addressee or f"{code[:5]}{9900000 + who:07d}", "自治体コード": code,
                "接種券番号": coupon_number or coupon(who), "氏名": name, "カナ": kana,
                "生年月日": birth, "性別": sex, "住所": f"{town}{quarters[0]}1丁目{who}番",
                "異動区分": moved, "異動日": moved_on, "接種券送付日": "20210601"}

    def file(self, rows, encoding):
        out = io.StringIO()
        residents.write_csv(out, rows)
        return out.getvalue().encode(encoding)

    def find(self, clerk, **term):
        return clerk.post("/v1/residents:search", term).json["residents"]

    # --- 1 ---

    def register(self):
        self.clock("2021-06-28", 9)
        self.step("Residents and coupons are registered",
                  "A clerk of 港区 sends a file from the resident register, in the encoding that her "
                  "spreadsheet writes (CP932). It is checked first; nothing is stored before she commits.")
        self.minato = self.stack.staff(MINATO)
        rows = [self.row(p) for p in PEOPLE]
        wrong = rows[-1]["個人番号"]
        rows[-1]["個人番号"] = wrong[:-1] + str((int(wrong[-1]) + 1) % 10)
        data = self.file(rows, "cp932")
        state = self.stack.import_file(self.minato, "residents", "住民_0628.csv", data, commit=False)
        self.show.equal("dry run of 6 rows", "5 new, 1 refused",
                        f"{state['new']} new, {state['refused']} refused")
        self.show.equal("nobody is stored by the dry run", 0,
                        len(self.find(self.minato, coupon_number=coupon(HANAKO))))
        url = f"/v1/imports/{state['import_id']}"
        results = self.minato.get(url + "/results").body.decode("utf-8-sig").splitlines()
        bad = [r for r in results[1:] if "エラー" in r]
        self.show.check("row 7 has a 個人番号 with a wrong check digit", "R170, number not echoed",
                        f"{len(bad)} row: " + (bad[0].split(",")[3] if bad else "—"),
                        len(bad) == 1 and bad[0].startswith("7,") and "R170" in bad[0]
                        and wrong[:-1] not in bad[0], results[0], *bad)
        state = self.stack.phase(self.minato, url, "commit", "committed")
        self.show.equal("she commits", "committed, 5 new", f"{state['state']}, {state['new']} new")
        again = self.minato.post("/v1/imports", {
            "kind": "residents", "file_name": "住民_0628 (1).csv", "size": len(data),
            "sha256": no_trace.hashlib.sha256(data).hexdigest()})
        self.show.equal("the same bytes again, under another name", "200, the first receipt",
                        f"{again.status}, " + ("the first receipt" if again.json["import_id"] ==
                                               state["import_id"] else "another receipt"))
        found = self.find(self.minato, name_kana="タカサキ", birth_date="1984-03-03")
        self.show.equal("found by the first kana and the birth date", "髙﨑　花子",
                        "、".join(r["name"] for r in found))
        sizes = [f"{NAMES[c]} {A_TOWN:,}" for c in (MINATO, FUJISAWA, KAGOSHIMA)]
        self.show.note("beside them, from the same kind of file: " + ", ".join(sizes) + " residents")

    # --- 2 ---

    def choose(self):
        """Adults without anything special, of three towns, mostly of 港区."""
        self.crowd = []
        for code, many in ((MINATO, 118), (FUJISAWA, 16), (KAGOSHIMA, 12)):
            rows, _ = residents.generate(code, A_TOWN)
            names = collections.Counter(r["宛名番号"] for r in rows)
            fit = [r for r in rows if r["異動区分"] == "0" and r["生年月日"] < "20000101"
                   and names[r["宛名番号"]] == 1]
            self.crowd += [(code, r["接種券番号"], r) for r in fit[40:40 + many]]
        self.crowd.insert(0, (MINATO, coupon(HANAKO), None))
        self.rng.shuffle(self.crowd)

    def clients(self):
        """Six readers: two tablets with two staff, several connections each."""
        made = []
        for i in range(TABLETS):
            c = self.stack.terminal(f"tablet-{i % 2 + 1}")
            c.token = (self.tablet, self.tablet_2)[i % 2].token
            made.append(c)
        return made

    def sitting(self, readings, watch=None):
        """Posts (line, vaccine) from all readers at once; → Posted in order.  `watch(n)` is called
        in this thread with how many are done."""
        done, left, failures = {}, list(enumerate(readings)), []

        def work(client):
            while True:
                with self.lock:
                    if not left or failures:
                        return
                    i, (line, vaccine) = left.pop(0)
                try:
                    done[i] = self.post(client, self.body(line, vaccine=vaccine))
                except Exception as e:  # shown by the main thread
                    failures.append(e)

        threads = [threading.Thread(target=work, args=(c,), daemon=True) for c in self.clients()]
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            if watch:
                watch(done)
            self.show.progress(len(done), len(readings), "readings, six readers at once")
            time.sleep(0.02)
        self.show.progress_end()
        if failures:
            raise failures[0]
        return [done[i] for i in range(len(readings))]

    def vaccine(self, i):
        return SPIKEVAX if i % 3 == 0 else COMIRNATY

    def first_doses(self):
        self.clock("2021-06-28")
        self.tablet = self.stack.tablet("tablet-1", "site-1")
        self.tablet_2 = self.stack.tablet("tablet-2", "site-2")
        self.choose()
        self.step("First doses at " + SITE,
                  "Tablets on the Internet read the 18 digits of coupon after coupon and post them over "
                  "mutual TLS. 201 means: on disk in the town's partition, with its log entry.")
        readings = [(residents.ocr_line(code, number, 1), self.vaccine(i))
                    for i, (code, number, _) in enumerate(self.crowd)]
        done = self.sitting(readings)
        at_once = [p for p in done if p.status == 201]
        for p in done[:4]:
            self.show.note(f"{spaced(p.line)}   {p.body['product']:<10} {p.body['lot']:<8} → {p}"
                           f"   {p.seconds * 1000:3.0f} ms   {NAMES[p.line[2:8]]}")
        self.show.note("…")
        for p in done:
            self.settled(p)
        self.show.equal(f"{len(done)} first doses, coupons of three towns", f"{len(done)} recorded",
                        f"{sum(p.outcome == 'recorded' for p in done)} recorded")
        mean = sorted(p.seconds for p in done)[len(done) // 2]
        self.show.check("answered with the outcome at once", "201 for most of them",
                        f"201 for {len(at_once)}, median {mean * 1000:.0f} ms",
                        len(at_once) > len(done) / 2)
        ids = {p.receipt for p in done}
        self.show.equal("each has a receipt of its own", len(done), len(ids))

    # --- 3 ---

    def misread(self):
        """Three lines as a camera gets them wrong."""
        for what, (code, number, _), spoil in (
                ("a 1 taken for a 4", self.extra[0], lambda s: s[:2] + s[2:8].replace("1", "4", 1) + s[8:]),
                ("letters: O for 0, I for 1", self.extra[1],
                 lambda s: s[:2] + s[2:8].replace("0", "O").replace("1", "I", 1) + s[8:]),
                ("one digit lost", self.extra[2], lambda s: s[:3] + s[4:])):
            true = residents.ocr_line(code, number, 1)
            seen = spoil(true)
            p = self.post(self.tablet, self.body(seen))
            lines = [c["ocr_line"] for c in p.json.get("candidates", [])]
            self.show.check(f"{what}: {seen}", "422, the true line offered",
                            f"{p}, " + (f"candidate {lines.index(true) + 1} of {len(lines)}"
                                        if true in lines else f"not among {len(lines)}"),
                            p.status == 422 and true in lines, p.json.get("detail", ""))
            self.read(f"  on the coupon: {spaced(true)}", "recorded",
                      self.body(true, read_by="manual"))

    def awkward(self):
        self.step("What a real site is like",
                  "Cameras misread, people come twice, coupons are not registered yet. What the tablet "
                  "can see is refused with a proposal; what only the inside can know is kept and marked.")
        rows, _ = residents.generate(MINATO, A_TOWN)
        used = {number for _, number, _ in self.crowd}
        self.extra = [(MINATO, r["接種券番号"], r) for r in rows[700:800] if r["異動区分"] == "0"
                      and r["生年月日"] < "20000101" and r["接種券番号"] not in used]
        self.misread()
        wide = residents.ocr_line(*self.extra[3][:2], 1)
        wide = wide[0:2] + " " + wide[2:8] + " " + "".join(chr(ord(c) + 0xFEE0) for c in wide[8:])
        self.read(f"full-width: {wide}", "recorded", self.body(wide))
        self.waiting = [self.read(f"coupon {coupon(w)}: not registered yet", "waiting_for_coupon",
                                  self.body(self.line(w, 1)), texts=w == LATE_1)
                        for w in (LATE_1, LATE_2, NEVER)]
        visit = self.body(self.line(PHUONG, 1), product=None, lot=None, status="not_given")
        self.read("予診のみ: examined, no shot today", "recorded", visit)
        self.read("  she comes back in the afternoon and gets dose 1", "recorded",
                  self.body(self.line(PHUONG, 1)))
        key, body = str(uuid.uuid4()), self.body(self.line(JIRO, 1))
        first = self.read("佐藤 二郎, dose 1", "recorded", body, key)
        again = self.post(self.tablet, body, key)
        self.show.equal("  sent again with its Idempotency-Key", f"receipt {short(first.receipt)}",
                        f"receipt {short(again.receipt)}")
        self.read("  the key again with another lot", "idempotency_key_reused",
                  dict(body, lot="EY5422"), key, status=409)
        twice = self.read("  read a second time, as a new reading", "duplicate", body)
        self.show.equal("  which points at the dose that is there", short(first.json.get("dose_id")),
                        short(twice.json.get("dose_id")))
        self.read("佐藤 一郎, dose 1", "recorded", self.body(self.line(ICHIRO, 1)))
        self.conflict = self.read("  his coupon again, other product and lot", "conflict",
                                  self.body(self.line(ICHIRO, 1), vaccine=SPIKEVAX))
        self.moved = self.read("山田 太郎 moved out on 2021-06-10", "recorded_for_review",
                               self.body(self.line(TARO, 1)))
        late = self.post(self.tablet, self.body(self.line(HANAKO, 2), "2021-06-29"))
        self.show.equal("a date in the future, by the server's clock", "422 R112", str(late),
                        late.json.get("detail", ""))

    # --- 4 ---

    def second_doses(self):
        self.clock("2021-07-19")
        self.step("Second doses, and vrs-server is killed",
                  "In the middle of the morning the inside dies (kill -9). The tablets notice nothing but "
                  "a 202: their readings are durable outside. It comes back and fetches them.")
        many = READINGS - len(self.posted)
        chosen = [(i, c) for i, c in enumerate(self.crowd) if c[1] == coupon(HANAKO)]
        chosen += [(i, c) for i, c in enumerate(self.crowd) if c[1] != coupon(HANAKO)
                   and self.vaccine(i) == COMIRNATY][:60]
        chosen += [(i, c) for i, c in enumerate(self.crowd) if self.vaccine(i) == SPIKEVAX
                   and c[1] != coupon(HANAKO)]
        chosen += [(i, c) for i, c in enumerate(self.crowd) if (i, c) not in chosen]
        chosen = sorted(chosen[:many])
        readings = [(residents.ocr_line(code, number, 2), self.vaccine(i))
                    for i, (code, number, _) in chosen]
        marks = {}

        def watch(done):
            if "killed" not in marks and len(done) >= many * 0.35:
                self.stack.kill("vrs-server", signal.SIGKILL)
                marks["killed"] = time.monotonic()
            elif "killed" in marks and "back" not in marks:
                if sum(p.status == 202 for p in list(done.values())) >= 30:
                    marks["down"] = time.monotonic() - marks["killed"]
                    began = time.monotonic()
                    self.stack.restart("vrs-server")
                    marks["back"] = time.monotonic() - began

        done = self.sitting(readings, watch)
        if "back" not in marks:
            self.stack.restart("vrs-server")
            marks.update(back=0.0, down=0.0)
        by_status = collections.Counter(p.status for p in done)
        while_down = [p for p in done if p.status == 202]
        self.show.check("readings posted without a pause", f"{many} acknowledged",
                        f"{by_status[201]} with 201, {by_status[202]} with 202",
                        by_status[201] + by_status[202] == many)
        self.show.check("kill -9 of vrs-server after a third of them", "tablets get 202 pending",
                        f"{len(while_down)} × 202, away for {marks['down']:.1f} s",
                        len(while_down) >= 30)
        self.show.check("vrs-server is started again", "ready in 2 s",
                        f"ready in {marks['back'] * 1000:.0f} ms", marks["back"] <= 2.0)
        for p in while_down:
            self.outcome_now(p)
        self.show.equal("what was pending, asked by receipt", f"{len(while_down)} recorded",
                        f"{sum(p.outcome == 'recorded' for p in while_down)} recorded")
        for p in done:
            self.settled(p)
        self.show.equal("second doses in all", f"{many} recorded",
                        f"{sum(p.outcome == 'recorded' for p in done)} recorded")
        self.show.equal("readings posted since the morning of 06-28", READINGS, len(self.posted))
        old = self.minato.get("/v1/reviews")
        self.show.equal("the clerk's session died with the server", "401 session_ended",
                        f"{old.status} {old.code}")
        self.minato = self.stack.staff(MINATO)

    # --- 5 ---

    def late_coupons(self):
        self.clock("2021-07-26")
        self.step("Coupons are registered later",
                  "The waiting doses are found by themselves when their coupon comes with the next file "
                  "of the resident register.")
        waiting = self.minato.get("/v1/exports/waiting.csv").body.decode("utf-8-sig").splitlines()
        self.show.equal("接種対象者登録待ちリスト before", 3, len(waiting) - 1, *waiting)
        data = self.file([self.row(p) for p in LATER], "utf-8")
        state = self.stack.import_file(self.minato, "residents", "住民_0726.csv", data)
        self.show.equal("the next file, UTF-8", "2 new", f"{state['new']} new")
        for p in self.waiting:
            end = time.monotonic() + 10
            hers = p.line[8:]
            expected = "waiting_for_coupon" if hers == coupon(NEVER) else "recorded"
            while self.outcome_now(p) != expected and time.monotonic() < end:
                time.sleep(0.05)
            self.show.equal(f"the receipt of coupon {hers}", expected, p.outcome)
        waiting = self.minato.get("/v1/exports/waiting.csv").body.decode("utf-8-sig").splitlines()
        self.show.equal("接種対象者登録待ちリスト after", 1, len(waiting) - 1)

    # --- 6 ---

    def settle(self):
        self.step("A contradiction is settled by a person",
                  "Nothing was overwritten: both readings are there. The clerk looks at the paper "
                  "(予診票), decides, and says why; the other version stays in the history.")
        reviews = self.minato.get("/v1/reviews").json["reviews"]
        kinds = collections.Counter(r["kind"] for r in reviews)
        self.show.equal("the work list (確認一覧)", "1 of each kind",
                        "1 of each kind" if kinds == {"conflict": 1, "review": 1, "waiting_for_coupon": 1}
                        else str(dict(kinds)))
        r = next((r for r in reviews if r["kind"] == "conflict"), None)
        if r is None:
            return
        a, b = r["against"], r["dose"]
        self.show.equal("the conflict shows both sides", "FF3620 against 3004217",
                        f"{a['lot']} against {b['lot']}",
                        *[f"{x['dose_number']}回目 {x['vaccinated_on']} {x['maker']} {x['lot']} {x['site']}"
                          for x in (a, b)])
        url = f"/v1/reviews/{r['review_id']}:settle"
        bare = self.minato.post(url, {"decision": "accept"}, key=True)
        self.show.equal("a decision without a reason", "422 reason_required", f"{bare.status} {bare.code}",
                        bare.json.get("detail", ""))
        reason = "予診票を確認。モデルナが正しい（1枚目の読み取りは隣の接種列のもの）。"
        done = self.minato.post(url, {"decision": "accept", "reason": reason}, key=True)
        self.show.equal("accept the second reading", "200 recorded",
                        f"{done.status} {(done.json or {}).get('state')}", reason)
        person = self.find(self.minato, coupon_number=coupon(ICHIRO))[0]
        doses = self.minato.get(f"/v1/residents/{person['resident_id']}/doses").json["doses"]
        self.show.equal("佐藤 一郎 has one dose 1", "武田/モデルナ 3004217",
                        ", ".join(f"{d['maker']} {d['lot']}" for d in doses))
        past = self.minato.get(f"/v1/doses/{a['dose_id']}/history").json["versions"]
        self.show.equal("the other one, in its history", "recorded → cancelled",
                        " → ".join(v["state"] for v in past),
                        f"{past[-1].get('changed_by')}: {past[-1].get('change_reason')}")

    # --- 7 ---

    def inquiry(self, clerk, to, kind="consent", **more):
        today = str(self.now.date())
        basis = {"kind": kind}
        if kind == "consent":
            basis.update(document="同意書 鹿2021-0901", obtained_on=today)
        body = {"from_municipality": to, "personal_number": self.numbers[HANAKO],
                "addressee_number": self.addressee, "purpose": "transfer_in", "basis": basis,
                "identity": {"method": "個人番号カード", "checked_on": today}}
        body.update(more)
        return clerk.post("/v1/inquiries", body, key=True)

    @staticmethod
    def result(r):
        return f"{r.status} " + (r.code or r.json.get("result", ""))

    def transfer(self):
        self.clock("2021-09-01")
        self.step("髙﨑 花子 moves to 鹿児島市",
                  "Her new town asks the old one, by 個人番号 and with her consent: the only way across "
                  "from one partition to another. Both sides keep a record of it.")
        self.kagoshima, self.minato = self.stack.staff(KAGOSHIMA), self.stack.staff(MINATO)
        her = self.find(self.minato, coupon_number=coupon(HANAKO))[0]
        flag = self.minato.post(f"/v1/residents/{her['resident_id']}:flag",
                                {"flag": "moved_out", "since": "2021-08-20", "to_municipality": KAGOSHIMA},
                                key=True, headers={"If-Match": f"\"{her['version']}\""})
        self.show.equal("港区 marks her as moved out on 08-20", "200 2021-08-20",
                        f"{flag.status} {(flag.json or {}).get('moved_out_on')}")
        self.addressee = "462019900001"
        row = self.row(PEOPLE[0], KAGOSHIMA, coupon_number="0009500001", addressee=self.addressee)
        state = self.stack.import_file(self.kagoshima, "residents", "転入_0901.csv",
                                       self.file([row], "cp932"))
        self.show.equal("鹿児島市 registers her, with a coupon of its own", "1 new", f"{state['new']} new")
        r = self.inquiry(self.kagoshima, MINATO, "statute")
        self.show.equal("asks 港区 without consent (番号法19条16号)", "422 basis_not_accepted", self.result(r),
                        r.json.get("detail", ""))
        r = self.inquiry(self.kagoshima, MINATO, basis={"kind": "consent", "obtained_on": "2021-09-01"})
        self.show.equal("asks with consent, but names no document", "422 basis_not_accepted", self.result(r))
        r = self.inquiry(self.kagoshima, MINATO)
        doses = r.json.get("doses", [])
        self.show.equal("asks with consent (番号法19条15号)", "201 match, 2 doses",
                        f"{self.result(r)}, {len(doses)} doses",
                        *[f"{d['dose_number']}回目 {d['vaccinated_on']} {d['maker']} {d['lot']} "
                          f"{d['site']}" for d in doses])
        self.show.check("the answer deletes itself", "a date of expiry",
                        r.json.get("expires_at", "—")[:10], "expires_at" in r.json)
        taken = self.kagoshima.post(f"/v1/inquiries/{r.json.get('inquiry_id')}:take-over", {}, key=True)
        self.show.equal("taken over into the own record", "200, 2 doses",
                        f"{taken.status}, {(taken.json or {}).get('doses')} doses")
        for clerk, code, side in ((self.kagoshima, KAGOSHIMA, "asked"), (self.minato, MINATO, "provided")):
            kept = [v for v in clerk.get("/v1/provisions").json["provisions"] if v["side"] == side
                    and v["inquiry_id"] == r.json.get("inquiry_id")]
            text = [f"{v['side']} / {NAMES[v['other_municipality']]} / {v['basis']} / {v['result']} / "
                    f"{v['doses']} doses" for v in kept]
            self.show.equal(f"情報提供等の記録 of {NAMES[code]}", 1, len(kept), *text)

    # --- 8 ---

    def wrong_town(self):
        self.step("The same number, asked of the wrong town",
                  "藤沢市 has never known her. It must not learn her 個人番号 by being asked: no row, no log "
                  "line, no file; only a sealed count of the day's misses moves.")
        stack, number = self.stack, self.numbers[HANAKO]
        records = stack.path("vrs-server", "partitions", FUJISAWA + ".db")
        fujisawa = [p for p in no_trace.files_below(stack.path("vrs-server"), stack.path("vrs-number"))
                    if FUJISAWA in os.path.basename(p)]
        own_number_files = [p for p in fujisawa if "vrs-number" in p]
        self.show.check("the searcher finds a number planted in each form", "all forms",
                        f"{len(no_trace.forms(number))} forms", no_trace.searcher_works(number))
        before, rows = no_trace.contents(*own_number_files), no_trace.rows(records)
        r = self.inquiry(self.kagoshima, FUJISAWA)
        self.show.equal("鹿児島市 asks 藤沢市", "201 no_match", self.result(r))
        after = no_trace.changed(rows, no_trace.rows(records))
        self.show.equal(f"what changed among 藤沢市's {len(rows):,} rows", "1 sealed count",
                        "1 sealed count" if after == {"tally": 1} else str(after))
        self.show.check("the number area of 藤沢市", "the same bytes",
                        f"{len(before)} files, " + ("the same bytes" if before == no_trace.contents(
                            *own_number_files) else "changed"),
                        bool(before) and before == no_trace.contents(*own_number_files))
        n, size, found = no_trace.search(number, *fujisawa)
        self.show.check("any form of the number in 藤沢市's files", "none",
                        f"{len(found)} in {n} files, {size / 1e6:.1f} MB", n > 0 and not found)
        n, size, found = no_trace.search(number, stack.home)
        self.show.check("… and in everything the stack has written", "none",
                        f"{len(found)} in {n} files, {size / 1e6:.1f} MB", not found,
                        *sorted({os.path.relpath(p, stack.home) for p, _ in found}))
        files = set(no_trace.files_below(stack.home))
        other = self.inquiry(self.kagoshima, AOGASHIMA)
        new = set(no_trace.files_below(stack.home)) - files
        self.show.equal("asks 青ヶ島村, which has no file at all", "201 no_match", self.result(other))
        self.show.equal("files made by that", 0, len(new), *sorted(new))
        self.show.equal("the two answers, told apart by", "the town's code only", "the town's code only"
                        if set(r.json) == set(other.json) and r.json["result"] == other.json["result"]
                        else f"{set(r.json) ^ set(other.json)}")

    # --- 9 ---

    def statute(self):
        self.clock("2021-12-12")
        self.step("The law changes",
                  "From 13 December 2021 consent is no longer needed. Which basis is accepted is a table "
                  "by date and town, not a line of code; the servers' Japanese date decides.")
        self.kagoshima = self.stack.staff(KAGOSHIMA)
        r = self.inquiry(self.kagoshima, MINATO, "statute")
        self.show.equal("statute, on 2021-12-12", "422 basis_not_accepted", self.result(r))
        self.clock("2021-12-13", 0)
        r = self.inquiry(self.kagoshima, MINATO, "statute")
        self.show.equal("statute, on 2021-12-13 at 00:00", "201 match, 2 doses",
                        f"{self.result(r)}, {len(r.json.get('doses', []))} doses")

    # --- 10 ---

    def certificates(self):
        self.clock("2022-01-11")
        self.step("What a certificate may show",
                  "The counter looks first: which doses stand, which are still open, and what blocks the "
                  "certificate, in words that can be said to the person at the window.")
        self.kagoshima, self.minato = self.stack.staff(KAGOSHIMA), self.stack.staff(MINATO)
        r = self.kagoshima.post("/v1/certificates:lookup", {
            "personal_number": self.numbers[HANAKO], "purpose": "certificate"})
        j = r.json
        self.show.equal("髙﨑 花子 at 鹿児島市, by 個人番号", "200, 2 doses, issuable",
                        f"{r.status}, {len(j.get('doses', []))} doses, "
                        + ("issuable" if j.get("issuable") else "blocked"),
                        *[f"{d['dose_number']}回目 {d['vaccinated_on']} {d['maker']} {d['product']} {d['lot']} "
                          f"({NAMES[d['municipality_code']]})" for d in j.get("doses", [])],
                        f"as_of {j.get('as_of')}")
        r = self.minato.post("/v1/certificates:lookup",
                             {"coupon_number": coupon(TARO), "purpose": "certificate"})
        j = r.json
        self.show.equal("山田 太郎 at 港区, by coupon", "200, 0 doses, blocked",
                        f"{r.status}, {len(j.get('doses', []))} doses, "
                        + ("issuable" if j.get("issuable") else "blocked"),
                        *[b["detail"] for b in j.get("blocks", [])])

    # --- 11 ---

    def expected_doses(self, code):
        """(coupon, day) of the doses that must stand, from the answers that the tablets got."""
        return {(p.line[8:], p.body["vaccinated_on"].replace("-", "")) for p in self.posted
                if p.receipt and p.body["status"] == "given" and p.line[2:8] == code
                and p.outcome in ("recorded", "recorded_for_review")}

    def ledger(self):
        self.step("The vaccination ledger (予防接種台帳向け出力)",
                  "The official layout: 宛名番号, then eight columns a dose; UTF-8 without BOM, no 個人番号. "
                  "Every acknowledged dose is in it exactly once, the kill notwithstanding.")
        numbers = {r["個人番号"] for code in (MINATO, FUJISAWA, KAGOSHIMA)
                   for r in residents.generate(code, A_TOWN)[0]} | set(self.numbers.values())
        for clerk, code in ((self.minato, MINATO), (self.stack.staff(FUJISAWA), FUJISAWA),
                            (self.kagoshima, KAGOSHIMA)):
            r = clerk.get("/v1/exports/ledger.csv")
            text = r.body.decode()
            rows = list(csv.reader(io.StringIO(text)))
            cells = [row[i:i + 8] for row in rows for i in range(1, len(row), 8)]
            came = [(c[2], c[1]) for c in cells if c[3] == code]
            expected, taken = self.expected_doses(code), len(cells) - len(came)
            lost = expected - set(came)
            self.lost += len(lost)
            self.show.check(f"{NAMES[code]}: acknowledged doses in the ledger",
                            f"{len(expected)}, each once",
                            f"{len(came)}, {len(lost)} lost, {len(came) - len(set(came))} twice"
                            + (f"; {taken} taken over" if taken else ""),
                            len(came) == len(set(came)) and set(came) == expected
                            and taken == (2 if code == KAGOSHIMA else 0))
            good = (all(len(row) % 8 == 1 for row in rows) and not r.body.startswith(b"\xef\xbb\xbf")
                    and not any(c in numbers for row in rows for c in row))
            self.show.check("  columns, encoding, no 個人番号", "1 + 8 × n columns, none",
                            f"{len(rows)} rows, " + ("as it must be" if good else "wrong"), good)
            if code == KAGOSHIMA:
                self.show.quote(*[line for line in text.splitlines() if line.startswith(self.addressee)])

    # --- 12 ---

    def access_log(self):
        self.step("Who looked, and is the log whole",
                  "Every look at a person is an entry in the same file as the records, committed before "
                  "anything is shown. The chain over the sealed entries is verified.")
        r = self.kagoshima.get("/v1/access-log")
        self.show.equal("a clerk without the right asks for the log", "403 forbidden", self.result(r))
        approver = self.stack.staff(MINATO, "minato-approver")
        her = self.find(approver, coupon_number=coupon(HANAKO))[0]
        r = approver.get(f"/v1/residents/{her['resident_id']}/access-log")
        entries = r.json.get("entries", [])
        acts = [e["act"] for e in entries]
        self.show.check("港区's approver: who has looked at 髙﨑 花子", "2 doses, flag, 2 answers",
                        f"{len(entries)} entries", acts.count("dose.record") == 2
                        and "resident.flag" in acts and acts.count("inquiry.answer") == 2,
                        *["  ".join((e["at"][:10], pad(e["user"], 16), pad(e["section"], 12),
                                     pad(e["act"], 18), e["result"])) for e in entries][-6:])
        total = 0
        for code, name in list(NAMES.items())[:3] + [("000000", "registry")]:
            v = self.stack.command("log.verify", municipality_code=code)
            total += v["entries"]
            self.show.check(f"log.verify {code} {name}", "ok", f"{v['entries']:,} entries, head "
                            f"{v['head'][:12]}…", v["ok"] is True)
        return total

    def run(self):
        self.register()
        self.first_doses()
        self.awkward()
        self.second_doses()
        self.late_coupons()
        self.settle()
        self.transfer()
        self.wrong_town()
        self.statute()
        self.certificates()
        self.ledger()
        entries = self.access_log()
        got = collections.Counter(str(p.status) for p in self.posted)
        ends = collections.Counter(p.outcome for p in self.posted if p.receipt)
        return [("readings posted", f"{len(self.posted)}   "
                 + "  ".join(f"{n} × {s}" for s, n in sorted(got.items()))),
                ("what became of them", "  ".join(f"{n} {o}" for o, n in ends.most_common())),
                ("acknowledged and lost", str(self.lost)),
                ("access log entries verified", f"{entries:,}")]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--pause", action="store_true", help="wait for Enter between the steps")
    arguments.add_argument("--keep", action="store_true", help="leave the stack's folder")
    given = arguments.parse_args()
    show = Show(given.pause)
    home = tempfile.mkdtemp(prefix="vrs-demo-")
    os.chmod(home, 0o711)
    build = os.path.join(ROOT, os.environ.get("VRS_BUILD") or os.environ.get("BUILD") or "build")
    # Half a second is enough for an outcome; who reads along should not wait two when it cannot come.
    stack = Stack(os.path.join(home, "run"), build=build, count=A_TOWN, say=lambda text: None,
                  valid_from="2021-01-01", overrides={"tablet-api": {"answer_wait_ms": 500}})

    def stop(signum, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    show.title("Vaccination Record System — the main job, once", "real municipality codes and OCR "
               "lines, synthetic people; 個人番号 are used throughout and never shown")
    try:
        began = time.monotonic()
        stack.start()
        show.note(f"three programs, {3 * A_TOWN:,} residents: ready in {time.monotonic() - began:.1f} s"
                  f"   tablets {stack.demo['tablet_api']}   LG-WAN {stack.demo['vrs_server']}")
        rows = Demo(stack, show).run()
        return 0 if show.summary(rows) else 1
    except KeyboardInterrupt:
        show.progress_end()
        show.out("\n   stopped")
        return 130
    except (StackError, OSError, KeyError, IndexError, TypeError, ValueError) as e:
        import traceback
        show.progress_end()
        traceback.print_exc()
        show.out(f"   cut off: {type(e).__name__}: {e}")
        for name in stack.processes:
            show.out(f"   --- {name}\n{stack.tail(name, 6)}")
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stack.stop()
        if given.keep:
            show.out(f"   kept: {stack.home}")
        else:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
