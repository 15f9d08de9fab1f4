"""One walk over the tables gives a message whole, or says which piece is wrong; the rest of it is in the conformance
tests of the store."""

from collections.abc import Callable

import pytest

from mta.disk.pieces import PIECE, id_key, piece_key
from mta.store.tables import ITEM, item_key
from mta_ext.kept import read_kept

MAILBOX, UID, NUMBER = 3, 0x0102030405060708, 0xF1F2F3F4F5F6F7F8
HEAD = b"Return-Path: <>\r\n"
Get = Callable[[bytes, object, str], bytes | None]


def kept(*pieces: bytes, head: bytes = HEAD, size: int | None = None) -> tuple[Get, int]:
    """A transaction over these pieces, and the size as sent."""
    rows = {("content", piece_key(NUMBER, at)): piece for at, piece in enumerate(pieces)}
    octets = len(head) + sum(map(len, pieces)) if size is None else size
    rows["item", item_key(MAILBOX, UID)] = ITEM.pack(NUMBER, octets, 0) + head
    return lambda key, default, table: rows.get((table, key), default), octets


def read(get: Get, size: int) -> bytes | None:
    return read_kept(get, "item", "content", MAILBOX, UID, size)


@pytest.mark.parametrize("pieces", [[], [b"x"], [b"x" * PIECE], [b"x" * PIECE, b"y"], [b"x" * PIECE] * 3])
@pytest.mark.parametrize("added", [0, 1, 2])
def test_head_and_pieces_come_in_order_whatever_line_end_was_counted(pieces, added):
    get, octets = kept(*pieces)
    assert read(get, octets + added) == HEAD + b"".join(pieces)


@pytest.mark.parametrize("head", [b"", b"h" * 5000])
def test_a_head_may_be_nothing_or_long(head):
    assert read(*kept(b"body", head=head)) == head + b"body"


def test_what_is_not_there_is_none():
    assert read(lambda key, default, table: default, 100) is None


@pytest.mark.parametrize(
    ("pieces", "size", "piece"),
    [
        ([], len(HEAD) + 3, 0),
        ([b"x" * PIECE], len(HEAD) + PIECE + 3, 1),
        ([b"x" * 5000], len(HEAD) + 10, 0),
        ([b"short", b"more"], len(HEAD) + 9, 1),
        ([], len(HEAD) - 1, 0),
    ],
    ids=["none", "the second", "too long", "a short one before the last", "a head longer than the size"],
)
def test_a_piece_that_does_not_fit_is_named(pieces, size, piece):
    with pytest.raises(LookupError) as caught:
        read(*kept(*pieces, size=size))
    assert caught.value.args == (NUMBER, piece)


def test_an_item_that_is_cut_short_is_an_error():
    with pytest.raises(LookupError):
        read(lambda key, default, table: id_key(NUMBER) if table == "item" else default, 100)
