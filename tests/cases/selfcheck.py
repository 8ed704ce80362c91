"""C145, C146: what the programs are made of is listed and is new enough; vrsctl selfcheck is clean on
a good installation and finds each fault that is planted; what is for development only refuses a
production configuration, by --check, too."""
import json
import os
import re
import shutil
import subprocess

from case import ROOT, equal, ok, run, skip

DAEMONS = ("vrs-number", "vrs-signer", "tablet-api", "vrs-server")
WANTED = {"vrs-server": ("libssl", "libcrypto", "libsqlite3", "libevent-", "libcurl", "libjansson"),
          "tablet-api": ("libssl", "libcrypto", "libsqlite3", "libevent-", "libjansson"),
          "vrs-number": ("libcrypto", "libsqlite3"), "vrs-signer": ("libcrypto",)}


DIRECT = ("libssl", "libcrypto", "libsqlite3", "libevent", "libcurl", "libjansson", "libargon2",
          "libseccomp", "libconfig", "libcsv", "libc.so")


def dpkg(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout


def lowest():
    """{package: version} that mk/packages demands."""
    found = {}
    with open(os.path.join(ROOT, "mk", "packages")) as f:
        for line in f:
            words = line.split()
            if len(words) == 3 and not line.startswith("#"):
                found[words[1]] = words[2]
    return found


def owner(path):
    """The package of a library; /lib may be a link to /usr/lib."""
    for p in (path, os.path.realpath(path), path.replace("/lib/", "/usr/lib/", 1)):
        out = dpkg("dpkg-query", "-S", p)
        if out:
            return out.split(":")[0]
    return None


def versions(stack):
    demanded, packages = lowest(), {}
    for name in DAEMONS:
        out = subprocess.run([stack.program(name), "--version"], capture_output=True, text=True)
        rows = [line.split("\t") for line in out.stdout.splitlines()[1:]]
        missing = [w for w in WANTED[name]
                   if not any(r[0].startswith(w) and re.search(r"\d", r[1]) for r in rows)]
        ok(out.returncode == 0 and out.stdout.startswith(name + "\n") and not missing,
           f"C145: {name} --version lists what it is made of", (missing, out.stdout[:300]))
        for r in rows:
            packages.setdefault(r[2], None)
    ok("libcurl" not in subprocess.run([stack.program("tablet-api"), "--version"],
                                       capture_output=True, text=True).stdout,
       "C145: and nothing that it is not made of")
    if shutil.which("dpkg-query") is None:
        skip("C145: the packages of the libraries", "not a Debian system")
        return
    for path in packages:
        packages[path] = owner(path)
    have = {p: dpkg("dpkg-query", "-W", "-f", "${Version}", p) for p in set(packages.values()) if p}
    old = [f"{p} {have[p]} < {low}" for p, low in demanded.items() if p in have and subprocess.run(
        ["dpkg", "--compare-versions", have[p], "ge", low]).returncode != 0]
    checked = [p for p in demanded if p in have]
    ok(not old and "libevent-2.1-7" in checked,
       f"C145: no library is older than demanded ({' '.join(checked)})", (old, have))
    if not [n for n in os.listdir("/var/lib/apt/lists") if "security" in n and "Packages" in n]:
        skip("C145: no update of Debian-Security waits", "apt has no lists of it here")
        return
    direct = {owner(path) for path in packages if os.path.basename(path).startswith(DIRECT)} - {None}
    waiting = {}
    for block in re.split(r"^(?=\S+:$)", dpkg("apt-cache", "policy", *sorted(have)), flags=re.M):
        name = re.match(r"([^:\s]+):", block)
        candidate = re.search(r"Candidate: (\S+)", block)
        newest = re.search(r"^ {5}\S+ \d+\n((?: {8,}.*\n?)+)", block, re.M)
        if name and candidate and newest and candidate[1] != have.get(name[1]) and \
                "security" in newest[1]:
            waiting[name[1]] = f"{name[1]} {have.get(name[1])} -> {candidate[1]}"
    for name in set(waiting) - direct:
        print(f"# an update waits for what a library of ours is linked with: {waiting[name]}")
    ok(not direct & set(waiting), f"C145: no update of Debian-Security waits for "
       f"{' '.join(sorted(direct))}", [waiting[p] for p in direct & set(waiting)])


def selfcheck(stack, *more):
    r = subprocess.run([stack.program("vrsctl"), "-s", stack.control, "selfcheck",
                        f"state={stack.path('vrs-server')}",
                        f"number_state={stack.path('vrs-number')}", *more],
                       capture_output=True, text=True)
    return r.returncode, r.stdout


def checks(stack):
    status, out = selfcheck(stack)
    ok(status == 0 and "0 faults" in out, "C146: a good installation has no fault", out)
    for word in ("PRAGMA", "core dumps are off", "key files are 0600", "is under seccomp",
                 "user of its own", "clock", "TLS", "limit of open files"):
        ok(word in out, f"C146: selfcheck looks at: {word}", out)

    def finds(what, word, undo=None):
        status, out = selfcheck(stack)
        ok(status == 1 and any(line.startswith("FAULT") and word in line
                               for line in out.splitlines()), f"C146: found: {what}", out)
        if undo:
            undo()

    key = stack.path("pki", "vrs-server.key")
    os.chmod(key, 0o644)
    finds("a key that others may read", "key files", lambda: os.chmod(key, 0o600))
    loose = stack.path("vrs-server", "partitions")
    mode = os.stat(loose).st_mode & 0o777
    os.chmod(loose, 0o755)
    finds("a folder that others may read", stack.path("vrs-server"),
          lambda: os.chmod(loose, mode))
    stack.kill("vrs-number")
    finds("vrs-number that is away", "vrs-number answers", lambda: stack.restart("vrs-number"))
    status, out = selfcheck(stack)
    equal(status, 0, "C146: and all is well again")


def production(stack):
    for name in DAEMONS:
        path = stack.path("etc", name + ".conf")
        text = open(path).read()
        for what, change in (("clock_file", None), ("kek_source file", "kek_source"),
                             ("dumpable", "dumpable = true;\n")):
            if change == "kek_source" and "kek_source" not in text:
                continue
            conf = re.sub(r"development = true;", "development = false;", text)
            if what != "clock_file":
                conf = re.sub(r"clock_file = .*\n", "", conf)
            if what == "dumpable":
                conf = re.sub(r'kek_source = "file"', 'kek_source = "credential"', conf) + change
            trial = stack.path("etc", "trial.conf")
            with open(trial, "w") as f:
                f.write(conf)
            r = subprocess.run([stack.program(name), "--config", trial, "--check"],
                               capture_output=True, text=True)
            ok(r.returncode == 1 and "development only" in r.stderr,
               f"C146: {name} --check refuses {what} in production", r.stderr + r.stdout)
        r = subprocess.run([stack.program(name), "--config", path, "--check"], capture_output=True,
                           text=True)
        ok(r.returncode == 0, f"C146: {name} --check takes the configuration in use", r.stderr)


def alerts_file(stack):
    """C140: wrong rules refuse the start, and say where."""
    folder = stack.path("wrong-data")
    shutil.copytree(os.path.join(ROOT, "data"), folder)
    path = os.path.join(folder, "alerts.json")
    document = json.load(open(path))
    document["rules"][0]["colour"] = "red"
    json.dump(document, open(path, "w"))
    stack.kill("vrs-server", 15)
    stack.overrides["vrs-server"] = {"data_dir": folder}
    stack.configurations()
    stack.start_one("vrs-server")
    status = stack.processes["vrs-server"].wait(20)
    ok(status == 1 and "colour" in stack.tail("vrs-server") and "alerts.json" in
       stack.tail("vrs-server"), "C140: a rule with an unknown member refuses the start, by its place",
       stack.tail("vrs-server"))


def main(stack):
    versions(stack)
    checks(stack)
    production(stack)
    alerts_file(stack)


run(main, count=20)
