"""S6 in short: certificates that must open nothing — expired, of another authority, self-signed, made
for another use, revoked — on every listener that wants one; and the alert that they raise."""
import http.client
import os
import ssl
import subprocess
import tempfile

from alert_receiver import journal
from case import (MINATO, client_for, equal, make_ca, make_cert, ok, openssl, run, until)


def ca_of(stack, name):
    """An authority's path without ending, wherever its key is kept."""
    return next(b for b in (stack.path(d, name) for d in ("signer-keys", "pki"))
                if os.path.exists(b + ".key"))


def certificate(folder, name, ca, subject, use="clientAuth", days=30, critical=False):
    """One by openssl with an extended key usage of one's own."""
    base = os.path.join(folder, name)
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", base + ".key", "-out", base + ".csr", "-subj", subject)
    with open(base + ".ext", "w") as f:
        f.write("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                f"extendedKeyUsage={'critical,' if critical else ''}{use}\n")
    openssl("x509", "-req", "-in", base + ".csr", "-CA", ca + ".pem", "-CAkey", ca + ".key",
            "-set_serial", str(int.from_bytes(os.urandom(12), "big")), "-days", str(days),
            "-extfile", base + ".ext", "-out", base + ".pem")
    return base + ".pem", base + ".key"


def self_signed(folder, name, subject):
    base = os.path.join(folder, name)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", base + ".key", "-out", base + ".pem", "-days", "30", "-subj", subject)
    return base + ".pem", base + ".key"


def answer_to(stack, cert, side, path):
    """A status, or "handshake" where there was none."""
    client = client_for(stack, cert, side)
    try:
        return client.get(path).status
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return "handshake"
    finally:
        client.close()


def listener(stack, folder, name, side, path, authority, unit, good):
    ca, foreign = ca_of(stack, authority), make_ca(folder, f"foreign-{unit}")
    subject = f"/CN=x/O={MINATO}/OU={unit}"
    refused = {
        "of another authority": make_cert(folder, f"{unit}-other", foreign, subject),
        "self-signed": self_signed(folder, f"{unit}-self", subject),
        "made for servers": certificate(folder, f"{unit}-server", ca, subject, "serverAuth"),
        "made to sign code": certificate(folder, f"{unit}-code", ca, subject, "codeSigning", 30,
                                         True),
        "none": None,
    }
    for what, cert in refused.items():
        equal(answer_to(stack, cert, side, path), "handshake",
              f"S6 C21: {name}: a certificate {what} fails in the handshake")
    old = make_cert(folder, f"{unit}-old", ca, subject, end="20210101000000Z")
    young = make_cert(folder, f"{unit}-young", ca, subject, begin="20480101000000Z")
    for what, cert in (("that has ended", old), ("that has not begun", young)):
        equal(answer_to(stack, cert, side, path), 403,
              f"S6 C21: {name}: one {what} is told 403 and nothing else")
    equal(answer_to(stack, good, side, path), 200, f"S6 control: {name}: a good one is served")


def main(stack):
    stack.demo["line"] = f"https://127.0.0.1:{stack.ports['line']}"
    with tempfile.TemporaryDirectory() as folder:
        named = {t["name"]: (t["cert"], t["key"]) for t in stack.demo["terminals"]}
        listener(stack, folder, "terminals", "tablet_api", "/v1/vaccines", "ca-tablets", "tablet",
                 named["tablet-1"])
        listener(stack, folder, "LG-WAN", "vrs_server", "/v1/vaccines", "ca-lgwan", "lgwan",
                 named[f"lgwan-{MINATO}"])
        line = make_ca(folder, "foreign-line")
        for what, cert in (("of another authority", make_cert(folder, "l1", line, "/CN=x/OU=line")),
                           ("of a tablet", named["tablet-1"]), ("none", None)):
            equal(answer_to(stack, cert, "line", "/line/v1/pull"), "handshake",
                  f"S6 C32: line: a certificate {what} fails in the handshake")
        for side, kind in (("tablet_api", "tablet"), ("vrs_server", "lgwan")):
            lost = stack.add_terminal(f"lost-{kind}", kind, MINATO)
            cert = (lost["cert"], lost["key"])
            ok(until(lambda: answer_to(stack, cert, side, "/v1/vaccines") == 200),
               f"S6 control: {kind}: served before it is revoked")
            live = client_for(stack, cert, side)
            live.get("/v1/vaccines")
            stack.command("terminal.revoke", name=lost["name"])
            ok(until(lambda: live.get("/v1/vaccines").status == 403),
               f"S6 C31: {kind}: revoked, on a connection that was open")
            equal(answer_to(stack, cert, side, "/v1/vaccines"), 403, f"S6 C21: {kind}: revoked")
        ok(until(lambda: {a["rule"] for a in journal(stack)} >= {"certificate_error",
                                                                 "revoked_used"}, 30),
           "C140: certificates that do not fit raise certificate_error and revoked_used",
           journal(stack))


run(main, count=20)
