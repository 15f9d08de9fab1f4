"""Probes: what counts as well, as ill, and when the service is told on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from mta.attendant import prober as module
from mta.attendant.listeners import Place
from mta.attendant.prober import ILL_AFTER, Prober
from mta.attendant.service import Service
from mta.errors import StorageError


class Patient:
    """As much of a service as a probe sees; ``answer`` is what it does when it is asked."""

    def __init__(self) -> None:
        self.name = "store"
        self.state = "running"
        self.pid: int | None = 4711
        self.reason = ""
        self.answer: Callable[[], Any] = lambda: None
        self.channel: Patient | None = self

    async def request(self, verb: str, args: dict[str, Any], shard: int) -> AsyncIterator[dict[str, Any]]:
        assert verb == "probe"
        await asyncio.sleep(0)
        wait = self.answer()
        if wait is not None:
            await wait
        return
        yield {}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_EVERY", 0.001)
    monkeypatch.setattr(module, "PROBE_LIMIT", 0.2)


def fails() -> None:
    raise StorageError("the environment cannot be read")


def prober(places: list[tuple[str, Place]] | None = None) -> tuple[Prober, list[str]]:
    told: list[str] = []
    return Prober(lambda service: places or [], lambda service, reason: told.append(reason), Random(1)), told


def as_service(patient: Patient) -> Service:
    return cast(Service, patient)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_three_failures_in_a_row_make_it_ill_and_one_success_wipes_the_record() -> None:
    patient = Patient()
    answers = iter([fails, fails, lambda: None, fails, fails, fails])
    patient.answer = lambda: next(answers, lambda: None)()
    checked, told = prober()
    watching = asyncio.create_task(checked.watch(as_service(patient)))
    await until(lambda: len(told) == 1 and patient.reason == "")
    watching.cancel()
    assert told == [f"the environment cannot be read ({ILL_AFTER} probes in a row have failed)"]
    assert checked.failures == {"store": 5}


async def test_one_that_is_replaced_meanwhile_begins_anew() -> None:
    patient = Patient()

    def dies() -> None:
        assert patient.pid is not None
        patient.pid += 1
        fails()

    patient.answer = dies
    checked, told = prober()
    watching = asyncio.create_task(checked.watch(as_service(patient)))
    await until(lambda: patient.pid is not None and patient.pid > 4711 + 2 * ILL_AFTER)
    watching.cancel()
    assert (told, checked.failures) == ([], {"store": 0})


async def test_only_one_that_runs_is_asked() -> None:
    class Draining(Patient):
        looks = asked = 0

        @property
        def state(self) -> str:
            self.looks += 1
            return "draining"

        @state.setter
        def state(self, value: str) -> None: ...

    def asked() -> None:
        patient.asked += 1

    patient = Draining()
    patient.answer = asked
    checked, _ = prober()
    watching = asyncio.create_task(checked.watch(as_service(patient)))
    await until(lambda: patient.looks > 9)
    watching.cancel()
    assert patient.asked == 0


async def test_an_answer_that_takes_too_long_is_none() -> None:
    patient = Patient()
    patient.answer = lambda: asyncio.sleep(10)
    assert await prober()[0].probe(as_service(patient)) == "it has not answered within 0.2 s"
    patient.channel = None
    assert await prober()[0].probe(as_service(patient)) == "it has no control channel"


@pytest.mark.parametrize(
    ("says", "found"),
    [
        (b"+OK here\r\n", ""),
        (b"-ERR too many\r\n", ""),
        (b"x" * 10_000, ""),
        (b"", "pop3 at {}: the connection was closed without a greeting"),
        (None, "pop3 at {}: no greeting within 0.2 s"),
    ],
)
async def test_a_listener_is_well_when_it_says_anything(tmp_path: Path, says: bytes | None, found: str) -> None:
    path, left = str(tmp_path / "sock"), asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if says is None:
            await reader.read()
        else:
            writer.write(says)
        writer.close()
        left.set()

    async with await asyncio.start_unix_server(greet, path):
        checked, _ = prober([("pop3", Place(0, "", 0, path))])
        assert await checked.probe(as_service(Patient())) == found.format(path)
        await left.wait()


async def test_a_listener_that_is_gone_is_named(tmp_path: Path) -> None:
    checked, _ = prober([("lmtp", Place(0, "127.0.0.1", 1, ""))])
    assert "lmtp at 127.0.0.1:1: " in await checked.probe(as_service(Patient()))
