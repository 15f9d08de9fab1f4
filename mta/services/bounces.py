"""DSNs of our own: written for what failed or waits long, committed in the transaction that removes the recipient.

Owns: when a DSN is due at all, its envelope and its place in the queue. Never does: the text (``mta.model.dsn``) or
the commit. A DSN has the null reverse-path and is never answered by a DSN (RFC 5321 §6.1). Loop thread only.
"""

from collections.abc import Sequence

from mta.clock import Clock
from mta.model.dsn import build_dsn, redacted
from mta.model.message import Message, Recipient
from mta.model.spoolid import IdSource
from mta.policy.offer import asks_for
from mta.policy.retry import late
from mta.policy.seven_bit import Unconvertible, seven_bit
from mta.queue.entry import Entry
from mta.services.enqueue import enqueue
from mta.spool.protocol import Spool
from mta_ext.headers import scan_headers

#: Octets of the original's header section that a DSN carries.
HEADERS = 32_768
#: Octets of an original that goes back whole when its sender has asked for that (RET=FULL).
FULL = 1 << 20

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
        self,
        message: Message,
        entry: Entry | None,
        failed: list[Recipient],
        warned: list[Recipient],
        now: int,
        succeeded: Sequence[Recipient] = (),
        action: str = "relayed",
    ) -> tuple[Generated, ...]:
        """The DSNs that go with a change: one for what failed, one for what is delayed, one for what was delivered (as
        ``action``), the caller knows by whose wish; none for a null path, nor where NOTIFY wants none."""
        if not (failed or warned or succeeded) or message.generated or not message.reverse_path:
            return ()
        for recipient in warned:
            recipient.warned = True
        overdue = late(message, now)
        groups = {
            "failed": [r for r in failed if asks_for(r, "FAILURE")],
            "delayed": [r for r in warned if asks_for(r, "DELAY") or (overdue and r.notify != "NEVER")],
            action: list(succeeded),
        }
        return tuple(self._make(kind, message, group, entry, now) for kind, group in groups.items() if group)

    def by_operator(self, message: Message, recipients: list[Recipient], reason: str) -> Generated | None:
        """The DSN for recipients that an operator bounced; None when nobody is to be told."""
        for recipient in recipients:
            recipient.last_reply = recipient.last_reply or reason
        made = self.for_change(message, None, recipients, [], self._clock.now_ms())
        return made[0] if made else None

    def _make(
        self, kind: str, message: Message, recipients: list[Recipient], entry: Entry | None, now: int
    ) -> Generated:
        full = kind == "failed" and message.ret == "FULL" and message.size <= FULL and not message.requiretls
        head = self.head(message, entry)
        spool_id = self._ids.next()
        content = build_dsn(
            kind,
            message,
            recipients,
            hostname=self._hostname,
            spool_id=spool_id,
            now_ms=now,
            headers=redacted(head) if message.requiretls else head,
            original=self._original(message, entry) if full else None,
            give_up_at=message.waiting_since + self._give_up,
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
            eight_bit=not content.isascii(),
            smtputf8=not to.isascii(),
            dotted=content.startswith(b".") or b"\n." in content,
        )
        return dsn, content, enqueue(dsn, now)

    def head(self, message: Message, entry: Entry | None) -> bytes:
        """The header section of the original, from memory or the first chunk of the spool."""
        content = entry.content if entry is not None else None
        if content is None:
            content = next(iter(self._spool.content(message)), b"")
        content = content[: HEADERS * 2]
        return content[: min(scan_headers(content).end, HEADERS)]

    def _original(self, message: Message, entry: Entry | None) -> bytes | None:
        """The whole content; None when a host that takes seven bits only could not take the report with it: nobody
        would hear of that."""
        if entry is not None and entry.content is not None:
            content = entry.content
        else:
            content = b"".join(self._spool.content(message))
        try:
            seven_bit(content)
        except Unconvertible:
            return None
        return content
