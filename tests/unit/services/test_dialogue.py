"""A recorded session reads the same however its octets were cut."""

import pytest

from mta.services.dialogue import Dialogue, Turn


class Ticks:
    """A clock that moves by one second a look."""

    def __init__(self) -> None:
        self.now = 0.0

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


SESSION = [
    ("server", b"220 b.example\r\n"),
    ("client", b"EHLO a.example\r\n"),
    ("server", b"250-b.example\r\n250 PIPELINING\r\n"),
    ("client", b"MAIL FROM:<>\r\nRCPT TO:<x@b.example>\r\nDATA\r\n"),
    ("server", b"250 ok\r\n250 ok\r\n354 go on\r\n"),
    ("client", b"Subject: x\r\n\r\n..\r\n354 is no reply here\r\n.\r\nQUIT\r\n"),
    ("server", b"250 ok\r\n221 bye\r\n"),
]
TURNS = [
    Turn("server", "220 b.example"),
    Turn("client", "EHLO a.example"),
    Turn("server", "250-b.example"),
    Turn("server", "250 PIPELINING"),
    Turn("client", "MAIL FROM:<>"),
    Turn("client", "RCPT TO:<x@b.example>"),
    Turn("client", "DATA"),
    Turn("server", "250 ok"),
    Turn("server", "250 ok"),
    Turn("server", "354 go on"),
    Turn("client", "", len(b"Subject: x\r\n\r\n..\r\n354 is no reply here\r\n")),
    Turn("client", "."),
    Turn("client", "QUIT"),
    Turn("server", "250 ok"),
    Turn("server", "221 bye"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_a_session_reads_the_same_whole_and_in_pieces(size: int) -> None:
    dialogue = Dialogue(Ticks())
    for side, octets in SESSION:
        note = dialogue.server if side == "server" else dialogue.client
        for at in range(0, len(octets), size):
            note(octets[at : at + size])
    assert dialogue.turns == TURNS


@pytest.mark.parametrize("cut", range(1, 4))
def test_content_may_be_empty(cut: int) -> None:
    dialogue = Dialogue(Ticks())
    dialogue.server(b"354 go on\r\n")
    dialogue.client(b".\r\nQUIT\r\n"[:cut])
    dialogue.client(b".\r\nQUIT\r\n"[cut:])
    assert dialogue.turns[1:] == [Turn("client", "", 0), Turn("client", "."), Turn("client", "QUIT")]


def test_it_lasts_until_the_last_octet() -> None:
    dialogue = Dialogue(Ticks())
    dialogue.server(b"220 b.example\r\n")
    dialogue.client(b"QUIT\r\n")
    assert dialogue.seconds == 2.0
    assert dialogue.replies() == ["220 b.example"]


def test_turns_that_somebody_else_took_apart_are_noted_as_they_are() -> None:
    dialogue = Dialogue(Ticks())
    dialogue.said("server", "+OK")
    dialogue.said("server", "", 120)
    assert dialogue.turns == [Turn("server", "+OK"), Turn("server", "", 120)]
    assert dialogue.seconds == 2.0
