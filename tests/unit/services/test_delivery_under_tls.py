"""Deliveries under TLS and with logins: real handshakes on loopback, on both event loops, and what follows when they
fail."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop

from bench.process import free_port
from mta.metrics.layout import DEFERRED, DELIVERED, FAILED
from mta.model.message import Recipient
from mta.net.remote import RemoteDeadlines
from mta.net.tls import server_context
from mta.routing.destination import Destination, Host, Login
from tests.harness.certificates import Certificate, make_certificate
from tests.harness.scripted_remote import EXTENSIONS, ScriptedRemote, ScriptedServer, say
from tests.harness.works import SETTINGS, Works

LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
TLS = (*EXTENSIONS, "STARTTLS")
PERSON = Recipient("r@b.example", "b.example")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def offering(**more) -> Callable[[], ScriptedRemote]:
    return lambda: ScriptedRemote(extensions=TLS, **more)


def impossible(pair: Certificate) -> ssl.SSLContext:
    """Of a server with which no handshake comes about: its certificate is for ECDSA, its ciphers for RSA."""
    context = server_context(*pair)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES256-SHA:DHE-RSA-AES256-SHA")
    return context


class Scene:
    """Works that trust ``pair``, and one server named localhost."""

    def __init__(self, directory: Path, pair: Certificate, **settings) -> None:
        self.works = Works(directory, SETTINGS._replace(tls_authorities=pair.certificate, **settings))

    def lead_to(self, *ports: int, host: str = "localhost", **how) -> None:
        hosts = tuple(Host(host, port, n, ("127.0.0.1",)) for n, port in enumerate(ports))
        self.works.router.destination = Destination("site.example", "smtp", hosts, **how)

    async def end(self) -> list[dict]:
        """Everything has come to its end; what the log has to say."""
        self.works.delivery.drain()
        await self.works.connections_end()
        self.works.nothing_left()
        return self.works.happened()


def play(run, directory: Path, pair: Certificate, act, **settings):
    async def scene():
        made = Scene(directory, pair, **settings)
        try:
            return await act(made)
        finally:
            await made.works.end()

    return run(scene())


@LOOPS
@pytest.mark.parametrize("mode", ["opportunistic", "required", "verify"])
def test_many_messages_go_over_one_connection_under_tls(run, tmp_path: Path, pair: Certificate, mode: str):
    async def act(scene: Scene):
        async with ScriptedServer(offering(), context=server_context(*pair)) as server:
            scene.lead_to(server.port, tls=mode)
            scene.works.send()
            await scene.works.until(DELIVERED, 1)
            for n in range(5):
                scene.works.send()
                await scene.works.until(DELIVERED, 2 + n)
            events = await scene.end()
            return server.remotes, events

    remotes, events = play(run, tmp_path, pair, act)
    assert [remote.secure for remote in remotes] == [True]
    assert len(remotes[0].received) == 6
    assert {event["tls_protocol_version"] for event in events} == {"TLSv1.3"}
    assert all(event["tls_cipher"].startswith("TLS_") for event in events)
    assert {event.get("tls_verified", False) for event in events} == {mode == "verify"}


@LOOPS
def test_implicit_tls_begins_before_the_greeting(run, tmp_path: Path, pair: Certificate):
    async def act(scene: Scene):
        async with ScriptedServer(context=server_context(*pair), implicit=True) as server:
            scene.lead_to(server.port, tls="implicit")
            scene.works.send()
            await scene.works.until(DELIVERED, 1)
            return await scene.end()

    [event] = play(run, tmp_path, pair, act)
    assert event["tls_verified"]


@LOOPS
def test_a_second_connection_resumes_the_session_of_the_first(run, tmp_path: Path, pair: Certificate):
    context = server_context(*pair)

    async def act(scene: Scene):
        async with ScriptedServer(offering(), context=context) as server:
            scene.lead_to(server.port)
            for n in range(3):
                scene.works.send()
                await scene.works.until(DELIVERED, n + 1)
            await scene.end()

    play(run, tmp_path, pair, act, messages_per_connection=1)
    stats = context.session_stats()
    assert (stats["accept_good"], stats["hits"]) == (3, 2)


class TakesNothingInTheClear(ScriptedRemote):
    def _on_mail(self, argument: str) -> None:
        if self.secure:
            super()._on_mail(argument)
        else:
            self._put(say("530 5.7.0 Must issue a STARTTLS command first"))


@LOOPS
@pytest.mark.parametrize("why", ["a failed handshake", "a refused STARTTLS"])
def test_who_insists_on_tls_that_fails_once_gets_the_message_later(run, tmp_path: Path, pair: Certificate, why: str):
    """A failure of an hour ago must not send back what this host would take under TLS."""
    refused = ["454 4.7.0 TLS not available"] if why == "a refused STARTTLS" else []
    scripts = iter([{"STARTTLS": refused}])
    bad = server_context(*pair) if refused else impossible(pair)

    async def act(scene: Scene):
        remotes = lambda: TakesNothingInTheClear(next(scripts, {}), TLS)  # noqa: E731
        async with ScriptedServer(remotes, context=bad) as server:
            scene.lead_to(server.port)
            scene.works.send()
            await scene.works.until(DEFERRED, 1, refill=False)
            server._context = server_context(*pair)
            await scene.works.until(DELIVERED, 1)
            assert scene.works.counters.get(FAILED) == 0
            return await scene.end()

    events = play(run, tmp_path, pair, act)
    told = {event["response"]["enhanced_code"] for event in events if event["type"] == "TransientFailure"}
    assert told == {"4.7.5"}
    assert all(event["tls_protocol_version"] for event in events if event["type"] == "Delivery")


@LOOPS
def test_a_handshake_that_fails_is_left_away_and_remembered(run, tmp_path: Path, pair: Certificate, caplog):
    context = impossible(pair)

    async def act(scene: Scene):
        async with ScriptedServer(offering(), context=context) as server:
            scene.lead_to(server.port)
            scene.works.send()
            await scene.works.until(DELIVERED, 1)
            scene.works.send()
            await scene.works.until(DELIVERED, 2)
            events = await scene.end()
            return server.remotes, events

    remotes, events = play(run, tmp_path, pair, act, messages_per_connection=1)
    assert [len(remote.received) for remote in remotes] == [0, 1, 1], "the third connection has no handshake any more"
    assert [remote.commands[1].partition(" ")[0] for remote in remotes] == ["STARTTLS", "MAIL", "MAIL"]
    assert all("tls_cipher" not in event for event in events)
    assert "in the clear" in caplog.text


@LOOPS
@pytest.mark.parametrize("trouble", ["not offered", "refused", "no cipher", "another name", "unknown authority"])
def test_where_tls_is_needed_nothing_goes_without(run, tmp_path: Path, pair: Certificate, trouble: str):
    context = server_context(*(make_certificate(tmp_path) if trouble == "unknown authority" else pair))
    if trouble == "no cipher":
        context = impossible(pair)
    script = {"STARTTLS": ["454 4.7.0 no"] * 9} if trouble == "refused" else {}
    make = (lambda: ScriptedRemote()) if trouble == "not offered" else offering(script=script)
    host = "other.example" if trouble == "another name" else "localhost"

    async def act(scene: Scene):
        async with ScriptedServer(make, context=context) as server:
            scene.lead_to(server.port, host=host, tls="verify")
            scene.works.send()
            await scene.works.until(DEFERRED, 1, refill=False)
            assert [remote.received for remote in server.remotes] == [[]]
            assert scene.works.counters.get(FAILED) == 0, "mail waits, it does not come back"
            return scene.works.happened()

    [event] = play(run, tmp_path, pair, act)
    assert event["type"] == "TransientFailure"
    assert event["response"]["enhanced_code"] == "4.7.5"
    expected = {"another name": "mismatch", "unknown authority": "cannot be trusted", "not offered": "not offer"}
    assert expected.get(trouble, "") in event["response"]["content"]


@LOOPS
@pytest.mark.parametrize("stage", ["at once", "in the handshake", "never"])
@pytest.mark.parametrize("mode", ["opportunistic", "required"])
def test_a_server_that_ends_in_the_middle_of_a_handshake(run, tmp_path, pair, stage: str, mode: str):
    """220 to STARTTLS, and then something else than TLS."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b"220 x\r\n")
        while line := await reader.readline():
            if line.startswith(b"EHLO"):
                writer.write(b"250-x\r\n250 STARTTLS\r\n")
            elif line.startswith(b"STARTTLS"):
                writer.write(b"220 go\r\n")
                if stage == "in the handshake":
                    await reader.read(100)
                    writer.write(b"\x16\x03\x03\x00\x02hm")
                if stage == "never":
                    await reader.read(-1)
                break
            else:
                writer.write(b"354 go\r\n" if line.startswith(b"DATA") else b"250 ok\r\n")
                if line.startswith(b"DATA"):
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"250 ok\r\n")
        writer.close()

    async def act(scene: Scene):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            scene.lead_to(server.sockets[0].getsockname()[1], tls=mode)
            scene.works.send()
            await scene.works.until(DELIVERED if mode == "opportunistic" else DEFERRED, 1, refill=False)
            scene.works.delivery.drain()
            await scene.works.connections_end()
            assert scene.works.problems == []

    play(run, tmp_path, pair, act, deadlines=RemoteDeadlines(1.0, 5.0))
    assert connections == (2 if mode == "opportunistic" else 1)


