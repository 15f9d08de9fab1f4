"""Connections that become secure: real sockets and clients of others on loopback, on both event loops."""

import asyncio
import hashlib
import poplib
import socket
import subprocess
import tracemalloc

import pytest
import uvloop

from mta.net.tls import Tls, TlsFacts, server_context
from tests.harness.certificates import make_certificate
from tests.harness.pop3_handler import Pop3Handler
from tests.harness.pop3_listener import Pop3Listener

LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
pytestmark = LOOPS


@pytest.fixture
def pair(tmp_path):
    return make_certificate(tmp_path)


def in_thread(run, listener, client):
    """Runs ``client(listener)`` beside the loop that serves; gives its result, and the listener after it."""

    async def scene():
        async with listener() as serving:
            result = await asyncio.to_thread(client, serving)
            await serving.until(lambda: 0 < serving.closed == len(serving.connections))
            return result, serving, len(serving.wheel)

    result, serving, watched = run(scene())
    assert watched == 0
    return result, serving


def test_stls_with_a_client_of_the_standard_library(run, pair):
    facts = []

    def client(listener):
        pop = poplib.POP3("127.0.0.1", listener.port, timeout=20)
        before = pop.capa()
        with pytest.raises(poplib.error_proto, match="need TLS"):
            pop.user("paula")
        pop.stls(pair.client_context())
        after = pop.capa()
        facts.append(listener.connections[0].tls)
        pop.user("paula")
        pop.pass_("secret")
        lines = pop.retr(1)[1]
        pop.dele(2)
        pop.quit()
        return before, after, lines

    (before, after, lines), serving = in_thread(run, lambda: Pop3Listener(Tls(server_context(*pair))), client)
    assert ("STLS" in before, "STLS" in after) == (True, False)
    assert ("USER" in before, "USER" in after) == (False, True)
    assert lines[-3:] == [b"Hello", b".dot", b".."]
    assert serving.handlers[0].deletes == [[1]]
    assert isinstance(facts[0], TlsFacts)
    assert facts[0].version == "TLSv1.3"
    assert facts[0].cipher.startswith("TLS_")


def test_implicit_tls_with_a_client_of_the_standard_library(run, pair):
    def client(listener):
        pop = poplib.POP3_SSL("localhost", listener.port, context=pair.client_context(), timeout=20)
        pop.user("paula")
        pop.pass_("secret")
        stat = pop.stat()
        pop.quit()
        return stat

    stat, serving = in_thread(run, lambda: Pop3Listener(Tls(server_context(*pair), implicit=True)), client)
    assert stat == (3, 130)
    assert serving.handlers[0].deletes == [[]]


@pytest.mark.parametrize("implicit", [False, True], ids=["STLS", "implicit"])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_speaks_with_us(run, pair, implicit, version):
    def client(listener):
        starttls = [] if implicit else ["-starttls", "pop3"]
        options = ["-CAfile", pair.certificate, "-verify_return_error", version, "-crlf", *starttls]
        done = subprocess.run(
            ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{listener.port}", *options],
            input=b"CAPA\nquit\n",
            capture_output=True,
            timeout=20,
        )
        return done.stdout

    said, _ = in_thread(run, lambda: Pop3Listener(Tls(server_context(*pair), implicit=implicit)), client)
    assert b"SASL PLAIN\r\n" in said
    assert said.endswith(b"+OK bye\r\n")


@pytest.mark.parametrize("implicit", [False, True], ids=["STLS", "implicit"])
def test_old_versions_of_tls_are_refused(run, pair, implicit):
    def client(listener):
        starttls = [] if implicit else ["-starttls", "pop3"]
        options = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", *starttls]
        return subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.port}", *options],
            input=b"",
            capture_output=True,
            timeout=20,
        )

    done, serving = in_thread(run, lambda: Pop3Listener(Tls(server_context(*pair), implicit=implicit)), client)
    assert done.returncode != 0
    assert b"no peer certificate available" in done.stdout
    assert serving.handlers[0].calls == []


def test_a_large_message_under_tls_is_pulled_as_the_client_reads(run, pair):
    piece = b"x" * 1022 + b"\r\n"

    class Large(Pop3Handler):
        def __init__(self):
            super().__init__()
            self.messages = [[piece * 64] * 200]

    def client(listener):
        pop = poplib.POP3_SSL("localhost", listener.port, context=pair.client_context(), timeout=20)
        pop.user("paula")
        pop.pass_("secret")
        lines = pop.retr(1)[1]
        pop.quit()
        return hashlib.sha256(b"\r\n".join(lines) + b"\r\n").digest()

    digest, _ = in_thread(run, lambda: Pop3Listener(Tls(server_context(*pair), implicit=True), Large), client)
    assert digest == hashlib.sha256(piece * 64 * 200).digest()


