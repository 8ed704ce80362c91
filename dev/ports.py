"""Free ports for daemons that live side by side."""
import itertools
import os
import socket

# Below those that the kernel gives to clients: one that a client holds for a moment cannot be
# listened on, also not by a daemon that is started again on its old port.
FIRST, COUNT = 20000, 12000
_next = itertools.count(os.getpid() * 23)  # processes that run together look in different places


def is_free(address, port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((address, port))
            return True
        except OSError:
            return False


def free_port(address="127.0.0.1", wanted=0):
    """The wanted port, or one that is free and that no other call of this process was given."""
    if wanted and is_free(address, wanted):
        return wanted
    for n in itertools.islice(_next, COUNT):
        if is_free(address, FIRST + n % COUNT):
            return FIRST + n % COUNT
    raise OSError(f"no free port on {address}")
