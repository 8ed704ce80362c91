"""Runs tests/crash/simulate.c: seeds in slices of a process each, and planted mistakes that must be
caught within a stated number of seeds.  A failure names its seed."""
import concurrent.futures
import os
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(os.environ.get("VRS_BUILD", os.path.join(ROOT, "build")), "bin", "simulate")
SLICE = 500

_failed = []


def _ok(holds, name, why):
    print(f"{'ok' if holds else 'not ok'} - {name}", flush=True)
    if not holds:
        _failed.append(name)
        for line in why.splitlines():
            print(f"#   {line}", flush=True)
    return holds


def report():
    return 1 if _failed else 0


def simulate(kind, first, count, mistake=None, seconds=3000):
    argv = [PROGRAM, kind, str(first), str(count)] + ([mistake] if mistake else [])
    try:
        done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None, f"took longer than {seconds} s, from seed {first}"
    return done.returncode, done.stdout.strip()


def seeds(kind, first, count, name, jobs=1, slice_of=SLICE):
    """Every seed passes."""
    began = time.monotonic()
    starts = range(first, first + count, slice_of)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(
            lambda start: simulate(kind, start, min(slice_of, first + count - start)), starts))
    wrong = [said for status, said in results if status != 0]
    print(f"# {kind}: seeds {first} to {first + count - 1} in {time.monotonic() - began:.0f} s; "
          + results[-1][1].splitlines()[-1], flush=True)
    return _ok(not wrong, f"{name}: {count} seeds from {first}", "\n".join(wrong[:5]))


def caught(kind, mistake, within, first=1):
    """The mistake is seen by one of the first `within` seeds."""
    status, said = simulate(kind, first, within, mistake)
    return _ok(status == 3, f"control: {mistake}: caught within {within} seeds from {first}", f"{status}: {said}")


def again(kind, first, count, name):
    """The same seeds make the same run."""
    one, other = (simulate(kind, first, count) for _ in range(2))
    return _ok(one == other and one[0] == 0, name, f"{one}\n{other}")
