"""A message's whole way from event logs, across servers: which records belong to it, and in which order.

Owns: what links one record to another. A *hop* is one message in one server's custody, a log and a queue id, or its
copy in a mailbox, a log and the unique-id there. Hops are linked in two ways:

* within a log by ``origin``: a report (DSN) names the message it is about, a list's copy the message it is made from;
* by the reply to the end of content: our servers say ``250 2.0.0 <id> queued`` and our stores ``<id> stored``, so that
  the Delivery of one names the id at the next. Ids of two of them may be the same by chance; so the recipient must be
  the same, and what is queued on the way from server to server lies in another log.

The logs are read again and again until nothing new is found (a hop of the way may lie in a log that was read before),
without being loaded: what is kept are the hops and, in the end, their records. Never does: open files or print.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from mta.errors import DataError
from mta.log.event import Event

#: Readings of all logs; a message that goes through more servers, all in the wrong order, is not followed further.
READINGS = 60
#: Records of one trace that are kept; who asks for an address with more has to ask for one of its messages.
RECORDS = 200_000
#: Up to so many ids, lines are searched for each of them; beyond, they are asked which ids they have.
FEW = 8

_ID = rb"[0-9A-HJKMNP-TV-Z]{13}"
_IDS = re.compile(rb'"(?:id|origin)":"(' + _ID + rb')"|\b(' + _ID + rb") (?:queued|stored)")
_ONWARD = re.compile(r"\b(" + _ID.decode() + r") (queued|stored)")


class Hop(NamedTuple):
    """A message in a server's custody: the index of the log, and the queue id there; ``stored``: the unique-id."""

    log: int
    id: str
    stored: bool = False


class Tracer:
    """``logs``: each gives blocks of whole lines, anew whenever it is called. ``text``: a queue id, an address (sender
    or recipient), or a Message-ID, with or without its angle brackets."""

    def __init__(self, logs: Sequence[Callable[[], Iterable[bytes]]], text: str) -> None:
        self._logs = logs
        text = text.encode("utf-8", "replace").decode()  # what a terminal gave that is no UTF-8 is in no log
        self._text = text.casefold().removeprefix("<").removesuffix(">")
        self._needle = msgspec.json.encode(self._text)[1:-1].lower()  # as it stands in a line: quotes are escaped
        self._hops: set[Hop] = set()
        self._ids: set[str] = set()
        self._needles: list[bytes] = []
        #: What was refused at the door never got an id.
        self._refused: list[tuple[int, Event]] = []
        #: Recipients of a hop, as far as they were met.
        self._recipients: defaultdict[Hop, set[str]] = defaultdict(set)
        #: An id at the next server, and whether that is a store → (log that names it, recipient).
        self._onward: defaultdict[tuple[str, bool], set[tuple[int, str]]] = defaultdict(set)

    def hops(self) -> list[tuple[Hop, list[Event]]]:
        """The way, hop by hop in the order of their first records; the id "" stands for what was refused at RCPT.
        [] when nothing is known. Raises DataError when it is too much."""
        for log, event in self._matching(self._mentions):
            if self._is_meant(event):
                self._take(log, event)
        for _ in range(READINGS):
            before = self._size()
            for log, event in self._matching(self._concerns):
                self._follow(log, event)
            if self._size() == before:
                break
        return self._collected()

    def _size(self) -> int:
        return len(self._hops) + len(self._onward) + sum(map(len, self._recipients.values()))

    def _matching(self, may_matter: Callable[[bytes], bool]) -> Iterator[tuple[int, Event]]:
        for number, blocks in enumerate(self._logs):
            for block in blocks():
                for line in block.splitlines() if may_matter(block) else ():
                    if may_matter(line) and (event := _decoded(line)) is not None:
                        yield number, event

    # What the question is about.

    def _mentions(self, octets: bytes) -> bool:
        """Of a line, or of a block of them."""
        return self._needle in octets.lower() or not octets.isascii()

    def _is_meant(self, event: Event) -> bool:
        named = (event.id, event.origin, event.sender, event.recipient, event.message_id.strip("<>"))
        return self._text in map(str.casefold, named)

    # What follows from what is known.

    def _concerns(self, octets: bytes) -> bool:
        """Of a line, or of a block of them."""
        if len(self._ids) <= FEW:
            return any(needle in octets for needle in self._needles)
        return any((own or next_).decode() in self._ids for own, next_ in _IDS.findall(octets))

    def _follow(self, log: int, event: Event) -> None:
        recipient = event.recipient.casefold()
        hop = hop_of(log, event)
        sources = self._onward.get((hop.id, hop.stored), ())
        if (
            hop in self._hops
            or (event.origin and Hop(log, event.origin) in self._hops)
            or any(to == recipient and (source != log or hop.stored) for source, to in sources)
            or self._led_here(log, event, recipient)
        ):
            self._take(log, event)

    def _led_here(self, log: int, event: Event, recipient: str) -> bool:
        """It was delivered to a hop that we know."""
        onward = next_of(event)
        if onward is None:
            return False
        known = (Hop(other, *onward) for other in range(len(self._logs)) if other != log or onward[1])
        return any(hop in self._hops and recipient in self._recipients[hop] for hop in known)

    def _take(self, log: int, event: Event) -> None:
        """This record belongs to the way, and with it what it names."""
        if not event.id:
            self._refused.append((log, event))
            self._bound(len(self._refused))
            return
        hop = hop_of(log, event)
        self._hops.add(hop)
        self._know(event.id)
        self._recipients[hop].add(event.recipient.casefold())
        if event.origin:
            self._hops.add(Hop(log, event.origin))
            self._know(event.origin)
        if (onward := next_of(event)) is not None:
            self._onward[onward].add((log, event.recipient.casefold()))
            self._know(onward[0])

    def _know(self, queue_id: str) -> None:
        if queue_id not in self._ids:
            self._ids.add(queue_id)
            self._needles.append(queue_id.encode())

    def _bound(self, count: int) -> None:
        if count > RECORDS:
            raise DataError(f"more than {RECORDS:,} records: ask for one of the messages by its id")

    def _collected(self) -> list[tuple[Hop, list[Event]]]:
        found: defaultdict[Hop, list[Event]] = defaultdict(list)
        for log, event in self._refused:
            found[Hop(log, "")].append(event)
        count = len(self._refused)
        for log, event in self._matching(self._concerns):
            if (hop := hop_of(log, event)) in self._hops:
                found[hop].append(event)
                count += 1
                self._bound(count)
        for events in found.values():
            events.sort(key=lambda event: (event.timestamp, event.type != "Reception"))
        return sorted(found.items(), key=lambda pair: (pair[1][0].created, pair[1][0].timestamp))


def hop_of(log: int, event: Event) -> Hop:
    """Where the record was made; only a store takes mail by LMTP."""
    return Hop(log, event.id, event.type == "Reception" and event.reception_protocol in ("LMTP", "LMTPS"))


def next_of(event: Event) -> tuple[str, bool] | None:
    """The id that the next server or store gave the message, when it is one of ours, and whether it is a store."""
    if event.type != "Delivery" or event.response is None:
        return None
    found = _ONWARD.search(event.response.content)
    return (found[1], found[2] == "stored") if found else None


def _decoded(line: bytes) -> Event | None:
    """A torn or foreign line is passed over."""
    try:
        return msgspec.json.decode(line, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
