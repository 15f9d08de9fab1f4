"""STARTTLS, STLS and StartTLS: what lies behind them in the clear is never taken for a command, whether it comes in the
same segment, in the next one, or when we have said that TLS may begin. What comes through TLS always is.

Real sockets and handshakes, on both event loops."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from mta.ldap import messages
from mta.ldap.book import Book
from mta.ldap.session import LdapSession
from mta.net.deadlines import Wheel
from mta.net.ldap import LdapConnection, Shared, Turns
from mta.net.server import ServerConnection
from mta.net.tls import Tls, server_context
from mta.services.access import EVERYWHERE, Access
from tests.harness.certificates import Certificate, make_certificate
from tests.harness.clocks import SetClock
from tests.harness.in_process import PATIENT, InProcess
from tests.harness.ldap_wire import SETTINGS, bind, extended, folk, search
from tests.harness.pop3_listener import Pop3Listener
from tests.harness.transports import FakeTransport

TLS_RECORD = (b"\x15\x03", b"\x16\x03")
ROOT = search(2, base="", scope="BASE")


@asynccontextmanager
async def smtp(tls: Tls, directory: Path) -> AsyncIterator[int]:
    site = InProcess(directory)
    access = Access(extensions=(*EVERYWHERE, "STARTTLS"))
    server = await asyncio.get_running_loop().create_server(
        lambda: ServerConnection(site.opener(access), site.reception.closed, site.wheel, PATIENT, tls), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()[1]
    server.close()
    await until(lambda: not site.reception.sessions)
    await site.close()


@asynccontextmanager
async def pop3(tls: Tls, directory: Path) -> AsyncIterator[int]:
    async with Pop3Listener(tls) as listener:
        yield listener.port
        await listener.until(lambda: listener.closed == len(listener.connections))


class LdapSite:
    """Connections of a service without one."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.book = Book(folk(3), ("minasi.example",))
        self.came = 0
        self.gone: list[LdapConnection] = []
        self.logins: list[object] = []
        self.shared = Shared(
            self._opened, self.gone.append, lambda _, login: self.logins.append(login), Wheel(loop), Turns(loop), 60.0
        )

    def _opened(self, connection: LdapConnection, address: str) -> LdapSession:
        self.came += 1
        return LdapSession(self.book, SETTINGS._replace(plaintext=True), SetClock(), "offered", lambda: None)


@asynccontextmanager
async def ldap(tls: Tls, directory: Path) -> AsyncIterator[int]:
    site = LdapSite()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: LdapConnection(site.shared, tls), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await until(lambda: len(site.gone) == site.came)
    assert site.logins == []


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


