"""One case file by itself: a TMPDIR of its own, and nothing of it stays behind.

    python3 tests/lib/alone.py SECONDS PROGRAM FILE

PROGRAM (python3, node) runs it.  Its output and exit status are the file's.  Processes and files that it leaves are ended, removed and
said as one more test that failed; so is a file that runs too long."""
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time

PR_SET_CHILD_SUBREAPER = 36


def orphans():
    """Ends what the file left running, whatever session it is in; returns how many those were."""
    count = 0
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return count
        if pid:  # it ended by itself
            continue
        count += 1
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as children:
                for child in children.read().split():
                    os.kill(int(child), signal.SIGKILL)
        os.waitpid(-1, 0)


def main():
    seconds, argv = float(sys.argv[1]), sys.argv[2:]
    # Daemons whose case died come to us, so that they are seen and ended.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vrs-check-", ignore_cleanup_errors=True) as own:
        os.chmod(own, 0o1777)  # daemons with uids of their own look through it
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                 env=dict(os.environ, TMPDIR=own), start_new_session=True)
        try:
            status = child.wait(seconds)
        except subprocess.TimeoutExpired:
            print("not ok - ended in time\n# ran too long", flush=True)
            status = 1
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        running, files = orphans(), os.listdir(own)
    if running or files:
        print(f"not ok - leaves nothing behind\n# {running} processes, files {files}")
    print(f"# {time.monotonic() - started:.1f} s")
    return status if status >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
