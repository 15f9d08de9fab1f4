"""The tables of a shard: names, keys and records.

Owns: how a key or value looks on disk (format version 1). Never does: IO, transactions.

``content``     id (8) + piece number (4), big-endian → up to PIECE octets, see ``mta.disk.pieces``
``message``     id (8) → msgpack of ``Message``
``due``         due key (18, see ``mta.model.message.due_key``) → routing domain
``ledger``      ``LEDGER_KEY`` → msgpack of ``Ledger``
``incomplete``  id (8) → nothing: content of this id that no record refers to; purged in passing
"""

import msgspec

from mta.disk.environment import Layout
from mta.model.message import Message, due_key
from mta.spool.protocol import Ledger

LEDGER_KEY = b"recipients"
NAMES = (b"content", b"message", b"due", b"ledger", b"incomplete")
LAYOUT = Layout("spool", NAMES, version=1)

encode_message = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(Message).decode
encode_ledger = msgspec.msgpack.Encoder().encode
decode_ledger = msgspec.msgpack.Decoder(Ledger).decode


def due_bound(until: int) -> bytes:
    """The first key that is later than every key with due time ≤ ``until`` (ms)."""
    return due_key(until + 1, 0, 0)
