"""Scenario `bare`: what SQLite alone costs here, for rows that are found by as few keys as the rules allow.

Nothing else is done: no TLS, no JSON, no sealing, no log tree, one file, one thread.  A target that asks for
more than this is out of this machine's reach, however the rest is built."""
import peers
from measure import median

SECONDS = 3
# What, rows a commit, keys besides the row itself.  A commit of 8 is what 64 connections bring together,
# 33 residents are a part of an import.
ROWS = [("a dose's inbox entry: receipt, key of the request", 8, 2),
        ("a dose's record and log entry: receipt, coupon and turn, person; subject", 8, 4),
        ("a resident: 宛名番号, 券番号, 個人番号; subject of the log", 33, 4),
        ("a resident, a thousand a commit", 1000, 4)]


def measure_scenario(report, options, home):
    report.raw["bare"] = {}
    for what, commit, keys in ROWS:
        runs = [peers.raw_sqlite(home, SECONDS, commit, keys) for _ in range(options.rounds)]
        report.figure("bare", what, median(runs, "per_s"), "/s",
                      note=f"{median(runs, 'system_cpu_ms'):.3f} ms CPU each, {commit} a commit, {keys} keys")
        report.raw["bare"][what] = runs
