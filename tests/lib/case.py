"""What the case files of the whole stack share: one running stack a file, one printed line a test.

    from case import equal, ok, problem, run

    def main(stack):
        c = stack.staff("131032")
        equal(c.get("/v1/reviews").status, 200, "C40 the work list is there")

    run(main)

$VRS_BUILD names the folder of the programs.  State is a new folder below $TMPDIR that goes when the
file ends.  Every answer of every client is looked at: none but reveal may hold a 個人番号."""
import csv
import datetime
import hashlib
import http.client
import io
import json
import os
import random
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("VRS_BUILD", os.path.join(ROOT, "build")))
sys.path.insert(0, os.path.join(ROOT, "dev"))
import client as client_module  # noqa: E402
import residents  # noqa: E402
import stack as stack_module  # noqa: E402
from ports import free_port  # noqa: E402, F401

MINATO, FUJISAWA, KAGOSHIMA = "131032", "142051", "462012"
NEVER_REGISTERED = "134023"  # 青ヶ島村: known, without a file
JST = datetime.timezone(datetime.timedelta(hours=9))  # whose date the servers go by, wherever they stand

_tally = {"ok": 0, "not ok": 0}
after_stop = []  # called when the stack has stopped, before its folder goes


def ok(holds, name, why=""):
    """Prints one test; returns whether it holds."""
    word = "ok" if holds else "not ok"
    _tally[word] += 1
    print(f"{word} - {name}", flush=True)
    if not holds and why != "":
        for line in str(why).splitlines():
            print(f"#   {line}", flush=True)
    return bool(holds)


def equal(got, want, name):
    return ok(got == want, name, f"got  {got!r}\nwant {want!r}")


def skip(name, reason):
    print(f"ok - {name} # SKIP {reason}", flush=True)


def problem(answer, status, code, name):
    """A refusal: status, stable code, and words in Japanese that are for people."""
    got = (answer.status, answer.code)
    good = got == (status, code) and re.search("[ぁ-ん]", answer.json.get("detail", "")) is not None
    return ok(good, name, f"got  {answer!r}\nwant {(status, code)!r} with a Japanese detail")


def day_in_japan(days=0):
    """The servers' date, so many days from now."""
    return (datetime.datetime.now(JST) + datetime.timedelta(days=days)).date().isoformat()


# ---- every answer is looked at


class Watched(client_module.Client):
    numbers = set()  # every 個人番号 that this file knows of
    looked_at = 0
    leaks = []
    lock = threading.Lock()

    def request(self, method, path, body=None, headers=None, key=None):
        answer = super().request(method, path, body, headers, key)
        with Watched.lock:
            Watched.looked_at += 1
            held = str(answer.headers) + answer.body.decode("utf-8", "replace")
            if not path.endswith(":reveal-number") or answer.status != 200:
                for digits in re.findall(r"\d{12}", held):
                    if digits in Watched.numbers:
                        Watched.leaks.append(f"{method} {path} {answer.status}")
        return answer


stack_module.Client = Watched


# ---- the stack

# A test waits for the answer, however long a busy machine takes: who wants a shorter wait says so.
PATIENCE = {"tablet-api": {"answer_wait_ms": 8000, "query_wait_ms": 15000}, "vrs-server": {"signer_wait_ms": 10000}}


def patient(overrides, *programs):
    """With that patience, but where `overrides` says otherwise."""
    return {name: {**(PATIENCE[name] if name in programs else {}), **overrides.get(name, {})}
            for name in {*programs, *overrides}}


def over_midnight(seconds=60):
    """Waits until the day in Japan has so many seconds left: no test is to see two days."""
    now = datetime.datetime.now(JST)
    left = 86400 - (now.hour * 3600 + now.minute * 60 + now.second)
    if left <= seconds:
        time.sleep(left + 1)


