"""The store process from inside: its listeners, its gauges, what it does when the disk fails, and its drain."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mta.config import Config
from mta.config.sections import Directory, Limits, Listener, Local, Log, Spool
from mta.config.units import Address
from mta.errors import StorageError, UsageError
from mta.metrics import MetricsTable
from mta.metrics.layout import (
    COMMIT_MESSAGES,
    CONNECTIONS_IN,
    STORE_DELIVERIES,
    STORE_DRIFT,
    STORE_MESSAGES,
    STORE_OCTETS,
    STORE_REMOVALS,
)
from mta.services import store as store_module
from mta.services.process import Orders
from mta.services.store import StoreService, access_of
from mta.store.protocol import StoreFailed
from mta.store.tables import BOOKS_KEY
from tests.harness.certificates import make_certificate
from tests.harness.directory import make_directory
from tests.harness.storing import deliver, remove

MARK = "mark@minasi.example"
LETTER = b"Subject: x\r\n\r\nhello\r\n"


class Site:
    """The service in this loop, as the attendant would have ordered it."""

    def __init__(self, directory: Path, *listeners: Listener, **limits: float) -> None:
        people = make_directory(directory, [MARK])
        person = people.find(MARK)
        assert person is not None
        self.mark = person.id
        people.close()
        self.directory = directory
        self.config = Config(
            hostname="store.example",
            data_dir=directory,
            listener=listeners,
            local=Local(domains=("minasi.example",)),
            directory=Directory(),
            spool=Spool(free_space=1 << 20),
            log=Log(events=str(directory / "events.jsonl")),
            limits=Limits(**limits),
        )
        self.table = MetricsTable.create(1)
        self.counters = self.table.row(0)
        self.failures: list[str] = []
        bound = [self._unix(), *(self._tcp() for _ in listeners)]
        self.ports = [sock.getsockname()[1] for sock in bound[1:]]
        given = [{"fd": sock.detach(), "index": index} for index, sock in enumerate(bound, -1)]
        self.service = StoreService(Orders(None, "store", 0, [], given, self.table.fd, 0), self.config)

    def _unix(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.config.store_socket))
        return sock

    def _tcp(self) -> socket.socket:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        return sock

    async def start(self) -> None:
        await self.service.start(self.failures.append)

    async def lmtp(self) -> "Line":
        line = Line(*await asyncio.open_unix_connection(str(self.config.store_socket)))
        assert (await line.read()).startswith("220 store.example LMTP")
        return line


class Line:
    """A client of either protocol."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), 20)).decode().rstrip("\r\n")

    async def say(self, *lines: str) -> str:
        """The last line of the last answer."""
        self.writer.write("".join(line + "\r\n" for line in lines).encode())
        answer = "-"
        for _ in lines:
            answer = await self.read()
            while answer[3:4] == "-":
                answer = await self.read()
        return answer

    async def envelope(self) -> None:
        assert (await self.say("LHLO x")).startswith("250")
        assert (await self.say("MAIL FROM:<a@b.example>", f"RCPT TO:<{MARK}>")).startswith("250")

    async def letter(self) -> str:
        assert (await self.say("DATA")).startswith("354")
        self.writer.write(LETTER + b".\r\n")
        return await self.read()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass  # it was cut off


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    await made.start()
    yield made
    await made.service.stop(5.0)
    made.table.close()


async def test_mail_comes_in_and_the_gauges_tell(site: Site) -> None:
    line = await site.lmtp()
    await line.envelope()
    assert (await line.letter()).startswith("250 2.0.0 ")
    facts = site.service.facts()
    assert facts == {"messages": 1, "connections": 1}
    counters = site.counters
    assert counters.get(STORE_MESSAGES) == counters.get(STORE_DELIVERIES) == counters.get(CONNECTIONS_IN) == 1
    assert counters.get(STORE_OCTETS) == site.service.store.usage(site.mark).octets
    await remove(site.service.store, site.mark, [0])
    site.service.facts()
    assert (counters.get(STORE_MESSAGES), counters.get(STORE_REMOVALS), counters.get(STORE_DELIVERIES)) == (0, 1, 1)
    assert sum(counters.get(COMMIT_MESSAGES + n) for n in range(13)) == 2
    await line.close()


async def test_an_operator_is_answered(site: Site) -> None:
    await deliver(site.service.store, site.mark)
    rows = [row async for row in site.service.answer("mailbox.list", {"address": MARK}, 0)]
    assert len(rows) == 1
    with pytest.raises(UsageError):
        site.service.answer("queue.list", {}, 0)


