"""Ten thousand pipelined commands get ten thousand replies, in order, while others are served."""

import threading

from tests.harness.hostile import CONTENT, ENVELOPE, Raw, good_client

COUNT = 10_000


def test_ten_thousand_pipelined_commands_get_as_many_replies(server) -> None:
    commands = [b"NOOP\r\n", b"RSET\r\n", ENVELOPE.partition(b"RCPT")[0], b"RSET\r\n", b"VRFY bob\r\n"]
    codes = ["250", "250", "250", "250", "252"]
    with Raw(server.port) as client:
        client.hello()
        sender = threading.Thread(target=client.say, args=(b"".join(commands) * (COUNT // len(commands)),))
        sender.start()
        good_client(server)
        assert [reply[:3] for reply in client.replies(COUNT)] == codes * (COUNT // len(codes))
        sender.join()
        assert client.transaction().startswith("250 2.0.0 ")


def test_five_hundred_pipelined_messages_get_as_many_ids(server) -> None:
    with Raw(server.port) as client:
        client.hello()
        client.say(ENVELOPE)
        replies = client.replies(3)
        for _ in range(500):
            client.say(CONTENT + b".\r\n" + ENVELOPE)
            replies += client.replies(4)
        good_client(server)
    assert {reply[:3] for reply in replies[2::4]} == {"354"}
    assert len({reply.split()[2] for reply in replies[3::4]}) == 500
