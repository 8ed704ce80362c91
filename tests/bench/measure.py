"""What the scenarios share: the machine's answers about processes, medians, figures with targets."""
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("dev", "tests/load"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import generator  # noqa: E402
from profile_daemons import Profile  # noqa: E402

BUILD = os.path.abspath(os.path.join(ROOT, os.environ.get("VRS_BUILD") or os.environ.get("BUILD") or "build"))

QUIET_S = 0.05  # of CPU in a second
QUIET_MOST_S = 120

WITH_US = ["setpriv", "--pdeathsig", "TERM", "--"]  # before a command: ends when the bench does
PROFILE = None  # a file: what perf says goes there


def program(name):
    return os.path.join(BUILD, "bin", name)


def family(roots):
    """The processes `roots` and all that descend from them."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as f:
                parents[int(name)] = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found, grown = set(roots), True
    while grown:
        more = {p for p, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def cpu_s(roots):
    """Seconds of CPU of a system until now: its processes and those of them that have ended."""
    total = 0
    for pid in family(roots):
        try:
            with open(f"/proc/{pid}/stat") as f:
                total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:15]))
        except OSError:
            continue
    return total / generator.TICKS


def pss_mb(roots):
    return sum(generator.pss_kb(pid) for pid in family(roots)) / 1024


def quiet(roots):
    """Waits until a system does next to nothing by itself; how long, None when it does not end."""
    began = time.monotonic()
    used = QUIET_S
    while used >= QUIET_S and time.monotonic() - began < QUIET_MOST_S:
        before = cpu_s(roots())
        time.sleep(1)
        used = cpu_s(roots()) - before
    return time.monotonic() - began if used < QUIET_S else None


def peak_rss_mb(pid):
    """The most that a process ever had in memory (shared pages count whole)."""
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmHWM:")).split()[1]) / 1024


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def files_allowed(wanted):
    """Raises the limit of descriptors where it is lower; False: more are not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = resource.RLIM_INFINITY in (soft, hard) or wanted <= hard
    if enough and soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return enough


def metric(stack, side, name):
    """A metric of "tablet_api" or "vrs_server" in sum over its labels."""
    text = urllib.request.urlopen(stack.admin(side) + "/metrics").read().decode()
    return sum(float(line.split()[-1]) for line in text.splitlines()
               if line.split("{")[0].split(" ")[0] == name)


def profiled(roots):
    """perf on the daemons among `roots`, or None."""
    return Profile(roots) if PROFILE else None


class Load:
    """A run of vrs-load, connected and logged in; `roots` gives the processes of the system that it asks,
    for their CPU."""

    def __init__(self, argv, roots):
        self.roots = roots
        self.process = subprocess.Popen([*WITH_US, program("vrs-load"), *map(str, argv), "--wait"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said = []
        for line in self.process.stderr:
            if line.strip() == "ready":
                break
            self.said.append(line)

    def note(self):
        self.profile = profiled(self.roots())
        self.before = cpu_s(self.roots())
        return self

    def begin(self):
        try:
            self.process.stdin.write("now\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: its exit status tells
        return self

    def finish(self):
        out, err = self.process.communicate()
        used = cpu_s(self.roots()) - self.before
        if self.profile is not None:
            self.profile.finish(" ".join(self.process.args[-8:]), PROFILE)
        for line in self.said + err.splitlines():
            if line != "begin":
                print("  " + line.rstrip(), file=sys.stderr)
        result = json.loads(out) if out else {"per_s": 0, "p50_ms": 0, "p99_ms": 0, "answers": 0}
        done = max(result.get("answers", 0), 1)
        return dict(result, ok=self.process.returncode == 0, system_cpu_s=used, system_cpu_ms=1000 * used / done)


def load(argv, roots):
    return Load(argv, roots).note().begin().finish()


def together(argvs, roots):
    """Runs that begin at the same moment: no handshake or log-in of one falls into another."""
    runs = [Load(argv, roots) for argv in argvs]
    return [r.begin() for r in [r.note() for r in runs]]


def median(rows, key):
    return statistics.median(r[key] for r in rows)


class Report:
    """The figures of a run, each with its target; a broken promise (`wrong`) fails the run."""

    def __init__(self):
        self.rows, self.faults, self.raw = [], [], {}

    def figure(self, scenario, name, value, unit="", target=None, most=None, note=""):
        """`target`: at least; `most`: at most."""
        reached = None
        if target is not None:
            reached = value >= target
        elif most is not None:
            reached = value <= most
        row = {"scenario": scenario, "name": name, "value": value, "unit": unit, "at_least": target,
               "at_most": most, "reached": reached, "note": note}
        self.rows.append(row)
        print("  " + self.text(row), flush=True)

    def absent(self, scenario, name, why):
        row = {"scenario": scenario, "name": name, "value": None, "unit": "", "at_least": None, "at_most": None,
               "reached": None, "note": f"not measured: {why}"}
        self.rows.append(row)
        print("  " + self.text(row), flush=True)

    def wrong(self, text):
        self.faults.append(text)
        print(f"  WRONG: {text}", flush=True)

    def check(self, ok, text):
        if not ok:
            self.wrong(text)

    @staticmethod
    def number(value):
        if value is None:
            return "–"
        if isinstance(value, str):
            return value
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"

    def cells(self, r):
        goal = "" if r["reached"] is None else (
            f"≥ {self.number(r['at_least'])}" if r["at_least"] is not None else f"≤ {self.number(r['at_most'])}")
        verdict = {None: "", True: "reached", False: "NOT REACHED"}[r["reached"]]
        return [r["scenario"], r["name"], f"{self.number(r['value'])} {r['unit']}".strip(), goal, verdict, r["note"]]

    def text(self, r):
        _, name, value, goal, verdict, note = self.cells(r)
        return "  ".join(filter(None, (f"{name}: {value}", f"({goal}: {verdict})" if goal else "", note)))

    def table(self):
        head = ["scenario", "what", "figure", "target", "", "note"]
        rows = [head] + [self.cells(r) for r in self.rows]
        width = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = ["| " + " | ".join([c.ljust(w) for c, w in zip(row, width)] + row[5:]) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (w + 2) for w in width) + "|---|")
        return "\n".join(lines)

    def save(self, path, machine):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            json.dump({"machine": machine, "figures": self.rows, "faults": self.faults, "runs": self.raw}, f,
                      ensure_ascii=False, indent=1)
