"""``mta audit`` on a running server, a stopped one and a killed one: the same books, and they balance."""

from itertools import repeat

from tests.harness.stories import route


def test_the_ledger_balances_up_and_down(mta, sink) -> None:
    good, later, never = sink(), sink({"MAIL": repeat("450 4.3.2 later")}), sink({"RCPT": repeat("550 5.1.1 nobody")})
    server = mta(
        workers=2,
        route=[
            route("good.example", good.port),
            route("later.example", later.port),
            route("never.example", never.port),
            {"domain": "*", "to": "discard:"},
        ],
        delivery={"retry_after": ["1h"]},
    )
    for n in range(6):
        server.send([f"user{n}@{name}.example" for name in ("good", "later", "never", "void")])
    server.wait_for_events(6, "TransientFailure")
    server.wait_for_events(6, "Delivery", recipient="alice@athena.example")
    up = server.audit()
    expected = {"accepted": 24, "generated": 6, "delivered": 6, "failed": 6, "discarded": 12, "queued": 6, "drift": 0}
    assert {name: up[name] for name in expected} == expected
    server.stop()
    assert server.audit() == up
    server.start()
    assert server.audit() == up
    server.kill()
    assert server.audit() == up
    server.start()
    later.stop()
    assert server.mta("queue", "remove", "--all").returncode == 0
    assert server.audit()["removed"] == 6


def test_a_kill_in_the_middle_of_a_delivery_costs_at_most_a_duplicate(mta, sink) -> None:
    from tests.harness.scripted_remote import MUTE

    remote = sink({"DOT": [MUTE]})
    server = mta(route=[route("*", remote.port)])
    server.send()
    remote.wait_for(1)
    server.kill()
    assert server.audit()["queued"] == 1
    server.start()
    assert len(remote.wait_for(2)) == 2
    server.wait_for_empty_queue()
    assert remote.received[0].content == remote.received[1].content
