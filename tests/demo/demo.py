"""The main job, once, as a person would want to see it: `make demo`.

    python3 tests/demo/demo.py [--pause] [--keep]

A stack of its own (three real municipalities with synthetic residents, free ports, a temporary
folder) is started, lives through a summer and a winter of vaccinations by a clock that is set on,
and is removed.  Each line says what was expected and what came.  Exit 0: all of it held.
  --pause   wait for Enter between the steps          --keep   leave the stack's folder"""
import argparse
import collections
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

from desk_steps import Desk
from outsider_steps import Outsider
from scene import A_TOWN, ROOT
from show import Show
from site_steps import Site
from stack import Stack, StackError


class Demo(Site, Desk, Outsider):
    def run(self):
        self.register()
        self.first_doses()
        self.awkward()
        self.second_doses()
        self.late_coupons()
        self.settle()
        self.transfer()
        self.wrong_town()
        self.statute()
        self.certificates()
        self.ledger()
        entries = self.who_looked()
        self.proof_of_a_dose()
        self.tampered()
        got = collections.Counter(str(p.status) for p in self.posted)
        ends = collections.Counter(p.outcome for p in self.posted if p.receipt)
        return [("readings posted", f"{len(self.posted)}   "
                 + "  ".join(f"{n} × {s}" for s, n in sorted(got.items()))),
                ("what became of them", "  ".join(f"{n} {o}" for o, n in ends.most_common())),
                ("acknowledged and lost", str(self.lost)),
                ("access log entries verified", f"{entries:,}")]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--pause", action="store_true", help="wait for Enter between the steps")
    arguments.add_argument("--keep", action="store_true", help="leave the stack's folder")
    given = arguments.parse_args()
    show = Show(given.pause)
    home = tempfile.mkdtemp(prefix="vrs-demo-")
    os.chmod(home, 0o711)
    build = os.path.join(ROOT, os.environ.get("VRS_BUILD") or os.environ.get("BUILD") or "build")
    # Half a second is enough for an outcome; who reads along should not wait two when it cannot come.
    stack = Stack(os.path.join(home, "run"), build=build, count=A_TOWN, say=lambda text: None,
                  valid_from="2021-01-01", overrides={"tablet-api": {"answer_wait_ms": 500}})

    def stop(signum, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    show.title("Vaccination Record System — the main job, once", "real municipality codes and OCR "
               "lines, synthetic people; 個人番号 are used throughout and never shown")
    try:
        began = time.monotonic()
        stack.start()
        show.note(f"four programs, {3 * A_TOWN:,} residents: ready in {time.monotonic() - began:.1f} s"
                  f"   tablets {stack.demo['tablet_api']}   LG-WAN {stack.demo['vrs_server']}")
        rows = Demo(stack, show).run()
        return 0 if show.summary(rows) else 1
    except KeyboardInterrupt:
        show.progress_end()
        show.out("\n   stopped")
        return 130
    except (StackError, OSError, KeyError, IndexError, TypeError, ValueError) as e:
        show.progress_end()
        traceback.print_exc()
        show.out(f"   cut off: {type(e).__name__}: {e}")
        for name in stack.processes:
            show.out(f"   --- {name}\n{stack.tail(name, 6)}")
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stack.stop()
        if given.keep:
            show.out(f"   kept: {stack.home}")
        else:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
