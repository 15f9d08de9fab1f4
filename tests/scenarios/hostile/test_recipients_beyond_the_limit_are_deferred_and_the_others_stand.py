"""Recipients beyond the limit are deferred, and the others stand."""

from tests.harness.hostile import CONTENT, Raw, good_client

LIMIT = 10


def test_recipients_beyond_the_limit_are_deferred_and_the_others_stand(server) -> None:
    with Raw(server.port) as client:
        client.hello()
        many = b"".join(b"RCPT TO:<r%d@arlington.example>\r\n" % n for n in range(5000))
        client.say(b"MAIL FROM:<alice@athena.example>\r\n" + many + b"DATA\r\n")
        assert client.reply().startswith("250 2.1.0")
        assert client.replies(LIMIT) == ["250 2.1.5 ok"] * LIMIT
        assert client.replies(5000 - LIMIT) == ["452 4.5.3 too many recipients"] * (5000 - LIMIT)
        assert client.reply().startswith("354 ")
        good_client(server)
        queue_id = client.ask(CONTENT + b".\r\n").split()[2]
        assert client.transaction().startswith("250 2.0.0 ")
    taken = server.wait_for_events(LIMIT, "Reception", id=queue_id)
    assert [event["recipient"] for event in taken] == [f"r{n}@arlington.example" for n in range(LIMIT)]