async def test_a_failed_commit_is_told_to_everybody(site: Site) -> None:
    await site.service.probe()
    idle, busy = await site.lmtp(), await site.lmtp()
    await busy.envelope()
    site.service.store._commits.fail(OSError("the disk is gone"))
    assert (await idle.read()).startswith("421 4.3.2 storage trouble")
    assert len(site.failures) == 1
    assert "the disk is gone" in site.failures[0]
    assert await busy.letter() == "451 4.3.0 the message could not be stored, try again later"
    with pytest.raises(StoreFailed):
        await site.service.probe()
    late = Line(*await asyncio.open_unix_connection(str(site.config.store_socket)))
    assert (await late.read()).startswith("421 4.3.2 storage trouble")
    for line in (idle, busy, late):
        await line.close()


async def test_a_drain_waits_for_a_transaction(site: Site) -> None:
    idle, busy = await site.lmtp(), await site.lmtp()
    await busy.envelope()
    assert (await busy.say("DATA")).startswith("354")
    stopping = asyncio.create_task(site.service.stop(20.0))
    assert (await idle.read()).startswith("421 4.3.2 shutting down")
    busy.writer.write(LETTER + b".\r\n")
    assert (await busy.read()).startswith("250 2.0.0 ")
    assert (await busy.read()).startswith("421 4.3.2 shutting down")
    await idle.close()
    await busy.close()
    await stopping


async def test_a_drain_does_not_wait_for_ever(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.start()
    busy = await site.lmtp()
    await busy.envelope()
    await site.service.stop(0.05)
    assert (await busy.read()).startswith("421 4.3.2 shutting down")
    await busy.close()
    site.table.close()


async def test_the_books_are_looked_at_now_and_then(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "AUDIT_EVERY", 1)
    store = site.service.store
    await deliver(store, site.mark)
    site.service.facts()
    assert site.service._auditing is not None
    await site.service._auditing
    assert site.counters.get(STORE_DRIFT) == 0
    with store._files.env.begin(write=True) as txn:
        txn.delete(BOOKS_KEY, db=store._files.books)
    store._reader.renew()
    with caplog.at_level(logging.ERROR):
        site.service.facts()
        await site.service._auditing
    assert site.counters.get(STORE_DRIFT) == 1
    assert "do not balance" in caplog.text

    async def unreadable() -> None:
        raise StorageError("cannot be read")

    monkeypatch.setattr(store, "audit", unreadable)
    site.service.facts()
    with caplog.at_level(logging.ERROR):
        await site.service._auditing
    assert "cannot be read" in caplog.text
    monkeypatch.setattr(store_module, "AUDIT_UP_TO", -1)
    before = site.service._auditing
    site.service.facts()
    assert site.service._auditing is before


async def test_listeners_speak_what_the_configuration_says(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    somewhere = Address("127.0.0.1", 0)
    site = Site(
        tmp_path,
        Listener(protocol="pop3", address=somewhere),
        Listener(protocol="lmtp", address=somewhere),
        Listener(
            protocol="pop3",
            address=somewhere,
            tls="implicit",
            certificate=made.certificate,
            private_key=made.private_key,
        ),
    )
    await site.start()
    plain = Line(*await asyncio.open_connection("127.0.0.1", site.ports[0]))
    assert (await plain.read()).startswith("+OK store.example POP3")
    lmtp = Line(*await asyncio.open_connection("127.0.0.1", site.ports[1]))
    assert (await lmtp.read()).startswith("220 store.example LMTP")
    secure = Line(
        *await asyncio.open_connection(
            "127.0.0.1", site.ports[2], ssl=made.client_context(), server_hostname="localhost"
        )
    )
    assert (await secure.read()).startswith("+OK store.example POP3")
    assert site.service.facts()["connections"] == 3
    stopping = asyncio.create_task(site.service.stop(5.0))
    assert (await plain.read()).startswith("-ERR [SYS/TEMP] shutting down")
    for line in (plain, lmtp, secure):
        await line.close()
    await stopping
    site.table.close()


@pytest.mark.parametrize(
    ("tls", "plaintext", "expected"),
    [
        ("none", False, (False, False, False)),
        ("none", True, (False, False, True)),
        ("starttls", False, (False, True, False)),
        ("starttls", True, (False, True, True)),
        ("required", True, (False, True, False)),
        ("implicit", False, (True, False, False)),
    ],
)
def test_how_a_pop3_listener_lets_people_in(tls: str, plaintext: bool, expected: tuple[bool, bool, bool]) -> None:
    listener = Listener(protocol="pop3", tls=tls, dangerously_allow_plaintext_auth=plaintext)  # type: ignore[arg-type]
    assert access_of(listener) == expected
