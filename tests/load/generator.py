"""vrs-load from Python: its options for a stack, its coupons, its result; and what the daemons cost."""
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "dev"))
import residents  # noqa: E402
from stack import TOWNS  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def filesystem(path):
    """Type of the file system that holds `path`."""
    path, best = os.path.realpath(path), ("", "?")
    with open("/proc/mounts", encoding="utf-8") as mounts:
        for _, point, kind, *_ in map(str.split, mounts):
            if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
                best = point, kind
    return best[1]


def folder(prefix):
    """A new folder that the daemons' uids may pass, on something that a sync reaches."""
    where = tempfile.gettempdir()
    if filesystem(where) in ("tmpfs", "ramfs"):
        where = os.path.join(ROOT, "build")
        os.makedirs(where, exist_ok=True)
    path = tempfile.mkdtemp(prefix=prefix, dir=where)
    os.chmod(path, 0o711)
    return path


class Generator:
    """Doses for one stack, as site-1 on tablet-1; the journal is shared by all its runs."""

    def __init__(self, stack, home):
        self.stack, self.home = stack, home
        self.journal = os.path.join(home, "acknowledged")
        self.coupons_file = os.path.join(home, "coupons")
        self.coupons = self.write_coupons()
        user = next(u for u in stack.demo["users"] if u["user_id"] == "site-1")
        self.password_file = os.path.join(home, "password")
        with open(os.open(self.password_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write(user["password"] + "\n")

    def write_coupons(self):
        """The three towns in turn, so that all partitions work."""
        towns = [dict.fromkeys(r["接種券番号"] for r in residents.generate(c, self.stack.count)[0])
                 for c in TOWNS]
        rows = [(c, n) for row in zip(*towns) for c, n in zip(TOWNS, row)]
        with open(self.coupons_file, "w") as f:
            f.writelines(f"{c} {n}\n" for c, n in rows)
        return len(rows)

    def argv(self, *more):
        demo = self.stack.demo
        tablet = next(t for t in demo["terminals"] if t["name"] == "tablet-1")
        return [self.stack.program("vrs-load"), "--url", demo["tablet_api"], "--ca", demo["ca"],
                "--cert", tablet["cert"], "--key", tablet["key"], "--user", "site-1",
                "--password-file", self.password_file, "--coupons", self.coupons_file,
                "--journal", self.journal, *map(str, more)]

    def start(self, *more):
        """The running generator; its clock has started when wait_begin returns."""
        return subprocess.Popen(self.argv(*more), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    def wait_begin(self, process):
        """False: it ended before."""
        for line in process.stderr:
            if line.strip() == "begin":
                return True
            print("  " + line, end="", file=sys.stderr)
        return False

    def finish(self, process):
        """Its result, with `ok`: nothing failed, contradicted itself or stayed unknown."""
        out, err = process.communicate()
        if err:
            print("  " + err.replace("\n", "\n  ").rstrip(), file=sys.stderr)
        if not out:
            return {"ok": False}
        return dict(json.loads(out), ok=process.returncode == 0)

    def run(self, *more):
        process = self.start(*more)
        self.wait_begin(process)
        return self.finish(process)

    def verify(self, seconds=30):
        """Every receipt of the journal asked for, until final; of a sample the proof, too."""
        self.stack.write_log_keys()
        return self.finish(self.start("--verify", "--log-keys", self.stack.log_keys, "--seconds", 0, "--drain", seconds,
                                      "--connections", 16))

    def journal_rows(self):
        """(key, receipt, outcome, status, ocr_line, date) of what was acknowledged."""
        if not os.path.exists(self.journal):
            return []
        with open(self.journal) as f:
            return [tuple(line.split()[:6]) for line in f if line.endswith("\n")]


def cpu_s(pid):
    """User and system seconds of a process until now."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS


def pss_kb(pid):
    """Its share of memory; where that may not be read, all that it maps in (more, never less)."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            return int(next(line for line in f if line.startswith("Pss:")).split()[1])
    except PermissionError:
        with open(f"/proc/{pid}/status") as f:
            return int(next(line for line in f if line.startswith("VmRSS:")).split()[1])
