"""The demonstration's name server: whichever is there serves the same zones, as whoever runs it, and leaves nothing."""

import os
import random
import signal
import stat
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import pytest

from mta.cli.demonstration import nameserver, places
from mta.cli.demonstration.nameserver import AUTO, OWN, PROGRAMS, NameServer, Program, Real
from mta.cli.demonstration.stage import MINASI, zones
from mta.errors import UnavailableError
from tests.harness.sinks import peer_program

#: Program → the Debian package that has it.
PACKAGES = {"nsd": "nsd", "knotd": "knot", "unbound": "unbound"}


@pytest.fixture
def chosen() -> places.Places:
    return places.choose(random.Random())


async def ask(place: places.Address, name: str, kind: str) -> dns.message.Message:
    return await dns.asyncquery.udp(dns.message.make_query(name, kind), place[0], 5.0, place[1])


async def answers(place: places.Address, name: str, kind: str) -> list[str]:
    message = await ask(place, name, kind)
    assert message.flags & dns.flags.AA, "an authoritative server says so"
    return [data.to_text() for rrset in message.answer for data in rrset]


async def check(server: NameServer, chosen: places.Places) -> None:
    """Both domains have their MX host and its address, by preference 10; and after ``stop`` nobody answers."""
    place = chosen.dns_behind
    assert await answers(place, "minasi.example", "MX") == ["10 arlington.minasi.example."]
    assert await answers(place, "arlington.minasi.example", "A") == [chosen.arlington[0]]
    assert await answers(place, "paradigms.example", "MX") == ["10 hermes.paradigms.example."]
    assert await answers(place, "hermes.paradigms.example", "A") == [chosen.hermes[0]]
    assert await answers(place, "arlington.minasi.example", "AAAA") == []
    await server.stop()
    await server.stop()
    with pytest.raises((OSError, dns.exception.Timeout)):
        await dns.asyncquery.udp(dns.message.make_query(MINASI, "MX"), place[0], 0.2, place[1])


@pytest.mark.parametrize("name", PROGRAMS)
async def test_each_program_serves_the_zones(name: str, tmp_path: Path, chosen: places.Places) -> None:
    peer_program(PROGRAMS[name].program, PACKAGES[PROGRAMS[name].program])
    server = await nameserver.start(name, tmp_path, zones(chosen), chosen.dns_behind)
    assert server.software == PROGRAMS[name].software
    await check(server, chosen)


async def test_our_own_serves_the_same(tmp_path: Path, chosen: places.Places) -> None:
    server = await nameserver.start(OWN, tmp_path, zones(chosen), chosen.dns_behind)
    assert server.software == "Hermes's own"
    await check(server, chosen)


def script(directory: Path, text: str) -> str:
    """A program that does what the shell lines say."""
    path = directory / "nsd"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_a_program_that_cannot_start_is_one_line_with_its_last_words(
    tmp_path: Path, chosen: places.Places
) -> None:
    path = script(tmp_path, "echo some trouble >&2; echo no such zone; exit 1")
    server = Real(PROGRAMS["nsd"], path, tmp_path / "files", zones(chosen), chosen.dns_behind)
    with pytest.raises(UnavailableError, match=r"^nsd \(.*/nsd\) does not answer: no such zone$"):
        await server.start()


async def test_a_program_that_says_and_does_nothing_is_given_up_and_killed(
    tmp_path: Path, chosen: places.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nameserver, "PATIENCE", 0.3)
    path = script(tmp_path, f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do read x < /dev/zero; done")
    server = Real(PROGRAMS["nsd"], path, tmp_path / "files", zones(chosen), chosen.dns_behind)
    with pytest.raises(UnavailableError, match="it said nothing"):
        await server.start()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), signal.SIG_DFL)


async def test_what_is_there_but_does_not_work_is_passed_over_unless_it_was_asked_for(
    tmp_path: Path, chosen: places.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Program("nsd", script(tmp_path, "exit 1"), (), "", "")
    monkeypatch.setattr(nameserver, "PROGRAMS", {"nsd": broken})
    with pytest.raises(UnavailableError, match="it said nothing"):
        await nameserver.start("nsd", tmp_path / "files", zones(chosen), chosen.dns_behind)
    (tmp_path / "more").mkdir()
    server = await nameserver.start(AUTO, tmp_path / "more", zones(chosen), chosen.dns_behind)
    assert server.software == "Hermes's own"
    await server.stop()


async def test_what_is_not_installed_is_said_with_what_to_do(
    tmp_path: Path, chosen: places.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nameserver, "PROGRAMS", {"knot": PROGRAMS["knot"]._replace(program="no-such-program")})
    with pytest.raises(UnavailableError, match=r"^no-such-program is not installed; --dns own needs nothing$"):
        await nameserver.start("knot", tmp_path, zones(chosen), chosen.dns_behind)
    server = await nameserver.start(AUTO, tmp_path, zones(chosen), chosen.dns_behind)
    assert server.software == "Hermes's own"
    await server.stop()
