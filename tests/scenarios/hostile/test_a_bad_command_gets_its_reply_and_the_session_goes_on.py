"""A bad command gets its reply, and the session goes on: the next transaction on it goes through."""

import pytest

from tests.harness.hostile import ENVELOPE, HELLO, Raw, good_client

MAIL = b"MAIL FROM:<alice@athena.example>\r\n"
RCPT = b"RCPT TO:<bob@arlington.example>\r\n"
TOO_LONG = "500 5.5.2 line too long"
BAD_OCTET = "500 5.5.2 NUL or 8-bit octet in a command"
SEQUENCE = "503 5.5.1 bad sequence of commands"

CASES = {
    "an overlong line": (b"NOOP " + b"x" * 3000 + b"\r\n", TOO_LONG),
    "a line of a megabyte": (b"NOOP " + b"x" * 1_000_000 + b"\r\n", TOO_LONG),
    "an overlong path": (b"MAIL FROM:<" + b"x" * 2100 + b"@athena.example>\r\n", TOO_LONG),
    "a NUL": (b"NOOP \0\r\n", BAD_OCTET),
    "a NUL in a verb": (b"NO\0OP\r\n", BAD_OCTET),
    "an 8-bit octet": (b"MAIL FROM:<j\xf6rg@athena.example>\r\n", BAD_OCTET),
    "nothing but a line end": (b"\r\n", "500 5.5.1 command not recognized"),
    "an unknown verb": (b"GET / HTTP/1.1\r\n", "500 5.5.1 command not recognized"),
    "RCPT before MAIL": (RCPT, SEQUENCE),
    "DATA before MAIL": (b"DATA\r\n", SEQUENCE),
    "MAIL without its argument": (b"MAIL\r\n", "501 5.5.4 syntax error in arguments"),
    "a path without an end": (b"MAIL FROM:<alice@athena.example\r\n", "501 5.1.7 bad reverse-path"),
    "an unknown parameter": (b"MAIL FROM:<> XYZZY=1\r\n", "555 5.5.4 parameter not recognized or not implemented"),
    "a SIZE that is no number": (b"MAIL FROM:<> SIZE=many\r\n", "501 5.5.4 syntax error in arguments"),
    "a SIZE above every integer": (b"MAIL FROM:<> SIZE=99999999999999999999\r\n", None),
    "a verb that is not offered": (b"TURN\r\n", "502 5.5.1 command not implemented"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_command_gets_its_reply(server, case: str) -> None:
    command, expected = CASES[case]
    with Raw(server.port) as client:
        client.hello()
        reply = client.ask(command)
        assert reply == expected if expected else reply[:3] in ("501", "552")
        good_client(server)
        assert client.transaction().startswith("250 2.0.0 ")


def test_commands_out_of_order_leave_the_transaction_as_it_was(server) -> None:
    with Raw(server.port) as client:
        assert client.ask(MAIL) == "503 5.5.1 EHLO or HELO first"
        codes = []
        for group in (HELLO, MAIL + MAIL + b"DATA\r\n", RCPT + MAIL + b"DATA\r\n"):
            client.say(group)
            codes += [reply[:3] for reply in client.replies(group.count(b"\r\n"))]
        assert codes == ["250", "250", "503", "503", "250", "503", "354"]
        assert client.ask(b"Subject: one\r\n\r\n.\r\n").startswith("250 2.0.0 ")
        assert client.transaction().startswith("250 2.0.0 ")


def test_data_with_only_refused_recipients_ends_the_transaction(server) -> None:
    with Raw(server.port) as client:
        client.hello()
        client.advance(MAIL + b"RCPT TO:<>\r\nDATA\r\n")
        codes = [reply[:3] for reply in client.replies(3)]
        client.say(ENVELOPE)
        codes += [reply[:3] for reply in client.replies(3)]
        assert codes == ["250", "501", "554", "250", "250", "354"]


def test_too_many_errors_end_the_session(server) -> None:
    """Five are allowed here; then 421, also when ten thousand more wait in line."""
    with Raw(server.port) as client:
        client.hello()
        client.say(b"WHAT\r\n" * 10_000)
        assert client.replies(6) == ["500 5.5.1 command not recognized"] * 6
        assert client.rest() == ["421 4.7.0 too many errors"]
