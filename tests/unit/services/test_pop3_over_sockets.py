"""POP3 as people use it: sockets and TLS, the store on disk, a directory with argon2 and SCRAM, clients of others."""

import asyncio
import base64
import poplib
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import scramp
import uvloop

from mta.clock import SystemClock
from mta.config import parse
from mta.directory.tables import directory_path
from mta.directory.writer import DirectoryWriter
from mta.metrics import MetricsTable
from mta.net.deadlines import Wheel
from mta.net.server import Deadlines, ServerConnection
from mta.net.tls import Tls, server_context
from mta.services.login import Logins
from mta.services.pop3 import Access, Pop3, Pop3Settings
from tests.harness.certificates import make_certificate
from tests.harness.directory import SMALL, fill_directory
from tests.harness.storing import deliver, open_store

MARK = "mark@minasi.example"
PASSWORD = "correct horse"
LARGE = b"Subject: large\r\n\r\n" + (b"." + b"z" * 76 + b"\r\n") * 40_000
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


class Place:
    """``ports``: clear (STLS offered), and implicit TLS. Made and used in a running loop."""

    def __init__(self, directory: Path, pair):
        self.writer = DirectoryWriter(directory_path(directory), **SMALL)
        self.mark = fill_directory(self.writer, {MARK: PASSWORD})[MARK].id
        self.store = open_store(directory / "store")
        self.logins = Logins(self.writer.reading, parse('[local]\ndomains = ["minasi.example"]\n'))
        counters = MetricsTable.create(1).row(0)
        self.pop3 = Pop3(Pop3Settings("h.example", 100, 100), self.logins, self.store, counters, SystemClock())
        self.wheel = Wheel(asyncio.get_running_loop())
        self.context = server_context(*pair)

    async def __aenter__(self):
        self.wheel.start()
        self.servers = [await self.listen(implicit) for implicit in (False, True)]
        self.ports = [server.sockets[0].getsockname()[1] for server in self.servers]
        return self

    async def listen(self, implicit):
        opened = self.pop3.listener(Access(secure=implicit, starttls=not implicit))
        deadlines = Deadlines(600.0, 600.0, 1.0, 60.0)

        def make():
            return ServerConnection(opened, self.pop3.closed, self.wheel, deadlines, Tls(self.context, implicit))

        return await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)

    async def __aexit__(self, *error):
        for server in self.servers:
            server.close()
        self.pop3.connections.shut_all(b"-ERR going down\r\n")
        async with asyncio.timeout(20):
            while len(self.pop3.connections):
                await asyncio.sleep(0.001)
        self.wheel.stop()
        self.logins.stop()
        await self.store.stop()
        self.writer.close()


@pytest.fixture
def pair(tmp_path):
    return make_certificate(tmp_path)


def played(run, tmp_path, pair, client, *contents):
    """Delivers the contents to Mark, runs ``client(clear port, TLS port)`` in a thread; (its result, what is left)."""

    async def scene():
        async with Place(tmp_path, pair) as place:
            for content in contents:
                await deliver(place.store, place.mark, content=content)
            result = await asyncio.to_thread(client, *place.ports)
            async with asyncio.timeout(20):
                while len(place.pop3.connections):
                    await asyncio.sleep(0.001)
            drop = place.store.maildrop(place.mark)
            assert drop is not None, "nobody has it locked"
            left = [b"".join(drop.content(index)) for index in range(len(drop.uids))]
            drop.close()
            return result, left

    return run(scene())


@LOOPS
def test_a_whole_session_over_stls(run, tmp_path, pair):
    def client(clear, _):
        pop = poplib.POP3("127.0.0.1", clear, timeout=20)
        pop.stls(pair.client_context())
        pop.user(MARK)
        pop.pass_(PASSWORD)
        lines = pop.retr(2)[1]
        pop.dele(2)
        pop.quit()
        return b"\r\n".join(lines)

    message, left = played(run, tmp_path, pair, client, b"Subject: one\r\n\r\n1\r\n", LARGE)
    assert message.endswith(LARGE.removesuffix(b"\r\n"))
    assert len(left) == 1
    assert left[0].endswith(b"Subject: one\r\n\r\n1\r\n")


@LOOPS
def test_a_wrong_password_and_a_name_that_nobody_has_hear_the_same(run, tmp_path, pair):
    def client(_, secure):
        heard = []
        for user in (MARK, "nobody@minasi.example"):
            pop = poplib.POP3_SSL("localhost", secure, context=pair.client_context(), timeout=20)
            pop.user(user)
            with pytest.raises(poplib.error_proto) as refused:
                pop.pass_("wrong")
            heard.append(str(refused.value))
            pop.close()
        return heard

    heard, _ = played(run, tmp_path, pair, client)
    assert heard[0] == heard[1]
    assert "[AUTH]" in heard[0]


@LOOPS
def test_scram_in_the_clear(run, tmp_path, pair):
    """SCRAM-SHA-256 with a client of others (scramp); the server proves itself as well."""

    def client(clear, _):
        mechanism = scramp.ScramClient(["SCRAM-SHA-256"], MARK, PASSWORD)
        with socket.create_connection(("127.0.0.1", clear), timeout=20) as raw, raw.makefile("rb") as lines:
            lines.readline()

            def say(text):
                raw.sendall(text + b"\r\n")
                return lines.readline().rstrip(b"\r\n")

            challenge = say(b"AUTH SCRAM-SHA-256 " + base64.b64encode(mechanism.get_client_first().encode()))
            mechanism.set_server_first(base64.b64decode(challenge[2:]).decode())
            challenge = say(base64.b64encode(mechanism.get_client_final().encode()))
            mechanism.set_server_final(base64.b64decode(challenge[2:]).decode())
            return [say(b""), say(b"STAT"), say(b"QUIT")]

    said, _ = played(run, tmp_path, pair, client, b"x\r\n")
    assert said[0] == b"+OK logged in"
    assert said[1].startswith(b"+OK 1 ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("how", ["STLS", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_curl_fetches_a_message(tmp_path, pair, how, mechanism):
    def client(clear, secure):
        url = f"pop3s://localhost:{secure}/1" if how == "implicit" else f"pop3://localhost:{clear}/1"
        options = ["-sS", "-4", "--ssl-reqd", "--cacert", pair.certificate, "--login-options", f"AUTH={mechanism}"]
        done = subprocess.run(
            ["curl", *options, "-u", f"{MARK}:{PASSWORD}", url],
            capture_output=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    message, left = played(uvloop.run, tmp_path, pair, client, LARGE)
    assert left == [message]


def test_a_maildrop_in_use_is_free_when_quit_is_answered(tmp_path, pair):
    def client(_, secure):
        holder = poplib.POP3_SSL("localhost", secure, context=pair.client_context(), timeout=20)
        holder.user(MARK)
        holder.pass_(PASSWORD)
        other = poplib.POP3_SSL("localhost", secure, context=pair.client_context(), timeout=20)
        other.user(MARK)
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            other.pass_(PASSWORD)
        holder.quit()
        other.user(MARK)
        return other.pass_(PASSWORD), other.quit()

    said, _ = played(uvloop.run, tmp_path, pair, client)
    assert said[0] == b"+OK logged in"