@LOOPS
def test_a_server_without_tls_on_the_implicit_port(run, tmp_path: Path, pair: Certificate):
    async def act(scene: Scene):
        async with ScriptedServer() as server:
            scene.lead_to(server.port, tls="implicit")
            scene.works.send()
            await scene.works.until(DEFERRED, 1, refill=False)
            await scene.works.connections_end()
            return scene.works.happened()

    [event] = play(run, tmp_path, pair, act)
    assert event["response"]["command"] in ("TLS", "GREETING", "EHLO")


@LOOPS
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_a_smarthost_that_wants_a_login(run, tmp_path: Path, pair: Certificate, mechanism: str):
    make = offering(secured=(*EXTENSIONS, f"AUTH {mechanism}"), people={"we": "secret"})

    async def act(scene: Scene):
        async with ScriptedServer(make, context=server_context(*pair)) as server:
            scene.lead_to(server.port, tls="verify", login=Login("we", "secret"))
            scene.works.send()
            await scene.works.until(DELIVERED, 1)
            await scene.end()
            return server.remotes

    [remote] = play(run, tmp_path, pair, act)
    assert remote.logins == ["we"]


@LOOPS
def test_a_wrong_password_holds_the_mail_and_sends_none_back(run, tmp_path: Path, pair: Certificate):
    make = offering(secured=(*EXTENSIONS, "AUTH PLAIN"), people={"we": "other"})

    async def act(scene: Scene):
        async with ScriptedServer(make, context=server_context(*pair)) as server:
            scene.lead_to(server.port, tls="verify", login=Login("we", "secret"))
            scene.works.post(PERSON)
            await scene.works.until(DEFERRED, 1, refill=False)
            assert len(scene.works.shard.scheduler) == 0
            return scene.works.happened()

    [event] = play(run, tmp_path, pair, act)
    assert event["type"] == "TransientFailure"
    assert event["response"]["enhanced_code"] == "4.7.8"
    assert "secret" not in str(event)