#: How a service is entered, what asks it for TLS, the end of its answer, a command, and what only its answer has.
SERVICES = {
    "SMTP": (smtp, b"EHLO x.example\r\n", b"STARTTLS\r\n", b"start TLS\r\n", b"NOOP\r\n", b"250 2.0.0"),
    "POP3": (pop3, b"CAPA\r\n", b"STLS\r\n", b"begin TLS\r\n", b"CAPA\r\n", b"SASL"),
    "LDAP": (ldap, b"", extended(1, messages.START_TLS), messages.START_TLS.encode(), ROOT, b"namingContexts"),
}
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
NAMES = pytest.mark.parametrize("name", SERVICES)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def play(run, name: str, pair: Certificate, directory: Path, client: Callable[[socket.socket], bytes]) -> bytes:
    """``client`` beside the loop that serves."""

    def speak(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return client(sock)

    async def scene() -> bytes:
        async with SERVICES[name][0](Tls(server_context(*pair), handshake=5.0), directory) as port:
            return await asyncio.to_thread(speak, port)

    return run(scene())


def read_to(sock: socket.socket, end: bytes) -> bytes:
    said = b""
    while end not in said:
        part = sock.recv(65_536)
        assert part, said
        said += part
    return said


def read_on(sock: socket.socket) -> bytes:
    """All that still comes; a reset is an end."""
    said = b""
    try:
        while part := sock.recv(65_536):
            said += part
    except ConnectionResetError:
        pass
    return said


def enter(sock: socket.socket, name: str) -> None:
    hello = SERVICES[name][1]
    if hello:
        read_to(sock, b"\r\n")
        sock.sendall(hello)
        read_to(sock, b"HELP\r\n" if name == "SMTP" else b"\r\n.\r\n")


@LOOPS
@NAMES
@pytest.mark.parametrize("when", ["same segment", "next segment", "many segments", "after the answer"])
@pytest.mark.parametrize("what", ["command", "half a command", "a login"])
def test_octets_in_the_clear_are_no_commands(run, name, when, what, pair: Certificate, tmp_path: Path):
    _, _, starttls, go_ahead, command, answer = SERVICES[name]
    injected = {
        "command": command,
        "half a command": command[: len(command) // 2],
        "a login": bind(3, "uid=x", "y") if name == "LDAP" else b"AUTH PLAIN AGEAYg==\r\n",
    }[what]

    def client(sock: socket.socket) -> bytes:
        enter(sock, name)
        sock.sendall(starttls + injected if when == "same segment" else starttls)
        said = b""
        try:
            if when == "many segments":
                for octet in injected:
                    sock.sendall(bytes([octet]))
            elif when == "next segment":
                sock.sendall(injected)
            elif when == "after the answer":
                said = read_to(sock, go_ahead)
                sock.sendall(injected)
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # closed over it already
            pass
        return said + read_on(sock)

    said = play(run, name, pair, tmp_path, client)
    assert answer not in said
    rest = said.partition(go_ahead)[2] if go_ahead in said else said
    if name == "LDAP" and go_ahead not in said:
        assert b"1.3.6.1.4.1.1466.20036" in rest, "it says why"
    else:
        assert not rest.strip(b"\0") or rest.startswith(TLS_RECORD), "the alert of a handshake, if anything"


@LOOPS
@NAMES
def test_a_command_that_comes_with_the_end_of_the_handshake_is_answered(run, name, pair: Certificate, tmp_path: Path):
    """Octets may come through TLS before the loop tells us that there is TLS."""
    _, _, starttls, go_ahead, command, answer = SERVICES[name]
    first = b"EHLO x.example\r\n" if name == "SMTP" else command
    expected = b"REQUIRETLS" if name == "SMTP" else answer

    def client(sock: socket.socket) -> bytes:
        enter(sock, name)
        sock.sendall(starttls)
        read_to(sock, go_ahead)
        come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = pair.client_context().wrap_bio(come, go, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(go.read())
                come.write(sock.recv(65_536))
        tls.write(first)
        sock.sendall(go.read())  # the client's Finished and its first command in one segment
        said = b""
        while expected not in said:
            try:
                said += tls.read(65_536)
            except ssl.SSLWantReadError:
                part = sock.recv(65_536)
                assert part, said
                come.write(part)
        return said

    assert expected in play(run, name, pair, tmp_path, client)


async def test_reading_has_stopped_before_the_handshake_begins(pair: Certificate, site: InProcess):
    """Its Task comes later; until then nothing may be read by whom would take it for commands."""
    tls = Tls(server_context(*pair))
    access = Access(extensions=(*EVERYWHERE, "STARTTLS"))
    connection = ServerConnection(site.opener(access), site.reception.closed, site.wheel, PATIENT, tls)
    transport = FakeTransport(connection)
    connection.connection_made(transport)
    connection.data_received(b"EHLO x.example\r\n")
    assert transport.reading
    connection.data_received(b"STARTTLS\r\n")
    assert not transport.reading
    assert connection._handshake is not None
    connection._handshake.cancel()


async def test_reading_has_stopped_before_the_handshake_of_ldap_begins(pair: Certificate):
    site = LdapSite()
    connection = LdapConnection(site.shared, Tls(server_context(*pair)))
    transport = FakeTransport(connection)
    connection.connection_made(transport)
    connection.data_received(bind(7))
    assert transport.reading
    connection.data_received(extended(1, messages.START_TLS))
    assert not transport.reading
    assert connection._handshake is not None
    connection._handshake.cancel()


@pytest.mark.parametrize("behind", [b"", ROOT])
async def test_start_tls_behind_a_login_waits_for_it_and_what_is_behind_that_ends_it(pair: Certificate, behind: bytes):
    site = LdapSite()
    connection = LdapConnection(site.shared, Tls(server_context(*pair)))
    transport = FakeTransport(connection)
    connection.connection_made(transport)
    connection.data_received(bind(1, "ada@minasi.example", "x") + extended(2, messages.START_TLS))
    connection.data_received(behind)
    assert transport.said == b""
    connection.answer_login(messages.INVALID_CREDENTIALS)
    if behind:
        assert connection.leaving
        assert b"1.3.6.1.4.1.1466.20036" in transport.said
        assert b"namingContexts" not in transport.said
    else:
        assert not transport.reading
        assert connection._handshake is not None
        connection._handshake.cancel()
