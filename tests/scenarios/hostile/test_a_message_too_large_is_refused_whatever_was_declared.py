"""A message too large is refused whatever was declared: at MAIL when SIZE says so, else after its end."""

from tests.harness.hostile import CONTENT, ENVELOPE, Footprint, Raw, good_client

LIMIT = 2 << 20
LINE = b"x" * 1022 + b"\r\n"


def test_declared_it_is_refused_at_mail(server) -> None:
    with Raw(server.port) as client:
        client.hello()
        assert client.ask(b"MAIL FROM:<a@athena.example> SIZE=50000000\r\n") == "552 5.3.4 message too large"
        assert client.transaction().startswith("250 2.0.0 ")


def test_fifty_megabytes_undeclared_are_refused_after_their_end(server) -> None:
    before = Footprint(server)
    with Raw(server.port) as client:
        client.hello()
        client.say(ENVELOPE)
        client.replies(3)
        for _ in range(50):
            client.say(LINE * 1000)
        good_client(server)
        assert before.worker.anonymous() - before.anonymous < 8 << 20
        assert client.ask(b".\r\n") == "552 5.3.4 message too large"
        assert client.transaction().startswith("250 2.0.0 ")


def test_a_lie_about_the_size_changes_nothing(server) -> None:
    """Less than declared is fine; more than declared is fine as well, as long as it is below the limit."""
    with Raw(server.port) as client:
        client.hello()
        for declared, octets, code in ((1, LINE * 1000, "250"), (LIMIT, CONTENT, "250"), (1, LINE * 2100, "552")):
            client.say(ENVELOPE.replace(b">", b"> SIZE=%d" % declared, 1))
            assert [reply[:3] for reply in client.replies(3)] == ["250", "250", "354"]
            assert client.ask(octets + b".\r\n")[:3] == code
        assert client.transaction().startswith("250 2.0.0 ")


def test_exactly_the_limit_is_taken_and_one_octet_more_is_not(server) -> None:
    with Raw(server.port) as client:
        client.hello()
        for octets, code in ((LIMIT, "250"), (LIMIT + 1, "552")):
            client.say(ENVELOPE)
            client.replies(3)
            content = b"Subject: large\r\n\r\n" + LINE * (octets // len(LINE) - 1)
            content += b"y" * (octets - len(content) - 2) + b"\r\n"
            assert client.ask(content + b".\r\n")[:3] == code
