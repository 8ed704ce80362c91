"""Scenario `register`: a million residents imported like anybody's, others meanwhile, then look-ups.

鹿児島市 imports through the API (upload, dry run, commit) while 港区's doses and look-ups come on time.
Then single residents are looked for by coupon and by 個人番号 in registers of 10⁵ and 10⁶ (--long: 10⁷)."""
import json
import os
import random
import threading
import time

import measure
import nation
from inquiry import clerk
from measure import load, median, together
from peak import roots
from residents import HEADER
from stand import stack_with_towns

BIG, SMALL, HUGE = "462012", "142051", "131032"
CLERK = {BIG: "kagoshima-1", SMALL: "fujisawa-1", HUGE: "minato-1"}
FIRST = 2000  # each town has these already, imported at the first start
HUNDRED_THOUSAND, TEN_MILLION = 100000, 10000000
PER_S, MEMORY_MB, OTHERS_P99_MS, GROWTH = 30000, 300, 20, 1.3
LOOKUPS_PER_S = 200
PILOT, IMPORT_S, LEAST = 10000, 60, 30000  # a first small import tells how many can be had in so many seconds


class Memory(threading.Thread):
    """The most memory (PSS) of all daemons in sum."""

    def __init__(self, stack):
        super().__init__(daemon=True)
        self.stack, self.most, self.over = stack, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.3):
            self.most = max(self.most, measure.pss_mb(roots(self.stack)))

    def stop(self):
        self.over.set()
        self.join()
        return self.most


def csv_rows(code, first, count):
    """The file of the residents layout: the same coupons and numbers as fill.c makes."""
    families = (("佐藤", "サトウ"), ("鈴木", "スズキ"), ("高橋", "タカハシ"), ("田中", "タナカ"), ("渡邊", "ワタナベ"))
    out = [",".join(HEADER) + "\r\n"]
    for i in range(first, first + count):
        family, kana = families[i % 5]
        out.append(f"1,{nation.number(code, i)},{code[:5]}9{i:08d},{code},{nation.coupon(i)},{family}　太郎{i},{kana} タロウ,"
                   f"{1931 + i % 80}{i % 12 + 1:02d}{i % 28 + 1:02d},{i % 2 + 1},本町{i % 7 + 1}丁目{i % 31 + 1}番,0,,20210401\r\n")
    return "".join(out).encode()


def do_import(stack, data):
    """Seconds of upload, dry run and commit."""
    c, marks = stack.staff(BIG), [time.monotonic()]
    phase = stack.phase

    def timed(*args):
        marks.append(time.monotonic())
        return phase(*args)

    stack.phase = timed
    try:
        state = stack.import_file(c, "residents", f"bench-{len(data)}.csv", data)
    finally:
        stack.phase = phase
    marks.append(time.monotonic())
    return [b - a for a, b in zip(marks, marks[1:])], state


