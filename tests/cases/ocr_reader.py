#!/usr/bin/env python3
"""The OCR reader outside its unit test: the tablet's build says what the native one says, and scanned
files of every kind become lines or rows for a person."""
import csv
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("VRS_BUILD", os.path.join(ROOT, "build")))
MEASURE, SCAN = (os.path.join(BUILD, "bin", n) for n in ("reader-measure", "ocr-scan"))
WIDTH, HEIGHT, HEAD = 1280, 720, len(b"P5\n1280 720\n255\n")
# Training has its own below 4 000 000, other tests theirs below 2·10⁹.
SEED = int(os.environ.get("VRS_SEED", 2 * 10**9 + time.time_ns() % 10**12))
failed = 0


def ok(holds, name, why=""):
    global failed
    print(("ok - " if holds else "not ok - ") + name, flush=True)
    if not holds:
        failed += 1
        print("# " + str(why).replace("\n", "\n# "), flush=True)
    return holds


def frames(grade, seed, count):
    """[(grey bytes, what stands in it)], and the PGM file they came in."""
    r = subprocess.run([MEASURE, "-s", str(seed), str(count), grade], capture_output=True,
                       check=True)
    size = HEAD + WIDTH * HEIGHT
    pictures = [r.stdout[i * size + HEAD:(i + 1) * size] for i in range(count)]
    return list(zip(pictures, r.stderr.decode().split())), r.stdout


