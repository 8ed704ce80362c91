"""A reader terminal as small as it can be: what docs/reader-line.md says, with Python's ssl.  Also an
example for those who build one."""
import socket
import ssl
import urllib.parse
import uuid


class ReaderClient:
    def __init__(self, address, ca, cert, key, timeout=10):
        host, port = address.rsplit(":", 1)
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
        self.tcp = context.wrap_socket(socket.create_connection((host, int(port)), timeout),
                                       server_hostname=host)
        self.file = self.tcp.makefile("rb")
        self.run = str(uuid.uuid4())

    def send(self, *lines):
        self.tcp.sendall("".join(line + "\n" for line in lines).encode())

    def answer(self):
        """The next line; "" when the server has ended the connection."""
        return self.file.readline().decode().rstrip("\n")

    def header(self, **words):
        words = {"run": self.run, "product": "comirnaty", "lot": "FF3620", "date": "2021-07-01",
                 "site": "港区 第1会場", **words}
        self.send("VRS1 " + " ".join(f"{name}={urllib.parse.quote(value)}"
                                     for name, value in words.items() if value is not None))
        return self.answer()

    def read(self, sequence, digits):
        """Sends one reading and waits for its answer: the words after the number."""
        self.send(f"{sequence} {digits}")
        number, *words = self.answer().split(" ")
        assert number.lstrip("0") == str(sequence).strip("!").lstrip("0"), (sequence, number, words)
        return words

    def close(self):
        self.file.close()
        self.tcp.close()
