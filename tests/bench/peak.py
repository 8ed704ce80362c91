"""Scenario `peak`: the nation's peak day over 1,741 filled partitions; their memory, descriptors, cold start.

1.7 million doses (times --scale) in random order over municipalities weighted by size classes, residents
registered before.  As contractors do, in batches, each of one municipality: as fast as they are answered, and once more in
open loop; then as many more one by one, in open loop at the pace that makes the day in three minutes; then batches mixed
over the nation."""
import os
import time
import uuid

import measure
import nation
from measure import load, metric
from stack import ORDER
from stand import stack_with_towns

DAY_S, SPREAD_PER_S = 180, 10000
LISTS_S = 170  # the pace at which lists come in open loop: the rest is for what still waits then
MEMORY_MB, READY_S, RECORDED_S = 300, 2.0, 120
TOWN, SAMPLE = 2000, 20000
BATCHES, BATCH = 32, 250
CONNECTIONS = 9000  # sites post at their own pace: a slow answer keeps no other from posting
WARM_UP = 12
MOST_S = 120  # the day ends here, however far it came


def roots(stack):
    return [p.pid for p in stack.processes.values()]


def record_one(stack, tablet):
    """A dose until it is recorded, as a tablet goes about it: the same key again while the answer is 5xx."""
    with open(stack.generator.coupons_file) as f:
        code, number = f.readline().split()
    dose = {"ocr_line": f"29{code}{number}", "status": "given", "vaccinated_on": "2022-09-01", "product": "comirnaty",
            "lot": "FF3620", "site": "負荷試験会場", "read_by": "ocr"}
    key, end = str(uuid.uuid4()), time.monotonic() + RECORDED_S
    while time.monotonic() < end:
        r = tablet.post("/v1/doses", dose, key=key)
        if r.status < 500 and (r.status not in (201, 202) or r.json["outcome"] != "pending"):
            break
        time.sleep(0.05)
    if r.status not in (201, 202) or r.json["outcome"] == "pending":
        raise RuntimeError(f"a dose after the start: {r}")


def start_filled(report, stack):
    """Cold processes (the files may be in the page cache): ready, a tablet served, all files open."""
    began = time.monotonic()
    stack.start()
    ready = time.monotonic() - began
    tablet = stack.tablet()
    report.check(tablet.get("/v1/vaccines").status == 200, "peak: a tablet is not served after a start")
    served = time.monotonic() - began
    record_one(stack, tablet)
    recorded = time.monotonic() - began
    tablet.close()
    nation.wait_open(stack)
    return ready, served, recorded, time.monotonic() - began


def settled(stack, gen):
    """Waits until the inside has taken everything; how long."""
    began = time.monotonic()
    while metric(stack, "tablet_api", "vrs_inbox_pending_entries") > 0 and time.monotonic() - began < 120:
        time.sleep(0.1)
    return time.monotonic() - began


