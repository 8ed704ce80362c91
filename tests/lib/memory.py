"""What a process holds, as its core dump would show it and more: every page that it can read itself."""


def memory_of(pid):
    """Every readable byte of a process."""
    with open(f"/proc/{pid}/maps") as f:
        ranges = [line.split()[0] for line in f if line.split()[1][0] == "r"
                  and "[vvar" not in line and "[vsyscall" not in line]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for r in ranges:
            begin, end = (int(x, 16) for x in r.split("-"))
            mem.seek(begin)
            try:
                yield mem.read(end - begin)
            except OSError:
                continue
