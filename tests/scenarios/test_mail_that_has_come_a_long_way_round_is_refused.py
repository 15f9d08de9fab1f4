"""More Received fields than limits.hops: the message goes in circles, and is refused after its data."""

from tests.harness.mta_server import MESSAGE
from tests.harness.stories import route

HOP = b"Received: from a.example by b.example; Tue, 24 Nov 2026 02:00:00 +0000\r\n"


def test_mail_that_has_come_a_long_way_round_is_refused(mta, sink) -> None:
    remote = sink()
    server = mta(route=[route("*", remote.port)], limits={"hops": 5})
    with server.connect() as session:
        session.mail("alice@athena.example")
        session.rcpt("bob@arlington.example")
        code, text = session.data(HOP * 6 + MESSAGE)
    assert code == 554
    assert text.startswith(b"5.4.6 ")
    server.send(content=HOP * 5 + MESSAGE)
    [message] = remote.wait_for(1)
    assert message.content.count(b"Received:") == 6
