"""Scenario `terminals`: 10,000 connected terminals that say nothing, and one that works among them."""
import time

import measure
from measure import Load, load
from peak import roots
from stack import ORDER
from stand import stack_with_towns

IDLE, HOLD_S, RATE = 10000, 20, 200


def measure_scenario(report, options, home):
    if not measure.files_allowed(IDLE + 2000):
        report.absent("terminals", "10,000 idle terminals", "the limit of open files is lower")
        return
    stack = stack_with_towns(home, count=2000)
    try:
        gen = stack.generator
        pid = stack.processes["tablet-api"].pid
        before = measure.pss_mb(roots(stack)), measure.descriptors(pid), measure.cpu_s(roots(stack))
        began = time.monotonic()
        held = Load(gen.argv("--idle", "--connections", IDLE, "--seconds", HOLD_S, "--timeout-ms", 60000)[1:],
                    lambda: roots(stack)).note().begin()
        opened, cpu = time.monotonic() - began, measure.cpu_s(roots(stack))
        after = measure.pss_mb(roots(stack)), measure.descriptors(pid), measure.cpu_s(roots(stack))
        each = {n: measure.pss_mb([stack.processes[n].pid]) for n in ORDER}
        live = load(gen.argv("--connections", 8, "--rate", RATE, "--seconds", HOLD_S // 2)[1:], lambda: roots(stack))
        r = held.finish()
        report.check(r["open"] == IDLE, f"terminals: {r['open']} of {IDLE} connections were still open")
        report.check(live["ok"], "terminals: doses failed meanwhile")
        report.figure("terminals", "memory (PSS) with 10,000 idle terminals", after[0], "MB",
                      note=f"{1024 * (after[0] - before[0]) / IDLE:.1f} KB each; "
                           + ", ".join(f"{n} {mb:.0f}" for n, mb in each.items()))
        report.figure("terminals", "descriptors of tablet-api", after[1], "", note=f"{before[1]} without them")
        report.figure("terminals", "handshakes", IDLE / opened, "/s",
                      note=f"{1000 * (cpu - before[2]) / IDLE:.2f} ms CPU each")
        report.figure("terminals", f"p99 of {RATE} doses/s among them", live["p99_ms"], "ms",
                      note=f"p50 {live['p50_ms']:.1f} ms")
        report.raw["terminals"] = [r, live]
    finally:
        stack.stop()
