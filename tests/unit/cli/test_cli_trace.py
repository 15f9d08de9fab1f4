"""How a hop is shown: with its address where there was one."""

from mta.cli.trace import _where
from mta.log.event import Event, PeerAddress


def hop(name: str, address: str) -> str:
    peer = PeerAddress(name, address)
    return _where(Event(type="Delivery", id="06H0PNA5B4000", timestamp=2.0, created=1.0, peer_address=peer))


def test_a_host_has_its_address_behind_it_and_a_socket_its_path_alone() -> None:
    assert hop("mx.example", "192.0.2.1:25") == " by mx.example [192.0.2.1:25]"
    assert hop("/run/store.sock", "/run/store.sock") == " by /run/store.sock"


def test_a_host_that_was_never_reached_has_no_empty_brackets() -> None:
    assert hop("mx.example", "") == " by mx.example"
