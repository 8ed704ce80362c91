"""The disk of the records that is full: a small tmpfs in its place (needs root)."""
import os
import signal
import subprocess

from case import after_stop


def small_disk(stack):
    """Moves the records to a tmpfs of a few MiB; its folder, None where no mount is allowed."""
    folder = stack.path("vrs-server", "partitions")
    if os.geteuid() != 0:
        return None
    stack.kill("vrs-server", signal.SIGTERM)
    kept = stack.path("partitions-before")
    owner = os.stat(folder)
    os.rename(folder, kept)
    os.mkdir(folder, 0o700)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o",
                           f"size=12m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}", "tmpfs", folder],
                          capture_output=True, text=True)
    if done.returncode == 0:
        after_stop.append(lambda: subprocess.run(["umount", "-l", folder], check=False))
        subprocess.run(["cp", "-a", kept + "/.", folder], check=True)
    else:
        os.rmdir(folder)
        os.rename(kept, folder)
    stack.restart("vrs-server")
    return folder if done.returncode == 0 else None


def fill(folder):
    """Not one byte more goes in."""
    path = os.path.join(folder, "filler")
    with open(path, "ab", buffering=0) as f:
        for size in (1 << 20, 4096, 512, 1):
            try:
                while True:
                    f.write(b"x" * size)
            except OSError:
                pass
    return path
