"""What every step of the demonstration stands on: who is in the story, the clock, posting a reading
and checking what became of it, files of the resident register."""
import datetime
import io
import os
import random
import sys
import threading
import time
import unicodedata
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "dev"))
import residents  # noqa: E402

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


class Scene:
    def __init__(self, stack, show):
        self.stack, self.show, self.now = stack, show, None
        self.posted, self.lock, self.lost = [], threading.Lock(), 0
        self.rng = random.Random(2021)
        self.numbers = {}

    # --- means ---

    def clock(self, date, hour=10):
        self.now = datetime.datetime.combine(day(date), datetime.time(hour), JST)
        self.stack.set_clock(self.now)
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
