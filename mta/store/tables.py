"""The tables of the store: names, keys and records (format version 1), and the files that hold them.

Owns: how a key or value looks on disk, and the handles. Never does: transactions.

``content``     content number (8) + piece number (4), big-endian → up to PIECE octets, see ``mta.disk.pieces``
``body``        content number → octets (8) + references (4): in how many mailboxes it is
``item``        mailbox (8) + uid (8) → content number (8), size as sent (8), arrival in ms (8), then the head's octets
``mailbox``     mailbox → messages (8), octets as sent (8), last uid (8); it stays when all its mail has gone,
                until its person has gone too and an operator erases it
``books``       ``BOOKS_KEY`` → msgpack of ``Books``
``incomplete``  content number → nothing: content that no body refers to; purged in passing

A content number only names pieces; it may come again when all of its content has gone.
"""

from pathlib import Path
from struct import Struct
from typing import Any

import msgspec

from mta.disk.environment import Environment, Layout

NAMES = (b"content", b"body", b"item", b"mailbox", b"books", b"incomplete")
LAYOUT = Layout("store", NAMES, version=1)
BOOKS_KEY = b"copies"

BODY = Struct(">QI")
ITEM = Struct(">QQQ")
MAILBOX = Struct(">QQQ")
item_key = Struct(">QQ").pack


class Books(msgspec.Struct):
    """Copies of messages: ``delivered`` = ``removed`` + ``messages``, at every commit. ``octets`` of those that are
    there."""

    messages: int = 0
    octets: int = 0
    delivered: int = 0
    removed: int = 0


encode_books = msgspec.msgpack.Encoder().encode
decode_books = msgspec.msgpack.Decoder(Books).decode


def store_directory(data_dir: Path) -> Path:
    """Where the store's files are."""
    return data_dir / "store"


class Files(Environment):
    """The open environment; options and errors are those of ``Environment``. A write transaction belongs to no
    thread."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, LAYOUT, **options)
        self.content, self.body, self.item, self.mailbox, self.books, self.incomplete = (
            self.db[name] for name in NAMES
        )
