"""Octets in the clear behind STARTTLS, in its segment or in a later one: the connection ends, and none of it is a
command, before the handshake or after it (CVE-2011-0411)."""

import ssl

import pytest

from tests.harness.hostile import Raw

INJECTED = {
    "a transaction": b"EHLO evil.example\r\nMAIL FROM:<evil@athena.example>\r\nRCPT TO:<bob@arlington.example>\r\n",
    "a chunk": b"MAIL FROM:<evil@athena.example>\r\nRCPT TO:<b@x.example>\r\nBDAT 5 LAST\r\nhello\r\n",
    "one octet": b"E",
    "a line end": b"\r\n",
    "another STARTTLS": b"STARTTLS\r\n",
}
INJECTIONS = pytest.mark.parametrize("octets", INJECTED.values(), ids=INJECTED)


def heard(raw: Raw) -> bytes:
    """Whatever the server still says, TLS alerts too, until it closes."""
    said = raw.unread
    while True:
        try:
            octets = raw.sock.recv(65_536)
        except ConnectionResetError:
            return said
        if not octets:
            return said
        said += octets


@INJECTIONS
def test_in_the_segment_of_starttls(server, octets: bytes) -> None:
    with Raw(server.port_of("relay")) as raw:
        raw.hello().say(b"STARTTLS\r\n" + octets)
        assert heard(raw) == b"220 2.0.0 ready to start TLS\r\n"
    assert nothing_heard(server)


@INJECTIONS
def test_in_a_later_segment(server, octets: bytes) -> None:
    """It stands where the handshake begins, and a handshake that begins so is none."""
    with Raw(server.port_of("relay")) as raw:
        assert raw.hello().ask(b"STARTTLS\r\n") == "220 2.0.0 ready to start TLS"
        raw.say(octets)
        raw.say(b"EHLO evil.example\r\n" * 20)
        said = heard(raw)
    assert said[:1] in (b"", b"\x15"), "an alert at most"
    assert b"250" not in said
    assert nothing_heard(server)


@INJECTIONS
def test_in_front_of_a_handshake_that_a_good_client_begins(server, octets: bytes) -> None:
    """As somebody in the middle would put it there: the client's handshake fails, so that it finds out."""
    with Raw(server.port_of("relay")) as raw:
        assert raw.hello().ask(b"STARTTLS\r\n").startswith("220 ")
        raw.say(octets)
        with pytest.raises(OSError):  # noqa: PT011 - of TLS, or of the socket, whoever is first
            server.certificate.context().wrap_socket(raw.sock, server_hostname="localhost")
    assert nothing_heard(server)


def test_inside_tls_starttls_is_no_command_any_more(server) -> None:
    with Raw(server.port_of("relay")) as raw:
        assert raw.hello().ask(b"STARTTLS\r\n").startswith("220 ")
        raw.sock = server.certificate.context().wrap_socket(raw.sock, server_hostname="localhost")
        assert isinstance(raw.sock, ssl.SSLSocket)
        assert raw.ask(b"MAIL FROM:<a@b.example>\r\n") == "503 5.5.1 EHLO or HELO first"
        raw.hello()
        assert raw.ask(b"STARTTLS\r\n") == "503 5.5.1 bad sequence of commands"
        assert raw.ask(b"QUIT\r\n") == "221 2.0.0 bye"


def nothing_heard(server) -> bool:
    return not any("evil" in str(event) for event in server.events())
