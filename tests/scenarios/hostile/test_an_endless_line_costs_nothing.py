"""An endless line costs nothing: it is thrown away as it comes, and answered at its end."""

from tests.harness.hostile import ENVELOPE, Footprint, Raw, good_client

MEGABYTE = b"x" * (1 << 20)


def test_an_endless_command_line(server) -> None:
    before = Footprint(server)
    with Raw(server.port) as client:
        client.hello()
        for _ in range(50):
            client.say(MEGABYTE)
        good_client(server)
        assert before.worker.anonymous() - before.anonymous < 4 << 20
        assert client.ask(b"\r\n") == "500 5.5.2 line too long"
        assert client.transaction().startswith("250 2.0.0 ")


def test_an_endless_line_of_content(server) -> None:
    before = Footprint(server)
    with Raw(server.port) as client:
        client.hello()
        client.say(ENVELOPE)
        assert [reply[:3] for reply in client.replies(3)] == ["250", "250", "354"]
        for _ in range(50):
            client.say(MEGABYTE)
        good_client(server)
        assert before.worker.anonymous() - before.anonymous < 4 << 20
        assert client.ask(b"\r\n.\r\n") == "552 5.3.4 message too large"
        assert client.transaction().startswith("250 2.0.0 ")


def test_a_line_of_content_that_is_too_long(server) -> None:
    with Raw(server.port) as client:
        client.hello()
        client.say(ENVELOPE)
        client.replies(3)
        assert client.ask(b"x" * 70_000 + b"\r\n.\r\n") == "554 5.6.0 line too long"
        assert client.transaction().startswith("250 2.0.0 ")


def test_a_header_section_without_an_end(server) -> None:
    with Raw(server.port) as client:
        client.hello()
        client.say(ENVELOPE)
        client.replies(3)
        fields = b"X-Padding: " + b"x" * 500 + b"\r\n"
        assert client.ask(fields * 2100 + b".\r\n") == "554 5.6.0 header section too large"
        assert client.transaction().startswith("250 2.0.0 ")
