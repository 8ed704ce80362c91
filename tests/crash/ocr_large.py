#!/usr/bin/env python3
"""The OCR reader in large numbers: what it reads of each grade, and that it reads nothing wrongly.

30,000 hard and negative frames and 3,000 of each other grade, of a seed that no run had before.  The
control takes for read what the reader is not sure of: it must be wrong somewhere, else these frames
say nothing.

$VRS_SEED repeats a run's frames, $VRS_FRAMES is a grade's share of them in percent (100)."""
import concurrent.futures
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
from case import BUILD, ok  # noqa: E402

SEED = int(os.environ.get("VRS_SEED", 2 * 10**9 + time.time_ns() % 10**12))
SHARE = int(os.environ.get("VRS_FRAMES", 100))
MEASURE = os.path.join(BUILD, "bin/reader-measure")
# Grade: frames, and how many of them in percent must be read.  Where no coupon is, nothing is.
GRADES = {"hard": (15000, 0.0), "negative": (15000, 0.0), "letters": (3000, 0.0), "poor": (3000, 95.0),
          "typical": (3000, 99.0), "good": (3000, 99.9)}
AT_ONCE = 250  # frames a process


def measure(grade, first, count, *options):
    """(frames read, the lines about those read wrongly); these are also said at once."""
    r = subprocess.run([MEASURE, *options, str(first), str(count), grade], capture_output=True,
                       text=True)
    said = re.search(r"frames: read (\d+) .*, wrong (\d+);", r.stdout)
    if said is None:
        raise RuntimeError(f"reader-measure {grade} {first}: {r.stdout}{r.stderr}")
    wrong = [line for line in r.stdout.splitlines() if "WRONG" in line]
    if wrong and not options:
        print("\n".join("#" + line for line in wrong), flush=True)
    if len(wrong) != int(said[2]):
        raise RuntimeError(f"reader-measure {grade} {first} counts {said[2]} wrong, shows {wrong}")
    return int(said[1]), wrong


def main():
    good = []
    print(f"# VRS_SEED={SEED}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for grade, (frames, least) in GRADES.items():
            frames = frames * SHARE // 100
            parts = [(SEED + i, min(AT_ONCE, frames - i)) for i in range(0, frames, AT_ONCE)]
            done = list(pool.map(lambda part: measure(grade, *part), parts))
            read, wrong = sum(d[0] for d in done), [line for d in done for line in d[1]]
            print(f"# {grade}: {frames} frames, read {read} ({100 * read / frames:.2f} %), wrong {len(wrong)}",
                  flush=True)
            good.append(ok(not wrong, f"reader: none of {frames} {grade} frames is read wrongly"))
            if least > 0:
                good.append(ok(100 * read >= least * frames,
                               f"reader: at least {least} % of {grade} frames are read"))
        control = pool.map(lambda i: measure("hard", SEED + i, AT_ONCE, "-u"), range(0, 4000, AT_ONCE))
        good.append(ok(any(wrong for _, wrong in control),
                       "control: a reader that takes what it is not sure of is caught"))
    return 0 if all(good) else 1


sys.exit(main())
