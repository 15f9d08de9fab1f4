"""DSNs of our own: written for what failed or waits long, committed in the transaction that removes the recipient.

Owns: when a DSN is due at all, its envelope and its place in the queue. Never does: the text (``mta.model.dsn``) or
the commit. A DSN has the null reverse-path and is never answered by a DSN (RFC 5321 §6.1). Loop thread only.
"""

from mta.clock import Clock
from mta.model.dsn import build_dsn
from mta.model.message import Message, Recipient
from mta.model.spoolid import IdSource
from mta.queue.entry import Entry
from mta.services.enqueue import enqueue
from mta.spool.protocol import Spool
from mta_ext.headers import scan_headers

#: Octets of the original's header section that a DSN carries.
HEADERS = 32_768

Generated = tuple[Message, bytes, list[tuple[bytes, str]]]


class Bounces:
    """One per worker. ``give_up_after`` in seconds: what a delayed DSN promises."""

    def __init__(self, spool: Spool, ids: IdSource, clock: Clock, hostname: str, give_up_after: float) -> None:
        self._spool = spool
        self._clock = clock
        self._ids = ids
        self._hostname = hostname
        self._give_up = int(give_up_after * 1000)

    def for_change(
        self, message: Message, entry: Entry | None, failed: list[Recipient], warned: list[Recipient], now: int
    ) -> tuple[Generated, ...]:
        """The DSNs that go with a change: one for what failed, one for what is delayed; none for a null path."""
        if not (failed or warned) or message.generated or not message.reverse_path:
            return ()
        headers = self._headers(message, entry)
        made = []
        if failed:
            made.append(self._make("failed", message, failed, headers, now))
        if warned:
            for recipient in warned:
                recipient.warned = True
            made.append(self._make("delayed", message, warned, headers, now))
        return tuple(made)

    def by_operator(self, message: Message, recipients: list[Recipient], reason: str) -> Generated | None:
        """The DSN for recipients that an operator bounced; None when nobody is to be told."""
        for recipient in recipients:
            recipient.last_reply = recipient.last_reply or reason
        made = self.for_change(message, None, recipients, [], self._clock.now_ms())
        return made[0] if made else None

    def _make(self, kind: str, message: Message, recipients: list[Recipient], headers: bytes, now: int) -> Generated:
        spool_id = self._ids.next()
        content = build_dsn(
            kind,
            message,
            recipients,
            hostname=self._hostname,
            spool_id=spool_id,
            now_ms=now,
            headers=headers,
            give_up_at=message.arrival + self._give_up,
        )
        to = message.reverse_path
        domain = to.rpartition("@")[2].lower() or self._hostname
        dsn = Message(
            spool_id,
            "",
            [Recipient(to, domain)],
            len(content),
            now,
            protocol="local",
            generated=True,
            origin=message.id,
            dotted=content.startswith(b".") or b"\n." in content,
        )
        return dsn, content, enqueue(dsn, now)

    def _headers(self, message: Message, entry: Entry | None) -> bytes:
        """The header section of the original, from memory or the first chunk of the spool."""
        content = entry.content if entry is not None else None
        if content is None:
            content = next(iter(self._spool.content(message)), b"")
        content = content[: HEADERS * 2]
        return content[: min(scan_headers(content).end, HEADERS)]