def measure_import(report, options, stack, home):
    took, _ = do_import(stack, csv_rows(BIG, FIRST, PILOT))
    possible = int(PILOT / sum(took) * IMPORT_S)
    count = options.residents if options.long else min(options.residents, max(possible, LEAST))
    data = csv_rows(BIG, FIRST + PILOT, count)
    print(f"  {len(data) >> 20} MB of residents", flush=True)
    gen = stack.generator
    with open(gen.coupons_file) as f:
        rows = [line for line in f if line.startswith(HUGE)]
    with open(gen.coupons_file, "w") as f:
        f.writelines(rows)
    bodies = write_lookups(home, HUGE, FIRST, "coupon", 0)
    others = [gen.argv("--connections", 8, "--rate", 20, "--dose-last", 9, "--seconds", 3600)[1:],
              clerk(stack, home, CLERK[HUGE], HUGE) + ["--connections", 8, "--rate", 50, "--seconds", 3600, "--post",
                                                       "/v1/residents:search", "--bodies", bodies, "--expect",
                                                       '"resident_id"']]
    running = together(others, lambda: roots(stack))
    memory = Memory(stack)
    memory.start()
    profile = measure.profiled(roots(stack))
    try:
        cpu = measure.cpu_s(roots(stack))
        took, state = do_import(stack, data)
        cpu = measure.cpu_s(roots(stack)) - cpu
    finally:
        most = memory.stop()
        for r in running:
            r.process.terminate()  # it settles what is open, then tells
        results = [r.finish() for r in running]
    if profile is not None:
        profile.finish("import", measure.PROFILE)
    report.check(state["new"] == count, f"register: {state['new']} residents new of {count}: {state}")
    whole = sum(took)
    report.figure("register", f"import of {count:,} residents", count / whole, "/s", target=PER_S,
                  note="upload {:.0f} s, dry run {:.0f} s, commit {:.0f} s".format(*took)
                  + f"; {1000 * cpu / count:.3f} ms CPU each")
    report.figure("register", "memory (PSS) meanwhile, the most", most, "MB", most=MEMORY_MB)
    for name, r in zip(("doses", "look-ups"), results):
        report.check(r["ok"], f"register: {name} of others failed meanwhile")
        report.figure("register", f"p99 of another's {name} meanwhile", r["p99_ms"], "ms", most=OTHERS_P99_MS,
                      note=f"p50 {r['p50_ms']:.1f} ms, longest {r['max_ms']:.0f} ms, {r['answers']:,} of them")
    report.raw["register"] = results
    return FIRST + PILOT + count


def write_lookups(home, code, count, by, first=FIRST):
    path = os.path.join(home, f"lookups-{code}-{by}")
    rng = random.Random(7)
    with open(path, "w") as f:
        for _ in range(20000):
            i = rng.randrange(first, count)
            f.write(json.dumps({"coupon_number": nation.coupon(i)} if by == "coupon" else
                               {"personal_number": nation.number(code, i), "purpose": "transfer_in"}) + "\n")
    return path


def measure_lookups(report, options, stack, home, sizes):
    for by in ("coupon", "number"):
        runs = {code: [] for code in sizes}
        for turn in range(options.rounds + 1):
            for code, count in sizes.items():
                r = load(clerk(stack, home, CLERK[code], code) + [
                    "--connections", 8, "--rate", LOOKUPS_PER_S, "--seconds", options.seconds, "--post",
                    "/v1/residents:search", "--bodies", write_lookups(home, code, count, by), "--expect",
                    '"resident_id"'], lambda: roots(stack))
                report.check(r["ok"], f"register: a look-up by {by} in {count:,} found nobody")
                if turn:
                    runs[code].append(r)
        small = max(median(runs[SMALL], "p99_ms"), 0.01)
        for code, count in sizes.items():
            p99 = median(runs[code], "p99_ms")
            report.figure("register", f"look-up by {by} in {count:,}, p99", p99, "ms",
                          note=f"p50 {median(runs[code], 'p50_ms'):.2f} ms, "
                               f"{median(runs[code], 'system_cpu_ms'):.3f} ms CPU each")
        last = HUGE if HUGE in sizes else BIG
        asked = sizes[last] == TEN_MILLION
        report.figure("register", f"look-up by {by}, p99 at {sizes[last]:,} / at {sizes[SMALL]:,}",
                      median(runs[last], "p99_ms") / small, "×", most=GROWTH if asked else None,
                      note="" if asked else f"the target of {GROWTH} is for 10,000,000: --long")
        report.raw[f"look-up by {by}"] = runs


def measure_scenario(report, options, home):
    stack = stack_with_towns(home, count=FIRST)
    try:
        stack.stop()
        fills = [(SMALL, HUNDRED_THOUSAND, FIRST)] + ([(HUGE, TEN_MILLION, FIRST)] if options.long else [])
        began = time.monotonic()
        nation.fill(stack, fills)
        print(f"  filled in {time.monotonic() - began:.0f} s", flush=True)
        stack.start()
        sizes = {SMALL: HUNDRED_THOUSAND, BIG: measure_import(report, options, stack, home)}
        if options.long:
            sizes[HUGE] = TEN_MILLION
        measure_lookups(report, options, stack, home, sizes)
    finally:
        stack.stop()
