"""The tables of a shard: names, keys, records, and the size of a piece of content.

Owns: how a key or value looks on disk (format version 1). Never does: IO, transactions.

``content``     id (8) + piece number (4), big-endian → up to PIECE octets
``message``     id (8) → msgpack of ``Message``
``due``         due key (18, see ``mta.model.message.due_key``) → routing domain
``ledger``      ``LEDGER_KEY`` → msgpack of ``Ledger``
``incomplete``  id (8) → nothing: content of this id that no record refers to; purged in passing
"""

from struct import Struct

import msgspec

from mta.disk.environment import Layout
from mta.model.message import Message, due_key
from mta.spool.protocol import Ledger

LEDGER_KEY = b"recipients"
NAMES = (b"content", b"message", b"due", b"ledger", b"incomplete")
LAYOUT = Layout("spool", NAMES, version=1)

#: Octets of a piece. LMDB puts a long value on pages of its own, behind a header of 16 octets: this is the most that
#: takes one page (of 4096), so no allocation has to search its free list for neighbouring pages.
PIECE = 4080
#: Pieces in one chunk of ``content``: 65,280 octets.
PIECES_PER_CHUNK = 16

piece_key = Struct(">QI").pack
id_key = Struct(">Q").pack

encode_message = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(Message).decode
encode_ledger = msgspec.msgpack.Encoder().encode
decode_ledger = msgspec.msgpack.Decoder(Ledger).decode


def pieces_of(octets: int) -> int:
    """How many pieces content of this length has."""
    return -(-octets // PIECE)


def due_bound(until: int) -> bytes:
    """The first key that is later than every key with due time ≤ ``until`` (ms)."""
    return due_key(until + 1, 0, 0)
