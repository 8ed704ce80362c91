"""What the demonstration prints: steps, checks (expected beside what came) and Japanese texts as
they come.  Coloured on a terminal, plain anywhere else or with NO_COLOR."""
import os
import sys
import time
import unicodedata

WIDTH, WHAT, EXPECTED = 112, 52, 28


def columns(text):
    """Columns that a text takes on a terminal: most Japanese characters take two."""
    return sum(0 if unicodedata.combining(c) or 0xE0100 <= ord(c) <= 0xE01EF
               else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pad(text, width):
    return text + " " * max(width - columns(text), 1)


def cut(text, width):
    if columns(text) <= width:
        return text
    while columns(text) > width - 1:
        text = text[:-1]
    return text + "…"


def fold(text, width):
    """Lines of a Japanese or mixed text, broken by columns (Japanese has no spaces to break at)."""
    lines, line, used = [], "", 0
    for c in text:
        n = columns(c)
        if used + n > width and c not in "、。）」":
            lines.append(line)
            line, used = "", 0
        line, used = line + c, used + n
    return lines + [line] if line else lines


def wrap(text, width):
    """Lines of English with Japanese words in it, broken at spaces."""
    lines = [""]
    for word in text.split():
        if lines[-1] and columns(lines[-1]) + 1 + columns(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


class Show:
    def __init__(self, pause=False):
        self.tty = sys.stdout.isatty()
        self.colour = self.tty and "NO_COLOR" not in os.environ
        self.pause, self.passed, self.failed, self.steps = pause and self.tty, 0, [], 0
        self.began, self.bar = time.monotonic(), ""

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def dim(self, text):
        return self.paint("2", text)

    def bold(self, text):
        return self.paint("1", text)

    def out(self, text=""):
        print(text, flush=True)

    def title(self, text, under):
        self.out()
        self.out(self.paint("1;34", "  " + text))
        self.out(self.dim("  " + under))

    def step(self, title, when, why):
        """`when`: the servers' date, or ""; `why`: one sentence for who has never seen this work."""
        if self.pause and self.steps:
            input(self.dim("  — Enter for the next step —"))
        self.steps += 1
        self.out()
        head = f" {self.steps}  {title} "
        line = "━" * max(WIDTH - columns(head) - columns(when) - 4, 2)
        self.out(self.paint("1;36", f"━━{head}") + self.paint("36", f"{line} {when}"))
        for row in wrap(why, WIDTH - 4):
            self.out(self.dim("   " + row))
        self.out(self.dim("   " + pad("", 2) + pad("what", WHAT) + pad("expected", EXPECTED) + "came"))

    def check(self, what, expected, came, ok, *texts):
        """One thing that had to hold; `texts` are shown below it as they came."""
        if ok:
            self.passed += 1
            mark = self.paint("1;32", "✓ ")
        else:
            self.failed.append((self.steps, what, expected, came))
            mark = self.paint("1;31", "✗ ")
            came = self.paint("1;31", came)
        head = "   " + mark + pad(cut(what, WHAT - 1), WHAT)
        if columns(expected) < EXPECTED:
            self.out(head + self.dim(pad(expected, EXPECTED)) + came)
        else:
            self.out(head + self.dim(expected))
            self.out(" " * (5 + WHAT) + came)
        self.quote(*texts)
        return ok

    def equal(self, what, expected, came, *texts):
        return self.check(what, str(expected), str(came), expected == came, *texts)

    def quote(self, *texts):
        for text in texts:
            for i, row in enumerate(fold(text, WIDTH - 9)):
                self.out(self.paint("35", ("     │ " if i == 0 else "     │   ") + row))

    def note(self, text):
        self.out(self.dim("     " + text))

    def progress(self, done, total, text):
        """A line that is drawn over itself; nothing where the output is no terminal."""
        if not self.tty:
            return
        n = 40 * done // max(total, 1)
        sys.stdout.write("\r     " + self.paint("32", "█" * n) + self.dim("░" * (40 - n))
                         + f" {done}/{total}  {pad(text, 44)}")
        sys.stdout.flush()
        self.bar = True

    def progress_end(self):
        if self.bar:
            sys.stdout.write("\r" + " " * WIDTH + "\r")
            self.bar = False

    def summary(self, rows):
        seconds = time.monotonic() - self.began
        self.out()
        self.out(self.paint("1;36", "━━ Summary " + "━" * (WIDTH - 13)))
        for name, value in rows:
            self.out("   " + pad(name, WHAT + 2) + value)
        for step, what, expected, came in self.failed:
            self.out(self.paint("1;31", f"   ✗ step {step}: {what}: expected {expected}, came {came}"))
        text = f"{self.passed} passed, {len(self.failed)} failed"
        self.out("   " + self.paint("1;31" if self.failed else "1;32", text) +
                 self.dim(f"   {seconds:.1f} s"))
        return not self.failed
