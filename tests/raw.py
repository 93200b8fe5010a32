"""A server on loopback that sends bytes, whether they are HTTP or not."""

import contextlib
import re
import socket
import threading

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Raw:
    """Answers each connection with bytes: `begins`, then `piece` again and again, without an end."""

    def __init__(self, begins=b"", piece=b""):
        self.begins, self.piece = begins, piece
        self.heads = []
        self.stop = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while not self.stop.is_set():
            with contextlib.suppress(OSError):
                line, _ = self.socket.accept()
                threading.Thread(target=self.answer, args=(line,), daemon=True).start()

    def answer(self, line):
        with contextlib.suppress(OSError), line, line.makefile("rb") as reader:
            while head := read_head(reader):
                length = re.search(rb"Content-Length: (\d+)", head)
                reader.read(int(length[1]) if length else 0)
                self.heads.append(head)
                line.sendall(self.begins)
                while self.piece and not self.stop.wait(0.005):
                    line.sendall(self.piece)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.socket.close()


def read_head(reader):
    lines = []
    while (line := reader.readline()) not in (b"", b"\r\n"):
        lines.append(line)
    return b"".join(lines)