def sample(gen, most):
    """A journal with every n-th receipt, for gen.verify; returns how many were acknowledged in all."""
    rows = gen.journal_rows()
    step = max(len(rows) // most, 1)
    with open(gen.journal) as f, open(gen.journal + ".sample", "w") as out:
        out.writelines(line for n, line in enumerate(f) if n % step == 0)
    gen.journal += ".sample"
    return len(rows)


def warm_up(report, stack, gen):
    """The first doses of a file make its tables and let its journal grow: not what a peak day is about."""
    r = load(gen.argv("--connections", 8, "--batch", 100, "--dose-first", 9, "--dose-last", 9, "--count",
                      WARM_UP * 1741)[1:], lambda: roots(stack))
    settled(stack, gen)
    report.check(r["ok"], "peak: warming up failed")
    return r["answers"]


def by_town(gen):
    """The same coupons as gen.coupons_file, those of a batch together."""
    return gen.coupons_file + "-towns"


def measure_batches(report, stack, gen, what, *more):
    """Doses recorded a second, and the run."""
    batch = load(gen.argv("--connections", BATCHES, "--batch", BATCH, *more)[1:], lambda: roots(stack))
    after = settled(stack, gen)
    report.check(batch["ok"], f"peak: batches {what} failed")
    rate = max(batch["answers"], 1) / (batch["seconds"] + after)
    report.figure("peak", f"batches of at most {BATCH}, {what}, over 1,741", rate, "/s",
                  note=f"{batch['answers'] / batch['sent']:.0f} a batch; {batch['system_cpu_ms']:.3f} ms CPU a dose, "
                  f"{BATCHES} connections; p50 {batch['p50_ms']:.0f} ms, p99 {batch['p99_ms']:.0f} ms, "
                  f"settled {after:.1f} s later")
    return rate, batch


def measure_lists(report, stack, gen, count):
    """Two days in batches of one municipality each, as contractors post their lists."""
    lists = ("--coupons", by_town(gen), "--by-town", "--count", count, "--seconds", MOST_S * 4)
    closed = measure_batches(report, stack, gen, "each of one municipality", *lists, "--dose-first", 1, "--dose-last", 1)
    on_time = measure_batches(report, stack, gen, "each of one municipality, in open loop", *lists, "--dose-first", 4,
                              "--dose-last", 4, "--rate", round(nation.PEAK_DAY / LISTS_S))
    for loop, (rate, run) in (("", closed), (", in open loop", on_time)):
        report.figure("peak", f"the nation's peak day in batches of one municipality{loop}", nation.PEAK_DAY / rate, "s",
                      most=DAY_S, note=f"from {run['answers']:,} doses"
                      + (f", at {nation.PEAK_DAY / LISTS_S:,.0f}/s asked" if loop else ""))
    return [closed, on_time]


def measure_open_loop(report, stack, gen, count, whole):
    day = load(gen.argv("--connections", CONNECTIONS, "--rate", round(nation.PEAK_DAY / DAY_S), "--count", count,
                        "--seconds", MOST_S * (4 if whole else 1), "--dose-first", 2, "--dose-last", 2)[1:],
               lambda: roots(stack))
    after = settled(stack, gen)
    report.check(day["ok"], f"peak: {day.get('failed')} failed, {day.get('unsettled')} unsettled")
    rate = max(day["answers"], 1) / (day["seconds"] + after)
    report.figure("peak", "the nation's peak day one by one, in open loop", nation.PEAK_DAY / rate, "s", most=DAY_S,
                  note=f"from {day['answers']:,} doses; p50 {day['p50_ms']:.0f} ms, p99 {day['p99_ms']:.0f} ms, "
                  f"at {nation.PEAK_DAY / DAY_S:,.0f}/s asked")
    report.figure("peak", "one by one in open loop, over 1,741", rate, "/s",
                  note=f"{day['system_cpu_ms']:.3f} ms CPU a dose, {100 * day['201'] / max(day['answers'], 1):.0f} % "
                  "answered 201")
    return rate, day


def measure_day(report, stack, gen, whole):
    """The day in batches, as contractors post it; once more one by one; some batches mixed over the nation."""
    count = sum(1 for _ in open(gen.coupons_file))
    runs = [*measure_lists(report, stack, gen, count), measure_open_loop(report, stack, gen, count, whole),
            measure_batches(report, stack, gen, "mixed", "--dose-first", 3, "--dose-last", 3, "--seconds", 10)]
    report.figure("peak", "durable and recorded over 1,741, the best", max(rate for rate, _ in runs), "/s",
                  target=SPREAD_PER_S)
    report.raw["peak"] = [run for _, run in runs]
    return sum(run["answers"] for _, run in runs)


def measure_files(report, stack):
    ready, served, recorded, warm = start_filled(report, stack)
    report.figure("peak", "start of 1,741 filled partitions to ready", ready, "s", most=READY_S,
                  note=f"a tablet served after {served:.2f} s, all files open after {warm:.1f} s")
    report.figure("peak", "… until a dose is recorded", recorded, "s", most=READY_S)
    looked = measure.quiet(lambda: roots(stack))
    opened = metric(stack, "vrs_server", "vrs_partitions_open")
    each = {n: measure.pss_mb([stack.processes[n].pid]) for n in ORDER}
    report.figure("peak", "memory (PSS) with all partitions open", sum(each.values()), "MB", most=MEMORY_MB,
                  note=f"{opened:.0f} open; " + ("still at work; " if looked is None else f"quiet {looked:.0f} s later; ")
                  + ", ".join(f"{n} {mb:.0f}" for n, mb in each.items()))
    report.figure("peak", "descriptors", sum(measure.descriptors(stack.processes[n].pid) for n in ORDER),
                  note=", ".join(f"{n} {measure.descriptors(stack.processes[n].pid)}" for n in ORDER))


def measure_all(report, options, home, stack):
    scale = 1.0 if options.long else options.scale
    people = nation.shares(round(nation.PEAK_DAY * scale))
    stack.stop()
    began = time.monotonic()
    nation.fill_nation(stack, people)
    print(f"  {sum(people.values()):,} residents in {len(people):,} files in {time.monotonic() - began:.0f} s", flush=True)
    gen = stack.generator
    gen.coupons_file = os.path.join(home, "nation")
    nation.write_coupons(gen.coupons_file, people, TOWN)
    nation.write_coupons(by_town(gen), people, TOWN, BATCH)
    start_filled(report, stack)
    before = metric(stack, "vrs_server", "vrs_outcomes_total")
    acknowledged = warm_up(report, stack, gen) + measure_day(report, stack, gen, scale == 1)
    most = measure.pss_mb(roots(stack))
    rows = sample(gen, SAMPLE)
    report.check(rows == acknowledged, f"peak: {rows} receipts kept of {acknowledged} acknowledged")
    recorded = metric(stack, "vrs_server", "vrs_outcomes_total") - before
    report.check(recorded == acknowledged, f"peak: {recorded:.0f} outcomes of {acknowledged} acknowledged")
    verified = gen.verify(60)
    report.check(verified["ok"], f"peak: receipts asked for again: {verified}")
    report.figure("peak", "memory (PSS) after the day", most, "MB")
    stack.stop()
    measure_files(report, stack)


def measure_scenario(report, options, home):
    stack = stack_with_towns(home, count=TOWN)
    try:
        measure_all(report, options, home, stack)
    finally:
        stack.stop()
