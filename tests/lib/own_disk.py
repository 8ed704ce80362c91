"""A disk for the state of a stack that can lose its power or its room (needs root).

Mounts are made in a mount name space of this process: they go with it, whatever ends it."""
import ctypes
import fcntl
import os
import shutil
import signal
import struct
import subprocess

from case import until
from stack import ORDER, UIDS, StackError

CLONE_NEWNS = 0x00020000
GOINGDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN
NOLOGFLUSH = 2  # nothing more reaches the disk, not even what the journal holds


def command(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def private_mounts():
    """Why not, else "": from here on mounts are this process's and its children's."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        return "no mount name space: " + os.strerror(ctypes.get_errno())
    done = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, text=True)
    return done.stderr.strip()


def cannot_have(kind, folder):
    """Why no loop device with this file system can be mounted here, else ""."""
    if shutil.which("mkfs." + kind) is None:
        return f"mkfs.{kind} is not installed"
    probe = Disk(kind, os.path.join(folder, "probe"), 320)
    try:
        probe.mount()
        probe.cut()
        probe.unmount()
    except (subprocess.CalledProcessError, OSError) as e:
        return f"{kind} on a loop device: {getattr(e, 'stderr', '') or e}".strip()
    finally:
        probe.remove()
    return ""


class Disk:
    """A loop device with a file system of `kind` at `folder`/mnt."""

    def __init__(self, kind, folder, megabytes):
        self.kind, self.image, self.at = kind, os.path.join(folder, "image"), os.path.join(folder, "mnt")
        os.makedirs(self.at)
        with open(self.image, "wb") as f:
            f.truncate(megabytes << 20)
        command("mkfs." + kind, "-q", self.image)

    def mount(self):
        command("mount", "-o", "loop", self.image, self.at)
        os.chmod(self.at, 0o711)

    def cut(self):
        """The power goes: nothing that is not on the disk by now gets there."""
        fd = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, GOINGDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(fd)

    def unmount(self):
        """Who used it is dead; the kernel may need a moment to notice."""
        if not until(lambda: subprocess.run(["umount", self.at], capture_output=True).returncode == 0, 20):
            command("umount", self.at)

    def remove(self):
        subprocess.run(["umount", "-l", self.at], capture_output=True)
        os.unlink(self.image)


class Machine:
    """A stack whose programs keep their state on one disk; the rest (certificates, programs, logs of
    the test) is elsewhere."""

    def __init__(self, stack, disk):
        self.stack, self.disk = stack, disk

    def start(self):
        stack, disk = self.stack, self.disk
        stack.claim()
        stack.make_files()
        disk.mount()
        for name in ORDER:
            shutil.move(stack.path(name), os.path.join(disk.at, name))
            if stack.separate:
                for top, folders, files in os.walk(os.path.join(disk.at, name)):
                    for each in [".", *folders, *files]:
                        os.chown(os.path.join(top, each), UIDS[name], UIDS[name])
            os.mkdir(stack.path(name))
        self.sync()  # an installation; what comes now is up to the programs
        self.bind()
        stack.start()

    def sync(self):
        command("sync", "-f", self.disk.at)

    def bind(self):
        for name in ORDER:
            command("mount", "--bind", os.path.join(self.disk.at, name), self.stack.path(name))

    def runs(self):
        """Is there a thread that may still do something of its own?  One that waits for the disk (D)
        stops before it knows what came of it."""
        for name in ORDER:
            tasks = f"/proc/{self.stack.processes[name].pid}/task"
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/stat") as f:
                    if f.read().rpartition(") ")[2][0] not in "TD":
                        return True
        return False

    def lose_power(self):
        """… and comes back.  The programs stop before their disk goes, as they do when a power loss
        stops everything at once: while it shuts a file system down, the kernel tells a thread that runs
        on that its fsync is done though nothing of it got there (ext4 and xfs, for some 2 ms)."""
        for name in ORDER:
            self.stack.processes[name].send_signal(signal.SIGSTOP)
        if not until(lambda: not self.runs()):
            raise StackError("a program that was stopped runs on")
        self.disk.cut()
        for name in ORDER:
            self.stack.processes[name].kill()
        for name in ORDER:
            self.stack.processes[name].wait()
            command("umount", self.stack.path(name))
        self.disk.unmount()
        self.disk.mount()
        self.bind()
        for name in ORDER:
            self.stack.restart(name)

    def stop(self):
        self.stack.stop()
        for name in ORDER:
            subprocess.run(["umount", "-l", self.stack.path(name)], capture_output=True)
        self.disk.remove()
