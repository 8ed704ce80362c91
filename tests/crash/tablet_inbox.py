#!/usr/bin/env python3
"""D1 on the Internet side: tablet-api killed with -9 at random under load; every reading that it
acknowledged is found again under its key, once. The control, a build that acknowledges before the
commit, must be caught by the same look."""

import http.client
import os
import random
import subprocess
import sys
import threading
import time
import uuid

from tablet_side import BUILD, DOSE, ROOT, Client, Inside, TabletSide, Tap, dose

KILLS = 100 if os.environ.get("VRS_LONG") else 20
SEED = int(os.environ.get("VRS_SEED", time.time_ns() % 10**9))
POSTERS = 8


class Load:
    """Posts until told to stop; keeps what was acknowledged: key → (number, receipt)."""

    def __init__(self, side):
        self.side = side
        self.acked = {}
        self.next = 0
        self.lock = threading.Lock()
        self.running = False

    def take(self):
        with self.lock:
            self.next += 1
            return self.next

    def post(self):
        client = None
        while self.running:
            number, key = self.take(), str(uuid.uuid4())
            try:
                client = client or Client(self.side.terminal("reader", timeout=5), None)
                answer = client.dose(dose(number), key)
                if answer.status in (201, 202):
                    with self.lock:
                        self.acked[key] = (number, answer.get("receipt_id"))
            except (OSError, http.client.HTTPException, ValueError):
                client = None
                time.sleep(0.01)

    def start(self):
        self.running = True
        self.threads = [threading.Thread(target=self.post) for _ in range(POSTERS)]
        for t in self.threads:
            t.start()

    def stop(self):
        self.running = False
        for t in self.threads:
            t.join()


def lost(side, acked):
    """Keys whose receipt is no longer the one that was given."""
    client = Client(side.terminal("reader"), None)
    return [key for key, (number, receipt) in acked.items()
            if client.dose(dose(number), key).get("receipt_id") != receipt]


def crash(program, kills, rng, **config):
    """Returns (acknowledged, lost, entries offered twice under one receipt)."""
    side = TabletSide(program=program, answer_wait_ms=0, **config)
    gone = []
    try:
        side.systems = [{"fingerprint": side.pki.fingerprint("reader"), "name": "reader-1",
                         "rights": ["dose.post"]}]
        side.start()
        assert Inside(side).push(side.snapshot()).status == 204
        load = Load(side)
        checked = 0
        for _ in range(kills):
            load.start()
            time.sleep(rng.uniform(0.02, 0.25))
            side.kill()
            load.stop()
            side.start()
            fresh = dict(list(load.acked.items())[checked:])
            checked = len(load.acked)
            gone += lost(side, fresh)
        gone += [key for key in lost(side, load.acked) if key not in gone]
        seen = {}
        line = side.line_connection()
        inside, after = Inside(side), 0
        while True:
            _, entries, _ = inside.pull(line, after)
            if not entries:
                break
            for entry in entries:
                after = entry["seq"]
                if entry["kind"] == DOSE:
                    seen[entry["receipt"].hex()] = seen.get(entry["receipt"].hex(), 0) + 1
        never = [r for _, r in load.acked.values() if r not in seen and not gone]
        return len(load.acked), gone, [r for r, n in seen.items() if n > 1] + never
    finally:
        side.close()


def main():
    print(f"# seed {SEED}", flush=True)
    rng = random.Random(SEED)
    tap = Tap()
    acked, gone, wrong = crash(None, KILLS, rng)
    tap.ok(acked > 10 * KILLS, f"D1 {acked} readings acknowledged over {KILLS} kills", acked)
    tap.equal(gone, [], "D1 none of them is lost")
    tap.equal(wrong, [], "D1 each is offered to the inside exactly once")
    build = os.path.join(BUILD, "controls")
    program = os.path.join(build, "bin", "tablet-api")
    made = subprocess.run(["make", "--no-print-directory", "-j2", f"BUILD={build}",
                           "DEFS=-DVRS_TEST_CONTROLS", program], cwd=ROOT, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if not tap.equal(made.returncode, 0, "the control is built"):
        print(made.stdout[-2000:])
        return 1
    acked, gone, _ = crash(program, KILLS, rng, test_ack_before_commit=True)
    tap.ok(gone, f"D1 control: acknowledging before the commit is caught ({len(gone)} of {acked})")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