REQUIRING = (*EXTENSIONS, "REQUIRETLS")


@LOOPS
def test_requiretls_goes_over_checked_tls_to_who_passes_it_on(run, tmp_path: Path, pair: Certificate):
    async def act(scene: Scene):
        async with ScriptedServer(offering(secured=REQUIRING), context=server_context(*pair)) as server:
            scene.lead_to(server.port)
            scene.works.post(Recipient("r@b.example", "b.example"), requiretls=True)
            await scene.works.until(DELIVERED, 1)
            return [r.mail for remote in server.remotes for r in remote.received], scene.works.happened()

    [mail], [event] = play(run, tmp_path, pair, act)
    assert mail.endswith(" REQUIRETLS")
    assert event["tls_verified"]


@LOOPS
@pytest.mark.parametrize("trouble", ["not offered", "no STARTTLS", "another name"])
def test_requiretls_comes_back_when_it_cannot_be_had(run, tmp_path: Path, pair: Certificate, trouble: str):
    make = offering(secured=EXTENSIONS if trouble == "not offered" else REQUIRING)
    if trouble == "no STARTTLS":
        make = lambda: ScriptedRemote(extensions=REQUIRING)  # noqa: E731

    async def act(scene: Scene):
        async with ScriptedServer(make, context=server_context(*pair)) as server:
            scene.lead_to(server.port, host="other.example" if trouble == "another name" else "localhost")
            scene.works.post(Recipient("r@b.example", "b.example"), requiretls=True)
            await scene.works.until(FAILED, 1)
            assert [r for remote in server.remotes for r in remote.received if "REQUIRETLS" in r.mail] == []
            return scene.works.happened()

    event = play(run, tmp_path, pair, act)[0]
    assert event["type"] == "Bounce"
    assert event["response"]["enhanced_code"] == "5.7.30"


