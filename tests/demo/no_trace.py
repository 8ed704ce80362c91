"""Does a number leave a trace?  Every form of it is searched in bytes of files; and what an inquiry
changed in a partition is counted row by row, on copies of its files."""
import base64
import hashlib
import os
import shutil
import sqlite3
import tempfile


def forms(number):
    """name → bytes to search.  base64 at each of its three alignments, without the characters that
    depend on what stands around it."""
    ascii_ = number.encode()
    value = int(number)
    out = {"ascii": ascii_, "utf-16le": number.encode("utf-16-le"),
           "utf-16be": number.encode("utf-16-be"),
           "full-width": "".join(chr(ord(c) + 0xFEE0) for c in number).encode(),
           "bcd": bytes.fromhex(number), "binary big-endian": value.to_bytes(8, "big")[2:],
           "binary little-endian": value.to_bytes(8, "little")[:6],
           "sha-256": hashlib.sha256(ascii_).digest()}
    for name, raw in list(out.items()):
        out[name + " in hex"] = raw.hex().encode()
        out[name + " in HEX"] = raw.hex().upper().encode()
    for name in ("ascii", "bcd", "sha-256"):
        raw = out[name]
        for shift in range(3):
            text = base64.b64encode(b"\0" * shift + raw)
            used = (shift + len(raw)) * 8 // 6  # characters made of whole bits of it
            out[f"{name} in base64 +{shift}"] = text[(shift * 8 + 5) // 6:used]
    return out


def files_below(*places):
    for place in places:
        if os.path.isfile(place):
            yield place
        for folder, _, names in os.walk(place):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    yield path


def search(number, *places, leave_out=()):
    """(files, bytes, [(file, form)…])"""
    wanted, files, size, found = forms(number), 0, 0, []
    for path in files_below(*places):
        if path in leave_out:
            continue
        with open(path, "rb") as f:
            data = f.read()
        files, size = files + 1, size + len(data)
        found += [(path, name) for name, needle in wanted.items() if needle in data]
    return files, size, found


def searcher_works(number):
    """The control: each form, planted between other bytes, is found."""
    with tempfile.TemporaryDirectory() as folder:
        for i, needle in enumerate(forms(number).values()):
            with open(os.path.join(folder, str(i)), "wb") as f:
                f.write(os.urandom(100) + needle + os.urandom(100))
        found = {path for path, _ in search(number, folder)[2]}
        return len(found) == len(forms(number))


def rows(database):
    """{(table, row id): row} of a copy of a live SQLite file and its write-ahead log."""
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "copy.db")
        for end in ("", "-wal"):
            if os.path.exists(database + end):
                shutil.copyfile(database + end, copy + end)
        db = sqlite3.connect(copy)
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        found = {}
        for table in tables:
            for row in db.execute(f'SELECT * FROM "{table}"'):
                found[(table, row[0])] = row
        db.close()
        return found


def changed(before, after):
    """{table: rows that are new, gone or different}"""
    out = {}
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            out[key[0]] = out.get(key[0], 0) + 1
    return out


def contents(*paths):
    return {p: open(p, "rb").read() for p in files_below(*paths)}
