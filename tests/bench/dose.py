"""Scenario `dose`: one dose a request over 64 connections, ours beside what a user would pick instead.

Ours: mutual TLS, session, check, sealed inbox, partition with log entry, proof, 201.  The peers: plain
HTTP, JSON in, a unique key, one row, durable, 201.  Rounds are interleaved (A B C … A B C …), so that
what else the machine does falls on all; CPU is that of all processes of a system."""
import os
import statistics

import peers
from measure import load, median
from stand import stack_with_towns

CONNECTIONS = 64
TIMES_FASTER, CPU_MS = 2.0, 0.08


class Ours:
    name, posts = "ours", True

    def __init__(self, stack, gen):
        self.stack, self.gen, self.turn = stack, gen, 0

    def roots(self):
        return [p.pid for p in self.stack.processes.values()]

    def argv(self, seconds):
        self.turn += 1  # each round takes the next dose of every coupon
        return self.gen.argv("--seconds", seconds, "--connections", CONNECTIONS, "--dose-first", self.turn,
                             "--dose-last", self.turn)[1:]


class Other:
    def __init__(self, peer, coupons, home):
        self.peer, self.name, self.posts, self.turn = peer, peer.name, peer.posts, 0
        self.coupons, self.journal = coupons, os.path.join(home, peer.name + ".acknowledged")
        self.acknowledged = 0

    def roots(self):
        return self.peer.roots()

    def argv(self, seconds):
        self.turn += 1
        what = ["--coupons", self.coupons, "--journal", self.journal, "--dose-first", self.turn, "--dose-last",
                self.turn] if self.posts else []
        return ["--url", self.peer.url, "--seconds", seconds, "--connections", CONNECTIONS, *self.peer.options, *what]


def measure_scenario(report, options, home):
    peers.install()
    stack = stack_with_towns(home)
    gen = stack.generator
    started = [peers.FastifyPostgres(home), peers.ExpressSqlite(home), peers.Nginx(home, stack)]
    try:
        for p in started:
            p.start()
        systems = [Ours(stack, gen)] + [Other(p, gen.coupons_file, home) for p in started]
        rounds = {s.name: [] for s in systems}
        rounds["raw-sqlite"] = []
        for turn in range(options.rounds + 1):
            for s in systems:
                r = load(s.argv(options.seconds if turn else 2), s.roots)
                report.check(r["ok"], f"dose: {s.name}: failed, contradicted itself or stayed unknown")
                if s.posts and s.name != "ours":
                    s.acknowledged += r["answers"]
                if turn:  # the first round only warms up
                    rounds[s.name].append(r)
            if turn:
                rounds["raw-sqlite"].append(peers.raw_sqlite(home, 2))
        for s in systems[1:]:
            if s.posts:
                report.check(s.peer.rows() == s.acknowledged,
                             f"dose: {s.name} holds {s.peer.rows()} rows of {s.acknowledged} acknowledged")
        verified = gen.verify()
        report.check(verified["ok"], f"dose: receipts asked for again: {verified}")
        tell(report, rounds)
    finally:
        for p in started:
            p.stop()
        stack.stop()


def tell(report, rounds):
    ours = median(rounds["ours"], "per_s")
    for name, rows in rounds.items():
        r = {k: median(rows, k) for k in ("per_s", "p50_ms", "system_cpu_ms")}
        p99 = "" if rows[0]["p99_ms"] is None else f", p99 {median(rows, 'p99_ms'):.1f} ms"
        report.figure("dose", name, r["per_s"], "/s",
                      note=f"p50 {r['p50_ms']:.1f} ms{p99}, {r['system_cpu_ms']:.3f} ms CPU each, ours is "
                           f"{ours / max(r['per_s'], 1):.2f} ×")
    # The ratio within a round first: what disturbed it disturbed both.
    best = max(("fastify-postgresql", "express-sqlite"), key=lambda n: median(rounds[n], "per_s"))
    ratio = statistics.median(a["per_s"] / max(b["per_s"], 1) for a, b in zip(rounds["ours"], rounds[best]))
    report.figure("dose", "ours / faster peer", ratio, "×", target=TIMES_FASTER, note=best)
    report.figure("dose", "CPU a dose, ours", median(rounds["ours"], "system_cpu_ms"), "ms", most=CPU_MS)
    late = sum(r["202"] for r in rounds["ours"]) / max(sum(r["answers"] for r in rounds["ours"]), 1)
    report.figure("dose", "answered 201, ours", 100 * (1 - late), "%")
    report.raw["dose"] = rounds
