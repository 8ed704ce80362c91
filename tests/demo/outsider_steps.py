"""Who looked at her, as she may read it; and what somebody with public keys alone can check: her dose,
her list, and a log that a person with the files has changed."""
import json
import os
import shutil
import sqlite3
import subprocess

from client import Client
from scene import HANAKO, MINATO, NAMES, Scene, coupon
from show import pad


class Outsider(Scene):
    def keep(self, name, content):
        os.makedirs(self.stack.path("outsider"), exist_ok=True)
        path = self.stack.path("outsider", name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))
        return path

    def verify(self, *words):
        """vrs-verify with the public keys: exit status, what it says (the Japanese part)."""
        done = subprocess.run([self.stack.program("vrs-verify"), *words, "--key", self.public_keys],
                              capture_output=True, text=True)
        return done.returncode, [line.split(" / ")[0] for line in done.stdout.splitlines()]

    # --- 12 ---

    def who_looked(self):
        self.step("Who looked at me?",
                  "Every look at a person is an entry in the same file as the records, committed before "
                  "anything is shown. She may ask her municipality for hers: when, what, why, who, and with "
                  "what result, in plain words, with the proof of each entry.")
        r = self.kagoshima.get("/v1/held-inquiries")
        self.show.equal("a clerk without the right asks for held ones", "403 forbidden",
                        f"{r.status} {r.code}")
        self.approver = self.stack.staff(MINATO, "minato-approver")
        self.her = self.find(self.approver, coupon_number=coupon(HANAKO))[0]["resident_id"]
        r = self.approver.get(f"/v1/residents/{self.her}/access-log")
        entries = r.json.get("entries", [])
        acts = [e["act"] for e in entries]
        self.show.check("港区's approver: who has looked at 髙﨑 花子", "2 doses, flag, 2 answers",
                        f"{len(entries)} entries", acts.count("dose.record") == 2
                        and "resident.flag" in acts and acts.count("inquiry.answer") == 2,
                        *["  ".join((e["at_japan"], pad(e["act_name"], 26), pad(e["purpose_name"], 24),
                                     pad(e["user"], 16), e["result_name"])) for e in entries][-7:])
        total = 0
        for code, name in list(NAMES.items())[:3] + [("000000", "registry")]:
            v = self.stack.command("log.verify", municipality_code=code)
            total += v["entries"]
            self.show.check(f"log.verify {code} {name}", "ok", f"{v['entries']:,} entries, head "
                            f"{v['head'][:12]}…", v["ok"] is True)
        return total

    # --- 13 ---

    def proof_of_a_dose(self):
        self.step("A dose, proven to somebody without keys",
                  "The tablet's 201 came with a proof: where in 港区's log the dose stands, under a head "
                  "that vrs-signer signed. Whoever has kept that, with what was sent and the public keys, can "
                  "check it alone, for years: no secret key, no network, not even the service.")
        public = Client(self.stack.demo["public"], self.stack.demo["ca"])
        keys = public.get("/v1/log/keys")
        public.close()
        self.public_keys = self.keep("keys.json", keys.body.decode())
        hers = next(p for p in self.posted if p.line == self.line(HANAKO, 1) and p.receipt)
        if "proof" not in hers.json:
            self.outcome_now(hers)
        proof = hers.json.get("proof", {})
        self.receipt = {**hers.body, **{k: hers.json.get(k) for k in
                                        ("receipt_id", "dose_id", "outcome", "proof")}}
        self.show.check("her first dose of " + hers.body["vaccinated_on"], "a proof with the receipt",
                        f"entry {proof.get('entry')} of {proof.get('size')}, path of "
                        f"{len(proof.get('path', []))}", bool(proof), f"root {proof.get('root')}")
        status, said = self.verify("receipt", self.keep("receipt.json", self.receipt))
        self.show.equal("vrs-verify receipt", "exit 0", f"exit {status}", *said)
        other = dict(self.receipt, lot=self.receipt["lot"][:-1] + "9")
        status, said = self.verify("receipt", self.keep("changed.json", other))
        self.show.equal(f"the same with lot {other['lot']}", "exit 1", f"exit {status}", *said)
        mine = self.approver.get(f"/v1/residents/{self.her}/access-log",
                                 headers={"Accept": "application/x-ndjson"}).body.decode()
        status, said = self.verify("entries", self.keep("mine.ndjson", mine))
        self.show.equal("vrs-verify entries: the list that she took home", "exit 0", f"exit {status}", *said)
        self.head = json.loads(mine.splitlines()[0])["proof"]

    # --- 14 ---

    def tampered(self):
        self.step("A log that was tampered with",
                  "Somebody who may write the files (root, say) changes 港区's log while vrs-server is "
                  "stopped. An entry that is missing is found at once; a cut end only with a head that was "
                  "kept elsewhere, like the one in the list that she took home.")
        live, good = (self.stack.path("vrs-server", "partitions", MINATO + ".db"),
                      self.stack.path("outsider", "good.db"))
        self.stack.kill("vrs-server")
        sql(live, "PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(live, good)
        known = {"known_size": self.head["size"], "known_root": self.head["root"],
                 "known_epoch": self.head["epoch"]}
        size = self.head["size"]

        def attacked(what, statement, *checks):
            owner = os.stat(live)
            if statement:
                sql(live, statement)
            os.chown(live, owner.st_uid, owner.st_gid)
            self.stack.restart("vrs-server")
            for name, head, expected, right in checks:
                v = self.log_verify(head)
                self.show.check(what + name, expected, "ok" if v.get("ok") else
                                f"entry {v.get('bad_sequence')}", right(v), v.get("result", ""))
            self.stack.kill("vrs-server")
            shutil.copyfile(good, live)
            for more in ("-wal", "-shm"):
                if os.path.exists(live + more):
                    os.unlink(live + more)

        middle = size // 2
        attacked(f"entry {middle} is taken out", f"DELETE FROM access_log WHERE ord={middle}",
                 (": log.verify", {}, f"found, entry {middle}", lambda v: v.get("bad_sequence") == middle))
        attacked("the last 10 entries are cut off", f"DELETE FROM access_log WHERE ord>{size - 10}",
                 (": log.verify alone", {}, "ok: it cannot see that", lambda v: v.get("ok") is True),
                 (": with her head", known, "found",
                  lambda v: v.get("ok") is not True and v.get("bad_sequence", 0) > 0))
        self.stack.restart("vrs-server")
        v = self.log_verify(known)
        self.show.check("the untouched file, with her head", "ok", f"{v.get('entries'):,} entries",
                        v.get("ok") is True)
        export = self.stack.staff(MINATO, "minato-approver").get("/v1/access-log/export").body.decode()
        receipt = self.keep("receipt.json", self.receipt)
        status, said = self.verify("log", self.keep("log.ndjson", export), "--checkpoint", receipt)
        self.show.equal("vrs-verify log: the whole log, by hashes alone", "exit 0", f"exit {status}", *said)
        at = self.receipt["proof"]["entry"]
        lines = [json.dumps(dict(json.loads(line), entry_hash="00" * 32))
                 if line.startswith(f'{{"entry":{at},') else line for line in export.splitlines()]
        status, said = self.verify("log", self.keep("forged.ndjson", "\n".join(lines) + "\n"),
                                   "--checkpoint", receipt)
        self.show.equal(f"the same with another entry {at}", "exit 1", f"exit {status}", *said)

    def log_verify(self, head):
        words = [f"{k}={v}" for k, v in head.items()]
        done = subprocess.run([self.stack.program("vrsctl"), "-s", self.stack.control, "log.verify",
                               f"municipality_code={MINATO}", *words], capture_output=True, text=True)
        return json.loads(done.stdout or done.stderr)


def sql(path, statement):
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()
