"""HAProxy in front of Hermes: the client is whoever connected to it, for relaying, limits, logins and events."""

import poplib
import smtplib
import socket
from collections.abc import Iterator

import pytest

from tests.harness.haproxy import HaProxy
from tests.harness.mail_house import MARK, PEOPLE, ZOE
from tests.harness.mta_server import MESSAGE, PATIENCE, submit
from tests.harness.submission_house import SubmissionHouse

FRIEND, STRANGER = "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SubmissionHouse, HaProxy]]:
    directory = tmp_path_factory.mktemp("behind")
    house = SubmissionHouse(
        directory,
        {"proxy_protocol": True},
        relay={"networks": [f"{FRIEND}/32"]},
        limits={"connections_per_client": 3},
        route=[{"domain": "*.example", "to": "discard:"}],
    )
    proxy = None
    try:
        house.start()
        ports = {name: house.port_of(name) for name in house.NAMES} | {"pop3": house.ports("pop3")[0]}
        backends = {
            f"{name}-{version}": (port, option)
            for name, port in ports.items()
            for version, option in (("v1", "send-proxy"), ("v2", "send-proxy-v2"))
        }
        proxy = HaProxy(directory, backends)
        yield house, proxy
        house.stop()
    finally:
        if proxy is not None:
            proxy.stop()
        house.close()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_who_may_relay_is_who_is_behind_the_proxy(place, version: str) -> None:
    house, proxy = place
    port = proxy.ports[f"relay-{version}"]
    with smtplib.SMTP("127.0.0.1", port, "friend.example", PATIENCE, (FRIEND, 0)) as session:
        session.starttls(context=house.certificate.context())
        session.ehlo()
        queue_id = submit(session)
    event = house.wait_for_event("Reception", id=queue_id)
    assert event["peer_address"] == {"name": "friend.example", "addr": FRIEND}
    with smtplib.SMTP("127.0.0.1", port, "stranger.example", PATIENCE, (STRANGER, 0)) as session:
        session.ehlo()
        session.mail("a@athena.example")
        assert session.rcpt("b@arlington.example")[0] == 550


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_implicit_tls_and_a_login_behind_the_header(place, version: str) -> None:
    house, proxy = place
    context = house.certificate.context()
    port = proxy.ports[f"implicit-{version}"]
    with smtplib.SMTP_SSL("127.0.0.1", port, "x.example", context=context, source_address=(STRANGER, 0)) as session:
        session.login(MARK, PEOPLE[MARK])
        queue_id = submit(session, ZOE, MESSAGE, MARK)
    event = house.wait_for_event("Reception", id=queue_id)
    assert (event["reception_protocol"], event["peer_address"]["addr"]) == ("ESMTPSA", STRANGER)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_pop3_behind_the_header(place, version: str) -> None:
    _, proxy = place
    session = poplib.POP3("127.0.0.1", proxy.ports[f"pop3-{version}"], timeout=PATIENCE)
    session.user(MARK)
    session.pass_(PEOPLE[MARK])
    assert session.stat()[0] >= 0
    session.quit()


def test_a_limit_counts_the_client_and_not_the_proxy(place) -> None:
    _, proxy = place
    port = proxy.ports["relay-v2"]

    def greeting(source: str) -> tuple[socket.socket, bytes]:
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
        return sock, sock.recv(4)

    opened = [greeting(STRANGER) for _ in range(4)] + [greeting(FRIEND) for _ in range(3)]
    for sock, _ in opened:
        sock.close()
    assert [said for _, said in opened] == [b"220 "] * 3 + [b"421 "] + [b"220 "] * 3


def test_who_comes_past_the_proxy_is_told_nothing(place) -> None:
    house, _ = place
    with socket.create_connection(("127.0.0.1", house.port_of("relay")), PATIENCE) as sock:
        sock.sendall(b"EHLO past.example\r\n")
        try:
            assert sock.recv(100) == b""
        except ConnectionResetError:
            pass
    house.await_line("PROXY: a connection from 127.0.0.1 was closed: no PROXY header")
