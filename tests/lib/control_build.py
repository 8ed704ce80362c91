"""Programs with a planted mistake: the control that a proof must catch.  The mistakes are compiled in
with DEFS=-DVRS_TEST_CONTROLS only; no configuration of the product switches them on."""
import os
import subprocess

from case import BUILD, ROOT, ok


def control_programs(folder, wrong):
    """A build folder to give to a Stack, in which the programs of `wrong` {name: environment} are
    the ones with the mistakes; None where it could not be built."""
    build = os.path.join(BUILD, "controls")
    made = subprocess.run(["make", "--no-print-directory", "-j2", f"BUILD={build}",
                           "DEFS=-DVRS_TEST_CONTROLS", *(os.path.join(build, "bin", n) for n in wrong)],
                          cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if not ok(made.returncode == 0, f"the control of {', '.join(wrong)} is built", made.stdout[-2000:]):
        return None
    os.makedirs(os.path.join(folder, "bin"))
    for name in os.listdir(os.path.join(BUILD, "bin")):
        path = os.path.join(folder, "bin", name)
        if name in wrong:
            with open(path, "w") as f:
                f.write("#!/bin/sh\n" + "".join(f"export {k}={v}\n" for k, v in wrong[name].items())
                        + f'exec {os.path.join(os.path.abspath(build), "bin", name)} "$@"\n')
            os.chmod(path, 0o755)
        else:
            os.symlink(os.path.join(BUILD, "bin", name), path)
    return folder
