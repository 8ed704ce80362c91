"""`--profile`: where the daemons' CPU goes while something is measured, by perf (Debian: linux-perf).

For each daemon: which library, which function by itself, which function with all that it calls, in
percent of that daemon's CPU; functions without a name are only in their library's share.  The figures of
a run with it are not those of one without."""
import os
import re
import subprocess
import tempfile

TOP, SECONDS = 30, 12
DAEMONS = ("vrs-number", "vrs-signer", "tablet-api", "vrs-server")


def comm(pid):
    with open(f"/proc/{pid}/comm") as f:
        return f.read().strip()


class Profile:
    """perf on those of `pids` that are ours, from now on, for SECONDS at most."""

    def __init__(self, pids):
        self.folder = tempfile.TemporaryDirectory(prefix="vrs-perf-")
        self.running = {}
        for pid in pids:
            name = comm(pid)
            if name in DAEMONS:
                self.running[name] = subprocess.Popen(
                    ["perf", "record", "-q", "-e", "cpu-clock", "-F", "300", "--call-graph", "dwarf,8192", "-o",
                     os.path.join(self.folder.name, name), "-p", str(pid), "--", "sleep", str(SECONDS)],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def finish(self, title, path):
        """Appends to the file `path`."""
        with open(path, "a") as out:
            for name, p in self.running.items():
                p.wait()
                out.write(f"\n{title}: {name}\n")
                for what, sort, more in (("library", "dso", []), ("itself", "symbol", []),
                                         ("with what it calls", "symbol", ["--children"])):
                    out.write(f"  {what}\n")
                    out.writelines(self.rows(name, sort, more or ["--no-children"]))
        self.folder.cleanup()

    def rows(self, name, sort, more):
        said = subprocess.run(["perf", "report", "-i", os.path.join(self.folder.name, name), "--stdio", "--no-inline", "-g",
                               "none", "--percent-limit", "0.7", "--sort", sort, *more], capture_output=True, text=True)
        rows = []
        for line in said.stdout.splitlines():
            m = re.match(r"^\s*([\d.]+)%(?:\s+[\d.]+%)?\s+(.*?)\s*$", line)
            symbol = m and re.sub(r"\s+-\s+-$", "", re.sub(r"^\[[.k]\] ", "", m[2]))
            if m and "0x" not in symbol:
                rows.append(f"    {float(m[1]):5.1f}  {symbol}\n")
        return rows[:TOP * (2 if "--children" in more else 1)]
