"""At the vaccination site: registration beforehand, readings of every kind, the inside killed."""
import collections
import signal
import threading
import time
import uuid

import no_trace
from scene import (A_TOWN, COMIRNATY, FUJISAWA, HANAKO, ICHIRO, JIRO, KAGOSHIMA, LATE_1, LATE_2,
                   MINATO, NAMES, NEVER, PEOPLE, PHUONG, READINGS, SITE, SPIKEVAX, TABLETS, TARO,
                   Scene, coupon, residents, short, spaced)


class Site(Scene):
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
                  self.body(self.line(PHUONG, 1), confirmed_again=True))
        key, body = str(uuid.uuid4()), self.body(self.line(JIRO, 1))
        first = self.read("佐藤 二郎, dose 1", "recorded", body, key)
        again = self.post(self.tablet, body, key)
        self.show.equal("  sent again with its Idempotency-Key", f"receipt {short(first.receipt)}",
                        f"receipt {short(again.receipt)}")
        self.read("  the key again with another lot", "idempotency_key_reused",
                  dict(body, lot="EY5422"), key, status=409)
        self.read("  read a second time, as a new reading: a question first", "same_coupon_again", body, status=409)
        twice = self.read("  confirmed by a person", "duplicate", dict(body, confirmed_again=True))
        self.show.equal("  which points at the dose that is there", short(first.json.get("dose_id")),
                        short(twice.json.get("dose_id")))
        self.read("佐藤 一郎, dose 1", "recorded", self.body(self.line(ICHIRO, 1)))
        self.conflict = self.read("  his coupon again, other product and lot", "conflict",
                                  self.body(self.line(ICHIRO, 1), vaccine=SPIKEVAX, confirmed_again=True))
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
