"""A connection may end at any moment, with FIN or RST: what was not answered is not there, and nothing is left over."""

import pytest

from tests.harness.hostile import ENVELOPE, HELLO, Raw, good_client

STAGES = {
    "connected": b"",
    "half an EHLO": b"EHLO cli",
    "EHLO": HELLO,
    "half a MAIL": HELLO + b"MAIL FROM:<alice@ath",
    "MAIL": HELLO + ENVELOPE.partition(b"RCPT")[0],
    "RCPT": HELLO + ENVELOPE.partition(b"DATA")[0],
    "DATA": HELLO + ENVELOPE,
    "half a header": HELLO + ENVELOPE + b"Subj",
    "content": HELLO + ENVELOPE + b"Subject: x\r\n\r\nhello\r\n",
    "the dot": HELLO + ENVELOPE + b"Subject: x\r\n\r\nhello\r\n.",
    "the CR behind the dot": HELLO + ENVELOPE + b"Subject: x\r\n\r\nhello\r\n.\r",
    "streamed content": HELLO + ENVELOPE + b"\r\n" + (b"x" * 998 + b"\r\n") * 1500,
    "an overlong line": b"x" * 100_000,
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_connection_may_end_at_any_moment(server, stage: str) -> None:
    accepted = server.audit()["accepted"]
    for n in range(20):
        if n % 3:
            client = Raw(server.port)
            client.advance(STAGES[stage])
        else:
            client = Raw(server.port, greeted=False)
            client.say(STAGES[stage])
        if n % 2:
            client.reset()
        else:
            client.sock.close()
    good_client(server)
    assert server.audit()["accepted"] == accepted + 1


def test_with_the_end_of_content_out_the_message_is_either_there_or_not(server) -> None:
    """A client that does not wait for its 250 will send it again; ours is to know exactly what we have."""
    for n in range(30):
        client = Raw(server.port)
        client.advance(HELLO + ENVELOPE + b"Subject: x\r\n\r\nhello\r\n.\r\n")
        if n % 2:
            client.reset()
        else:
            client.sock.close()
    good_client(server)
    books = server.audit()
    assert books["accepted"] == books["discarded"] + books["queued"]
