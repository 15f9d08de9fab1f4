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
    """The servers and how long they took to start; ``addresses``: name → host:port; ``dns``: which name server."""

    version: str
    seconds: float
    directory: str
    addresses: dict[str, str]
    dns: str


class Lookup(NamedTuple):
    """One question to the DNS with its answer; "": there is no such record."""

    name: str
    kind: str
    answer: str


class Stored(NamedTuple):
    """What the store said when the letter was in the mailbox, from the event log of its server."""

    server: str
    queue_id: str
    mailbox: str
    reply: str


class Letter(NamedTuple):
    """A letter's way: the sessions by SMTP in their order, the one by POP3, and what was fetched.

    ``queue_ids``: one for each server. ``seconds``: from the author's first octet until it is in the reader's hands.
    """

    hops: tuple[Hop, ...]
    lookups: tuple[Lookup, ...]
    queue_ids: tuple[str, ...]
    stored: Stored
    fetched: Hop
    arrived: bytes
    sent_octets: int
    seconds: float


class Refused(NamedTuple):
    """A recipient that Arlington does not know, and the report that came home and was fetched."""

    recipient: str
    reply: str
    report_fields: tuple[str, ...]
    report_text: tuple[str, ...]
    report_to: str
    status: str
    seconds: float


class Waiting(NamedTuple):
    """Mail for a server that is down. ``why``: the lines of ``mta why``; ``down`` seconds without the server,
    ``after_return`` from its return until the letter was in the mailbox, ``seconds`` from sent to fetched."""

    queue_id: str
    why: tuple[str, ...]
    attempts: int
    down: float
    after_return: float
    seconds: float


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


class Mailbox(NamedTuple):
    """Letters into one mailbox and out of it: by SMTP until the store has them all, then by POP3 until QUIT has its
    answer. Rates are messages a second."""

    messages: int
    octets: int
    connections: int
    stored_seconds: float
    stored_rate: float
    fetched_seconds: float
    fetched_rate: float


class Audit(NamedTuple):
    """The ledgers, as ``mta audit --json`` gives them, and the books of the stores (``mta mailbox audit --json``)."""

    athena: Row
    hermes: Row
    arlington: Row
    athena_store: Row
    arlington_store: Row
