"""A POP3 client that fetches a whole mailbox, and notes what it took.

``python -m bench.probe_pop3 PORT USER PASSWORD lockstep|pipelined ROUNDS BEGIN FILE``

Owns: the fetching end. It logs in, asks for STAT and fetches everything once, waits until CLOCK_MONOTONIC has reached
BEGIN nanoseconds, then sends RETR for every message, ROUNDS times over, and quits without deleting anything. FILE gets
native 64-bit numbers: begin and end in CLOCK_MONOTONIC nanoseconds, messages, octets of content, its own CPU
nanoseconds before begin and from then to end, and in lock-step the nanoseconds of each RETR.

The first time every reply is read through: together they must hold what STAT says. From then on it is known how long
each reply is, and it must be so again to the octet, which is checked with hardly any work: the servers are measured,
and this program shares their machine. What is not as it was ends it with status 1 and one line.
Never does: keep what it gets, or talk TLS.
"""

import array
import socket
import struct
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

#: RETR commands that are on their way at once. Both ends' socket buffers hold them and some of the answers.
WINDOW = 100
_CHUNK = 1 << 18
_END = b"\r\n.\r\n"
_LIMIT = 60


class Pop3:
    """One session that is logged in; ``login_seconds``: from PASS to its reply. Raises OSError for all that goes
    wrong. Its socket blocks, and the kernel keeps the time: a timeout of Python's would cost a poll for each read."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _LIMIT, 0))
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
        """A reply with more lines: its octets."""
        self._sock.sendall(command + b"\r\n")
        return len(self._answer())

    def _answer(self) -> bytes:
        """The next reply of more lines, whole."""
        text = self._rest
        while (end := text.find(_END)) < 0:
            text += self._read()
        end += len(_END)
        self._rest = text[end:]
        if not text.startswith(b"+OK"):
            raise ConnectionError(text[: text.find(b"\r\n")].decode(errors="replace"))
        return text[:end]

    def learn(self, messages: int) -> tuple[list[int], int]:
        """Fetches each, up to WINDOW commands ahead: octets of each whole reply, and of all contents together."""
        lengths: list[int] = []
        octets = sent = 0
        while len(lengths) < messages:
            if len(lengths) == sent:
                sent = self._order(sent, min(sent + WINDOW, messages))
            reply = self._answer()
            lengths.append(len(reply))
            octets += max(0, len(reply) - len(_END) - reply.find(b"\r\n"))
        return lengths, octets

    def _order(self, sent: int, more: int) -> int:
        self._sock.sendall(b"".join(b"RETR %d\r\n" % number for number in range(sent + 1, more + 1)))
        return more

    def lockstep(self, lengths: Sequence[int], took: "array.array[int]") -> None:
        """RETR of each, one at a time, whose whole replies have these lengths. ``took`` gets nanoseconds."""
        clock, send, receive = time.monotonic_ns, self._sock.sendall, self._sock.recv_into
        room = bytearray(max(lengths, default=0))
        for number, length in enumerate(lengths, 1):
            before = clock()
            send(b"RETR %d\r\n" % number)
            came = receive(room, length, socket.MSG_WAITALL)
            took.append(clock() - before)
            if came != length or room[:3] != b"+OK" or room[length - 5 : length] != _END:
                raise ConnectionError(f"message {number}: not the {length} octets of before: {bytes(room[:80])!r}")

    def pipelined(self, lengths: Sequence[int]) -> None:
        """The same with up to WINDOW commands ahead."""
        ends = list(accumulate(lengths))
        messages, expected = len(ends), ends[-1] if ends else 0
        room = bytearray(_CHUNK)
        came = done = 0
        sent = self._order(0, min(WINDOW, messages))
        while came < expected:
            length = self._sock.recv_into(room)
            if not length:
                raise ConnectionError("closed by the server")
            came += length
            done = bisect_right(ends, came, done)
            more = min(done + WINDOW, messages)
            if more - sent >= WINDOW // 2 or more == messages > sent:
                sent = self._order(sent, more)
        if came != expected or not room[:length].endswith(_END[-length:]):
            raise ConnectionError(f"{came:,} octets came, not the {expected:,} of before")

    def quit(self) -> None:
        self.ask(b"QUIT")
        self.close()

    def close(self) -> None:
        self._sock.close()


def measured(session: Pop3, manner: str, rounds: int, begin: int) -> "array.array[int]":
    """Everything once, then the rounds from ``begin`` on: the numbers for FILE. Raises OSError."""
    took = array.array("q")
    messages, expected = session.stat()
    lengths, octets = session.learn(messages)
    if octets != expected:
        raise ConnectionError(f"{octets:,} octets came, STAT has {expected:,}")
    time.sleep(max(0, begin - time.monotonic_ns()) / 1e9)
    began, cpu = time.monotonic_ns(), time.process_time_ns()
    for _ in range(rounds):
        if manner == "lockstep":
            session.lockstep(lengths, took)
        else:
            session.pipelined(lengths)
    ended, used = time.monotonic_ns(), time.process_time_ns() - cpu
    session.quit()
    return array.array("q", [began, ended, messages * rounds, octets * rounds, cpu, used]) + took


def main(arguments: list[str]) -> int:
    port, user, password, manner, rounds, begin, file = arguments
    try:
        session = Pop3(int(port), user, password)
        try:
            numbers = measured(session, manner, int(rounds), int(begin))
        finally:
            session.close()
    except OSError as error:
        print(f"{user}: {error}", file=sys.stderr)
        return 1
    Path(file).write_bytes(numbers.tobytes())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
