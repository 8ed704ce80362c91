"""1,741 municipalities with residents: who lives where, the files, and the coupons of a day."""
import csv
import os
import random
import subprocess
import time

from measure import ROOT, metric, program
from stack import TOWNS

# The census of 2020 in classes: how many municipalities, with how many residents in the middle of the
# class; 122 of the 126 million.  Which one falls into which class is drawn, but the same each time.
CLASSES = [(1, 3770000), (3, 2350000), (8, 1350000), (18, 690000), (44, 385000), (48, 245000), (163, 138000),
           (245, 69000), (234, 38900), (456, 18200), (241, 7300), (280, 2900)]
PEAK_DAY = 1700000


def municipalities():
    with open(os.path.join(ROOT, "data", "municipalities.csv"), encoding="utf-8") as f:
        return [r["code"] for r in csv.DictReader(f)]


def shares(total, least=1):
    """{code: people}, `total` in all, by size classes; nobody has fewer than `least`."""
    codes = municipalities()
    random.Random(2021).shuffle(codes)
    weights = [people for count, people in CLASSES for _ in range(count)][:len(codes)]
    weights += [CLASSES[-1][1]] * (len(codes) - len(weights))
    every = sum(weights)
    people = {c: max(least, round(total * w / every)) for c, w in zip(codes, weights)}
    people[codes[0]] += max(total - sum(people.values()), 1 - people[codes[0]])
    return people


def coupon(i):
    """The i-th coupon of a municipality, as dev/residents.py and fill.c have it."""
    return f"{(i + 1) * 7 + 1000000:010d}"


def number(code, i):
    """The i-th 個人番号 of a municipality, as fill.c has it."""
    digits = f"{code[:4]}{(i * 7919 + 1) % 10000000:07d}"
    rest = sum(int(d) * w for d, w in zip(digits, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2))) % 11
    return digits + str(0 if rest <= 1 else 11 - rest)


def fill(stack, rows):
    """Residents `first` up to `people` of each (code, people, first) into the files of a stopped stack, by as
    many tools as there are processors."""
    tools = os.cpu_count() or 1
    if stack.separate:  # keys open for their owner only; give_away below undoes it
        for top in ("kek", "kek-number", "vrs-server", "vrs-number"):
            for folder, _, files in os.walk(stack.path(top)):
                for path in [folder] + [os.path.join(folder, f) for f in files]:
                    os.chown(path, os.geteuid(), os.getegid())
    running = []
    for n in range(tools):
        p = subprocess.Popen([program("fill"), stack.path("vrs-server"), stack.path("kek"), stack.path("vrs-number"),
                              stack.path("kek-number")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        p.stdin.write("".join("%s %d %d\n" % row for row in rows[n::tools]))
        p.stdin.close()
        p.stdin = None
        running.append(p)
    if any([p.communicate() and p.returncode for p in running]):
        raise RuntimeError("fill failed")
    if stack.separate:
        stack.give_away()


def fill_nation(stack, people):
    """All municipalities but the three that the stack has residents in."""
    fill(stack, [(c, k, 0) for c, k in people.items() if c not in TOWNS])


def wait_open(stack, seconds=60):
    """Until vrs-server has opened every municipality's file."""
    want, end = len(municipalities()), time.monotonic() + seconds
    while metric(stack, "vrs_server", "vrs_partitions_open") < want and time.monotonic() < end:
        time.sleep(0.05)


def write_coupons(path, people, limit, together=1, seed=1):
    """All coupons of the municipalities, mixed as a day brings them, so many of one municipality in a row;
    `limit`: residents of the three towns."""
    runs = []
    for c, k in people.items():
        k = min(k, limit) if c in TOWNS else k
        runs += ["".join(f"{c} {coupon(i)}\n" for i in range(first, min(first + together, k)))
                 for first in range(0, k, together)]
    random.Random(seed).shuffle(runs)
    with open(path, "w") as f:
        f.writelines(runs)
