"""Data after QUIT is thrown away; the last reply arrives nevertheless."""

from tests.harness.hostile import CONTENT, ENVELOPE, Raw, good_client


def test_data_after_quit_is_thrown_away(server) -> None:
    accepted = server.audit()["accepted"]
    with Raw(server.port) as client:
        client.hello()
        client.say(b"QUIT\r\n" + ENVELOPE + CONTENT + b".\r\n")
        assert client.reply() == "221 2.0.0 bye"
        assert client.reply() in ("", "reset")
    good_client(server)
    assert server.audit()["accepted"] == accepted + 1


def test_a_message_before_quit_counts_and_one_after_it_does_not(server) -> None:
    with Raw(server.port) as client:
        client.hello()
        client.advance(ENVELOPE)
        assert [reply[:3] for reply in client.replies(3)] == ["250", "250", "354"]
        client.say(CONTENT + b".\r\nQUIT\r\n" + ENVELOPE + CONTENT + b".\r\n")
        assert [reply[:3] for reply in client.replies(2)] == ["250", "221"]
        assert client.reply() in ("", "reset")