def run(main, count=200, overrides=None, start=True, valid_from=""):
    """Starts a stack, runs main(stack), prints the last tests, ends the program."""
    over_midnight()
    home = tempfile.mkdtemp(prefix="vrs-case-")
    os.chmod(home, 0o711)
    stack = stack_module.Stack(os.path.join(home, "run"), build=BUILD, count=count,
                               overrides=patient(overrides or {}, *PATIENCE), say=lambda text: None,
                               valid_from=valid_from)
    began = time.monotonic()
    try:
        if start:
            stack.start()
            Watched.numbers.update(s["personal_number"] for s in stack.demo["samples"])
            print(f"# ready in {time.monotonic() - began:.1f} s", flush=True)
        main(stack)
        ok(not Watched.leaks, "C09 no answer but reveal held a 個人番号"
           f" ({Watched.looked_at} answers)", "\n".join(Watched.leaks[:20]))
        logs_hold_nothing(stack)
    except Exception:  # whatever it was, the file has failed
        ok(False, "the case ran to its end", traceback.format_exc())
    finally:
        try:
            stack.stop()
        finally:
            for undo in after_stop:
                undo()
            if _tally["not ok"]:
                for name in stack.processes:
                    print(f"# --- end of {name}.log")
                    print("\n".join("# " + line for line in stack.tail(name, 15).splitlines()))
            shutil.rmtree(home, ignore_errors=True)
    print(f"# {_tally['ok']} ok, {_tally['not ok']} not ok, {time.monotonic() - began:.1f} s")
    sys.exit(1 if _tally["not ok"] else 0)


def log_of(stack, program):
    with open(stack.path("log", program + ".log"), errors="replace") as f:
        return f.read()


def logged(stack, event, program="vrs-server"):
    """How often the program has told of it."""
    return log_of(stack, program).count(f'"event":"{event}"')


def logs_hold_nothing(stack):
    held = []
    for name in stack.processes:
        with open(stack.path("log", name + ".log"), errors="replace") as f:
            held += [f"{name}: {d}" for d in re.findall(r"\d{12}", f.read())
                     if d in Watched.numbers]
    ok(not held, "C09 no log line of a program holds a 個人番号", "\n".join(held[:5]))


def until(condition, seconds=10):
    """Waits for a condition; its last value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.02)


def metrics(stack, side="vrs_server"):
    """{name with labels: value} of /metrics."""
    with urllib.request.urlopen(stack.admin(side) + "/metrics") as r:
        text = r.read().decode()
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[name] = float(value)
    return found


# ---- certificates of one's own


def openssl(*argv):
    return subprocess.run(["openssl", *argv], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE).stdout


def make_ca(folder, name):
    """A foreign authority; the path without its ending."""
    base = os.path.join(folder, name)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", base + ".key", "-out", base + ".pem", "-days", "30", "-subj", f"/CN={name}")
    return base


def make_cert(folder, name, ca, subject, begin="20200101000000Z", end="20491231235959Z"):
    """A client certificate by `ca` (path without ending) for any time; (cert, key)."""
    base = os.path.join(folder, name)
    key = ca + ".key"
    if not os.path.exists(key):  # a terminals' authority: its key is the signer's
        key = os.path.join(os.path.dirname(ca), "..", "signer-keys", os.path.basename(ca) + ".key")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", base + ".key", "-out", base + ".csr", "-subj", subject)
    work = tempfile.mkdtemp(dir=folder)
    with open(os.path.join(work, "ca.conf"), "w") as f:
        f.write(f"""[ca]
