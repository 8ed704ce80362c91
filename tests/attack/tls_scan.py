"""S6: testssl.sh on the public listener, sslscan with a certificate on those that want one: TLS 1.2
and 1.3 with AEAD and forward secrecy, none of the known holes; and scanning raises its alert."""
import json
import os
import re
import subprocess
import tempfile
import xml.etree.ElementTree

from alert_receiver import journal
from attack_tools import connects, free_port, tools
from case import MINATO, client_for, equal, make_ca, ok, run, stack_module, until

AEAD = re.compile(r"^(TLS_AES_(128|256)_GCM_SHA(256|384)|TLS_CHACHA20_POLY1305_SHA256|"
                  r"ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM-SHA(256|384)|CHACHA20-POLY1305))$")
SECONDS = 240
# What testssl.sh says of an authority of one's own, and of a host without a name: no hole.
EXPECTED = {"cert_trust", "cert_chain_of_trust", "cert_revocation", "cert_crlDistributionPoints",
            "cert_ocspURL", "OCSP_stapling", "cert_expirationStatus", "DNS_CAArecord", "HSTS",
            "cert_validityPeriod", "cert_notAfter", "certificate_transparency", "HPKP", "banner_server",
            "cert_extlifeSpan", "grade_cap_reason_1", "grade_cap_reason_2", "overall_grade",
            "clock_skew", "HSTS_time", "security_headers", "cert_caIssuers", "cert_mustStapleExtension",
            "cert_chain_of_trust <hostCert#1>", "HTTP_status_code", "X-Frame-Options"}


def testssl(program, stack):
    address, port = stack_module.OUTSIDE, stack.ports["public"]
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "out.json")
        r = subprocess.run(
            [program, "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--fast",
             "--protocols", "--std", "--server-defaults", "--vulnerable", "--headers",
             "--jsonfile", out, f"{address}:{port}"],
            capture_output=True, text=True, timeout=SECONDS, env=dict(os.environ, TERM="dumb"))
        found = json.load(open(out)) if os.path.exists(out) else []
    bad = [f for f in found if f["severity"] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL") and
           f["id"] not in EXPECTED]
    said = {f["id"]: f["finding"] for f in found}
    ok(len(found) > 30, f"S6: testssl.sh looked at the public listener: {len(found)} findings",
       r.stdout[-1500:] + r.stderr[-500:])
    ok(not bad, "S6: testssl.sh finds no hole", "\n".join(str(f) for f in bad))
    ok("not offered" in said.get("SSLv3", "") and "not offered" in said.get("TLS1", "") and
       "not offered" in said.get("TLS1_1", "") and "offered" in said.get("TLS1_3", ""),
       "S6 C100: TLS 1.2 and 1.3 only",
       {k: said.get(k) for k in ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3")})


def sslscan(program, stack, listener, terminal):
    address = stack_module.PORTS[listener][0]
    argv = [program, "--no-colour", "--xml=-", "--ipv4", "--no-heartbleed"]
    if terminal:
        t = next(t for t in stack.demo["terminals"] if t["name"] == terminal)
        argv += [f"--certs={t['cert']}", f"--pk={t['key']}"]
    r = subprocess.run(argv + [f"{address}:{stack.ports[listener]}"], capture_output=True,
                       text=True, timeout=120)
    try:
        tree = xml.etree.ElementTree.fromstring(r.stdout)
    except xml.etree.ElementTree.ParseError:
        ok(False, f"S6: sslscan looked at {listener}", r.stdout[-800:] + r.stderr[-300:])
        return
    ciphers = {(c.get("sslversion"), c.get("cipher")) for c in tree.iter("cipher")}
    weak = [c for c in ciphers if not AEAD.match(c[1])]
    on = sorted(p.get("type") + p.get("version") for p in tree.iter("protocol")
                if p.get("enabled") == "1")
    ok(ciphers and not weak, f"S6 C100: sslscan: {listener} offers AEAD with forward secrecy only "
       f"({len(ciphers)} suites)", weak or r.stdout[-800:])
    ok(set(on) <= {"tls1.2", "tls1.3"}, f"S6 C100: sslscan: {listener}: {' '.join(on)}", on)
    compressed = [c for c in tree.iter("compression") if c.get("supported") == "1"]
    renegotiates = [c for c in tree.iter("renegotiation") if c.get("supported") == "1" and
                    c.get("secure") == "0"]
    ok(not compressed and not renegotiates,
       f"S6: {listener}: no compression, no insecure renegotiation", r.stdout[-800:])


def weak_server_is_found(program):
    """Control: the same look finds TLS 1.0-style CBC suites where they are offered."""
    port = free_port()
    with tempfile.TemporaryDirectory() as work:
        base = make_ca(work, "weak")
        server = subprocess.Popen(
            ["openssl", "s_server", "-accept", str(port), "-cert", base + ".pem", "-key",
             base + ".key", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0", "-tls1_2", "-quiet"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: connects(port))
            r = subprocess.run([program, "--no-colour", "--xml=-", "--ipv4", f"127.0.0.1:{port}"],
                               capture_output=True, text=True, timeout=120)
            tree = xml.etree.ElementTree.fromstring(r.stdout)
            weak = [c.get("cipher") for c in tree.iter("cipher") if not AEAD.match(c.get("cipher"))]
            ok(weak, "S6 control: a CBC suite is found where it is offered", r.stdout[-500:])
        finally:
            server.kill()
            server.wait()


def main(stack):
    found = tools("S6: sslscan", "sslscan")
    if found:
        for listener, terminal in (("public", None), ("terminals", "tablet-1"),
                                   ("lgwan", f"lgwan-{MINATO}")):
            sslscan(found[0], stack, listener, terminal)
        weak_server_is_found(found[0])
    found = tools("S6: testssl.sh", "testssl.sh")
    if found:
        testssl(found[0], stack)
    rules = ("certificate_error", "scanning")
    ok(until(lambda: any(a["rule"] in rules for a in journal(stack)), 60),
       "S6 C140: the scan raises certificate_error", journal(stack))
    equal(client_for(stack, side="public").get("/wp-admin").status, 404,
          "S6: the public listener still answers")


run(main, count=20)
