"""The attendant's smaller parts: control channel, notification, data directory and lock, listeners."""

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from mta.attendant.control import Channel, RemoteError
from mta.attendant.datadir import LOCK_NAME, hold_lock, is_locked, make_data_dir
from mta.attendant.listeners import Listeners, Place, unix_listener
from mta.attendant.notify import Notifier
from mta.attendant.parked import ParkedListeners
from mta.clock import SystemClock
from mta.errors import CannotCreateError, TemporaryError, UnavailableError

# The control channel.


class Pipe:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


def channel() -> tuple[Channel, Pipe, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    made, pipe = Channel("worker-0", events.append), Pipe()
    made.connection_made(pipe)  # type: ignore[arg-type]
    return made, pipe, events


def test_events_are_taken_whole_octet_by_octet_and_with_octets_left_over() -> None:
    data = b'{"event":"ready"}\n{"event":"heartbeat","lag":0.5}\n{"event":"dr'
    whole, _, seen = channel()
    whole.data_received(data)
    single, _, slowly = channel()
    for i in range(len(data)):
        single.data_received(data[i : i + 1])
    assert seen == slowly == [{"event": "ready"}, {"event": "heartbeat", "lag": 0.5}]
    whole.data_received(b'ained"}\n')
    assert seen[-1] == {"event": "drained"}


def test_nonsense_is_reported_as_a_failing_service() -> None:
    made, _, events = channel()
    made.data_received(b"Traceback (most recent call last):\n")
    assert events[0]["event"] == "failing"


async def test_an_answer_is_its_rows_and_an_error_keeps_its_exit_code() -> None:
    made, pipe, _ = channel()

    async def ask(verb: str) -> list[dict[str, Any]]:
        return [row async for row in made.request(verb, {"limit": 1}, 3)]

    first, second = asyncio.create_task(ask("queue.list")), asyncio.create_task(ask("why"))
    await asyncio.sleep(0)
    assert pipe.written.startswith(b'{"id":1,"verb":"queue.list","shard":3,"args":{"limit":1}}\n{"id":2,')
    made.data_received(b'{"id":2,"error":"no such message","exit":65}\n{"id":1,"row":{"a":1}}\n{"id":1,"end":true}\n')
    assert await first == [{"a": 1}]
    with pytest.raises(RemoteError, match="no such message") as caught:
        await second
    assert caught.value.exit_code == os.EX_DATAERR


async def test_a_request_to_a_service_that_dies_says_try_again() -> None:
    made, _, _ = channel()
    rows = made.request("audit", {}, 0)
    asked = asyncio.ensure_future(anext(rows))
    await asyncio.sleep(0)
    made.connection_lost(None)
    with pytest.raises(RemoteError, match="went away") as caught:
        await asked
    assert caught.value.exit_code == os.EX_TEMPFAIL
    with pytest.raises(TemporaryError, match="not running"):
        await anext(made.request("audit", {}, 0))


# The service manager.


def test_the_service_manager_is_told_over_its_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}
        notifier = Notifier(environ, SystemClock())
        notifier.ready()
        notifier.reloading()
        notifier.stopping()
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(100) == b"STOPPING=1"
        assert notifier.watchdog == 15.0


def test_without_a_service_manager_nothing_happens() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, SystemClock())
    notifier.ready()
    assert notifier.watchdog == 0


# The data directory.


def never(seconds: float) -> None:
    raise AssertionError("waited")


def test_the_data_directory_is_private(tmp_path: Path) -> None:
    make_data_dir(tmp_path / "a/b")
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o700
    make_data_dir(tmp_path / "a/b")


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError, match="set data_dir"):
        make_data_dir(tmp_path / "file/data")
    with pytest.raises(CannotCreateError, match="a file is in its place"):
        make_data_dir(tmp_path / "file")


def test_a_second_server_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    fd = hold_lock(tmp_path, SystemClock(), never)
    with pytest.raises(TemporaryError, match=f"pid {os.getpid()}"):
        hold_lock(tmp_path, SystemClock(), lambda seconds: None, patience=0.05)
    assert is_locked(tmp_path)
    os.close(fd)
    assert not is_locked(tmp_path)
    os.close(hold_lock(tmp_path, SystemClock(), never))
    assert (tmp_path / LOCK_NAME).exists()


def test_a_start_waits_for_what_is_left_of_a_killed_server(tmp_path: Path) -> None:
    old = hold_lock(tmp_path, SystemClock(), never)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            os.close(old)

    os.close(hold_lock(tmp_path, SystemClock(), sleep))
    assert len(waits) == 2


# Listeners.


def test_workers_share_the_port_that_the_first_got_and_each_has_its_own_socket() -> None:
    listeners = Listeners(3)
    listeners.bind([Place(0, "127.0.0.1", 0, "")])
    ports = {sock.getsockname()[1] for worker in range(3) for _, sock in listeners.own(worker)}
    fds = {fd for worker in range(3) for fd, _ in listeners.of(worker)}
    assert (len(ports), len(fds)) == (1, 3)
    assert listeners.addresses() == [(0, f"127.0.0.1:{ports.pop()}")]
    listeners.close()


def test_a_taken_address_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"listener 127.0.0.1:{port}: Address already in use"):
            Listeners(1).bind([Place(0, "127.0.0.1", port, "")])


def test_a_port_that_another_server_shares_out_is_taken_all_the_same() -> None:
    first = Listeners(2)
    first.bind([Place(0, "127.0.0.1", 0, "")])
    port = first.own(0)[0][1].getsockname()[1]
    with pytest.raises(UnavailableError, match="Address already in use"):
        Listeners(2).bind([Place(0, "127.0.0.1", port, "")])
    first.close()


def test_a_unix_socket_left_by_a_dead_server_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    first = unix_listener(path, 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UnavailableError, match="another process"):
        unix_listener(path, 0o600)
    first.close()
    unix_listener(path, 0o600).close()
    path.unlink()
    path.write_text("mine")
    with pytest.raises(CannotCreateError, match="no socket"):
        unix_listener(path, 0o600)


async def test_connections_to_a_worker_that_is_away_for_long_are_told_to_come_again() -> None:
    listeners = Listeners(1)
    listeners.bind([Place(0, "127.0.0.1", 0, "")])
    parked = ParkedListeners("hermes.example")
    own = [sock for _, sock in listeners.own(0)]
    parked.park("worker-0", [("smtp", sock) for sock in own])
    reader, writer = await asyncio.open_connection(*own[0].getsockname())
    assert (await reader.read()).startswith(b"421 4.3.2 hermes.example")
    writer.close()
    parked.release("worker-0")
    parked.release("worker-0")
    reader, writer = await asyncio.open_connection(*own[0].getsockname())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(), 0.1)
    writer.close()
    listeners.close()


# What cannot be bound says why, and what to do.


def test_a_socket_path_that_is_too_long_says_so(tmp_path: Path) -> None:
    with pytest.raises(CannotCreateError, match="the path is too long for a socket: at most 107 octets"):
        unix_listener(tmp_path / ("x" * 120), 0o600)


def test_an_address_of_another_machine_says_so() -> None:
    listeners = Listeners(1)
    with pytest.raises(UnavailableError, match=r"192\.0\.2\.1:2525: not an address of this machine; `ip address`"):
        listeners.bind([Place(0, "192.0.2.1", 2525, "")])


def test_a_port_that_is_taken_says_who_may_have_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}: Address already in use; `ss -ltnp`"):
            Listeners(1).bind([Place(0, "127.0.0.1", port, "")])
