"""SIGTERM under load: exit 0, and every message with a 250 is delivered, before the end or after the next start."""

import smtplib
import threading
from signal import SIGTERM

from tests.harness.mta_server import submit
from tests.harness.stories import route


def test_a_drain_loses_nothing(mta, sink) -> None:
    remote = sink()
    server = mta(workers=2, route=[route("*", remote.port)])
    accepted: list[str] = []
    under_load = threading.Event()

    def client(number: int) -> None:
        """Sends until it is turned away: 421, or a closed connection between two transactions."""
        try:
            with server.connect() as session:
                for n in range(100_000):
                    submit(session, f"user{number}.{n}@arlington.example")
                    accepted.append(f"user{number}.{n}@arlington.example")
                    if n == 20:
                        under_load.set()
        except (AssertionError, smtplib.SMTPException, ConnectionError):
            return

    clients = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for one in clients:
        one.start()
    assert under_load.wait(30)
    server.signal(SIGTERM)
    for one in clients:
        one.join(30)
    server.stop()  # exit 0, books balanced
    server.start()
    server.wait_for_empty_queue()
    delivered = [r for message in remote.received for r in message.recipients]
    assert set(accepted) <= set(delivered)
    assert len(delivered) == len(set(delivered)), "a drain lets transactions end, so nothing comes twice"
    assert server.audit()["delivered"] == len(delivered)


def test_new_connections_are_turned_away_while_it_drains(mta, sink) -> None:
    remote = sink()
    server = mta(route=[route("*", remote.port)])
    with server.connect() as busy, server.connect() as idle:
        busy.mail("alice@athena.example")
        busy.rcpt("bob@arlington.example")
        server.signal(SIGTERM)
        code, text = idle.getreply()
        assert (code, text[:6]) == (421, b"4.3.2 ")
        assert busy.data(b"Subject: the last one\r\n\r\nbye\r\n")[0] == 250
        assert busy.getreply()[0] == 421
    assert server.wait() == 0
    server.stop()
    server.start()
    server.wait_for_empty_queue()
    assert len(remote.received) == 1
