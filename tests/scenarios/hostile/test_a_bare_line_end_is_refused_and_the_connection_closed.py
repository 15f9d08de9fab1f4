"""A bare CR or LF is refused and the connection closed, whatever follows it: nothing can be smuggled past it."""

import pytest

from tests.harness.hostile import CONTENT, ENVELOPE, Raw, good_client

REFUSED = "550 5.5.2 CR and LF may only come together"
SMUGGLED = ENVELOPE.replace(b"alice", b"ceo") + b"Subject: smuggled\r\n\r\n.\r\n"

COMMANDS = {
    "LF": b"NOOP\n",
    "CR in the line": b"NO\rOP\r\n",
    "CR CR LF": b"NOOP\r\r\n",
    "two commands in one line": b"RSET\rNOOP\r\n",
}
ENDS = {
    "LF dot LF": b"\n.\n",
    "LF dot CRLF": b"\n.\r\n",
    "CRLF dot LF": b"\r\n.\n",
    "CR dot CR": b"\r.\r",
    "CRLF dot CR": b"\r\n.\r",
    "CR LF with a CR between": b"\r\r\n.\r\r\n",
    "NUL beside the dot": b"\r\n.\0\r\n\n",
}


@pytest.mark.parametrize("case", COMMANDS)
def test_in_a_command(server, case: str) -> None:
    with Raw(server.port) as client:
        client.hello()
        client.say(COMMANDS[case] + b"NOOP\r\n" * 5000)
        good_client(server)
        assert client.rest() == [REFUSED]


@pytest.mark.parametrize("case", ENDS)
def test_in_content(server, case: str) -> None:
    """Only CRLF.CRLF ends content: what looks like an end to others is content, and refused with all of it."""
    received = server.audit()["accepted"]
    with Raw(server.port) as client:
        client.hello()
        client.advance(ENVELOPE + CONTENT.removesuffix(b"\r\n") + ENDS[case] + SMUGGLED + SMUGGLED)
        assert client.rest() == [REFUSED]
    assert server.audit()["accepted"] == received
