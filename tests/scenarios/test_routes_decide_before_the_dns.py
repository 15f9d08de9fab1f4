"""The first [[route]] that matches decides where a domain goes; no name is looked up for it."""

from tests.harness.stories import route


def test_routes_decide_before_the_dns(mta, sink, zones) -> None:
    exact, suffix, rest = sink(), sink(), sink()
    names = zones({})
    server = mta(
        dns={"servers": [names.address]},
        route=[
            route("exact.suffix.example", exact.port),
            {"domain": "void.suffix.example", "to": "discard:"},
            route("*.suffix.example", suffix.port),
            route("exact.example", exact.port),
            route("*", rest.port),
        ],
    )
    domains = ["exact.suffix", "void.suffix", "other.suffix", "deep.other.suffix", "exact", "suffix", "else"]
    server.send([f"bob@{domain}.example" for domain in domains])
    server.wait_for_events(7, "Delivery")
    server.wait_for_empty_queue()

    def got(remote) -> set[str]:
        return {r.removeprefix("bob@") for message in remote.received for r in message.recipients}

    assert got(exact) == {"exact.suffix.example", "exact.example"}
    assert got(suffix) == {"other.suffix.example", "deep.other.suffix.example"}
    assert got(rest) == {"suffix.example", "else.example"}
    [discarded] = server.events("Delivery", recipient="bob@void.suffix.example")
    assert discarded["response"]["command"] == "discard"
    assert (server.audit()["delivered"], server.audit()["discarded"]) == (6, 1)
    assert not names.server.queries
