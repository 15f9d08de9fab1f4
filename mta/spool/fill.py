"""Makes a spool of many queued messages while no server runs: for load tests and for trying a long queue.

Owns: writing messages to a shard at full tilt, in the same tables and with the same books as a server. Never does:
deliver, or write to a shard that a server has open (EnvironmentLocked).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lmdb

from mta.clock import Clock, SystemClock
from mta.disk.environment import PREALLOCATE
from mta.disk.pieces import PIECE, id_key, piece_key, pieces_of
from mta.errors import StorageError
from mta.model.message import Message, Recipient, due_key
from mta.model.spoolid import IdSource, format_id
from mta.spool.reading import Reader
from mta.spool.shard import Shard, shard_directory
from mta.spool.tables import LEDGER_KEY, encode_ledger, encode_message

#: Messages a commit: about 10 MB of small ones.
_BATCH = 10_000


@dataclass(frozen=True)
class Pattern:
    """What the messages look like. ``domains`` take turns; ``size`` is octets of content, at least about 200."""

    sender: str = "fill@client.example"
    domains: tuple[str, ...] = ("fill.example",)
    size: int = 1024
    due: int | None = None  # ms; None: at once


def fill(
    data_dir: Path,
    shards: int,
    messages: int,
    pattern: Pattern | None = None,
    *,
    clock: Clock | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Queues ``messages`` messages of one recipient each, spread evenly over shards 0 … ``shards`` - 1.

    Blocks; ``progress(done)`` is called after each commit. What was committed stays when it is interrupted.
    Raises EnvironmentLocked, WrongFormat, StorageError.
    """
    clock = clock or SystemClock()
    pattern = pattern or Pattern()
    done = 0
    for number in range(shards):
        share = messages // shards + (number < messages % shards)
        filler = _Filler(Shard(shard_directory(data_dir, number), preallocate=PREALLOCATE), number, pattern, clock)
        try:
            for count in _batches(share):
                filler.commit(count)
                done += count
                if progress is not None:
                    progress(done)
        finally:
            filler.close()


def _batches(total: int) -> list[int]:
    return [min(_BATCH, total - start) for start in range(0, total, _BATCH)]


class _Filler:
    """Writes to one shard."""

    def __init__(self, shard: Shard, number: int, pattern: Pattern, clock: Clock) -> None:
        self._shard = shard
        self._pattern = pattern
        self._clock = clock
        self._ids = IdSource(number, clock)
        reader = Reader(shard)
        self._ledger = reader.ledger()
        reader.close()
        self._made = 0

    def commit(self, count: int) -> None:
        """``count`` more messages in one transaction."""
        shard = self._shard
        try:
            with shard.env.begin(write=True) as txn:
                for _ in range(count):
                    self._write(txn)
                self._ledger.accepted += count
                txn.put(LEDGER_KEY, encode_ledger(self._ledger), db=shard.ledger)
        except lmdb.Error as error:
            raise StorageError(f"{shard.directory}: {error}") from error

    def _write(self, txn: "lmdb.Transaction[bytes]") -> None:
        shard = self._shard
        message, content = self._message()
        key = id_key(message.id)
        if not txn.put(key, encode_message(message), overwrite=False, db=shard.message):
            raise StorageError(f"{shard.directory}: {format_id(message.id)} is there already: set the clock right")
        for number in range(message.pieces):
            piece = content[number * PIECE : (number + 1) * PIECE]
            txn.put(piece_key(message.id, number), piece, db=shard.content)
        recipient = message.recipients[0]
        txn.put(due_key(recipient.due, message.id, 0), recipient.domain.encode(), db=shard.due)

    def _message(self) -> tuple[Message, bytes]:
        pattern = self._pattern
        now = self._clock.now_ms()
        domain = pattern.domains[self._made % len(pattern.domains)]
        forward_path = f"r{self._made}@{domain}"
        self._made += 1
        spool_id = self._ids.next()
        head = (
            f"From: <{pattern.sender}>\r\nTo: <{forward_path}>\r\nSubject: fill {self._made}\r\n"
            f"Message-ID: <{format_id(spool_id)}@{domain}>\r\n\r\n"
        ).encode()
        content = head + _body(pattern.size - len(head))
        due = now if pattern.due is None else pattern.due
        message = Message(
            spool_id, pattern.sender, [Recipient(forward_path, domain, due=due)], len(content), now, protocol="FILL"
        )
        message.pieces = pieces_of(len(content))
        return message, content

    def close(self) -> None:
        self._shard.close()


_LINE = b"x" * 76 + b"\r\n"


def _body(octets: int) -> bytes:
    """Whole lines, about so many octets, at least one line."""
    return _LINE * max(1, octets // len(_LINE))
