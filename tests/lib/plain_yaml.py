"""The part of YAML that docs/openapi.yaml is written in: maps and lists by indentation, flow
collections (also over several lines), plain words, whole numbers, true, false, null, JSON strings.
Anything else is an error, with its line."""
import json
import re

PLAIN = re.compile(r"[A-Za-z_$][A-Za-z0-9_./$-]*|-?[0-9]+")
WORDS = {"null": None, "true": True, "false": False}


class Error(Exception):
    pass


class Reader:
    def __init__(self, text):
        self.lines = [(n, len(line) - len(line.lstrip(" ")), line.strip())
                      for n, line in enumerate(text.split("\n"), 1)
                      if line.strip() and not line.lstrip().startswith("#")]
        self.at = 0

    def fail(self, why):
        n = self.lines[min(self.at, len(self.lines) - 1)][0]
        raise Error(f"line {n}: {why}")

    # --- one value in a text: flow collections and scalars; returns it and where it ends ---

    def value(self, text, i):
        while text[i:i + 1] == " ":
            i += 1
        if text[i:i + 1] == '"':
            try:
                return json.JSONDecoder().raw_decode(text, i)
            except ValueError as e:
                self.fail(e)
        if text[i:i + 1] in ("{", "["):
            return self.flow(text, i)
        found = PLAIN.match(text, i)
        if not found:
            self.fail(f"no value in {text[i:i + 30]!r}")
        word = found.group()
        if word in WORDS:
            return WORDS[word], found.end()
        return (int(word) if re.fullmatch(r"-?[0-9]+", word) else word), found.end()

    def flow(self, text, i):
        is_map, end = text[i] == "{", "}" if text[i] == "{" else "]"
        result = {} if is_map else []
        i += 1
        while True:
            while text[i:i + 1] == " ":
                i += 1
            if text[i:i + 1] == end:
                return result, i + 1
            name, i = self.value(text, i)
            if is_map:
                if text[i:i + 2] != ": " or name in result:
                    self.fail(f"no ': ' after {name!r}, or it is there twice")
                result[name], i = self.value(text, i + 2)
            else:
                result.append(name)
            while text[i:i + 1] == " ":
                i += 1
            if text[i:i + 1] == ",":
                i += 1
            elif text[i:i + 1] != end:
                self.fail(f"neither ',' nor '{end}' at {text[i:i + 30]!r}")

    def rest_of_line(self, text):
        """A value up to its end; a flow collection may go on in the next lines."""
        while text[:1] in ("{", "[") and self.open(text):
            self.at += 1
            if self.at == len(self.lines):
                self.fail("a collection does not end")
            text += " " + self.lines[self.at][2]
        found, end = self.value(text, 0)
        if text[end:].strip():
            self.fail(f"more than a value: {text[end:]!r}")
        self.at += 1
        return found

    @staticmethod
    def open(text):
        bare = re.sub(r'"(\\.|[^"\\])*"', "", text)
        return sum(bare.count(c) for c in "{[") > sum(bare.count(c) for c in "}]")

    # --- blocks ---

    def block(self, indent):
        if self.lines[self.at][2].startswith("- "):
            result = []
            while self.here(indent) and self.lines[self.at][2].startswith("- "):
                n, _, text = self.lines[self.at]
                item = text[2:].lstrip()
                if item[:1] not in ("{", "[", '"') and re.match(r"[^ ]+:( |$)", item):
                    deeper = indent + len(text) - len(item)
                    self.lines[self.at] = (n, deeper, item)
                    result.append(self.block(deeper))
                else:
                    result.append(self.rest_of_line(item))
            return result
        result = {}
        while self.here(indent):
            text = self.lines[self.at][2]
            name, end = self.value(text, 0)
            if text[end:end + 1] != ":" or not isinstance(name, str) or name in result:
                self.fail(f"{name!r} is no name, or it is there twice")
            if text[end + 1:].strip():
                result[name] = self.rest_of_line(text[end + 1:].strip())
                continue
            self.at += 1
            if self.at == len(self.lines) or self.lines[self.at][1] <= indent:
                self.fail(f"nothing below {name!r}")
            result[name] = self.block(self.lines[self.at][1])
        return result

    def here(self, indent):
        if self.at == len(self.lines) or self.lines[self.at][1] < indent:
            return False
        if self.lines[self.at][1] > indent:
            self.fail("indented too far")
        return True


def load(text):
    reader = Reader(text)
    result = reader.block(0)
    if reader.at != len(reader.lines):
        reader.fail("not understood")
    return result
