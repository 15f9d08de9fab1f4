"""A recording of one SMTP or POP3 session: what each side said, in the order in which it passed.

Owns: putting octets of both directions together to lines, and counting content instead of keeping it. Never does:
touch the octets or judge them; what is no SMTP is shown as it came. Who speaks POP3 knows its lines and notes them
by ``said``. Pure but for the clock, which is passed in.
"""

from typing import Final, Literal, NamedTuple

from mta.clock import Clock

Side = Literal["client", "server"]

_END: Final = b"\r\n.\r\n"


class Turn(NamedTuple):
    """One line that a side said, or ``octets`` of content (then ``text`` is empty). Without line ends."""

    side: Side
    text: str
    octets: int = 0


class Dialogue:
    """``client`` and ``server`` take octets as they pass. ``turns`` holds whole lines only."""

    def __init__(self, clock: Clock) -> None:
        self.turns: list[Turn] = []
        self._clock = clock
        self._began = self._ended = clock.monotonic()
        self._partial: dict[Side, bytes] = {"client": b"", "server": b""}
        self._in_content = False
        self._octets = 0

    @property
    def seconds(self) -> float:
        """From the beginning of the recording to the last octet."""
        return self._ended - self._began

    def replies(self) -> list[str]:
        """What the server said, line by line."""
        return [turn.text for turn in self.turns if turn.side == "server"]

    def said(self, side: Side, text: str, octets: int = 0) -> None:
        """Notes a turn of a session whose octets the caller takes apart himself."""
        self._ended = self._clock.monotonic()
        self.turns.append(Turn(side, text, octets))

    def server(self, octets: bytes) -> None:
        self._ended = self._clock.monotonic()
        for line in self._lines("server", octets):
            self.turns.append(Turn("server", line))
            if line.startswith("354"):
                self._in_content, self._octets = True, 0
                self._partial["client"] = b"\r\n"  # so that content which is a lone dot line ends as well

    def client(self, octets: bytes) -> None:
        self._ended = self._clock.monotonic()
        if self._in_content:
            octets = self._content(octets)
            if self._in_content:
                return
        for line in self._lines("client", octets):
            self.turns.append(Turn("client", line))

    def _content(self, octets: bytes) -> bytes:
        """Counts content; gives what follows its end."""
        tail = self._partial["client"]
        joined = tail + octets
        end = joined.find(_END)
        if end < 0:
            self._octets += len(octets)
            self._partial["client"] = joined[1 - len(_END) :]
            return b""
        self._octets += end + 2 - len(tail)
        self.turns += [Turn("client", "", max(0, self._octets)), Turn("client", ".")]
        self._partial["client"] = b""
        self._in_content = False
        return joined[end + len(_END) :]

    def _lines(self, side: Side, octets: bytes) -> list[str]:
        *whole, self._partial[side] = (self._partial[side] + octets).split(b"\r\n")
        return [line.decode("utf-8", "replace") for line in whole]