def test_a_message_of_fifty_megabytes_costs_no_memory_and_a_client_that_does_not_read_costs_nothing(run):
    piece = (b"y" * 1022 + b"\r\n") * 64
    pieces = 800

    class Endless(Pop3Handler):
        def __init__(self):
            super().__init__()
            self.messages = [[piece] * pieces]

    def read_all(client):
        size = 0
        tail = b""
        while not tail.endswith(b"\r\n.\r\n"):
            octets = client.recv(1 << 16)
            assert octets, f"the connection ended after {size} octets"
            size += len(octets)
            tail = (tail + octets)[-5:]
        return size

    async def scene():
        async with Pop3Listener(make=Endless, plaintext_login=True) as listener:
            client = socket.create_connection(("127.0.0.1", listener.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.sendall(b"USER p\r\nPASS p\r\nRETR 1\r\n")
            await listener.until(lambda: bool(listener.connections) and listener.connections[0]._full)
            stalled = listener.handlers[0].pulled
            tracemalloc.start()
            size = await asyncio.to_thread(read_all, client)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            client.close()
            return stalled, size, peak, listener.handlers[0].pulled

    stalled, size, peak, pulled = run(scene())
    assert stalled < 150, "what the sockets' buffers hold, and a piece"
    assert size > pieces * len(piece)
    assert pulled == pieces
    assert peak < 4 << 20


@pytest.mark.parametrize("octets", [b"USER mallory\r\n", b"U", b"\x16\x03\x01\x00\x05hello"])
def test_what_is_injected_behind_stls_ends_the_connection(run, pair, octets):
    def client(listener):
        with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as raw:
            raw.sendall(b"STLS\r\n" + octets)
            said = b""
            while part := raw.recv(1000):
                said += part
            return said

    said, serving = in_thread(run, lambda: Pop3Listener(Tls(server_context(*pair))), client)
    assert said == b"+OK hermes.example POP3 Hermes ready\r\n+OK begin TLS\r\n"
    assert serving.handlers[0].calls == []
    assert serving.connections[0].gone


@pytest.mark.parametrize("implicit", [False, True], ids=["STLS", "implicit"])
@pytest.mark.parametrize("how", ["garbage", "gone", "silent"])
def test_a_handshake_that_comes_to_nothing_leaves_nothing(run, pair, implicit, how):
    def client(listener):
        with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as raw:
            if not implicit:
                raw.recv(1000)
                raw.sendall(b"STLS\r\n")
                raw.recv(1000)
            if how == "gone":
                return
            if how == "garbage":
                raw.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
            while True:
                try:
                    if not raw.recv(1000):
                        return
                except ConnectionResetError:
                    return

    tls = Tls(server_context(*pair), implicit, handshake=0.3)
    _, serving = in_thread(run, lambda: Pop3Listener(tls), client)
    assert serving.closed == 1
    assert serving.handlers[0].calls == []


@pytest.mark.parametrize("implicit", [False, True], ids=["STLS", "implicit"])
def test_who_is_turned_away_hears_it_in_the_clear_or_not_at_all(run, pair, implicit):
    async def scene():
        async with Pop3Listener(Tls(server_context(*pair), implicit)) as listener:
            listener.turned_away = b"-ERR [SYS/TEMP] too many\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            said = await reader.read()
            writer.close()
            return said

    assert run(scene()) == (b"" if implicit else b"-ERR [SYS/TEMP] too many\r\n")


def test_a_drain_ends_handshakes_as_well(run, pair):
    async def scene():
        async with Pop3Listener(Tls(server_context(*pair), implicit=True)) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            await listener.until(lambda: bool(listener.connections))
            listener.connections[0].shut(b"-ERR [SYS/TEMP] going down\r\n")
            assert listener.connections[0].leaving
            await listener.until(lambda: listener.closed == 1)
            listener.connections[0].shut(b"-ERR again\r\n")
            try:
                said = await reader.read()
            except ConnectionResetError:
                said = b""
            writer.close()
            return said

    assert run(scene()) == b""


def test_a_last_word_under_tls_arrives(run, pair):
    async def scene():
        async with Pop3Listener(Tls(server_context(*pair), implicit=True)) as listener:
            reader, writer = await asyncio.open_connection(
                "localhost", listener.port, ssl=pair.client_context(), family=socket.AF_INET
            )
            await reader.readline()
            listener.connections[0].shut(b"-ERR [SYS/TEMP] going down\r\n")
            said = await reader.read()
            writer.close()
            return said

    assert run(scene()) == b"-ERR [SYS/TEMP] going down\r\n"
