"""A POP3 client that fetches a whole mailbox, and notes what it took.

``python -m bench.probe_pop3 PORT USER PASSWORD lockstep|pipelined ROUNDS BEGIN FILE``

Owns: the fetching end. It logs in and asks for STAT, waits until CLOCK_MONOTONIC has reached BEGIN nanoseconds, then
sends RETR for every message, ROUNDS times over, and quits without deleting anything. FILE gets native 64-bit numbers:
begin and end in CLOCK_MONOTONIC nanoseconds, messages, octets of content, its own CPU nanoseconds before begin and from
then to end, and in lock-step the nanoseconds of each RETR. Every octet is counted: content that is not as long as STAT
says ends it with status 1 and one line. Never does: keep what it gets, or talk TLS.
"""

import array
import socket
import sys
import time
from pathlib import Path

#: RETR commands that are on their way at once. Both ends' socket buffers hold them and some of the answers.
WINDOW = 100
_CHUNK = 1 << 18
_END = b"\r\n.\r\n"
_LIMIT = 60.0


class Pop3:
    """One session that is logged in; ``login_seconds``: from PASS to its reply. Raises OSError for all that goes
    wrong."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), _LIMIT)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        try:
            self._line()
            self.ask(b"USER " + user.encode())
            before = time.monotonic()
            self.ask(b"PASS " + password.encode())
            self.login_seconds = time.monotonic() - before
        except OSError:
            self._sock.close()
            raise

    def ask(self, command: bytes) -> bytes:
        """One command with a reply of one line, which must be a success."""
        self._sock.sendall(command + b"\r\n")
        return self._line()

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            self._rest += self._read()
        line, _, self._rest = self._rest.partition(b"\r\n")
        if not line.startswith(b"+OK"):
            raise ConnectionError(line.decode(errors="replace"))
        return line

    def _read(self) -> bytes:
        data = self._sock.recv(_CHUNK)
        if not data:
            raise ConnectionError("closed by the server")
        return data

    def stat(self) -> tuple[int, int]:
        """(messages, octets)."""
        words = self.ask(b"STAT").split()
        return int(words[1]), int(words[2])

    def listing(self, command: bytes) -> int:
        """Octets of a reply with more lines."""
        self._sock.sendall(command + b"\r\n")
        return self._answer()

    def _answer(self) -> int:
        """Octets behind the status line of the next reply, without its end."""
        text = self._rest
        while (end := text.find(_END)) < 0:
            text += self._read()
        self._rest = text[end + len(_END) :]
        status = text.find(b"\r\n")
        if not text.startswith(b"+OK"):
            raise ConnectionError(text[:status].decode(errors="replace"))
        return max(0, end - status)

    def lockstep(self, messages: int, took: "array.array[int]") -> int:
        """RETR of each, one at a time; octets with a line end each. ``took`` gets nanoseconds."""
        octets = 0
        clock = time.monotonic_ns
        for number in range(1, messages + 1):
            before = clock()
            octets += self.listing(b"RETR %d" % number)
            took.append(clock() - before)
        return octets

    def pipelined(self, messages: int) -> int:
        """The same with up to WINDOW commands ahead."""
        octets = 0
        sent = min(WINDOW, messages)
        self._sock.sendall(b"".join(b"RETR %d\r\n" % n for n in range(1, sent + 1)))
        done = 0
        rest = self._rest
        while done < messages:
            rest += self._read()
            start = 0
            while (end := rest.find(_END, start)) >= 0:
                if not rest.startswith(b"+OK", start):
                    raise ConnectionError(rest[start : start + 80].decode(errors="replace"))
                octets += end - rest.find(b"\r\n", start)
                start = end + len(_END)
                done += 1
            rest = rest[start:]
            more = min(done + WINDOW, messages)
            if more - sent >= WINDOW // 2 or more == messages > sent:
                self._sock.sendall(b"".join(b"RETR %d\r\n" % n for n in range(sent + 1, more + 1)))
                sent = more
        self._rest = rest
        return octets

    def quit(self) -> None:
        self.ask(b"QUIT")
        self._sock.close()


def main(arguments: list[str]) -> int:
    port, user, password, manner, rounds, begin, file = arguments
    took = array.array("q")
    try:
        session = Pop3(int(port), user, password)
        messages, expected = session.stat()
        time.sleep(max(0, int(begin) - time.monotonic_ns()) / 1e9)
        began, cpu = time.monotonic_ns(), time.process_time_ns()
        octets = 0
        for _ in range(int(rounds)):
            octets += session.lockstep(messages, took) if manner == "lockstep" else session.pipelined(messages)
        ended, used = time.monotonic_ns(), time.process_time_ns() - cpu
        session.quit()
    except OSError as error:
        print(f"{user}: {error}", file=sys.stderr)
        return 1
    if octets != expected * int(rounds):
        print(f"{user}: {octets:,} octets came, STAT has {expected:,}", file=sys.stderr)
        return 1
    numbers = array.array("q", [began, ended, messages * int(rounds), octets, cpu, used])
    Path(file).write_bytes((numbers + took).tobytes())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
