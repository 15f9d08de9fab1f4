"""A connection that ends in the middle of a content or an exchange, with close_notify, FIN or RST: nothing is accepted,
nobody is logged in, and the server's end is a clean one."""

import ssl

import pytest

from tests.harness.mail_house import MARK
from tests.harness.tls_wire import TlsWire

ENVELOPE = [(b"MAIL FROM:<alice@athena.example>\r\n", b"250"), (b"RCPT TO:<bob@arlington.example>\r\n", b"250")]
DATA = [*ENVELOPE, (b"DATA\r\n", b"354")]
#: Commands with the replies to wait for, and the octets at which it ends.
STAGES = {
    "DATA without content": (DATA, b""),
    "content": (DATA, b"Subject: x\r\n\r\nhello\r\n"),
    "the dot": (DATA, b"Subject: x\r\n\r\nhello\r\n."),
    "the CR behind the dot": (DATA, b"Subject: x\r\n\r\nhello\r\n.\r"),
    "streamed content": (DATA, b"\r\n" + (b"x" * 998 + b"\r\n") * 1500),
    "BDAT without octets": (ENVELOPE, b"BDAT 100 LAST\r\n"),
    "all but one octet of a chunk": (ENVELOPE, b"BDAT 100 LAST\r\n" + b"x" * 99),
    "between chunks": ([*ENVELOPE, (b"BDAT 3\r\nx\r\n", b"250")], b""),
    "the last chunk": ([*ENVELOPE, (b"BDAT 3\r\nx\r\n", b"250")], b"BDAT 3 LAST\r\nx\r"),
    "a streamed chunk": (ENVELOPE, b"BDAT 2000000 LAST\r\n" + (b"x" * 998 + b"\r\n") * 1500),
}
LOGINS = {
    "half an AUTH": ([], b"AUTH PLA"),
    "AUTH PLAIN": ([(b"AUTH PLAIN\r\n", b"334")], b""),
    "half a response": ([(b"AUTH PLAIN\r\n", b"334")], b"AG1hcmsAYX"),
    "a response without its line end": ([(b"AUTH PLAIN\r\n", b"334")], b"AG1hcmsAYXJsaW5ndG9uLTE5OTg="),
    "AUTH LOGIN between": ([(b"AUTH LOGIN\r\n", b"334"), (b"bWFyaw==\r\n", b"334")], b""),
    "SCRAM's challenge": ([(b"AUTH SCRAM-SHA-256 biwsbj1tYXJrLHI9YWJj\r\n", b"334")], b"Yz1i"),
}
#: Listener of ``SubmissionHouse``, and how TLS begins there.
RELAY = {"clear": "relay", "starttls": "relay", "implicit": "relay_implicit"}
SUBMISSION = {"clear": "clear", "starttls": "starttls", "implicit": "implicit"}
HOW = pytest.mark.parametrize("how", RELAY)


def end_everywhere(port: int, how: str, context: ssl.SSLContext, steps, octets: bytes) -> None:
    for end in ("close_notify", "FIN", "RST") if how != "clear" else ("FIN", "RST"):
        with TlsWire(port, how, context) as wire:
            for said, code in steps:
                assert wire.ask(said).startswith(code), (said, code)
            wire.say(octets)
            if end == "RST":
                wire.reset()
                continue
            rest = wire.farewell() if end == "close_notify" else wire.half_close()
            # Under TLS what is left is an alert, after close_notify a whole TLS record at most.
            assert b"250" not in rest
            assert not rest if how == "clear" or end == "close_notify" else len(rest) < 100, rest


@HOW
def test_nothing_is_accepted_whose_end_did_not_come(server, how: str) -> None:
    for steps, octets in STAGES.values():
        end_everywhere(server.port_of(RELAY[how]), how, server.certificate.context(), steps, octets)


@HOW
def test_nobody_is_logged_in_by_half_an_exchange(server, how: str) -> None:
    for steps, octets in LOGINS.values():
        end_everywhere(server.port_of(SUBMISSION[how]), how, server.certificate.context(), steps, octets)
    assert not [event for event in server.events() if event.get("submitter") == MARK]
