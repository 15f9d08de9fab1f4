"""Only relay.networks may send anywhere; from elsewhere only relay.domains are taken, and that without back doors."""

import pytest

from tests.harness.mta_server import submit
from tests.harness.stories import route

STRANGER = "127.0.0.2"


@pytest.fixture
def served(mta, sink):
    remote = sink()
    relay = {"networks": ["127.0.0.1/32"], "domains": ["customer.example", "*.customer.example"]}
    return mta(route=[route("*", remote.port)], relay=relay), remote


def test_strangers_may_not_relay(served) -> None:
    server, remote = served
    with server.connect(source=STRANGER) as session:
        session.mail("alice@athena.example")
        assert session.rcpt("bob@arlington.example") == (550, b"5.7.1 relaying denied")
        assert session.docmd("DATA")[0] in (503, 554)
    rejection = server.wait_for_event("Rejection", recipient="bob@arlington.example")
    assert rejection["response"] == {
        "code": 550, "enhanced_code": "5.7.1", "content": "relaying denied", "command": "RCPT",
    }  # fmt: skip
    assert rejection["peer_address"] == {"name": "client.example", "addr": STRANGER}
    server.send("bob@arlington.example", source="127.0.0.1")
    assert len(remote.wait_for(1)) == 1


def test_relay_domains_are_taken_from_anyone(served) -> None:
    server, remote = served
    with server.connect(source=STRANGER) as session:
        submit(session, ["ann@customer.example", "bob@branch.CUSTOMER.example"])
    received = remote.wait_for(2)
    assert {r for message in received for r in message.recipients} == {
        "ann@customer.example",
        "bob@branch.CUSTOMER.example",
    }


@pytest.mark.parametrize(
    "path",
    [
        "bob%arlington.example@customer.example",
        "arlington.example!bob@customer.example",
        '"bob@arlington.example"@customer.example',
        "bob@customer.example.arlington.example",
        "bob@evilcustomer.example",
    ],
)
def test_a_relay_domain_is_no_back_door(served, path: str) -> None:
    server, _ = served
    with server.connect(source=STRANGER) as session:
        session.mail("alice@athena.example")
        assert session.docmd("RCPT", f"TO:<{path}>")[0] == 550
