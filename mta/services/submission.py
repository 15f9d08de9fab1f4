"""Submission (RFC 6409, 8314): people log in and send as themselves, to anywhere.

Owns: the login of a connection, whose addresses a person may send as, what one person may send in an hour, and what is
mended in a message: a missing Date or Message-ID is added, Bcc is taken out; no other octet is touched. Never does:
check passwords (``services/login.py``), speak SASL (``policy/sasl.py``) or store. Loop thread only.
"""

import base64
import hashlib
import logging
from collections.abc import Mapping
from functools import partial
from typing import Final, Literal, NamedTuple, Protocol

from mta.directory.expand import expand
from mta.directory.protocol import DirectoryUnreadable, Person, Resolution
from mta.model.spoolid import format_id
from mta.model.submitted import head_end, missing_fields, without_blind_copies
from mta.net.server import ServerConnection
from mta.policy.sasl import BAD_TOKEN, BOUND, TOKENS, Challenge
from mta.policy.throttle import Limit
from mta.services.access import Access
from mta.services.checks import Done, Login, Status
from mta.services.idn import in_ascii
from mta.services.receiving import NOT_A_PROXY, ReceptionSession, known
from mta.services.reception import Opened, Reception
from mta_ext.content import Content
from mta_ext.envelope import MailParameters, RcptParameters
from mta_ext.session import PENDING, _Pending
from mta_ext.throttle import Rates

_log = logging.getLogger("mta.submission")

LOGIN_FIRST: Final = b"530 5.7.0 authentication required\r\n"
NOT_YOURS: Final = b"553 5.7.1 this sender address is not yours\r\n"
TOO_MANY_MESSAGES: Final = b"450 4.7.1 too many messages from you lately, try again later\r\n"
TOO_MANY_RECIPIENTS: Final = b"450 4.7.1 too many recipients from you lately, try again later\r\n"
UNREADABLE: Final = b"451 4.3.0 the directory cannot be read, try again later\r\n"
NO_MECHANISM: Final = b"504 5.5.4 mechanism not offered\r\n"
#: What a login that comes to nothing is told (RFC 4954 §6).
REFUSALS: Final[Mapping[Status, bytes]] = {
    "wrong": b"535 5.7.8 authentication failed\r\n",
    "unavailable": b"454 4.7.0 logins cannot be checked now, try again later\r\n",
    "busy": b"454 4.7.0 too many logins at once, try again later\r\n",
}
#: Seconds: a person's rate for this time may be used at once.
AT_ONCE: Final = 3600.0


class Check(Protocol):
    def cancel(self) -> None: ...


class Exchange(Protocol):
    def step(self, response: bytes | None, done: Done) -> Challenge | Check: ...


class Logins(Protocol):
    """Who may log in (``mta.services.login``)."""

    def exchange(self, mechanism: str, client: str, bindings: Mapping[str, bytes] | None = None) -> Exchange | None: ...


class Addresses(Protocol):
    """The part of a ``Directory`` that is asked here."""

    def find(self, address: str) -> Person | None: ...
    def resolve(self, address: str) -> Resolution | None: ...


class Allowance(NamedTuple):
    """What one person may do a second, over all workers; 0: no limit. ``key``: tells people's counts from clients'."""

    rates: Rates
    key: bytes
    messages: float = 0.0
    recipients: float = 0.0

    def spend(self, person: int, what: str, rate: float, now: float) -> bool:
        """False: that is one too many. ``now``: monotonic seconds."""
        if not rate:
            return True
        name = f"{what}\0{person}".encode()
        key = int.from_bytes(hashlib.blake2b(name, digest_size=8, key=self.key).digest(), "big")
        limit = Limit(max(1, round(1e6 / rate)), max(1, round(rate * AT_ONCE)))
        return self.rates.spend(key, int(now * 1e6), limit.interval, limit.burst)


class Submission:
    """One per worker: what its submission listeners share."""

    def __init__(self, reception: Reception, logins: Logins, addresses: Addresses, allowance: Allowance) -> None:
        self.reception = reception
        self.logins = logins
        self.allowance = allowance
        self._addresses = addresses

    def listener(self, access: Access) -> Opened:
        """``opened`` for the connections of one listener."""
        return partial(self.reception.open, access, partial(SubmissionSession, self))

    def named(self, name: str) -> Person | None:
        """Who has this address. Raises DirectoryUnreadable."""
        return self._addresses.find(name)

    def owns(self, person: int, address: str) -> bool:
        """Whether mail for ``address`` reaches this person as a person: the own or a further address, with a tag or
        without, a catch-all, an alias that leads there; no list, whoever is on it. Raises DirectoryUnreadable."""
        address = in_ascii(address)
        found = self._addresses.resolve(address)
        if found is None or found.kind == "list":
            return False
        if found.kind == "mailbox":
            return found.mailbox == person
        behind = expand(address, self._addresses.resolve, lambda domain: True).recipients
        return any(each.mailbox == person and not each.owner for each in behind)