def png(grey, width, height):
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data +
                struct.pack(">I", zlib.crc32(kind + data)))
    rows = b"".join(b"\0" + grey[y * width:(y + 1) * width] for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


def tiff(pages):
    """Uncompressed grey, one directory a page."""
    out = bytearray(b"II*\0\0\0\0\0")
    link = 4
    for grey in pages:
        at = len(out)
        out += grey
        out += b"\0" * (len(out) % 2)
        entries = [(256, 4, WIDTH), (257, 4, HEIGHT), (258, 3, 8), (259, 3, 1), (262, 3, 1),
                   (273, 4, at), (277, 3, 1), (278, 4, HEIGHT), (279, 4, len(grey))]
        struct.pack_into("<I", out, link, len(out))
        out += struct.pack("<H", len(entries))
        for tag, kind, value in entries:
            out += struct.pack("<HHII", tag, kind, 1, value)
        link = len(out)
        out += b"\0\0\0\0"
    return bytes(out)


def pdf(pages):
    """A picture a page, at 144 dpi: a scan of the coupon's corner."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>",
               b"<</Type/Pages/Count %d/Kids[%s]>>" % (
                   len(pages), b" ".join(b"%d 0 R" % (3 + 3 * i) for i in range(len(pages))))]
    for i, grey in enumerate(pages):
        n, data = 3 + 3 * i, zlib.compress(grey, 1)
        draw = b"q %d 0 0 %d 0 0 cm /I Do Q" % (WIDTH // 2, HEIGHT // 2)
        objects += [b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents %d 0 R"
                    b"/Resources<</XObject<</I %d 0 R>>>>>>" % (WIDTH // 2, HEIGHT // 2, n + 1, n + 2),
                    b"<</Length %d>>stream\n%s\nendstream" % (len(draw), draw),
                    b"<</Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray"
                    b"/BitsPerComponent 8/Filter/FlateDecode/Length %d>>stream\n%s\nendstream"
                    % (WIDTH, HEIGHT, len(data), data)]
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for i, body in enumerate(objects):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (i + 1, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % o for o in offsets)
    out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def turned(grey):
    """By 180 degrees."""
    return grey[::-1]


def scan(folder, *names):
    lines, report = os.path.join(folder, "lines.txt"), os.path.join(folder, "report.csv")
    r = subprocess.run([SCAN, "--out", lines, "--report", report,
                        *[os.path.join(folder, n) for n in names]], capture_output=True, text=True)
    read = open(lines).read().split() if os.path.exists(lines) else None
    rows = list(csv.reader(open(report, encoding="utf-8-sig"))) if os.path.exists(report) else None
    for path in (lines, report):
        if os.path.exists(path):
            os.unlink(path)
    return r, read, rows


def scans(folder):
    good, _ = frames("good", 1700000000, 3)
    nothing, _ = frames("negative", 1700000000, 1)
    pictures, lines = [g for g, _ in good], [t for _, t in good]

    def write(name, data):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)

    write("a.png", png(pictures[0], WIDTH, HEIGHT))
    write("b.tiff", tiff(pictures))
    write("c.pdf", pdf(pictures))
    write("d.pgm", b"".join(b"P5\n1280 720\n255\n" + p for p in pictures))
    write("turned.png", png(turned(pictures[1]), WIDTH, HEIGHT))
    for name, want in (("a.png", lines[:1]), ("b.tiff", lines), ("c.pdf", lines), ("d.pgm", lines),
                       ("turned.png", lines[1:2])):
        r, read, rows = scan(folder, name)
        ok(r.returncode == 0 and read == want and len(rows) == 1, f"scan: {name} is read", r)
    if shutil.which("cjpeg"):
        jpeg = subprocess.run(["cjpeg", "-quality", "85", "-grayscale"],
                              input=b"P5\n1280 720\n255\n" + pictures[0], capture_output=True,
                              check=True).stdout
        write("e.jpg", jpeg)
        r, read, rows = scan(folder, "e.jpg")
        ok(r.returncode == 0 and read == lines[:1], "scan: e.jpg is read", r)
    write("none.png", png(nothing[0][0], WIDTH, HEIGHT))
    write("text.png", b"this is no picture")
    write("broken.png", png(pictures[0], WIDTH, HEIGHT)[:5000])
    write("broken.tiff", tiff(pictures)[:5000])
    write("broken.pdf", b"%PDF-1.4\nnothing")
    os.mkdir(os.path.join(folder, "many"))
    shutil.copy(os.path.join(folder, "a.png"), os.path.join(folder, "many", "1.png"))
    r, read, rows = scan(folder, "none.png", "text.png", "broken.png", "broken.tiff", "broken.pdf",
                         "many", "absent.png")
    ok(r.returncode == 1 and read == lines[:1],
       "scan: what cannot be read leaves the others alone, exit 1", r)
    names = [os.path.basename(row[0]) for row in rows[1:]]
    ok(names == ["none.png", "text.png", "broken.png", "broken.tiff", "broken.pdf", "absent.png"],
       "scan: every refused file is a row of the report", rows)
    ok(all(any("ぁ" <= c <= "ん" for c in row[2]) for row in rows[1:]),
       "scan: each row says in Japanese what to do", rows)
    open(os.path.join(folder, "lines.txt"), "w").write("kept")
    r = subprocess.run([SCAN, "--out", os.path.join(folder, "lines.txt"), folder + "/a.png"],
                       capture_output=True, text=True)
    ok(r.returncode == 2 and open(os.path.join(folder, "lines.txt")).read() == "kept",
       "scan: an older result is not overwritten", r)


def tablet_build(folder):
    """Native and wasm32 are one source: they must say the same of every frame."""
    wasm = os.path.join(BUILD, "reader.wasm")
    for grade in ("typical", "poor", "hard", "negative"):
        count = 12
        _, pgm = frames(grade, 1710000000, count)
        path = os.path.join(folder, "frames.pgm")
        with open(path, "wb") as f:
            f.write(pgm)
        r = subprocess.run(["node", os.path.join(ROOT, "tests", "ocr", "wasm.mjs"), wasm, path],
                           capture_output=True, text=True, check=True)
        page = [line.split()[:2] for line in r.stdout.splitlines()]
        n = subprocess.run([MEASURE, "-r", "1710000000", str(count), grade], capture_output=True,
                           text=True, check=True)
        native = [line.split()[:2] for line in n.stdout.splitlines()]
        ok(page == native and len(page) == count,
           f"the tablet's reader says what the native one says: {grade}", f"{page}\n{native}")
        os.unlink(path)


def promise():
    """Other frames each time, so that runs add up; tests/crash/ocr_large.py has the large numbers."""
    print(f"# VRS_SEED={SEED}", flush=True)
    r = subprocess.run([MEASURE, str(SEED), "60", "hard", "letters", "negative"], capture_output=True,
                       text=True)
    ok(r.returncode == 0 and r.stdout.count(", wrong 0;") == 3,
       "reader: none of a few frames, hard, of letters and of other numbers, is read wrongly", r.stdout)


with tempfile.TemporaryDirectory() as work:
    scans(work)
with tempfile.TemporaryDirectory() as work:
    tablet_build(work)
promise()
sys.exit(1 if failed else 0)
