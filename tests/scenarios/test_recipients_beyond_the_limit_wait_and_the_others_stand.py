"""More recipients than limits.recipients: 452 for those beyond it, and the message goes to the others."""

from tests.harness.mta_server import MESSAGE
from tests.harness.stories import route


def test_recipients_beyond_the_limit_wait_and_the_others_stand(mta, sink) -> None:
    remote = sink()
    server = mta(route=[route("*", remote.port)], limits={"recipients": 3})
    with server.connect() as session:
        session.mail("alice@athena.example")
        replies = [session.rcpt(f"user{n}@arlington.example") for n in range(5)]
        code, _ = session.data(MESSAGE)
    assert [reply[0] for reply in replies] == [250, 250, 250, 452, 452]
    assert all(reply[1].startswith(b"4.5.3 ") for reply in replies[3:])
    assert code == 250
    [message] = remote.wait_for(1)
    assert message.recipients == [f"user{n}@arlington.example" for n in range(3)]
    server.wait_for_empty_queue()
    assert server.audit()["accepted"] == 3
