"""Contents that break relays: dots, 8 bits, NUL, no header, nothing at all, long lines, every size around a limit.

Through ``mta run`` to a sink that shows the octets on the wire, and where lines are enough, to Postfix's smtp-sink.
"""

import random

import pytest

from tests.harness.mta_server import submit
from tests.harness.stories import route

HEAD = b"From: <alice@athena.example>\r\nSubject: x\r\n\r\n"
MIB = 1 << 20


def lines(*texts: bytes) -> bytes:
    return HEAD + b"".join(text + b"\r\n" for text in texts)


def sized(size: int) -> bytes:
    """So many octets in lines, every third of which begins with a dot."""
    line = b"x" * 76 + b"\r\n" + b"." * 40 + b"y" * 36 + b"\r\n" + b"\xe4" * 76 + b"\r\n"
    body = (line * (size // len(line) + 1))[: size - len(HEAD) - 2]
    body = body[:-1] + b"z" if body.endswith(b"\r") else body  # half a line end
    return HEAD + body + b"\r\n"


CONTENTS = {
    "a lonely dot": lines(b".", b"after"),
    "dots only": lines(b".", b"..", b"...", b"."),
    "dots at both ends": b".\r\n" + lines(b".x.", b".."),
    "dot lines in the header": b".Subject: odd\r\n..X: y\r\n\r\n.\r\n",
    "the last line is a dot": lines(b"x", b"."),
    "8 bits undeclared": lines(bytes(range(128, 256)), "Grüße aus Köln".encode()),
    "NUL": lines(b"a\0b", b"\0", b".\0"),
    "controls": lines(bytes(n for n in range(1, 32) if n not in (10, 13)) + b"\x7f"),
    "no header": b"just a line\r\n",
    "no body": b"Subject: x\r\n",
    "only an empty line": b"\r\n",
    "empty lines": b"\r\n" * 100,
    "trailing blanks": lines(b"x ", b"\t", b" "),
    "no colon anywhere": b"this is\r\nnot a header\r\n\r\nbody\r\n",
    "a mail in a mail": lines(b"From: x", b"", b"Received: from a by b; today", b"From me"),
    "mbox": lines(b"From here to there", b">From there"),
    "long lines": lines(b"x" * 998, b"y" * 5000, b"." + b"z" * 60_000),
    "SMTP in the body": lines(b"QUIT", b"RSET", b"MAIL FROM:<x@example>", b"DATA", b"354 go ahead", b"."),
}


def relayed(mta, sink, contents: list[bytes]) -> list[bytes]:
    """What became of them behind the Received field."""
    remote = sink(extensions=("PIPELINING", "8BITMIME", "SIZE 100000000"))
    server = mta(route=[route("*", remote.port)])
    with server.connect() as session:
        for number, content in enumerate(contents):
            submit(session, f"message{number}@arlington.example", content)
    received = {message.recipients[0]: message.content for message in remote.wait_for(len(contents))}
    server.wait_for_empty_queue()
    assert remote.violations == []
    return [behind_received(received[f"message{number}@arlington.example"]) for number in range(len(contents))]


def behind_received(content: bytes) -> bytes:
    """Without the first field, whose folded lines begin with a tab."""
    first, *rest = content.split(b"\r\n")
    assert first.startswith(b"Received: from client.example ")
    while rest[0].startswith(b"\t"):
        del rest[0]
    return b"\r\n".join(rest)


def test_contents_pass_unchanged(mta, sink) -> None:
    for name, got in zip(CONTENTS, relayed(mta, sink, list(CONTENTS.values())), strict=True):
        assert got == CONTENTS[name], name


def test_nothing_at_all_passes_as_nothing(mta, sink) -> None:
    remote = sink()
    server = mta(route=[route("*", remote.port)])
    with server.connect() as session:
        session.mail("alice@athena.example")
        session.rcpt("bob@arlington.example")
        assert session.docmd("DATA")[0] == 354
        session.send(b".\r\n")
        assert session.getreply()[0] == 250
    assert behind_received(remote.wait_for(1)[0].content) == b""


@pytest.mark.parametrize("around", [4096, 65_536, 262_144, MIB], ids=["a page", "64 KiB", "256 KiB", "1 MiB"])
def test_sizes_around_a_limit_pass_unchanged(mta, sink, around: int) -> None:
    """Pages of the spool, reads of the socket, whole or streamed: one octet more or less changes the way taken."""
    contents = [sized(around + more) for more in (-300, -2, -1, 0, 1, 2, 300)]
    assert relayed(mta, sink, contents) == contents


def test_large_contents_pass_unchanged(mta, sink) -> None:
    contents = [sized(3 * MIB), sized(12 * MIB + 17)]
    assert relayed(mta, sink, contents) == contents


def test_random_contents_pass_unchanged(mta, sink) -> None:
    chance = random.Random(1998)
    alphabet = (b".", b"\r\n", b"\r\n.", b"\r\n..", b"x", b"\0", b"\xff", b"yy: z")
    contents = [b"".join(chance.choices(alphabet, k=chance.randrange(1, 400))) + b"\r\n" for _ in range(150)]
    assert relayed(mta, sink, contents) == contents


def test_contents_survive_the_spool_and_a_restart(mta, sink) -> None:
    remote = sink()
    remote.stop()
    server = mta(route=[route("*", remote.port)], delivery={"retry_after": ["1s"]})
    contents = [*CONTENTS.values(), sized(2 * MIB)]
    with server.connect() as session:
        for number, content in enumerate(contents):
            submit(session, f"message{number}@arlington.example", content)
    server.restart()
    remote.start()
    received = {message.recipients[0]: message.content for message in remote.wait_for(len(contents))}
    for number, content in enumerate(contents):
        assert behind_received(received[f"message{number}@arlington.example"]) == content


def test_smtp_sink_sees_the_same_lines(mta, smtp_sink) -> None:
    sink = smtp_sink()
    server = mta(route=[route("*", sink.port)])
    sent = {name: content for name, content in CONTENTS.items() if b"\0" not in content and len(content) < 4000}
    with server.connect() as session:
        for number, content in enumerate(sent.values()):
            submit(session, f"message{number}@arlington.example", content)
    server.wait_for_events(len(sent), "Delivery")
    received = sink.by_recipient()
    for number, (name, content) in enumerate(sent.items()):
        assert behind_received(received[f"message{number}@arlington.example"]) == content, name
