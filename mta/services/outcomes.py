"""Outcomes: turns what a remote answered into changes of the spool, events, counters and DSNs.

Owns: the way from an attempt's end to ``spool.apply``. Never does: judge; ``mta.policy.trouble`` alone says what
follows a reply or a failure, ``mta.policy.retry`` when. Loop thread only.

Commit point B is the commit of the Change applied here. Nobody waits for it: a crash before it repeats the delivery.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mta.clock import Clock
from mta.log import Event, EventLog, EventType, PeerAddress, Response
from mta.metrics.layout import (
    DEFERRED,
    DELIVERED,
    DELIVERY_SECONDS,
    DELIVERY_SECONDS_HANDLE,
    EXPIRED,
    FAILED,
    REPORTS,
)
from mta.model.message import Message, Recipient, RecipientState, due_key, members
from mta.model.spoolid import format_id
from mta.net.remote import RemoteConnection
from mta.net.tls import TlsFacts
from mta.policy.offer import Offer, told_of_relaying
from mta.policy.retry import RetryPolicy
from mta.policy.trouble import Kind, Problem, Verdict, decide
from mta.queue.entry import Attempt, Entry
from mta.queue.scheduler import Scheduler
from mta.services.bounces import Bounces
from mta.spool.protocol import Change, Spool
from mta_ext.counters import Counters
from mta_ext.reply import Reply

#: The offer of nobody.
NOTHING = Offer()
#: Addresses behind an alias or list that its event names.
NAMED = 20


class Told(NamedTuple):
    """Where and when an attempt took place, for events: the site, the host and its address, the four delays, and the
    protocol spoken ("" when no session came about), what the host offered, its TLS and whether the certificate was
    checked."""

    site: str
    host: str
    address: str
    delays: tuple[float, float, float, float]
    protocol: str = ""
    offer: Offer = NOTHING
    tls: TlsFacts | None = None
    verified: bool = False


class Outcomes:
    """One per worker."""

    def __init__(
        self,
        spool: Spool,
        scheduler: Scheduler,
        retry: RetryPolicy,
        bounces: Bounces,
        events: EventLog,
        counters: Counters,
        clock: Clock,
    ) -> None:
        self._spool = spool
        self.scheduler = scheduler
        self._retry = retry
        self._bounces = bounces
        self._events = events
        self._counters = counters
        self._clock = clock

    # An attempt ended with replies.

    def settle(
        self,
        site: str,
        remote: RemoteConnection,
        attempt: Attempt,
        stage: str,
        reply: Reply,
        replies: list[Reply] | None,
    ) -> bool:
        """Records each recipient's outcome. True: the entry has recipients left that this pass has not tried."""
        entry, message = attempt.entry, attempt.entry.message
        assert message is not None
        connect = remote.connect_seconds if remote.sent == 1 else 0.0
        took = self._clock.monotonic() - attempt.began
        age = self._age(message)
        told = told_of(site, remote, (entry.reception, max(0.0, age - connect - took), connect, took))
        if replies is None and reply.positive:
            self._counters.observe(DELIVERY_SECONDS, DELIVERY_SECONDS_HANDLE, age)
            return self._delivered(entry, attempt.recipients, reply, told)
        return self._mixed(attempt, stage, reply, replies, told)

    def _delivered(self, entry: Entry, recipients: list[Recipient], reply: Reply, told: Told) -> bool:
        """Every recipient of the attempt was delivered: the usual end."""
        message = entry.message
        assert message is not None
        count = len(recipients)
        response = response_of(reply, "DOT")
        reported = []
        for recipient in recipients:
            recipient.state = RecipientState.DELIVERED
            recipient.attempts += 1
            asked = recipient.notify is not None or message.deliver_by
            if asked and told_of_relaying(message, recipient, told.offer):
                reported.append(self._noted(recipient, reply, told))
            self._tell("Delivery", message, recipient, told, response)
        self._counters.add(DELIVERED, count)
        if len(message.recipients) == count and not reported:
            self._spool.apply(Change(message, True, (entry.key,), (), count))
            self.scheduler.close(entry)
            return False
        return self.advance(entry, message, delivered=count, reported=reported, action=action_of(told))

    def _noted(self, recipient: Recipient, reply: Reply, told: Told) -> Recipient:
        """What a report of success says."""
        recipient.last_code, recipient.last_status, recipient.last_reply = reply.code, reply.enhanced or "", reply.text
        recipient.last_remote, recipient.last_attempt = told.host, self._clock.now_ms()
        return recipient

    def _mixed(self, attempt: Attempt, stage: str, reply: Reply, replies: list[Reply] | None, told: Told) -> bool:
        """Recipients fared differently, or the whole transaction was refused."""
        entry = attempt.entry
        message = entry.message
        assert message is not None
        delivered = 0
        failed: list[Recipient] = []
        reported: list[Recipient] = []
        for index, recipient in enumerate(attempt.recipients):
            own, at = reply, stage
            if replies is not None and told.protocol == "LMTP" and stage == "DOT":
                own = replies[index]  # RFC 2033 §4.2: the end of content has a reply for each recipient
            elif replies is not None and not replies[index].positive:
                own, at = replies[index], "RCPT"
            if own.positive:
                recipient.state = RecipientState.DELIVERED
                recipient.attempts += 1
                delivered += 1
                if told_of_relaying(message, recipient, told.offer):
                    reported.append(self._noted(recipient, own, told))
                self._counters.add(DELIVERED, 1)
                self._tell("Delivery", message, recipient, told, response_of(own, at))
            elif self._troubled(entry, message, recipient, Problem.of_reply(at, own), told):
                failed.append(recipient)
        return self.advance(
            entry, message, delivered=delivered, failed=failed, reported=reported, action=action_of(told)
        )

    # An attempt ended, or never began, without replies.

    def interrupted(self, site: str, remote: RemoteConnection, attempt: Attempt, stage: str, problem: Problem) -> None:
        """The connection was lost under the attempt; UNCERTAIN when its end of content was out."""
        entry = attempt.entry
        took = self._clock.monotonic() - attempt.began
        assert entry.message is not None
        delays = (entry.reception, max(0.0, self._age(entry.message) - took), 0.0, took)
        told = told_of(site, remote, delays)
        self._whole(entry, attempt.recipients, problem, told)

    def failed_whole(self, entry: Entry, site: str, host: str, problem: Problem) -> None:
        """No transaction took place: no route, no connection, too large for the remote."""
        message = self.scheduler.open(entry)
        if message is None:
            self.scheduler.close(entry)
            return
        told = Told(site, host, "", (entry.reception, self._age(message), 0.0, 0.0))
        self._whole(entry, members(message, entry.group), problem, told)

    def _age(self, message: Message) -> float:
        """Seconds since it came, by the wall clock, which may have been set back."""
        return max(0.0, (self._clock.now_ms() - message.arrival) / 1000)

    def _whole(self, entry: Entry, recipients: list[Recipient], problem: Problem, told: Told) -> None:
        message = entry.message
        assert message is not None
        failed = [r for r in recipients if self._troubled(entry, message, r, problem, told)]
        self.advance(entry, message, failed=failed, whole=True)

    def _troubled(self, entry: Entry, message: Message, recipient: Recipient, problem: Problem, told: Told) -> bool:
        """Writes the verdict into the recipient. True: it has failed for good."""
        now = self._clock.now_ms()
        verdict = decide(problem, expired=self._retry.expired(message.waiting_since, now))
        if verdict is Verdict.RETRY and self._retry.too_late(message, now):
            verdict = Verdict.EXPIRE
            problem = Problem(Kind.DEADLINE, text=f"the sender's deadline has passed; the last attempt: {problem.text}")
        recipient.attempts += 1
        recipient.last_attempt = now
        recipient.last_code, recipient.last_status, recipient.last_reply = problem.code, problem.status, problem.text
        recipient.last_remote = told.host
        if verdict is Verdict.RETRY:
            recipient.due = self._retry.next_due(recipient.attempts, now, message.deliver_by)
            self._counters.add(DEFERRED, 1)
            self._tell("TransientFailure", message, recipient, told, response_to(problem))
            return False
        recipient.state = RecipientState.EXPIRED if verdict is Verdict.EXPIRE else RecipientState.FAILED
        self._counters.add(EXPIRED if verdict is Verdict.EXPIRE else FAILED, 1)
        kind: EventType = "Expiration" if verdict is Verdict.EXPIRE else "Bounce"
        self._tell(kind, message, recipient, told, response_to(problem))
        return True

    # Where an entry goes from here.

    def discarded(self, entry: Entry) -> None:
        """The route says ``discard:``."""
        message = self.scheduler.open(entry)
        if message is None:
            self.scheduler.close(entry)
            return
        gone = members(message, entry.group)
        told = Told("discard", "", "", (entry.reception, 0.0, 0.0, 0.0))
        for recipient in gone:
            recipient.state = RecipientState.DISCARDED
            self._tell("Delivery", message, recipient, told, Response(250, "2.0.0", "discarded by route", "discard"))
        self.advance(entry, message, discarded=len(gone))

    def expanded(self, entry: Entry, message: Message, recipient: Recipient, behind: list[str]) -> None:
        """Tells that an alias or a list gave way to those ``behind`` it: addresses, and ids of further messages."""
        names = ", ".join(behind[:NAMED]) + (f" and {len(behind) - NAMED} more" if len(behind) > NAMED else "")
        told = Told("", "", "", (entry.reception, self._age(message), 0.0, 0.0))
        self._tell("Delivery", message, recipient, told, Response(250, "2.0.0", f"expanded to {names}", "expand"))

    def replaced(
        self,
        entry: Entry,
        change: Change,
        lost: list[tuple[Recipient, Problem]],
        reported: Mapping[str, Sequence[Recipient]],
    ) -> bool:
        """Applies the change of an expansion, in which those ``lost`` fail and those ``reported`` are told to be
        what their key says. True: the entry has recipients left."""
        message = change.message
        told = Told("", "", "", (entry.reception, self._age(message), 0.0, 0.0))
        failed = [r for r, problem in lost if self._troubled(entry, message, r, problem, told)]
        change.failed = len(failed)
        now = self._clock.now_ms()
        change.generated += self._bounces.for_change(message, entry, failed, [], now)
        for action, recipients in reported.items():
            change.generated += self._bounces.for_change(message, entry, [], [], now, recipients, action)
        left = members(message, entry.group)
        if not left:
            change.leaving = (entry.key,)
            change.finished = not message.queued()
        self._apply(change)
        if not left:
            self.scheduler.close(entry)
        return bool(left)

    def advance(
        self,
        entry: Entry,
        message: Message,
        *,
        delivered: int = 0,
        discarded: int = 0,
        failed: list[Recipient] | None = None,
        whole: bool = False,
        reported: Sequence[Recipient] = (),
        action: str = "relayed",
    ) -> bool:
        """Applies the change. True: the entry stays live, because recipients beyond the first hundred are untried.

        ``whole``: the others of the group would fare the same, so they wait with those that were tried. ``reported``:
        of the delivered ones those whose success is told, as ``action``.
        """
        failed = failed or []
        left = members(message, entry.group)
        now = self._clock.now_ms()
        untried = [r for r in left if r.due <= now]
        warned = [] if untried and not whole else self._retry.to_warn(message, left, now)
        generated = self._bounces.for_change(message, entry, failed, warned, now, reported, action)
        self._tell_delayed(message, warned)
        expired = sum(r.state is RecipientState.EXPIRED for r in failed)
        change = Change(
            message,
            delivered=delivered,
            failed=len(failed) - expired,
            expired=expired,
            discarded=discarded,
            generated=generated,
        )
        if untried and not whole:
            entry.offset = left.index(untried[0])
            self._apply(change)
            return True
        change.leaving = (entry.key,)
        if left:
            due = (
                max(now, min(r.due for r in left))
                if not whole
                else min((r.due for r in left if r.due > now), default=now + 1000)
            )
            for recipient in left:
                recipient.due = due
            change.entering = ((due_key(due, message.id, entry.group), entry.domain),)
        else:
            change.finished = not message.queued()
        self._apply(change)
        self.scheduler.close(entry)
        return False

    def head(self, message: Message, entry: Entry) -> bytes:
        """The header section of the content."""
        return self._bounces.head(message, entry)

    def bounced(self, recipients: int, reports: int) -> None:
        """An operator had recipients fail, with so many DSNs; ``queue/admin.py`` has written it down."""
        self._counters.add(FAILED, recipients)
        self._counters.add(REPORTS, reports)

    def _apply(self, change: Change) -> None:
        """What was generated becomes live at once: the due index shows it from here on, so that to wait for the commit
        would be to race with ``refill``. A crash before the commit undoes the failure too; at worst it is told twice.
        """
        self._spool.apply(change)
        self._counters.add(REPORTS, sum(message.generated for message, _content, _entries in change.generated))
        for message, content, entries in change.generated:
            self.scheduler.admit(message, content, entries, 0.0)

    def _tell_delayed(self, message: Message, warned: list[Recipient]) -> None:
        """The sender hears that these wait; why is what their last attempt met."""
        for recipient in warned:
            response = Response(recipient.last_code, recipient.last_status, recipient.last_reply)
            told = Told("", recipient.last_remote, "", (0.0, self._age(message), 0.0, 0.0))
            self._tell("Delayed", message, recipient, told, response)

    def _tell(self, kind: EventType, message: Message, recipient: Recipient, told: Told, response: Response) -> None:
        self._events.write(
            Event(
                type=kind,
                id=format_id(message.id),
                sender=message.reverse_path,
                recipient=recipient.forward_path,
                queue=recipient.domain,
                site=told.site,
                size=message.size,
                response=response,
                peer_address=PeerAddress(told.host, told.address),
                timestamp=self._clock.now_ms() / 1000,
                created=message.arrival / 1000,
                num_attempts=recipient.attempts,
                session_id=message.session_id,
                reception_protocol=message.protocol,
                delivery_protocol=told.protocol,
                delays=told.delays,
                origin=format_id(message.origin) if message.origin else "",
                tls_protocol_version=told.tls.version if told.tls is not None else "",
                tls_cipher=told.tls.cipher if told.tls is not None else "",
                tls_verified=told.verified,
            )
        )


def told_of(site: str, remote: RemoteConnection, delays: tuple[float, float, float, float]) -> Told:
    """Of an attempt on a connection."""
    return Told(site, remote.host, remote.address, delays, remote.protocol, remote.offer, remote.tls, remote.verified)


def action_of(told: Told) -> str:
    """What a report calls a success (RFC 3464 §2.3.3): behind LMTP there is a mailbox."""
    return "delivered" if told.offer.last_hop else "relayed"


def response_of(reply: Reply, stage: str) -> Response:
    """A remote's reply as events show it."""
    return Response(reply.code, reply.enhanced or "", reply.text, stage)


def response_to(problem: Problem) -> Response:
    """A failure as events show it; code 0 when no remote spoke."""
    return Response(problem.code, problem.status, problem.text, problem.stage or problem.kind.value)
