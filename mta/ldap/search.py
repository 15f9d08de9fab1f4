"""One search, or compare, under way: a generator that does a piece of the work at a time.

Owns: limits, pages and their cookies, the order in which entries come. Never does: wait, or decide who may search.
Each piece is about a millisecond and gives octets for the client (often none); the last one has the result.
"""

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from mta.clock import Clock
from mta.directory.protocol import DirectoryUnreadable
from mta.ldap import messages
from mta.ldap.book import BASE, Book
from mta.ldap.entries import Entry, Selection, select, show
from mta.ldap.filters import Test, compile_filter, known, matches, text_of
from mta.ldap.messages import BadMessage, search_done, search_entry
from mta.ldap.names import Key

#: Work of one piece. A unit is one node of a filter on one entry, some 0.2 µs; an entry that is shown costs ``_SHOWN``.
_PIECE: Final = 6_000
_SHOWN: Final = 250


class Query(NamedTuple):
    """A search as it was asked. ``size`` and ``time`` (seconds) are the client's, 0: none. ``page``: entries of a
    page, None: all at once; ``cookie``: where to go on, b"": at the beginning. ``cost``: of a look at one entry, in
    nodes of a filter."""

    number: int
    base: Key
    scope: int
    size: int
    time: int
    types_only: bool
    test: Test
    cost: int
    selection: Selection
    page: int | None
    cookie: bytes
    digest: int


class Limits(NamedTuple):
    """Ours: entries of one answer, seconds of one search."""

    size: int
    time: float


class _Place(msgspec.Struct, array_like=True):
    """A cookie: which query, entries sent so far, and the last one: in which piece of the tree, and its order there.
    It names a place, not a snapshot: pages go on where they were also after a change, or another connection."""

    digest: int
    sent: int = 0
    piece: int = 0
    order: int | str | None = None


def read_query(number: int, body: Any, base: Key, paging: tuple[int, bytes] | None) -> Query:
    """Raises FilterTooLarge."""
    test, cost = compile_filter(body["filter"])
    selection = select([octets.decode("utf-8", "replace") for octets in body["attributes"]])
    page, cookie = paging if paging is not None else (None, b"")
    digest = zlib.crc32(repr((base, body["scope"], body["filter"])).encode()) if paging is not None else 0
    return Query(
        number,
        base,
        body["scope"],
        body["sizeLimit"],
        body["timeLimit"],
        body["typesOnly"],
        test,
        cost,
        selection,
        page,
        cookie,
        digest,
    )


def search(query: Query, book: Book, root: Entry, limits: Limits, clock: Clock) -> Iterator[bytes]:
    """``root``: the rootDSE as this client sees it."""
    number = query.number
    seconds = min(limits.time, query.time) if query.time else limits.time
    until = clock.monotonic() + seconds
    try:
        pieces: Sequence[Sequence[Entry]] | None = [(root,)]
        if query.base or query.scope != BASE:
            for _ in _currently(book):
                yield b""
                if clock.monotonic() > until:
                    yield search_done(number, messages.TIME_LIMIT_EXCEEDED)
                    return
            pieces = book.candidates(query.base, query.scope)
    except DirectoryUnreadable:
        yield search_done(number, messages.UNAVAILABLE, "the directory cannot be read")
        return
    if pieces is None:
        yield search_done(number, messages.NO_SUCH_OBJECT, matched=book.nearest(query.base))
        return
    place = _first_place(query)
    if place is None:
        yield search_done(number, messages.UNWILLING_TO_PERFORM, "no cookie of this search", cookie=b"")
    elif query.page == 0:
        yield search_done(number, messages.SUCCESS, cookie=b"")
    else:
        yield from _Walk(query, place, limits.size).over(pieces, until, clock)


