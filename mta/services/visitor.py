"""One connection as policy sees it: what is asked about it at each stage, now or later.

Owns: what a connection waits for (a pause before the greeting, lists of addresses, slow hooks), and what hooks have
said about its open transaction. Never does: keep the envelope or store; that is the reception's, which asks here
before it takes anything, and is called again with the same arguments when an answer was late. Loop thread only.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from mta.policy import stress as pressing
from mta.policy.hooks import Connection, Discard, Hello, Mail, Rcpt, Redirect
from mta.policy.hooks import Content as WholeContent
from mta.policy.throttle import Client, Deed, tarpit
from mta.services.hooking import Said
from mta_ext.content import Content
from mta_ext.session import PENDING, _Pending
from mta_ext.smtp_server import SmtpServerSession

if TYPE_CHECKING:
    from mta.net.server import ServerConnection
    from mta.services.guard import Guard

Verdict = bytes | _Pending | None

HOOK_FAILED: Final = b"451 4.3.0 policy is out of order, try again later\r\n"
INTERNAL: Final = b"451 4.3.0 internal error\r\n"
MESSAGES: Final = b"450 4.7.1 too many messages from your network now (policy.message_rate), try again later\r\n"
RECIPIENTS: Final = b"450 4.7.1 too many recipients from your network now (policy.recipient_rate), try again later\r\n"
ERRORS: Final = b"421 4.7.0 too many errors from your network (policy.error_rate), try again later\r\n"
STRESSED: Final = b"421 4.7.0 too many errors while we are busy, try again later\r\n"
TAKEN: Final = b"250 2.1.5 ok\r\n"
DISCARDED: Final = b"250 2.0.0 ok\r\n"


class Host(Protocol):
    """The reception's side of a connection (``mta.services.receiving.ReceptionSession``)."""

    address: str
    trusted: bool
    session: SmtpServerSession
    visitor: "Visitor | None"
    row: int
    added: bytes

    @property
    def label(self) -> str: ...
    @property
    def recipients(self) -> tuple[str, ...]: ...
    def redirect(self, address: str, forward_path: str, domain: str, parameters: Any) -> None: ...
    def redirect_all(self, address: str) -> None: ...
    def readable(self, content: Content, then: Callable[[], None]) -> bool: ...
    @property
    def reader(self) -> Callable[[], Iterator[bytes]]: ...
    def on_reset(self) -> None: ...
    def on_error(self, exception: BaseException) -> None: ...


