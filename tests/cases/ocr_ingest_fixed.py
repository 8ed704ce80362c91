#!/usr/bin/env python3
"""A contractor's file in fixed width (CP932), through ocr-ingest: the same checks, journal and receipts as
a CSV, interrupted and started again, none double."""
import os
import subprocess

from case import BUILD, MINATO, doses_of, equal, ok, one, register, resident, run

LAYOUT = "ocr_line=1-18,vaccinated_on=19-26,product=27-46,lot=47-58,site=59-88"
ROWS = 40


def field(text, width):
    data = text.encode("cp932")
    return data + b" " * (width - len(data))


def row(n, day="20210701", lot="FF3620", site="港区 第１会場"):
    return (field(f"21{MINATO}{7800000000 + n:010d}", 18) + field(day, 8) + field("ファイザー", 20)
            + field(lot, 12) + site.encode("cp932") + "　".encode("cp932") * 3)


def ingest(stack, path, *more):
    t = next(t for t in stack.demo["terminals"] if t["name"] == "reader-1")
    return subprocess.run([os.path.join(BUILD, "bin", "ocr-ingest"), "--url", stack.demo["tablet_api"], "--ca-file",
                           stack.demo["ca"], "--cert-file", t["cert"], "--key-file", t["key"], "--layout", LAYOUT,
                           "--outcome-wait-s", "20", *more, path], capture_output=True, text=True, timeout=60,
                          check=False)


def main(stack):
    clerk = stack.staff(MINATO)
    register(clerk, [resident(MINATO, f"F-{n}", f"{7800000000 + n:010d}") for n in range(ROWS)])
    stack.tablet().close()  # the snapshot is there
    path = stack.path("contractor.txt")
    rows = [row(n) for n in range(ROWS)]
    with open(path, "wb") as f:
        f.write(b"\r\n".join(rows[:15]) + b"\r\n")
    first = ingest(stack, path)
    equal(first.returncode, 0, "the first part of the file is registered")
    with open(path, "wb") as f:
        f.write(b"\r\n".join(rows + [row(1, day="20219901"), b"21131032", b""]) + b"\r\n\x1a")
    second = ingest(stack, path)
    equal(second.returncode, 1, "the whole of it: two rows need a person")
    third = ingest(stack, path)
    equal(third.returncode, 1, "once more: nothing is new")
    report = open(path + ".report.csv", encoding="utf-8-sig").read()
    ok(f"{ROWS + 1}" in report and f"{ROWS + 2}" in report, "the report names their lines", report)
    counts, last = set(), None
    for n in range(ROWS):
        doses = doses_of(clerk, one(clerk, coupon_number=f"{7800000000 + n:010d}")["resident_id"], True)
        counts.add(len(doses))
        last = doses[0]
    equal(counts, {1}, "every row is one dose, none double")
    equal((last["product"], last["lot"], last["site"], last["vaccinated_on"], last["read_by"]),
          ("comirnaty", "FF3620", "港区 第１会場", "2021-07-01", "punch"), "with what its columns say")
    for layout in ("", "lot=1-2,", "lot=2-1", "lot=0-3", "name=1-2", "lot=1-2,lot=3-4", "lot=1-900"):
        bad = subprocess.run([os.path.join(BUILD, "bin", "ocr-ingest"), "--check", "--format", "fixed", "--layout",
                              layout, path], capture_output=True, text=True, timeout=20, check=False)
        ok(bad.returncode == 2 and "--layout" in bad.stderr, f"no layout: {layout!r}", bad)


run(main, count=20)
