#!/usr/bin/env python3
"""D4 on the Internet side: the disk of the inbox fills up. Every post is 2xx and there, or 503 with
Retry-After and not there; when there is room again it goes on without a restart."""

import os
import subprocess
import sys
import tempfile
import uuid

from tablet_side import Client, Inside, TabletSide, Tap, dose


def main():
    tap = Tap()
    state = tempfile.mkdtemp(prefix="vrs-small-disk-")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", state], check=False,
                             stderr=subprocess.DEVNULL).returncode == 0
    if not mounted:
        os.rmdir(state)
        print("ok - D4 # SKIP mounting a small tmpfs needs root")
        return 0
    side = TabletSide(state=state, answer_wait_ms=0)
    try:
        side.systems = [{"fingerprint": side.pki.fingerprint("reader"), "name": "reader-1",
                         "rights": ["dose.post", "receipt.read"]}]
        ballast = os.path.join(state, "ballast")
        with open(ballast, "wb") as out:
            out.write(b"x" * (1 << 20))
        side.start()
        assert Inside(side).push(side.snapshot()).status == 204
        client = Client(side.terminal("reader"), None)
        acked, refused = {}, {}
        for n in range(20000):
            key = str(uuid.uuid4())
            answer = client.dose(dose(n), key)
            if answer.status == 202:
                acked[key] = (n, answer.get("receipt_id"))
            else:
                refused[key] = (n, answer.status, answer.get("code"),
                                answer.headers.get("Retry-After"))
            if len(refused) == 50:
                break
        tap.ok(len(acked) > 100, f"D4 {len(acked)} readings until the disk is full")
        tap.equal({r[1:3] for r in refused.values()}, {(503, "storage_unavailable")},
                  "D4 then 503 storage_unavailable")
        tap.ok(all(r[3] for r in refused.values()), "D4 with Retry-After")
        tap.equal(side.admin_get("/readyz").status, 503, "D4 not ready")
        os.unlink(ballast)
        again = client.dose(dose(10**6))
        tap.equal(again.status, 202, "D4 room again: goes on without a restart")
        tap.equal(side.admin_get("/readyz").status, 200, "D4 ready again")
        wrong = [key for key, (n, receipt) in acked.items()
                 if client.dose(dose(n), key).get("receipt_id") != receipt]
        tap.equal(wrong, [], "D4 every acknowledged reading is there")
        retried = [client.dose(dose(n), key).status for key, (n, *_) in refused.items()]
        tap.equal(retried, [202] * len(retried), "D4 the refused ones are taken with their keys")
        before = side.metric("vrs_inbox_pending_entries")
        side.kill()
        side.start()
        tap.equal((before, side.metric("vrs_inbox_pending_entries")),
                  (len(acked) + len(refused) + 1.0,) * 2, "D4 each is there once, also after kill -9")
    finally:
        side.close()
        subprocess.run(["umount", state], check=False)
        os.rmdir(state)
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