def asks_for_tls(scene: Scene) -> None:
    scene.works.post(Recipient("r@b.example", "b.example"), requiretls=True)


#: Remotes that are no good for REQUIRETLS, and never will be.
UNABLE = {
    "not offered": offering(secured=EXTENSIONS),
    "no STARTTLS": lambda: ScriptedRemote(extensions=REQUIRING),
    "STARTTLS refused": offering(script={"STARTTLS": ["502 5.5.1 no"] * 9}),
}


@LOOPS
@pytest.mark.parametrize("unable", UNABLE)
def test_requiretls_is_looked_for_at_every_host(run, tmp_path: Path, pair: Certificate, unable: str):
    """RFC 8689 §4.2.1."""

    async def act(scene: Scene):
        context = server_context(*pair)
        first = ScriptedServer(UNABLE[unable], context=context)
        async with first, ScriptedServer(offering(secured=REQUIRING), context=context) as second:
            scene.lead_to(first.port, second.port)
            asks_for_tls(scene)
            await scene.works.until(DELIVERED, 1)
            assert [r for remote in first.remotes for r in remote.received] == []
            assert [r.mail[-10:] for remote in second.remotes for r in remote.received] == ["REQUIRETLS"]
            return await scene.end()

    [event] = play(run, tmp_path, pair, act)
    assert event["tls_verified"]


@LOOPS
@pytest.mark.parametrize("unable", UNABLE)
@pytest.mark.parametrize("away", ["away", "not now", "no handshake", "away, first"])
def test_requiretls_waits_for_a_host_that_may_have_it_later(
    run, tmp_path: Path, pair: Certificate, unable: str, away: str
):
    async def act(scene: Scene):
        context = server_context(*pair)
        first = ScriptedServer(UNABLE[unable], context=context)
        second = ScriptedServer(offering(script={"STARTTLS": ["454 4.7.0 not now"] * 9}), context=context)
        if away == "no handshake":
            second = ScriptedServer(offering(secured=REQUIRING), context=impossible(pair))
        async with first, second:
            ports = [first.port, free_port() if away.startswith("away") else second.port]
            scene.lead_to(*(reversed(ports) if away == "away, first" else ports))
            asks_for_tls(scene)
            await scene.works.until(DEFERRED, 1, refill=False)
            assert scene.works.counters.get(FAILED) == 0
            assert [r for remote in first.remotes + second.remotes for r in remote.received] == []

    play(run, tmp_path, pair, act)


@LOOPS
def test_requiretls_that_no_host_has_comes_back(run, tmp_path: Path, pair: Certificate):
    async def act(scene: Scene):
        async with AsyncExitStack() as stack:
            context = server_context(*pair)
            servers = [ScriptedServer(make, context=context) for make in UNABLE.values()]
            for server in servers:
                await stack.enter_async_context(server)
            scene.lead_to(*(server.port for server in servers))
            content = b"Subject: secret\r\nMessage-ID:\r\n <1@b.example>\r\n\r\nhello\r\n"
            scene.works.post(Recipient("r@b.example", "b.example"), content=content, requiretls=True, ret="FULL")
            await scene.works.until(FAILED, 1)
            await scene.works.until(DELIVERED, 1)
            [report] = [r for server in servers for remote in server.remotes for r in remote.received]
            return report, scene.works.happened()

    report, events = play(run, tmp_path, pair, act)
    assert (events[0]["type"], events[0]["response"]["enhanced_code"]) == ("Bounce", "5.7.30")
    assert (report.reverse_path, "TLS" in report.mail) == ("", False)
    assert b"Message-ID:\r\n <1@b.example>\r\n" in report.content
    assert b"secret" not in report.content, "the report goes in the clear here"


def test_an_authority_file_that_is_none_holds_the_mail(tmp_path: Path, pair: Certificate):
    async def act(scene: Scene):
        with socket.create_server(("127.0.0.1", 0)) as server:
            scene.lead_to(server.getsockname()[1], tls="verify")
            scene.works.send()
            await scene.works.until(DEFERRED, 1, refill=False)
            return scene.works.happened()

    broken = Certificate(tmp_path / "none.pem", tmp_path / "none.key")
    [event] = play(asyncio.run, tmp_path, broken, act)
    assert "none.pem: cannot be read" in event["response"]["content"]
