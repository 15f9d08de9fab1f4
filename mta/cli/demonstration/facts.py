"""What the scenes found out: plain values, verified by who made them, drawn and written as JSON by others.

Owns: names and units. Never does: anything. Times in seconds unless the name says otherwise.
"""

from typing import Any, NamedTuple

from mta.services.dialogue import Turn

Row = dict[str, Any]


class Hop(NamedTuple):
    """One session: who spoke to whom, what was said, and how long it took."""

    client: str
    server: str
    turns: tuple[Turn, ...]
    seconds: float


class Setup(NamedTuple):
    """The servers and how long they took to start; ``addresses``: name → host:port."""

    version: str
    seconds: float
    directory: str
    addresses: dict[str, str]


class Lookup(NamedTuple):
    """One question to the DNS with its answer, and how often it was asked."""

    name: str
    kind: str
    answer: str
    asked: int


class Letter(NamedTuple):
    """The letter's way. ``seconds``: from the author's first octet to its arrival at Arlington."""

    hops: tuple[Hop, ...]
    lookups: tuple[Lookup, ...]
    athena_id: str
    hermes_id: str
    arrived: bytes
    sent_octets: int
    seconds: float


class Refused(NamedTuple):
    """A recipient that Arlington does not know, and the report that came home."""

    recipient: str
    reply: str
    report_fields: tuple[str, ...]
    report_text: tuple[str, ...]
    report_to: str
    status: str
    seconds: float


class Waiting(NamedTuple):
    """Mail for a server that is down. ``why``: the lines of ``mta why``; ``seconds`` from sent to arrived."""

    queue_id: str
    why: tuple[str, ...]
    attempts: int
    seconds: float
    after_return: float


class Burst(NamedTuple):
    """The burst's figures. Milliseconds: ``accepted`` MAIL to 250, ``delivered`` MAIL to end of content at the sink."""

    messages: int
    octets: int
    connections: int
    workers: int
    seconds: float
    rate: float
    accepted_p50_ms: float
    accepted_p99_ms: float
    delivered_p50_ms: float
    delivered_p99_ms: float
    cpu_us: float | None
    cores: int
    file_system: str


class Audit(NamedTuple):
    """Both ledgers, as ``mta audit --json`` gives them."""

    athena: Row
    hermes: Row
