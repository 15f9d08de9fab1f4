"""Whole servers, sinks and name servers as fixtures. What a test starts with them ends with it, books balanced."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.mta_server import MtaServer
from tests.harness.sinks import LoopThread, RecordingSink, SmtpSink, Zones


@pytest.fixture
def mta(tmp_path: Path) -> Iterator[Callable[..., MtaServer]]:
    """``mta(**settings)``: a running server. At the end each is drained: exit 0, no traceback, balanced books."""
    servers: list[MtaServer] = []

    def start(directory: Path | None = None, **settings: Any) -> MtaServer:
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
    thread = LoopThread()
    yield thread
    thread.stop()


@pytest.fixture
def sink(loop_thread: LoopThread) -> Iterator[Callable[..., RecordingSink]]:
    """``sink(script, **options)``: a running RecordingSink."""
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
    sinks: list[SmtpSink] = []

    def start(*options: str, **where: Any) -> SmtpSink:
        sinks.append(SmtpSink(tmp_path / f"sink{len(sinks)}", *options, **where))
        return sinks[-1].start()

    yield start
    for running in sinks:
        running.stop()
