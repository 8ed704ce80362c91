"""Scenario `bare`: what SQLite alone costs here, for rows that are found by as few keys as the rules allow.

Nothing else is done: no TLS, no JSON, no sealing, no log tree, one thread.  A target that asks for more than
this is out of this machine's reach, however the rest is built."""
import measure
import peers
from measure import median

SECONDS = 3
# What, rows a commit, keys besides the row itself, files.  A commit of 8 is what 64 connections bring
# together, five of a municipality what 9,000 terminals do, 33 residents are a part of an import.
ROWS = [("a dose's inbox entry: receipt, key of the request", 8, 2, 1),
        ("a dose's record and log entry: receipt, coupon, person; subject", 8, 4, 1),
        ("the same in 1,741 files in turn", 5, 4, 1741),
        ("the same in 1,741 files in turn, in batches", 213, 4, 1741),
        ("a resident: 宛名番号, 券番号, 個人番号; subject of the log", 33, 4, 1),
        ("a resident, a thousand a commit", 1000, 4, 1)]


def measure_scenario(report, options, home):
    report.raw["bare"] = {}
    for what, commit, keys, files in ROWS:
        if not measure.files_allowed(2 * files + 100):
            report.absent("bare", what, "too few descriptors are allowed here")
            continue
        runs = [peers.raw_sqlite(home, SECONDS, commit, keys, files) for _ in range(options.rounds)]
        report.figure("bare", what, median(runs, "per_s"), "/s",
                      note=f"{median(runs, 'system_cpu_ms'):.3f} ms CPU each, {commit} a commit, {keys} keys")
        report.raw["bare"][what] = runs