class SubmissionSession(ReceptionSession):
    """Policy of one connection on a submission listener."""

    logs_in = True
    __slots__ = ("_check", "_exchange", "_person", "_submission", "_token")

    def __init__(
        self, submission: Submission, reception: Reception, connection: ServerConnection, address: str, access: Access
    ) -> None:
        super().__init__(reception, connection, address, access)
        self._submission = submission
        self.trusted = False  # only a login counts here, not where it comes from
        self._person = 0
        self._check: Check | None = None
        self._exchange: Exchange | None = None
        #: Of the exchange that is open: a token is shown in it, or was and is not good.
        self._token: Literal["", "shown", "bad"] = ""

    # The login.

    def on_sasl(self, mechanism: str, response: bytes | None) -> bytes | _Pending | None:
        if self.session.exchange_step == 0:
            self._token = "shown" if mechanism in TOKENS else ""
            tls = self._connection.tls
            # Where none was offered, a client that could have used one is right to say so.
            bindings = tls.bindings if tls is not None and BOUND in self._access.mechanisms else None
            self._exchange = self._submission.logins.exchange(mechanism, self.address, bindings)
        if self._token == "bad":
            return REFUSALS["wrong"]  # whatever was said to the challenge
        if self._exchange is None:
            return NO_MECHANISM  # offered under a certificate that was replaced since, by one without a binding
        step = self._exchange.step(response, self._checked)
        if isinstance(step, Challenge):
            return _challenge(step.octets)
        self._exchange = None
        self._check = step
        return PENDING

    def _checked(self, login: Login) -> None:
        self._check = None
        if login.status != "ok":
            if self.visitor is not None and login.status == "wrong":
                self.visitor.login_failed()
            self._connection.answer(self._refused(login.status))
            return
        self._log_in(login.person, login.address)
        self._connection.answer(None)

    def _refused(self, status: Status) -> bytes:
        """A client with a token is told in a challenge what is wrong with it, and hears 535 behind that."""
        if status == "wrong" and self._token:
            self._token = "bad"
            return _challenge(BAD_TOKEN)
        return REFUSALS[status]

    def _log_in(self, person: int, address: str) -> None:
        self._person, self.submitter = person, address
        self.trusted = True
        self.session.log_in(address)
        if self.visitor is not None:
            self.visitor.logged_in()

    def on_xclient(self, attributes: dict[str, str]) -> bytes | _Pending | None:
        """Another client, who is nobody again; or whom the proxy has logged in (LOGIN) and the directory knows."""
        if not self.may_stand_for_others:
            return NOT_A_PROXY
        name, person = known(attributes, "LOGIN"), None
        if name is not None:
            try:
                person = self._submission.named(name)
            except DirectoryUnreadable as error:
                _log.error("submission: %s", error)
                return UNREADABLE
            if person is None:
                return REFUSALS["wrong"]
        verdict = super().on_xclient(attributes)
        self._person, self.trusted = 0, False
        if person is not None and not isinstance(verdict, bytes):
            self._log_in(person.id, person.address)
        return verdict

    def on_starttls(self) -> bytes | _Pending | None:
        """Who has logged in before is nobody under TLS (RFC 3207 §4.2)."""
        self._person, self.submitter, self.trusted = 0, "", False
        return None

    def leave(self) -> None:
        """The connection is gone."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        self._exchange = None

    # The transaction.

    def on_mail(
        self, reverse_path: str, domain: str, size: int, eight_bit: bool, parameters: MailParameters | None
    ) -> bytes | _Pending | None:
        """The null path is anybody's: notifications of disposition have it (RFC 8098 §3)."""
        if not (self._person and self.session.login_name):  # an XCLIENT that was refused in the end logs nobody in
            return LOGIN_FIRST
        refusal = self._not_theirs(reverse_path) if reverse_path else None
        if refusal is None:
            verdict = super().on_mail(reverse_path, domain, size, eight_bit, parameters)
            if verdict is not None:
                return verdict
            allowance = self._submission.allowance
            if allowance.spend(self._person, "messages", allowance.messages, self._now()):
                return None
            refusal = TOO_MANY_MESSAGES
        self._reverse_path = reverse_path
        self._rejected("", refusal, "MAIL")
        return refusal

    def _not_theirs(self, reverse_path: str) -> bytes | None:
        try:
            return None if self._submission.owns(self._person, reverse_path) else NOT_YOURS
        except DirectoryUnreadable as error:
            _log.error("submission: %s", error)
            return UNREADABLE

    def on_rcpt(self, forward_path: str, domain: str, parameters: RcptParameters | None) -> bytes | _Pending | None:
        verdict = super().on_rcpt(forward_path, domain, parameters)
        allowance = self._submission.allowance
        if verdict is not None or allowance.spend(self._person, "recipients", allowance.recipients, self._now()):
            return verdict
        self._recipients.pop()
        self._rejected(forward_path, TOO_MANY_RECIPIENTS, "RCPT")
        return TOO_MANY_RECIPIENTS

    def _now(self) -> float:
        return self._reception.clock.monotonic()

    # The message.

    @property
    def mends(self) -> bool:
        return True

    def _whole(self, content: Content, spool_id: int, now: int) -> bytes:
        octets = content.joined(b"")
        end = head_end(octets)
        head = octets if end < 0 else octets[:end]
        mended = self.mended(head, spool_id, now)
        return b"".join((self.trace(spool_id, now), mended, octets[len(head) :]))

    def mended(self, head: bytes, spool_id: int, now: int) -> bytes:
        text = format_id(spool_id)
        hostname = self._reception.settings.hostname
        added = missing_fields(head, text, hostname, now)
        if b"Message-ID:" in added:
            self._message_id = f"<{text}@{hostname}>".encode()
        return added + without_blind_copies(head)


def _challenge(octets: bytes) -> bytes:
    return b"334 %b\r\n" % base64.b64encode(octets)
