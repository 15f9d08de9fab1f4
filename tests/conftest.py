"""The extensions are built before the first test is imported; whole servers, sinks and name servers are fixtures.

What a test starts with them ends with it, books balanced. The harness imports the extensions, so it is imported where
it is used: on a fresh checkout they do not exist before ``pytest_configure``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import parallel
from tests.harness.extensions import BuildError, ensure_built

if TYPE_CHECKING:
    from tests.harness.figure_1 import Figure1
    from tests.harness.mta_server import MtaServer
    from tests.harness.sinks import LoopThread, RecordingSink, SmtpSink, Zones


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if parallel.is_whole(config):
        config.option.numprocesses = parallel.WORKERS


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return parallel.scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: parallel.rank(item.nodeid))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Around pytest-timeout's, so that a turn may be waited for."""
    with parallel.turn(parallel.is_alone(item.nodeid)):
        return (yield)


def pytest_configure(config: pytest.Config) -> None:
    capture = config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(text, flush=True)

    try:
        ensure_built(say)
    except BuildError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture
def mta(tmp_path: Path) -> Iterator[Callable[..., MtaServer]]:
    """``mta(**settings)``: a running server. At the end each is drained: exit 0, no traceback, balanced books."""
    from tests.harness.mta_server import MtaServer

    servers: list[MtaServer] = []

    def start(directory: Path | None = None, /, **settings: Any) -> MtaServer:
        servers.append(MtaServer(directory or tmp_path / f"mta{len(servers)}", **settings))
        return servers[-1].start()

    yield start
    try:
        for server in servers:
            server.stop()
    finally:
        for server in servers:
            server.close()


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    """An event loop beside the test."""
    from tests.harness.sinks import LoopThread

    thread = LoopThread()
    yield thread
    thread.stop()


@pytest.fixture
def sink(loop_thread: LoopThread) -> Iterator[Callable[..., RecordingSink]]:
    """``sink(script, **options)``: a running RecordingSink."""
    from tests.harness.sinks import RecordingSink

    sinks: list[RecordingSink] = []

    def start(*args: Any, **options: Any) -> RecordingSink:
        sinks.append(RecordingSink(loop_thread, *args, **options))
        return sinks[-1].start()

    yield start
    for running in sinks:
        running.stop()


@pytest.fixture
def zones(loop_thread: LoopThread) -> Iterator[Callable[..., Zones]]:
    """``zones({name: [records]})``: a running DNS server."""
    from tests.harness.sinks import Zones

    servers: list[Zones] = []

    def start(*args: Any, **options: Any) -> Zones:
        servers.append(Zones(loop_thread, *args, **options))
        return servers[-1].start()

    yield start
    for running in servers:
        running.stop()


@pytest.fixture
def smtp_sink(tmp_path: Path) -> Iterator[Callable[..., SmtpSink]]:
    """``smtp_sink(*options)``: a running smtp-sink that writes dumps."""
    from tests.harness.sinks import SmtpSink

    sinks: list[SmtpSink] = []

    def start(*options: str, **where: Any) -> SmtpSink:
        sinks.append(SmtpSink(tmp_path / f"sink{len(sinks)}", *options, **where))
        return sinks[-1].start()

    yield start
    for running in sinks:
        running.stop()


@pytest.fixture
def figure_1(tmp_path: Path) -> Iterator[Figure1]:
    """Athena, Hermes and Arlington with a name server, running."""
    from tests.harness.figure_1 import running_figure_1

    with running_figure_1(tmp_path / "figure1") as figure:
        yield figure
