"""The LDAP listeners at their edges: handshakes that fail or last, limits, hostile octets on a real socket, the end."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from mta.clock import SystemClock
from mta.ldap import messages
from mta.metrics import MetricsTable
from mta.metrics.layout import ACCEPTED_IN, CONNECTIONS_IN
from mta.services.ldap import LdapService
from mta.services.login import Logins
from tests.harness.address_book import IMPLICIT, PLAIN, REQUIRED, STARTTLS, AddressBook, settings
from tests.harness.ldap_wire import Reply, extended, folk, replies, search
from tests.harness.mta_server import wait_until
from tests.harness.sinks import LoopThread

ROOT = search(1, base="", scope="BASE")


class UvloopThread(LoopThread):
    """As in a service process."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()


@pytest.fixture(params=[LoopThread, UvloopThread], ids=["asyncio", "uvloop"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., AddressBook]]:
    loop = request.param()
    running: list[AddressBook] = []

    def start(**settings: object) -> AddressBook:
        running.append(AddressBook(tmp_path, loop, **settings).__enter__())
        return running[-1]

    yield start
    for each in running:
        assert wait_until(lambda each=each: each.counters.get(CONNECTIONS_IN) == 0, "the end of the connections")
        each.__exit__(None, None, None)
    loop.stop()


def dial(book: AddressBook, listener: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", book.ports[listener]), timeout=20)


def rest(sock: socket.socket) -> bytes:
    """What comes until the end, however it comes."""
    said = b""
    try:
        while octets := sock.recv(65_536):
            said += octets
    except ConnectionError:
        pass
    return said


def one_reply(sock: socket.socket) -> Reply:
    said = b""
    while len(said) < 2 or len(said) < 2 + said[1]:
        said += sock.recv(1)
    [reply] = replies(said)
    return reply


def shake(book: AddressBook, sock: socket.socket) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """A handshake up to its last flight, which is left in the outgoing buffer."""
    context = ssl.create_default_context(cafile=str(book.certificate))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65_536))
        else:
            return tls, incoming, outgoing


@pytest.mark.parametrize("listener", [STARTTLS, IMPLICIT])
def test_a_request_in_the_segment_that_ends_the_handshake_is_answered(book: Callable[..., AddressBook], listener: int):
    running = book()
    with dial(running, listener) as sock:
        if listener == STARTTLS:
            sock.sendall(extended(1, messages.START_TLS))
            assert one_reply(sock).body["code"] == messages.SUCCESS
        tls, incoming, outgoing = shake(running, sock)
        tls.write(ROOT)
        sock.sendall(outgoing.read())
        said = b""
        while not said:
            incoming.write(sock.recv(65_536))
            try:
                said = tls.read(65_536)
            except ssl.SSLWantReadError:
                continue
        assert [reply.kind for reply in replies(said)] == ["searchEntry", "searchDone"]


def test_handshakes_that_come_to_nothing_leave_nothing_behind(book: Callable[..., AddressBook]):
    running = book()
    with dial(running, IMPLICIT) as sock:
        sock.sendall(ROOT)
        assert b"searchEntry" not in rest(sock)
    with dial(running, STARTTLS) as sock:
        sock.sendall(extended(1, messages.START_TLS))
        assert one_reply(sock).body["code"] == messages.SUCCESS
        sock.sendall(ROOT * 10)
        rest(sock)
    for listener in (IMPLICIT, REQUIRED):
        with dial(running, listener) as sock:
            if listener == REQUIRED:
                sock.sendall(extended(1, messages.START_TLS))
                one_reply(sock)
            sock.sendall(b"\x16\x03\x01")
    assert wait_until(lambda: running.counters.get(CONNECTIONS_IN) == 0, "the end of the connections")
    assert running.counters.get(ACCEPTED_IN) == 4


def test_who_is_in_a_handshake_counts(book: Callable[..., AddressBook]):
    running = book(connections=2)
    with dial(running, IMPLICIT), dial(running, IMPLICIT):
        assert wait_until(lambda: running.counters.get(CONNECTIONS_IN) == 2, "the connections")
        with dial(running, PLAIN) as third:
            [notice] = replies(rest(third))
            assert (notice.number, notice.body["code"]) == (0, messages.BUSY)
        with dial(running, IMPLICIT) as fourth:
            assert rest(fourth) == b""


def test_the_end_comes_also_to_who_is_in_a_handshake(book: Callable[..., AddressBook]):
    running = book()
    with dial(running, IMPLICIT) as sock, dial(running, STARTTLS) as other:
        other.sendall(extended(1, messages.START_TLS))
        one_reply(other)
        assert wait_until(lambda: running.counters.get(CONNECTIONS_IN) == 2, "the connections")
        running.stop(patience=5.0)
        assert rest(sock) == rest(other) == b""


def test_no_octets_harm_the_service(book: Callable[..., AddressBook]):
    running = book()
    for octets in (b"\x30\x84\xff\xff\xff\xff", b"GET / HTTP/1.0\r\n\r\n", b"\x00" * 200_000, b"\x30\x80" * 100_000):
        with dial(running, PLAIN) as sock:
            try:
                sock.sendall(octets)
            except ConnectionError:
                continue
            assert [reply.number for reply in replies(rest(sock))] == [0]
    with dial(running, PLAIN) as sock:
        sock.sendall(ROOT[:5])
    with dial(running, PLAIN) as sock:
        sock.sendall(b"".join(search(number, base="", scope="BASE") for number in range(1, 3001)))
        sock.shutdown(socket.SHUT_WR)
        said = rest(sock)
        assert said == b"" or replies(said)[0].number == 1


def test_the_book_is_read_before_the_first_client_asks(book: Callable[..., AddressBook]):
    running = book(folk=[(f"n{n}@minasi.example", "", "", {}) for n in range(500)])
    assert wait_until(lambda: running.service._book.candidates((), 2)[2:3] != [[]], "the people")


async def test_a_directory_that_cannot_be_read_does_not_stop_the_start(tmp_path: Path):
    loop = asyncio.get_running_loop()
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    directory = folk()
    directory.broken = True
    config = settings()
    counters = MetricsTable.create(1).row(0)
    service = LdapService(config, directory, Logins(directory, config), {}, counters, SystemClock())  # type: ignore[arg-type]
    await service.start([])
    await asyncio.sleep(0)
    await service.stop(0.0)
    assert told == []