default_ca = it
[it]
database = {work}/index
new_certs_dir = {work}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
x509_extensions = client
[any]
[client]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
""")
    open(os.path.join(work, "index"), "w").close()
    openssl("ca", "-batch", "-config", os.path.join(work, "ca.conf"), "-cert", ca + ".pem",
            "-keyfile", key, "-in", base + ".csr", "-out", base + ".pem", "-notext",
            "-preserveDN", "-startdate", begin, "-enddate", end)
    return base + ".pem", base + ".key"


def client_for(stack, cert=None, side="vrs_server"):
    """A client with any certificate: (cert, key) or None."""
    return Watched(stack.demo[side], stack.demo["ca"], *(cert or (None, None)))


def clerk_with_few_rights(stack, code):
    """A clerk who may look at residents and doses, and no more: rights belong to persons."""
    town = stack_module.TOWNS[code]
    user = stack.add_user(f"{town}-few", code, ["municipal_staff"], f"{town}-personnel",
                          f"{town}-approver", "窓口", f"{town} 窓口", "resident.read dose.read")
    stack.demo["users"].append(user)
    return stack.staff(code, user["user_id"])


def handshake_fails(client, name, path="/v1/vaccines"):
    """The connection ends before any answer."""
    try:
        answer = client.get(path)
    except (ssl.SSLError, ConnectionError, http.client.HTTPException) as e:
        return ok(True, name, e)
    finally:
        client.close()
    return ok(False, name, answer)


# ---- people of one's own


_rng = random.Random(20210412)


def personal_number():
    """A new valid one; every answer is searched for it from now on."""
    number = residents.personal_number(_rng)
    Watched.numbers.add(number)
    return number


def wrong_number():
    """12 digits whose check digit is wrong; they must not come back either."""
    number = personal_number()
    number = number[:11] + str((int(number[11]) + 1) % 10)
    Watched.numbers.add(number)
    return number


def resident(code, addressee, coupon, **more):
    """A row of the residents layout."""
    row = {"処理区分": "1", "個人番号": personal_number(), "宛名番号": addressee, "自治体コード": code,
           "接種券番号": coupon, "氏名": "試験　太郎", "カナ": "シケン タロウ", "生年月日": "19600401",
           "性別": "1", "住所": "試験町1丁目1番1号", "異動区分": "0", "異動日": "",
           "接種券送付日": "20210401"}
    row.update(more)
    return row


def residents_csv(rows, header=None, line_end="\r\n", encoding="utf-8"):
    out = io.StringIO()
    writer = csv.DictWriter(out, header or residents.HEADER, lineterminator=line_end,
                            extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode(encoding)


DOSE_HEADER = ["OCRライン", "接種状況", "接種日", "製品コード", "ロット番号", "会場", "医師名", "登録元"]


def dose_row(code, coupon, dose=1, day="20210701", **more):
    row = {"OCRライン": residents.ocr_line(code, coupon, dose), "接種状況": "1", "接種日": day,
           "製品コード": "comirnaty", "ロット番号": "FF3620", "会場": "試験会場", "医師名": "医師 一",
           "登録元": "punch"}
    row.update(more)
    return row


class Import:
    """An import through all its steps; `state` is the last one seen."""

    patience_s = 60

    def __init__(self, client, kind, data, name=None, part=8 << 20):
        self.client, self.data = client, data
        self.name = name or f"{kind}-{uuid.uuid4()}.csv"
        self.announced = client.post("/v1/imports", {
            "kind": kind, "file_name": self.name, "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest()})
        self.state = self.announced.json if self.announced.status in (200, 201) else None
        self.url = f"/v1/imports/{self.state['import_id']}" if self.state else None
        if self.announced.status == 201:
            for at in range(0, len(data), part):
                self.sent = self.send(at, data[at:at + part])

    def send(self, at, piece):
        return self.client.request("PUT", self.url + "/content", piece, headers={
            "Content-Type": "text/csv",
            "Content-Range": f"bytes {at}-{at + len(piece) - 1}/{len(self.data)}"})

    def phase(self, verb):
        self.answer = self.client.post(f"{self.url}:{verb}")
        if self.answer.status in (200, 202):
            until(lambda: self.look()["state"] in ("checked", "committed", "refused"), self.patience_s)
        return self

    def look(self):
        self.state = self.client.get(self.url).json
        return self.state

    def check(self):
        return self.phase("check")

    def commit(self):
        """Both phases."""
        self.phase("check")
        return self.phase("commit") if self.state["state"] == "checked" else self

    def counts(self):
        return tuple(self.state[k] for k in ("rows", "new", "changed", "same", "refused"))

    def results(self):
        """The result file as dicts."""
        text = self.client.get(self.url + "/results").body.decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text, newline="")))


def register(client, rows):
    """Residents that must all be taken."""
    done = Import(client, "residents", residents_csv(rows)).commit()
    if done.state["state"] != "committed" or done.state["refused"]:
        raise AssertionError(f"registering: {done.state} {done.results()}")
    return done


def record(client, rows):
    """Doses by import that must all be taken."""
    out = io.StringIO()
    writer = csv.DictWriter(out, DOSE_HEADER, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    done = Import(client, "doses", out.getvalue().encode()).commit()
    if done.state["state"] != "committed" or done.state["refused"]:
        raise AssertionError(f"recording: {done.state} {done.results()}")
    return done


def find(client, **terms):
    """The residents that a search finds."""
    answer = client.post("/v1/residents:search", terms)
    if answer.status != 200:
        raise AssertionError(f"search {sorted(terms)}: {answer}")
    return answer.json["residents"]


def one(client, **terms):
    found = find(client, **terms)
    if len(found) != 1:
        raise AssertionError(f"search {sorted(terms)}: {len(found)} found")
    return found[0]


def doses_of(client, resident_id, everything=False):
    answer = client.get(f"/v1/residents/{resident_id}/doses" + ("?include=all" * everything))
    if answer.status != 200:
        raise AssertionError(f"doses: {answer}")
    return answer.json["doses"]


def erase(clerk, approver, resident_id, reason="申出"):
    """Asked, approved by another, done: the id of the erasure."""
    url = f"/v1/residents/{resident_id}"
    version = clerk.get(url).json["version"]
    asked = clerk.request("DELETE", url, {"reason": reason}, headers=tag(version))
    allowed = approver.post(f"/v1/requests/{asked.json.get('request_id')}:approve", {"reason": "確認"}, key=True)
    done = clerk.request("DELETE", url, {"reason": reason}, headers=tag(version))
    if (asked.status, allowed.status, done.status) != (202, 200, 204):
        raise AssertionError(f"erasing: {asked} {allowed} {done}")
    return done.headers["location"].split("/")[-1]


def tag(version):
    return {"If-Match": f'"{version}"'}


def inquiry(number, from_municipality=FUJISAWA, **more):
    """The body of an inquiry that every check lets pass."""
    body = {"from_municipality": from_municipality, "personal_number": number,
            "purpose": "transfer_in",
            "basis": {"kind": "consent", "document": "同意書-1", "obtained_on": "2026-01-05"},
            "identity": {"method": "マイナンバーカード", "checked_on": "2026-01-05"}}
    body.update(more)
    return {k: v for k, v in body.items() if v is not None}


def post_dose(tablet, ocr_line, **more):
    """A reading over the Internet side: the final outcome, however long the inside takes."""
    body = {"ocr_line": ocr_line, "status": "given", "vaccinated_on": "2021-07-01",
            "product": "comirnaty", "lot": "FF3620", "site": "試験会場", "read_by": "ocr",
            "confirmed_again": True}  # what a test repeats at once is meant
    body.update(more)
    answer = tablet.post("/v1/doses", body, key=True)
    if answer.status not in (201, 202):
        raise AssertionError(f"dose: {answer}")
    receipt = answer.json["receipt_id"]

    def settled():
        now = tablet.get(f"/v1/doses/{receipt}").json
        return now if now["outcome"] != "pending" else None

    return until(settled, 60)


def access_log(client):
    """All entries that the municipality may read."""
    entries, after = [], None
    while True:
        answer = client.get("/v1/access-log" + (f"?after={after}" if after else "")).json
        entries += answer["entries"]
        after = answer.get("next")
        if not after:
            return entries


def together(count, work):
    """Calls work(i) in `count` threads at once; the results in order."""
    gate, results = threading.Barrier(count), [None] * count

    def one_of_them(i):
        gate.wait()
        try:
            results[i] = work(i)
        except Exception as e:
            results[i] = e

    threads = [threading.Thread(target=one_of_them, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def body_of(answer):
    return json.dumps(answer.json, sort_keys=True) if answer.body else ""
