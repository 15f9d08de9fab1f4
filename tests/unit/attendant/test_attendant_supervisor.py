"""The supervisor's order: stages start one after the other, in spite of those that fail, and drain in reverse."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mta.attendant import supervisor as module
from mta.attendant.prober import ILL_AFTER
from mta.attendant.restart import QUARANTINE_DEATHS
from mta.attendant.service import Service
from mta.attendant.supervisor import Supervisor
from mta.clock import SystemClock


class Puppet(Service):
    """A service without a process: what happens to it is in ``log``, what it does next is up to the test."""

    def __init__(self, name: str, role: str, watcher: Any, log: list[str], listens: bool) -> None:
        super().__init__(name, role, "", 0, 0, _no_launch, watcher, SystemClock(), listens)
        self.log = log
        self.alive: int | None = None
        self.on_start: Callable[[], None] = lambda: None
        self.stays = False

    @property
    def pid(self) -> int | None:
        return self.alive

    def start(self) -> None:
        self.log.append(f"start {self.name}")
        self.alive = 100
        self.stopped.clear()
        self.became_ready.clear()
        self.set_state("starting")
        asyncio.get_running_loop().call_soon(self.on_start)

    def says_ready(self) -> None:
        self._heard({"event": "ready"})

    def dies(self, code: int = 74, words: str = "the disk is gone") -> None:
        self.last_words = words
        self.alive = None
        self.set_state("stopped")
        self.stopped.set()
        self.tried.set()
        self._watcher.on_exit(self, code)

    def drain(self) -> None:
        if self.state != "draining":
            self.log.append(f"drain {self.name}")
            self.set_state("draining")
            if not self.stays:
                asyncio.get_running_loop().call_soon(self.dies, 0, "")

    def kill(self) -> None:
        self.log.append(f"kill {self.name}")
        self.dies(-9, "")


def _no_launch() -> Any:
    raise AssertionError("a puppet has no process")


class Stage:
    """A supervisor with a directory, a store and two workers."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.said: list[str] = []
        self.supervisor = Supervisor(
            SystemClock(), self.said.append, lambda s: self.log.append(f"park {s.name}"), lambda s: None
        )
        self.directory = self.puppet("directory", "directory", False)
        self.store = self.puppet("store", "store", True)
        self.workers = [self.puppet(f"worker-{n}", "worker", True) for n in range(2)]

    def puppet(self, name: str, role: str, listens: bool) -> Puppet:
        made = Puppet(name, role, self.supervisor, self.log, listens)
        made.on_start = made.says_ready
        self.supervisor.add(made)
        return made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


STARTED = ["start directory", "start store", "start worker-0", "start worker-1"]


async def test_each_stage_waits_until_the_one_before_is_ready() -> None:
    stage = Stage()
    stage.store.on_start = lambda: None
    starting = asyncio.create_task(stage.supervisor.start_all())
    await until(lambda: stage.store.pid is not None)
    await asyncio.sleep(0.05)
    assert stage.log == STARTED[:2]
    assert not stage.supervisor.ready()
    stage.store.says_ready()
    await starting
    assert stage.log == STARTED
    await until(stage.supervisor.all_ready.is_set)
    assert stage.supervisor.ready()


async def test_a_stage_that_fails_its_start_keeps_nobody_from_starting() -> None:
    stage = Stage()
    stage.directory.on_start = stage.directory.dies
    await stage.supervisor.start_all()
    assert [line for line in stage.log if "directory" not in line] == STARTED[1:]
    await until(stage.supervisor.all_ready.is_set)
    assert "exit 74 (input or output error)" in stage.said[0]
    assert stage.directory.reason == "exit 74 (input or output error): the disk is gone"
    await stage.supervisor.drain_all(1)


async def test_who_has_listeners_is_missed_by_the_readiness_when_it_is_down() -> None:
    stage = Stage()
    stage.store.on_start = stage.store.dies
    await stage.supervisor.start_all()
    await until(lambda: stage.store.restarts > 1)
    assert not stage.supervisor.ready()
    await stage.supervisor.drain_all(1)


async def test_a_stage_that_takes_too_long_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STAGE_LIMIT", 0.05)
    stage = Stage()
    stage.directory.on_start = lambda: None
    await stage.supervisor.start_all()
    assert stage.log == STARTED
    assert "directory is not ready after" in stage.said[0]


async def test_the_drain_begins_with_those_who_depend_on_the_others() -> None:
    stage = Stage()
    await stage.supervisor.start_all()
    stage.log.clear()
    await stage.supervisor.drain_all(1)
    assert stage.log == ["drain worker-0", "drain worker-1", "drain store", "drain directory"]


async def test_a_worker_that_uses_up_the_time_leaves_the_store_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STAGE_DRAIN", 0.2)
    stage = Stage()
    await stage.supervisor.start_all()
    stage.workers[0].stays = True
    await stage.supervisor.drain_all(0.2)
    assert "kill worker-0" in stage.log
    assert "kill store" not in stage.log
    assert stage.log.index("kill worker-0") < stage.log.index("drain store")


async def test_a_drain_while_stages_start_ends_the_start() -> None:
    stage = Stage()
    stage.store.on_start = lambda: None
    starting = asyncio.create_task(stage.supervisor.start_all())
    await until(lambda: stage.store.pid is not None)
    await stage.supervisor.drain_all(1)
    await starting
    assert "start worker-0" not in stage.log
    assert not stage.supervisor.ready()


async def test_a_service_that_never_starts_is_quarantined_says_why_and_can_be_started_by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mta.attendant.restart.FIRST_DELAY", 0.001)
    stage = Stage()
    stage.directory.on_start = stage.directory.dies
    await stage.supervisor.start_all()
    await until(lambda: stage.directory.state == "quarantined")
    assert stage.log.count("start directory") == QUARANTINE_DEATHS
    assert stage.directory.retry_at > SystemClock().now_ms()
    told = stage.said[-1]
    assert "directory is in quarantine" in told
    assert "the disk is gone" in told
    assert "mta status start directory" in told
    stage.directory.on_start = stage.directory.says_ready
    stage.supervisor.start("directory")
    await until(lambda: stage.directory.state == "running")
    assert stage.directory.reason == ""


async def test_a_service_that_is_ill_is_replaced_for_the_reason_that_was_found() -> None:
    stage = Stage()
    await stage.supervisor.start_all()
    await until(stage.supervisor.all_ready.is_set)
    stage.supervisor.on_ill(stage.store, f"no greeting ({ILL_AFTER} probes in a row have failed)")
    assert "store (pid 100) is ill and is replaced: no greeting (3 probes" in stage.said[-1]
    await until(lambda: stage.log.count("start store") == 2)
    assert stage.store.restarts == 1


async def test_an_operator_s_stop_is_shown_as_such() -> None:
    stage = Stage()
    await stage.supervisor.start_all()
    await stage.supervisor.stop("store", 1)
    assert (stage.store.state, stage.store.reason) == ("stopped", "stopped by an operator")
    assert "park store" in stage.log
    stage.supervisor.start("store")
    assert (stage.store.state, stage.store.reason) == ("starting", ""), "nor does the stop outlast it"
    await stage.supervisor.stop("store", 1)
    await until(stage.supervisor.all_ready.is_set)
    stage.supervisor.start("store")
    assert (stage.store.state, stage.store.reason) == ("starting", "")