class Visitor:
    """``client``: None for one we know, about whom only hooks are asked. ``greeted``: it comes through a proxy that has
    been greeted already, and what is said about it is the answer to XCLIENT."""

    __slots__ = (
        "_client",
        "_connection",
        "_discarding",
        "_fields",
        "_greeted",
        "_greeting",
        "_guard",
        "_handed",
        "_host",
        "_listing",
        "_mail",
        "_said",
        "_self",
        "_task",
        "_welcomed",
        "_zone",
    )

    def __init__(
        self, guard: "Guard", connection: "ServerConnection", host: Host, client: Client | None, *, greeted: bool
    ) -> None:
        self._greeted = greeted
        self._guard = guard
        self._connection = connection
        self._host = host
        self._client = client
        self._greeting: asyncio.TimerHandle | None = None
        self._listing: asyncio.Task[str | None] | None = None
        self._zone: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._said: Said | None = None
        self._self: Connection | None = None
        self._mail: Mail | None = None
        self._fields = 0
        self._discarding = False
        self._handed = False
        self._welcomed = True

    # The connection.

    def begin(self) -> bytes | None:
        """Starts what takes time, and asks the hooks. A last word, or None."""
        guard = self._guard
        if self._client is not None and guard.lists:
            self._listing = asyncio.get_running_loop().create_task(guard.listed(self._host.address))
        if not self._asks("connect"):
            return None
        assert guard.hooks is not None
        asked = guard.hooks.ask("connect", self._described(), self._on_connect)
        if isinstance(asked, Said):
            return self._refusal(asked, "CONNECT")
        self._task = asked
        if not self._greeted:
            self._withhold()
        return None

    @property
    def deciding(self) -> bool:
        """A hook has not said yet whether the client may come in."""
        return self._task is not None

    def pause(self, seconds: float) -> None:
        """Before the greeting."""
        self._withhold()
        self._greeting = asyncio.get_running_loop().call_later(seconds, self._after_pause)

    def _withhold(self) -> None:
        self._welcomed = False
        self._connection.withhold()

    def _after_pause(self) -> None:
        self._greeting = None
        self._welcome()

    def _on_connect(self, said: Said) -> None:
        self._task = None
        refusal = self._refusal(said, "CONNECT")
        if refusal is not None:
            self._connection.shut(refusal)
        elif self._greeted:
            self._connection.answer(None)
        else:
            self._welcome()

    def _welcome(self) -> None:
        """When nothing is waited for any more."""
        if self._greeting is None and self._task is None:
            self._welcomed = True
            self._connection.welcome()

    def mistaken(self, before: int, now: int) -> float:
        """The session has refused something for good: what that costs the client, in seconds."""
        guard = self._guard
        if self._client is None or self.authenticated:
            return 0.0
        if not self._welcomed:
            guard.refused("early", b"")
            return 0.0
        if not guard.throttle.spend(self._client.key, Deed.ERROR, guard.clock.monotonic(), now - before):
            self._connection.shut(guard.refused("error_rate", ERRORS))
        elif guard.stress and now > pressing.ERRORS:
            self._connection.shut(guard.refused("stress", STRESSED))
        delay = tarpit(before, now, guard.settings.tarpit)
        if delay:
            guard.tarpitted()
        return delay

    @property
    def authenticated(self) -> bool:
        return bool(self._login)

    @property
    def _login(self) -> str:
        return self._host.session.login_name

    def logged_in(self) -> None:
        """The client is somebody: limits for strangers are not for it any more."""
        self._connection.stay()
        self._guard.strangers.pop(self._connection, None)

    def login_failed(self) -> None:
        """A wrong password. Who gives too many is not let in again for a while."""
        if self._client is not None:
            guard = self._guard
            guard.throttle.spend(self._client.key, Deed.FAILURE, guard.clock.monotonic())

    def left(self) -> None:
        """The connection is gone: nothing is waited for, and what had been handed over only to us goes with it."""
        for waiting in (self._greeting, self._listing, self._task):
            if waiting is not None:
                waiting.cancel()
        self._greeting = self._listing = self._task = None
        if self._handed:
            self._handed = False
            self._host.on_reset()
        self._host.visitor = None
        self._connection.on_mistakes = None
        self._guard.strangers.pop(self._connection, None)
        if self._client is not None:
            self._guard.throttle.leave(self._client)

    # The stages: None = nothing against it.

    def hello(self, verb: str, name: str) -> Verdict:
        if not self._asks("hello"):
            return None
        said = self._ask("hello", Hello(self._described(), verb, name), (verb, name))
        return PENDING if said is None else self._refusal(said, "EHLO")

    def mail(self, reverse_path: str, domain: str, size: int, eight_bit: bool, parameters: Any) -> Verdict:
        guard, host = self._guard, self._host
        if self._said is None:
            host.added, self._fields, self._discarding, self._mail = b"", 0, False, None
            if not self._may(Deed.MESSAGE):
                return guard.reject(host, "message_rate", MESSAGES, "MAIL", reverse_path, "")
        if guard.hooks is None:
            return None
        self._mail = Mail(self._described(), host.session.hello_name, reverse_path, size, self._login)
        if not self._asks("mail"):
            return None
        said = self._ask("mail", self._mail, (reverse_path, domain, size, eight_bit, parameters))
        if said is None:
            return PENDING
        self._discarding = isinstance(said.decision, Discard)
        return self._refusal(said, "MAIL", reverse_path)

    def rcpt(self, forward_path: str, domain: str, parameters: Any) -> Verdict:
        arguments = (forward_path, domain, parameters)
        if self._said is None:
            verdict = self._stranger(forward_path, arguments)
            if verdict is not None:
                return verdict
        if not self._asks("rcpt") or self._mail is None:
            return None
        said = self._ask("rcpt", Rcpt(self._mail, forward_path, domain), arguments)
        if said is None:
            return PENDING
        refusal = self._refusal(said, "RCPT", self._mail.sender, forward_path)
        if isinstance(said.decision, Redirect):
            self._host.redirect(said.decision.recipient, *arguments)
        return TAKEN if isinstance(said.decision, Redirect | Discard) else refusal

    def _stranger(self, forward_path: str, arguments: tuple[Any, ...]) -> Verdict:
        """Lists, which may be late, and the rate of recipients."""
        if self._client is None or self.authenticated:
            return None
        if self._listing is not None:
            if not self._listing.done():
                self._listing.add_done_callback(partial(self._after_lists, arguments))
                return PENDING
            self._zone, self._listing = self._listing.result(), None
        sender = self._mail.sender if self._mail is not None else ""
        if self._zone is not None:
            reply = f"554 5.7.1 {self._host.address} is listed by {self._zone}\r\n".encode()
            return self._guard.reject(self._host, f"dnsbl: {self._zone}", reply, "RCPT", sender, forward_path)
        if not self._may(Deed.RECIPIENT):
            return self._guard.reject(self._host, "recipient_rate", RECIPIENTS, "RCPT", sender, forward_path)
        return None

    def _after_lists(self, arguments: tuple[Any, ...], listing: "asyncio.Task[str | None]") -> None:
        if not listing.cancelled() and self._host.visitor is self:
            self._go_on("rcpt", arguments)

    def content(self, content: Content) -> Verdict:
        host = self._host
        if self._discarding or not host.recipients:
            return self._discard("a hook, before the content")
        if not self._asks("content") or self._mail is None:
            return None
        self._handed = True
        if self._said is None and not host.readable(content, partial(self._arrived, content)):
            return PENDING
        said = self._said or self._ask("content", self._whole(content), (content,))
        if said is None:
            return PENDING
        self._said, self._handed = None, False
        if isinstance(said.decision, Discard):
            return self._discard(said.name)
        if isinstance(said.decision, Redirect):
            host.redirect_all(said.decision.recipient)
        refusal = self._refusal(said, "DATA", self._mail.sender)
        if refusal is not None:
            host.on_reset()
        return refusal

    def _whole(self, content: Content) -> WholeContent:
        assert self._mail is not None
        host = self._host
        if content.streamed:
            return WholeContent(self._mail, host.recipients, content.size, None, host.reader)
        return WholeContent(self._mail, host.recipients, content.size, content.joined(b""))

    def _arrived(self, content: Content) -> None:
        """The last of a large content is on the disk."""
        if self._host.visitor is self:
            self._go_on("content", (content,))

    @property
    def inspects(self) -> bool:
        """Hooks look at contents, and may add fields when they have."""
        return self._asks("content")

    def _discard(self, name: str) -> bytes:
        sender = self._mail.sender if self._mail is not None else ""
        self._guard.reject(self._host, f"hook: {name}", DISCARDED, "DATA", sender, "")
        self._host.on_reset()
        return DISCARDED

    # Asking.

    def _may(self, deed: Deed) -> bool:
        if self._client is None or self.authenticated:
            return True
        return self._guard.throttle.spend(self._client.key, deed, self._guard.clock.monotonic())

    def _asks(self, stage: str) -> bool:
        hooks = self._guard.hooks
        return hooks is not None and hooks.wants(stage)

    def _described(self) -> Connection:
        if self._self is None:
            self._self = Connection(self._host.address, self._host.label, self._client is None)
        return self._self

    def _ask(self, stage: str, value: object, arguments: tuple[Any, ...]) -> Said | None:
        """None: the answer is late, and the reception is asked again with ``arguments`` when it has come."""
        if self._said is not None:
            said, self._said = self._said, None
            return said
        assert self._guard.hooks is not None
        asked = self._guard.hooks.ask(stage, value, partial(self._late, stage, arguments), self._fields)
        if isinstance(asked, Said):
            return asked
        self._task = asked
        return None

    def _late(self, stage: str, arguments: tuple[Any, ...], said: Said) -> None:
        self._task = None
        if self._host.visitor is self:
            self._said = said
            self._go_on(stage, arguments)
            self._said = None

    def _go_on(self, stage: str, arguments: tuple[Any, ...]) -> None:
        """The session's question once more, now that it can be answered."""
        try:
            verdict = getattr(self._host, f"on_{stage}")(*arguments)
        except Exception as error:  # no session above us reports it
            self._host.on_error(error)
            verdict = INTERNAL
        if verdict is not PENDING:
            self._connection.answer(verdict)

    def _refusal(self, said: Said, command: str, sender: str = "", recipient: str = "") -> bytes | None:
        """What the hooks' words mean for the client, as far as that is a reply of their own."""
        self._host.added += b"".join(added.octets for added in said.fields)
        self._fields += sum(len(added.fields) for added in said.fields)
        if said.failed:
            return self._guard.reject(self._host, f"hook: {said.name}", HOOK_FAILED, command, sender, recipient)
        reply = getattr(said.decision, "reply", None)
        if reply is None:
            return None
        return self._guard.reject(self._host, f"hook: {said.name}", reply, command, sender, recipient)
