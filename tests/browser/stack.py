"""A running stack for a browser test: commands in, one JSON object a line, answers out likewise.

The first line out is {"url", "certs": {name: [cert, key]}, "ca", "users": {id: password}, "home"}."""
import json
import os
import shutil
import signal
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "dev"), os.path.join(ROOT, "tests", "lib")]
import residents  # noqa: E402
from case import over_midnight, patient  # noqa: E402
from stack import Stack  # noqa: E402

TOWN = "131032"


class Commands:
    def __init__(self, stack):
        self.stack, self.clerk = stack, None

    def staff(self):
        self.clerk = self.clerk or self.stack.staff(TOWN)
        return self.clerk

    def register(self, coupons):
        """Synthetic residents with these coupon numbers."""
        rows, _ = residents.generate(TOWN, len(coupons), seed=7)
        rows = rows[:len(coupons)]
        for n, (row, coupon) in enumerate(zip(rows, coupons)):
            row.update({"接種券番号": coupon, "宛名番号": f"B{coupons[0]}{n}", "異動区分": "0", "異動日": ""})
        self.stack.import_residents(self.stack.demo, TOWN, rows, name=f"browser-{coupons[0]}.csv")
        return {}

    def doses(self, coupon):
        """What the municipality has for a coupon number: [{dose_number, lot, state, …}]."""
        found = self.staff().post("/v1/residents:search", {"coupon_number": coupon}).json["residents"]
        if not found:
            return {"doses": None}
        url = f"/v1/residents/{found[0]['resident_id']}/doses"
        return {"doses": self.staff().get(url).json["doses"]}

    def setting(self, name, value):
        chief = self.stack.staff(TOWN, "minato-approver")
        version = chief.get("/v1/settings").headers["etag"]
        return {"status": chief.request("PUT", "/v1/settings", {name: value}, headers={"If-Match": version}).status}

    def supervisor(self, user):
        """Site staff with outbox.unlock, which nobody has by the role alone."""
        return self.stack.add_user(user, TOWN, ["site_staff"], "minato-personnel", "minato-approver", "接種会場", "会場 責任者",
                                   "dose.post dose.cancel receipt.read coupon.check outbox.unlock")

    def move_out(self, coupon, since):
        found = self.staff().post("/v1/residents:search", {"coupon_number": coupon}).json["residents"][0]
        answer = self.staff().post(f"/v1/residents/{found['resident_id']}:flag", {"flag": "moved_out", "since": since}, key=True,
                                   headers={"If-Match": f'"{found["version"]}"'})
        return {"moved_out_on": answer.json["moved_out_on"]}

    def reviews(self):
        return self.staff().get("/v1/reviews?limit=500").json

    def kill(self, name):
        self.stack.kill(name)
        return {}

    def stop(self, name):
        self.stack.processes[name].send_signal(signal.SIGSTOP)
        return {}

    def go_on(self, name):
        self.stack.processes[name].send_signal(signal.SIGCONT)
        return {}

    def restart(self, name):
        self.stack.restart(name)
        return {}

    def control(self, verb, **values):
        return self.stack.command(verb, **values)


def main():
    over_midnight(120)
    # a proof is not to come later because the disk is slow
    overrides = patient(json.loads(sys.argv[1]) if sys.argv[1:] else {}, "vrs-server")
    home = tempfile.mkdtemp(prefix="vrs-browser-")
    os.chmod(home, 0o711)
    stack = Stack(home, count=200, say=lambda *a: None, overrides=overrides)
    try:
        stack.start()
        demo = stack.demo
        print(json.dumps({"url": demo["tablet_api"], "ca": demo["ca"], "home": home,
                          "certs": {t["name"]: [t["cert"], t["key"]] for t in demo["terminals"]},
                          "users": {u["user_id"]: u["password"] for u in demo["users"]},
                          "samples": [s for s in demo["samples"] if s["municipality_code"] == TOWN]}), flush=True)
        commands = Commands(stack)
        for line in sys.stdin:
            rq = json.loads(line)
            try:
                answer = getattr(commands, rq.pop("do"))(**rq)
            except Exception as e:  # the test is told, and says so
                answer = {"failed": f"{type(e).__name__}: {e}"}
            print(json.dumps(answer, ensure_ascii=False), flush=True)
    finally:
        stack.stop()
        shutil.rmtree(home, ignore_errors=True)


main()
