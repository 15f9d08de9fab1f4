"""Whatever fails under the server while mail comes in: nothing accepted is lost, and it comes back by itself."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mta.services.zone import ZoneServer, zone_from_dict
from tests.crash.rig import ENVIRONMENT, Helper, Server, clients, seconds_to_220, sink, wait_until
from tests.harness.faults import Faults, needs_compiler
from tests.harness.ledger import DOMAIN, Books, Verdict, reconcile
from tests.harness.ledger_client import Load
from tests.harness.powercut import needs_power_cut, power_cut_disk

LOAD = Load(clients=4, connections=2, pause=0.01, largest=256 << 10, seed=11)


class Story:
    """A server between clients and a sink, and the ledgers of both."""

    def __init__(self, directory: Path, server: Server, remote: Helper) -> None:
        self.sent, self.got = directory / "client.ledger", directory / "sink.ledger"
        self.server = server
        self.remote = remote
        self.sent.touch()

    def refused(self) -> set[str]:
        """The codes that clients were refused with so far."""
        return {line.split()[2] for line in self.sent.read_text().splitlines() if line.startswith("NACK")}

    def acknowledged(self) -> int:
        return self.sent.read_text().count("\nACK ")

    def goes_on(self) -> None:
        """Clients are acknowledged again."""
        before = self.acknowledged()
        wait_until(lambda: self.acknowledged() > before + 20, "mail is accepted again")

    def stands_still(self) -> None:
        """Nothing was acknowledged for longer than a look at the free space holds."""
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < 2.5:
            if self.acknowledged() != seen:
                seen, since = self.acknowledged(), time.monotonic()
            time.sleep(0.1)

    def verdict(self, faults: list[float]) -> Verdict:
        """After the drain: everything that was acknowledged must be in the sink."""
        wait_until(self.server.drained, "the queue is empty")
        audit = self.server.audit()
        assert audit["drift"] == audit["exit"] == 0, audit
        assert self.server.stop() == 0
        return reconcile(Books.read([self.sent], [self.got]), LOAD.domains, faults)


@contextmanager
def story(
    directory: Path, *, data: Path | None = None, settings: str = "", env: dict[str, str] | None = None
) -> Iterator[Story]:
    with sink(directory / "sink.ledger") as (remote, port):
        server = Server(directory, port, data=data, settings=settings)
        server.environment = (env or ENVIRONMENT) | {"PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}
        with closing(server):
            server.start()
            seconds_to_220(server.port, time.monotonic(), 30.0)
            yield Story(directory, server, remote)


@needs_compiler
@pytest.mark.parametrize("call", ["fdatasync", "pwrite"])
def test_a_failed_sync_refuses_its_batch_and_the_worker_is_started_again(tmp_path: Path, call: str) -> None:
    faults = Faults(tmp_path)
    with story(tmp_path, env=faults.environment) as it:
        pids = it.server.worker_pids()
        with clients(it.sent, it.server.port, LOAD) as load:
            it.goes_on()
            moment = time.monotonic()
            with faults.armed(call):
                wait_until(lambda: "451_4.3.0" in it.refused(), "clients are told 451")
                wait_until(lambda: it.server.log().count("asks for a restart") >= 2, "both workers ask for a restart")
            end = time.monotonic()
            wait_until(it.server.all_running, "both workers are back")
            it.goes_on()
            load.finish()
        assert not set(pids) & set(it.server.worker_pids())
        verdict = it.verdict([moment + step / 10 for step in range(int((end - moment) * 10) + 5)])
        assert "Traceback" not in it.server.log()
    assert verdict.clean, verdict.lines()
    assert not verdict.refused.keys() - {"451_4.3.0", "421_4.3.2", "connection lost"}


def free(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def fill_up(path: Path, leave: int = 0) -> None:
    """Somebody else takes the disk, except for ``leave`` octets."""
    with path.open("wb") as file:
        while (left := free(path.parent) - leave) > 0:
            try:
                file.write(bytes(min(1 << 20, left)))
                file.flush()
            except OSError:
                return


@needs_compiler
def test_a_spool_that_cannot_be_written_delivers_nothing_again_and_again(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    with story(tmp_path, env=faults.environment) as it:
        it.remote.say("pause")
        with clients(it.sent, it.server.port, LOAD) as load:
            it.goes_on()
            load.finish()
        with faults.armed("fdatasync"):
            it.remote.say("resume")
            wait_until(lambda: it.server.log().count("cannot be written") >= 2, "both workers have tried a start")
            before = it.got.read_text().count("GOT")
            wait_until(lambda: it.server.log().count("cannot be written") >= 8, "and failed at several more")
            assert it.got.read_text().count("GOT") == before
            end = time.monotonic()
        wait_until(it.server.all_running, "both workers are back")
        verdict = it.verdict([end - step / 10 for step in range(100)])
    assert verdict.clean, verdict.lines()
    assert len(verdict.duplicates) <= before


@needs_power_cut
def test_a_low_disk_is_told_well_before_it_is_full_and_accepts_again_when_the_queue_has_drained(tmp_path: Path) -> None:
    mark = 48 << 20
    with (
        power_cut_disk(tmp_path, 300) as disk,
        story(tmp_path, data=disk.path / "data", settings=f"[spool]\nfree_space = {mark}\n") as it,
    ):
        it.remote.say("pause")
        fill_up(disk.path / "foreign", leave=mark + (4 << 20))
        large = replace(LOAD, smallest=200 << 10, largest=300 << 10)
        with clients(it.sent, it.server.port, large) as load:
            wait_until(lambda: "452_4.3.1" in it.refused(), "clients are told 452")
            it.stands_still()
            assert free(disk.path) > mark / 3
            it.remote.say("resume")
            it.goes_on()  # the foreign file is there still
            load.finish()
        verdict = it.verdict([])
        assert "asks for a restart" not in it.server.log()
    assert verdict.clean, verdict.lines()
    assert not verdict.duplicates


@needs_power_cut
def test_a_disk_that_somebody_else_fills_to_the_brim_costs_no_accepted_message(tmp_path: Path) -> None:
    settings = '[spool]\nfree_space = "8MiB"\n'
    with power_cut_disk(tmp_path, 300) as disk, story(tmp_path, data=disk.path / "data", settings=settings) as it:
        it.remote.say("pause")
        large = replace(LOAD, smallest=200 << 10, largest=300 << 10)
        with clients(it.sent, it.server.port, large) as load:
            wait_until(lambda: it.acknowledged() > 50, "a queue")
            moment = time.monotonic()
            fill_up(disk.path / "foreign")
            wait_until(lambda: it.refused() & {"452_4.3.1", "451_4.3.0"}, "clients are refused")
            it.remote.say("resume")
            wait_until(lambda: it.got.read_text().count("GOT") > 50, "deliveries, on the room that is inside the files")
            (disk.path / "foreign").unlink()
            end = time.monotonic()
            wait_until(it.server.all_running, "the server has recovered")
            it.goes_on()
            load.finish()
        verdict = it.verdict([moment + step / 10 for step in range(int((end - moment) * 10) + 5)])
    assert verdict.clean, verdict.lines()


def test_a_silent_resolver_delays_mail_and_loses_none(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, sink(tmp_path / "sink.ledger") as (remote, port):
        silent.bind(("127.0.0.1", 0))
        name_server = silent.getsockname()[1]
        server = Server(
            tmp_path,
            0,
            settings=f'[dns]\nservers = ["127.0.0.1:{name_server}"]\ntimeout = "300ms"\n'
            f'[delivery]\nport = {port}\nretry_after = ["1s"]\n',
        )
        with closing(server):
            server.start()
            seconds_to_220(server.port, time.monotonic(), 30.0)
            it = Story(tmp_path, server, remote)
            with clients(it.sent, server.port, LOAD) as load:
                wait_until(lambda: it.acknowledged() > 200, "mail is accepted without a resolver")
                load.finish()
            assert not it.refused()
            assert server.audit()["queued"] > 200
            assert not it.got.read_text()
            silent.close()
            with answering(name_server):
                verdict = it.verdict([])
    assert verdict.clean, verdict.lines()
    assert not verdict.duplicates


@contextmanager
def answering(port: int) -> Iterator[None]:
    """The name server answers at last, in a loop of its own."""
    import asyncio
    import threading

    zone = zone_from_dict({f"*.{DOMAIN}": ["MX 10 mx.example."], "mx.example": ["A 127.0.0.1"]})
    loop = asyncio.new_event_loop()
    server = ZoneServer([zone], port=port)
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(server.stop())
        loop.close()
