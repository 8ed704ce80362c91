#!/usr/bin/env python3
"""S2, rule 6: after an inquiry to the wrong municipality no form of the number is in any file, nor in the memory
of any process (every page: more than a core dump holds), on the wrong side or on any other; nor is its
blind index under the keys of the town that was asked or of the one that asked.

The controls: while the answer is awaited the same look finds the number; planted forms are found; the blind
index is found once the person is registered.  Memory needs root."""
import glob
import os
import shutil
import signal
import sqlite3
import sys
import threading

from case import (FUJISAWA, KAGOSHIMA, ROOT, dose_row, equal, inquiry, ok, personal_number, record, register,
                  resident, run, skip, until)
from memory import memory_of

sys.path.insert(0, os.path.join(ROOT, "tests", "demo"))
from no_trace import forms, search, searcher_works  # noqa: E402


def images(stack):
    """{program: its pages that hold anything}; None where they may not be read."""
    try:
        return {name: [page for page in memory_of(p.pid) if page.count(0) < len(page)]
                for name, p in stack.processes.items()}
    except PermissionError:
        return None


def found_in(pages, needles):
    return sorted({f"{program}: {what}" for program, held in pages.items() for what, needle in needles.items()
                   for page in held if needle in page})


def state_of(stack, folder):
    """All files as they are now, in a folder of their own."""
    for name in ("vrs-server", "vrs-number", "vrs-signer", "tablet-api", "log"):
        shutil.copytree(stack.path(name), os.path.join(folder, name),
                        ignore=lambda top, names: [n for n in names if n.endswith(".sock")])
    return folder


def index_rows(stack, code):
    """The blind index columns of the numbers that a town has."""
    folder = stack.path("look")
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    for path in glob.glob(stack.path("vrs-number", "files", code + ".db*")):
        shutil.copy(path, folder)
    path = os.path.join(folder, code + ".db")
    db = sqlite3.connect(path)
    found = {bytes(v) for row in db.execute("SELECT i0,i1,i2,i3 FROM number") for v in row if v}
    db.close()
    shutil.rmtree(folder)
    return found


def in_flight(stack, asker, number):
    """vrs-number stands still: what vrs-server waits with is seen."""
    answers = []
    stack.processes["vrs-number"].send_signal(signal.SIGSTOP)
    thread = threading.Thread(target=lambda: answers.append(asker.post(
        "/v1/inquiries", inquiry(number, FUJISAWA), key=True)))
    thread.start()
    pages = {"ASCII": number.encode()}
    seen = until(lambda: found_in({"vrs-server": list(memory_of(stack.processes["vrs-server"].pid))}, pages), 4)
    stack.processes["vrs-number"].send_signal(signal.SIGCONT)
    thread.join()
    ok(seen, "S2 control: while the answer is awaited the same look finds the number in vrs-server")
    equal(answers[0].json.get("result"), "no_match", "S2 then the answer comes")


def main(stack):
    asker, wrong = stack.staff(KAGOSHIMA), stack.staff(FUJISAWA)
    number, awaited = personal_number(), personal_number()
    before = {code: index_rows(stack, code) for code in (FUJISAWA, KAGOSHIMA)}
    can = images(stack) is not None
    if can:
        in_flight(stack, asker, awaited)
    else:
        skip("S2 memory", "the pages of another user's process need root")
    equal(asker.post("/v1/inquiries", inquiry(number, FUJISAWA), key=True).json.get("result"), "no_match",
          "S2 the wrong town is asked: no match")
    pages = images(stack) or {}
    kept = state_of(stack, stack.path("kept"))
    # what a hit would have left: the person is registered only now
    for c, code in ((wrong, FUJISAWA), (asker, KAGOSHIMA)):
        register(c, [resident(code, "S2-1", "8600000001", 個人番号=number)])
    record(wrong, [dose_row(FUJISAWA, "8600000001", 1)])
    hashes = {f"blind index of {code} {n}": value[2:] for code in before
              for n, value in enumerate(sorted(index_rows(stack, code) - before[code]))}
    ok(len(hashes) >= 2, "S2 the number's blind index under the keys of both towns is known now", hashes)
    equal(asker.post("/v1/inquiries", inquiry(number, FUJISAWA), key=True).json.get("result"), "match",
          "S2 control: registered there, the same number is a match")
    needles = {**forms(number), **hashes}
    size = sum(len(p) for held in pages.values() for p in held) >> 20
    if can:
        ok(not found_in(pages, {**needles, "the awaited one": awaited.encode()}),
           f"S2 no form of it ({len(needles)} forms) is in {size} MiB of memory of {len(pages)} processes",
           "\n".join(found_in(pages, needles)))
        known = {"the asker's session": b"kagoshima-1"}
        ok(found_in(pages, known), "S2 control: what vrs-server does know is found in its memory")
    files, total, found = search(number, kept)
    for path in glob.glob(os.path.join(kept, "**"), recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                data = f.read()
            found += [(path, what) for what, value in hashes.items() if value in data]
    ok(not found, f"S2 nor in {files} files, {total >> 10} KiB", found[:10])
    ok(searcher_works(number), "S2 control: each form is found where it is planted")
    now = b"".join(open(p, "rb").read() for p in glob.glob(stack.path("vrs-number", "files", "*.db*")))
    ok(all(value in now for value in hashes.values()),
       "S2 control: the blind index is found in the files once the person is registered")
    shutil.rmtree(kept)


run(main, count=20)