def compare(number: int, base: Key, assertion: Any, book: Book, root: Entry) -> Iterator[bytes]:
    """Whether an entry has a value."""
    kind, value = known(assertion["type"]), text_of(assertion["value"])
    try:
        for _ in _currently(book):
            yield b""
    except DirectoryUnreadable:
        yield messages.result(number, "compareRequest", messages.UNAVAILABLE, "the directory cannot be read")
        return
    found = book.candidates(base, BASE) if base else [(root,)]
    if found is None:
        code = messages.NO_SUCH_OBJECT
    elif kind is None or value is None:
        code = messages.UNDEFINED_ATTRIBUTE_TYPE
    elif kind.name not in found[0][0].folded:
        code = messages.NO_SUCH_ATTRIBUTE
    else:
        code = messages.COMPARE_TRUE if matches(kind, value, found[0][0].folded) else messages.COMPARE_FALSE
    matched = book.nearest(base) if found is None else ""
    yield messages.result(number, "compareRequest", code, matched=matched)


def _currently(book: Book) -> Iterator[None]:
    """Ends when the book shows all that was committed when this began."""
    needed = book.round_needed()
    while not book.advance(needed):
        yield


def _first_place(query: Query) -> _Place | None:
    """Where a search begins; None: its cookie is none of ours."""
    if not query.cookie:
        return _Place(query.digest)
    try:
        place = msgspec.msgpack.decode(query.cookie, type=_Place)
    except msgspec.MsgspecError:
        return None
    return place if place.digest == query.digest and place.piece >= 0 and place.sent >= 0 else None


class _Walk:
    """Over the candidates from ``place`` on, until an end or a limit."""

    def __init__(self, query: Query, place: _Place, limit: int) -> None:
        self._query = query
        self._place = place
        self._left = limit if query.page is None else min(limit, query.page)
        if query.size:
            self._left = min(self._left, max(0, query.size - place.sent))
        self._sent = place.sent

    def over(self, pieces: Sequence[Sequence[Entry]], until: float, clock: Clock) -> Iterator[bytes]:
        query = self._query
        test, number = query.test, query.number
        output: list[bytes] = []
        work = 0
        for at, entry in self._entries(pieces):
            work += query.cost
            if test(entry.folded):
                if not self._left:
                    output.append(self._cut_off())
                    yield b"".join(output)
                    return
                shown = show(entry, query.selection, types_only=query.types_only)
                output.append(search_entry(number, entry.name, shown))
                self._left -= 1
                self._sent += 1
                self._place = _Place(query.digest, self._sent, at, entry.order)
                work += _SHOWN
            if work >= _PIECE:
                yield b"".join(output)
                output.clear()
                work = 0
                if clock.monotonic() > until:
                    yield search_done(number, messages.TIME_LIMIT_EXCEEDED)
                    return
        output.append(search_done(number, messages.SUCCESS, cookie=None if query.page is None else b""))
        yield b"".join(output)

    def _entries(self, pieces: Sequence[Sequence[Entry]]) -> Iterator[tuple[int, Entry]]:
        """(number of the piece, entry), from behind the last one that was sent."""
        start = self._place
        for at in range(start.piece, len(pieces)):
            piece = pieces[at]
            first = 0
            if at == start.piece and start.order is not None:
                try:
                    first = bisect_right(piece, start.order, key=_order)
                except TypeError:
                    return  # a cookie that somebody made up
            for index in range(first, len(piece)):
                yield at, piece[index]

    def _cut_off(self) -> bytes:
        """There is more than may be sent: the page is full, or a limit is."""
        query = self._query
        if query.page is None or (query.size and self._sent >= query.size):
            cookie = None if query.page is None else b""
            return search_done(query.number, messages.SIZE_LIMIT_EXCEEDED, cookie=cookie)
        return search_done(query.number, messages.SUCCESS, cookie=msgspec.msgpack.encode(self._place))


def _order(entry: Entry) -> Any:
    return entry.order


def paging_of(controls: Sequence[messages.Control]) -> tuple[int, bytes] | None:
    """What the control for paged results says, if there is one. Raises BadMessage."""
    for control in controls:
        if control.type == messages.PAGED_RESULTS:
            if control.value is None:
                raise BadMessage("a control for pages without a size")
            return messages.decode_paging(control.value)
    return None
