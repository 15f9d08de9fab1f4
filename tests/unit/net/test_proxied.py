"""Connections behind a proxy: real sockets on loopback, on both event loops, in the clear and under TLS."""

import asyncio
import logging
import poplib
import socket
import ssl

import pytest
import uvloop

from mta.config.units import network
from mta.net import proxied
from mta.net.tls import Tls, server_context
from tests.harness.certificates import make_certificate
from tests.harness.in_process import turns
from tests.harness.pop3_listener import Pop3Listener

pytestmark = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
OURS = (network("127.0.0.0/8"),)
V1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 110\r\n"
V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"


@pytest.fixture
def pair(tmp_path):
    return make_certificate(tmp_path)


def with_listener(run, client, doors=1, **options):
    """Runs ``client(port)``, which connects so often, beside a listener; gives its result and the listener after it."""

    async def scene():
        async with Pop3Listener(networks=options.pop("networks", OURS), **options) as listener:
            result = await asyncio.to_thread(client, listener.port)
            await listener.until(lambda: listener.doors >= doors)
            await listener.until(lambda: listener.closed == len(listener.connections) and not listener.proxies.waiting)
            await turns()  # what was aborted is closed in the next turn
            return result, listener

    return run(scene())


def dial(port, *pieces):
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        sock.sendall(piece)
    return sock


def all_of(sock):
    """What comes until the other end closes."""
    data = b""
    with sock:
        try:
            while got := sock.recv(4096):
                data += got
        except ConnectionResetError:
            pass
    return data


def test_the_client_behind_the_proxy_is_the_client(run):
    said, listener = with_listener(run, lambda port: all_of(dial(port, V1 + b"CAPA\r\nQUIT\r\n")))
    assert said.startswith(b"+OK")
    assert b"\r\nPIPELINING\r\n" in said
    assert listener.peers == [("192.0.2.7", 4711)]


def test_a_header_may_come_octet_by_octet(run):
    pieces = [V1[at : at + 1] for at in range(len(V1))]
    said, listener = with_listener(run, lambda port: all_of(dial(port, *pieces, b"QUIT\r\n")))
    assert said.startswith(b"+OK")
    assert listener.peers == [("192.0.2.7", 4711)]


def test_a_proxy_that_speaks_for_itself_is_the_client(run):
    _, listener = with_listener(run, lambda port: all_of(dial(port, V2_LOCAL + b"QUIT\r\n")))
    assert listener.peers[0][0] == "127.0.0.1"


@pytest.mark.parametrize("at_once", [True, False])
def test_implicit_tls_begins_behind_the_header(run, pair, at_once):
    """Also when the header and the first octets of the handshake come in one piece."""

    def client(port):
        context = pair.client_context()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        theirs = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            theirs.do_handshake()
        first = outgoing.read()
        sock = dial(port, V1 + first) if at_once else dial(port, V1, first)
        with sock:
            said = b""
            while b"\n" not in said:
                incoming.write(sock.recv(16_384))
                try:
                    theirs.do_handshake()
                    sock.sendall(outgoing.read())
                    said += theirs.read(1000)
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
            return said

    said, listener = with_listener(run, client, tls=Tls(server_context(*pair), implicit=True))
    assert said.startswith(b"+OK")
    assert listener.peers == [("192.0.2.7", 4711)]


def test_stls_works_behind_the_header(run, pair):
    class Behind(poplib.POP3):
        def _create_socket(self, timeout):
            return dial(self.port, V1)

    def client(port):
        pop = Behind("127.0.0.1", port, timeout=20)
        pop.stls(pair.client_context())
        pop.user("paula")
        pop.pass_("secret")
        pop.quit()

    _, listener = with_listener(run, client, tls=Tls(server_context(*pair)))
    assert listener.peers == [("192.0.2.7", 4711)]


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([b"CAPA\r\n"], "no PROXY header"),
        ([V1[:-2] + b"\n"], "bare LF"),
        ([b"PROXY TCP4 ", b"x y 1 2\r\n"], "other than five fields"),
        ([V1[:20]], "no PROXY header within 0.5 s"),
        ([], "no PROXY header within 0.5 s"),
    ],
)
def test_who_says_no_header_is_cut_off_without_a_word_and_with_a_line(run, caplog, pieces, why):
    with caplog.at_level(logging.WARNING):
        said, listener = with_listener(run, lambda port: all_of(dial(port, *pieces)))
    assert said == b""
    assert listener.connections == []
    (record,) = caplog.records
    assert "127.0.0.1 was closed" in record.message
    assert why in record.message


def test_who_is_no_proxy_of_ours_is_cut_off_whatever_it_says(run, caplog):
    with caplog.at_level(logging.WARNING):
        said, listener = with_listener(
            run, lambda port: all_of(dial(port, V1 + b"QUIT\r\n")), networks=(network("192.0.2.0/24"),)
        )
    assert (said, listener.connections) == (b"", [])
    assert "not one of proxy_networks" in caplog.text


def test_a_client_that_goes_before_its_header_leaves_nothing(run, caplog):
    _, listener = with_listener(run, lambda port: dial(port, V1[:9]).close())
    assert listener.connections == []
    assert listener.proxies.waiting == 0


def test_a_flood_is_told_in_few_lines(run, caplog):
    def client(port):
        for _ in range(30):
            all_of(dial(port, b"nonsense\r\n"))

    with caplog.at_level(logging.WARNING):
        with_listener(run, client, doors=30)
    assert 1 <= len(caplog.records) <= 5


def test_no_more_than_so_many_wait_for_their_header(run, caplog, monkeypatch):
    monkeypatch.setattr(proxied, "WAITING_LIMIT", 2)

    def client(port):
        waiting = [dial(port), dial(port)]
        refused = all_of(dial(port, V1))
        for sock in waiting:
            sock.close()
        return refused

    with caplog.at_level(logging.WARNING):
        said, _ = with_listener(run, client, doors=3, header_deadline=20.0)
    assert said == b""
    assert "more than 2 connections wait" in caplog.text
