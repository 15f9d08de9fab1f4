"""250 recipients of a domain go in transactions of 100 (RFC 5321 §4.5.3.1.8), many domains their own ways."""

from collections import Counter

from tests.harness.stories import route


def test_250_recipients_of_one_domain_go_in_several_transactions(mta, sink) -> None:
    remote = sink()
    server = mta(route=[route("*", remote.port)])
    recipients = [f"user{n}@arlington.example" for n in range(250)]
    server.send(recipients)
    server.wait_for_events(250, "Delivery")
    server.wait_for_empty_queue()
    assert [len(message.recipients) for message in remote.received] == [100, 100, 50]
    assert [r for message in remote.received for r in message.recipients] == recipients
    assert len({message.content for message in remote.received}) == 1
    assert server.audit()["delivered"] == 250


def test_of_250_recipients_only_the_deferred_ones_come_again(mta, sink) -> None:
    replies = ["451 4.2.1 later" if n % 7 == 0 else "250 ok" for n in range(250)]
    remote = sink({"RCPT": replies})
    server = mta(route=[route("*", remote.port)])
    recipients = [f"user{n}@arlington.example" for n in range(250)]
    server.send(recipients)
    server.wait_for_events(250, "Delivery")
    server.wait_for_empty_queue()
    got = Counter(r for message in remote.received for r in message.recipients)
    assert got == Counter(recipients)
    assert len(server.events("TransientFailure")) == 36
    deferred = {event["recipient"] for event in server.events("TransientFailure")}
    assert deferred == {f"user{n}@arlington.example" for n in range(0, 250, 7)}


def test_a_message_for_many_domains_reaches_each(mta, sink) -> None:
    remotes = [sink() for _ in range(4)]
    server = mta(route=[route(f"*.net{n}.example", remote.port) for n, remote in enumerate(remotes)])
    recipients = [f"user{n}@host{n % 10}.net{n % 4}.example" for n in range(80)]
    queue_id = server.send(recipients)
    server.wait_for_events(80, "Delivery", id=queue_id)
    server.wait_for_empty_queue()
    for n, remote in enumerate(remotes):
        got = [r for message in remote.received for r in message.recipients]
        assert sorted(got) == sorted(r for r in recipients if f".net{n}." in r)
        for message in remote.received:
            assert len({r.partition("@")[2] for r in message.recipients}) == 1
