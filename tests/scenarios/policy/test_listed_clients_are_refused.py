"""Lists of addresses in the DNS: who is listed hears it at RCPT, who is not, or when the list is silent, gets in."""

import pytest

from mta.services.zone import Fault
from tests.harness.hostile import HELLO, Raw

OURS = {"networks": ["127.0.0.1/32"], "domains": ["ours.example"]}
ZONES = {
    "9.0.0.127.bad.example": ["A 127.0.0.2"],
    "8.0.0.127.bad.example": ["A 127.0.0.2"],
    "8.0.0.127.good.example": ["A 127.0.0.1"],
    "7.0.0.127.bad.example": ["A 127.255.255.254"],
}
LISTS = [
    {"zone": "bad.example", "answers": ["127.0.0.0/24"]},
    {"zone": "good.example", "weight": -1},
]


def recipient(port: int, source: str) -> str:
    with Raw(port, source=source) as client:
        assert client.ask(HELLO).startswith("250-")
        assert client.ask(b"MAIL FROM:<eve@elsewhere.example>\r\n").startswith("250 ")
        return client.ask(b"RCPT TO:<bob@ours.example>\r\n")


def test_listed_clients_are_refused(mta, zones) -> None:
    names = zones(ZONES, ttl=300)
    server = mta(relay=OURS, dnsbl=LISTS, dns={"servers": [names.address]})
    assert recipient(server.port, "127.0.0.9") == "554 5.7.1 127.0.0.9 is listed by bad.example"
    assert recipient(server.port, "127.0.0.8") == "250 2.1.5 ok", "the list of the good outweighs"
    assert recipient(server.port, "127.0.0.7") == "250 2.1.5 ok", "that answer does not mean listed"
    assert recipient(server.port, "127.0.0.6") == "250 2.1.5 ok"
    assert recipient(server.port, "127.0.0.1") == "250 2.1.5 ok"
    asked = {name for name, _ in names.server.queries}
    assert not any(name.startswith("1.0.0.127.") for name in asked), "nobody asks about the known"
    before = names.server.queries.total()
    assert recipient(server.port, "127.0.0.9").startswith("554 ")
    assert names.server.queries.total() == before, "the answer is kept for its time"
    row = server.wait_for_event("Rejection", reason="dnsbl: bad.example")
    assert (row["response"]["code"], row["response"]["command"]) == (554, "RCPT")
    assert server.metrics()['mta_rejections_total{reason="dnsbl"}'] == 2


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.SERVFAIL])
def test_a_list_that_does_not_answer_refuses_nobody(mta, zones, fault) -> None:
    names = zones(ZONES, ttl=300)
    names.server.faults["*"] = fault
    policy = {"dnsbl_timeout": "200ms"}
    server = mta(relay=OURS, dnsbl=LISTS, policy=policy, dns={"servers": [names.address], "timeout": "300ms"})
    assert recipient(server.port, "127.0.0.9") == "250 2.1.5 ok"
