"""C142, C146: what is shipped to be installed: units that are hardened and name what there is, rules
that nft takes; and C140: docs/operations.md says of every alert what it means and what to do."""
import glob
import json
import os
import re
import shutil
import subprocess
import tempfile

import case
from case import BUILD, ROOT, ok, skip

UNITS = sorted(glob.glob(os.path.join(ROOT, "deploy", "systemd", "*.service")))
DAEMONS = ("tablet-api", "vrs-server", "vrs-number", "vrs-signer")
EXPOSURE = {"vrs-alert-mail": 5.5}  # starts an MTA that is set-group-id
MOST = 2.0  # of 10, by systemd-analyze security


def settings(path):
    """{key: [values]} of a unit."""
    found = {}
    with open(path) as f:
        for line in f:
            m = re.match(r"(\w+)=(.*)$", line)
            if m:
                found.setdefault(m[1], []).append(m[2])
    return found


def exposure(unit):
    r = subprocess.run(["systemd-analyze", "security", "--offline=yes", unit], capture_output=True,
                       text=True)
    m = re.search(r"Overall exposure level for \S+: ([\d.]+)", r.stdout)
    return float(m[1]) if m else None


def units():
    names = {os.path.basename(u)[:-8] for u in UNITS}
    ok(names >= set(DAEMONS), "C146: there is a unit for every daemon", names)
    for unit in UNITS:
        name = os.path.basename(unit)[:-8]
        s = settings(unit)
        if name not in DAEMONS:
            continue
        argv = s["ExecStart"][0].split()
        ok(argv[0] == f"/usr/local/bin/{name}" and argv[1:] == ["--config", f"/etc/vrs/{name}.conf"]
           and os.path.exists(os.path.join(BUILD, "bin", name)) and "--check" in s["ExecStartPre"][0],
           f"C146: {name}.service starts what is built, after --check", s["ExecStart"])
        ok(s["User"] == [name] and s["StateDirectory"] == [name] and
           s["StateDirectoryMode"] == ["0700"] and s["LimitCORE"] == ["0"],
           f"C146: {name}.service: a user and a folder of its own, no core dumps", s)
        inside = name in ("vrs-number", "vrs-signer")
        ok((s.get("PrivateNetwork") == ["yes"]) == inside,
           f"C143: {name}.service: {'no network' if inside else 'a network'}", s)
        credentials = [c.split(":")[0] for c in s.get("LoadCredential", [])]
        ok({"kek-records", "kek-log"} == set(credentials) if name == "vrs-server" else
           ["kek-numbers"] == credentials if name == "vrs-number" else credentials == [],
           f"C05: {name}.service is given its own keys only", credentials)
    if shutil.which("systemd-analyze") is None:
        skip("C146: systemd-analyze security", "systemd is not installed")
        return
    for unit in UNITS:
        name = os.path.basename(unit)[:-8]
        got, most = exposure(unit), EXPOSURE.get(name, MOST)
        ok(got is not None and got <= most, f"C146: {name}.service: exposure {got} of 10, at most {most}")
    with tempfile.TemporaryDirectory() as work:
        bare = os.path.join(work, "bare.service")
        with open(bare, "w") as f:
            f.write("[Service]\nExecStart=/bin/true\n")
        ok((exposure(bare) or 0) > MOST, "C146 control: a bare unit is above that")
    r = subprocess.run(["systemd-analyze", "verify", "--man=no", *UNITS,
                        *glob.glob(os.path.join(ROOT, "deploy", "systemd", "*.path"))],
                       capture_output=True, text=True)
    wrong = [line for line in r.stderr.splitlines() if "deploy" in line and
             "is not executable" not in line]
    ok(not wrong, "C146: systemd understands every line", "\n".join(wrong))


def firewall():
    folder = os.path.join(ROOT, "deploy", "nftables")
    if shutil.which("nft") is None or os.geteuid() != 0:
        skip("C142: nft takes the rules", "needs nft and root; network_namespace.py loads them")
        return
    for name in ("outside.nft", "inside.nft"):
        r = subprocess.run(["unshare", "--net", "nft", "-c", "-I", folder, "-f",
                            os.path.join(folder, name)], capture_output=True, text=True)
        ok(r.returncode == 0, f"C142: nft takes {name}", r.stderr)


def documented():
    with open(os.path.join(ROOT, "data", "alerts.json"), encoding="utf-8") as f:
        rules = {r["name"] for r in json.load(f)["rules"]}
    with open(os.path.join(ROOT, "docs", "operations.md"), encoding="utf-8") as f:
        text = f.read()
    section = text[text.index("\n## Alerts\n"):]
    section = section[:section.index("\n## ", 5)]
    parts = re.split(r"^### (\w+)\n", section, flags=re.M)[1:]
    said = dict(zip(parts[::2], parts[1::2]))
    ok(set(said) == rules, f"C140: docs/operations.md has a heading for each of {len(rules)} rules",
       (rules - set(said), set(said) - rules))
    thin = [name for name, words in said.items() if len(words.split()) < 8]
    ok(not thin, "C140: and says what it means and what to do", thin)
    sources = "".join(open(p, encoding="utf-8").read() for p in
                      glob.glob(os.path.join(ROOT, "vrs-server", "**", "*.c"), recursive=True))
    used = set(re.findall(r"\"(\w+)\"", sources))
    ok(rules <= used, "C140: every rule is spoken of in the sources", rules - used)


units()
firewall()
documented()
raise SystemExit(1 if case._tally["not ok"] else 0)
