"""The ways in which the same octets can arrive.

Owns: flights, and the pieces that they are cut into. Never does: choose octets, or play them.

An input is one flight or several, with ``FLIGHT`` between them: what a peer says before it has read what is said to it.
There, and only there, a shell has the time for a handshake, so what stands behind a FLIGHT may come under TLS.
"""

from collections.abc import Callable, Hashable, Iterator
from random import Random
from typing import Any

from tests.harness.recording_handler import cut, octet_by_octet

Check = Callable[[bytes, Random], Hashable]
#: One flight of a peer in pieces, and all of them.
Pieces = list[bytes]
Flights = list[Pieces]
FLIGHT = b"\0|\0"
#: Octets that are played one by one; more would take long and show nothing new.
MOST = 3000


def pieces_of(octets: bytes, random: Random) -> list[Pieces]:
    """Whole, one by one, and twice at random."""
    ways = [[octets], octet_by_octet(octets)]
    return [*ways, *(cut(octets, [random.randrange(len(octets) + 1) for _ in range(8)]) for _ in range(2))]


def flights_of(octets: bytes, random: Random) -> Iterator[Flights]:
    """The same for each flight of what a peer sends."""
    flights = octets[:MOST].split(FLIGHT)
    yield from map(list, zip(*(pieces_of(flight, random) for flight in flights), strict=True))


def alike(results: list[Any]) -> Any:
    """All of them are the same; one of them."""
    assert all(result == results[0] for result in results), "the transcript depends on how octets arrive"
    return results[0]


def assert_no_bare_line_end(octets: bytes) -> None:
    rest = octets.replace(b"\r\n", b"")
    assert b"\r" not in rest, "a bare CR goes out"
    assert b"\n" not in rest, "a bare LF goes out"
