"""At the municipality's desk: what waited, what contradicts, a person who moves, certificates, the
ledger."""
import collections
import csv
import io
import os
import time

import no_trace
from scene import (A_TOWN, AOGASHIMA, FUJISAWA, HANAKO, ICHIRO, KAGOSHIMA, LATER, MINATO, NAMES, NEVER,
                   PEOPLE, TARO, Scene, coupon, residents)


class Desk(Scene):
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
        self.show.equal("髙﨑 花子 at 鹿児島市, by 個人番号", "200, 2 elsewhere, blocked",
                        f"{r.status}, {len(j.get('elsewhere', []))} elsewhere, "
                        + ("issuable" if j.get("issuable") else "blocked"),
                        *[f"{d['dose_number']}回目 {d['vaccinated_on']} {d['maker']} {d['product']} {d['lot']} "
                          f"({NAMES[d['municipality_code']]})" for d in j.get("elsewhere", [])],
                        *[b["detail"] for b in j.get("blocks", [])],
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
