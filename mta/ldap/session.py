"""The LDAP server session: octets in, octets out, one decision (a login) outstanding at most. No IO, no loop.

Owns: the order of operations, what is allowed when, the limits of one client. Never does: verify a password, or wait.

A request is answered when it is read, except search and compare: these stand in ``_running``, and each ``go_on`` does
one piece of one of them in turn, so that a long one holds up neither an abandon nor its neighbours. A bind drops what
is running (RFC 4511 §4.2.1) and nothing behind it is read before it is settled; the same with StartTLS.
After a notice of disconnection (§4.4.1) or an unbind the session is ``closing`` and deaf.
"""

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from mta.clock import Clock
from mta.ldap import messages
from mta.ldap.book import BASE, SUB, Book
from mta.ldap.entries import SUBSCHEMA, Entry, root_entry
from mta.ldap.filters import FilterTooLarge
from mta.ldap.messages import BadMessage, Message
from mta.ldap.names import BadName, Key, key
from mta.ldap.search import Limits, compare, paging_of, read_query, search

#: Searches of one connection that may run at the same time.
RUNNING: Final = 16
_SUBSCHEMA: Final = key(SUBSCHEMA)
#: Requests that one ``go_on`` reads.
_REQUESTS: Final = 8

#: What a session may expect of TLS: not at all, when the client asks, before all else, or it has begun.
Begins = Literal["none", "offered", "required", "on"]


class Settings(NamedTuple):
    """``anonymous``: a client need not bind. ``plaintext``: passwords are taken without TLS as well."""

    anonymous: bool
    plaintext: bool
    limits: Limits


class Login(NamedTuple):
    """A decision that is asked for: whether ``password`` is that of ``user``, an address or what came in its place."""

    user: str
    password: str


class LdapSession:
    """``searched`` is called once for every search. ``login``: the decision that is outstanding. ``wants_tls``: what
    is to be sent before the handshake is in the output. ``progress`` grows with every request."""

    __slots__ = (
        "_book",
        "_clock",
        "_identity",
        "_number",
        "_output",
        "_running",
        "_searched",
        "_settings",
        "_tail",
        "_tls",
        "closing",
        "login",
        "progress",
        "wants_tls",
    )

    def __init__(self, book: Book, settings: Settings, clock: Clock, tls: Begins, searched: Callable[[], None]) -> None:
        self._book = book
        self._settings = settings
        self._clock = clock
        self._tls: Begins = tls
        self._searched = searched
        self._tail = bytearray()
        self._output: list[bytes] = []
        self._running: dict[int, Iterator[bytes]] = {}
        self._identity = ""
        self._number = 0
        self.login: Login | None = None
        self.wants_tls = False
        self.closing = False
        self.progress = 0

    # What the shell calls.

    @property
    def buffered(self) -> int:
        """Octets of input that wait."""
        return len(self._tail)

    @property
    def blocked(self) -> bool:
        """Nothing more is read before a login is settled, or TLS has begun."""
        return self.login is not None or self.wants_tls or self.closing

    @property
    def running(self) -> int:
        """Operations that are not answered yet."""
        return len(self._running) + (self.login is not None)

    def feed(self, data: bytes) -> None:
        """Octets from the client. Never raises for a bad one. ``go_on`` reads them."""
        if self.closing:
            return
        if self.wants_tls:
            # Plaintext behind StartTLS might be anybody's: it goes with the connection.
            self._disconnect(messages.PROTOCOL_ERROR, "octets between StartTLS and the handshake")
            return
        self._tail += data

    def go_on(self) -> bool:
        """A piece of work. True: there is more, with what has come so far."""
        waiting = False
        for _ in range(_REQUESTS):
            waiting = self._next_request()
            if not waiting:
                break
        if self._running:
            number = next(iter(self._running))
            operation = self._running.pop(number)
            octets = next(operation, None)
            if octets is not None:
                self._running[number] = operation  # behind the others
                self._output.append(octets)
        return bool(self._running) or waiting

    def take_output(self) -> bytes:
        output = b"".join(self._output)
        self._output.clear()
        return output

    def answer_login(self, code: int, text: str = "", address: str = "") -> None:
        """Settles ``login``; SUCCESS: the password was right, and ``address`` is whose it is."""
        login = self.login
        if login is None or self.closing:
            return
        self.login = None
        if code == messages.SUCCESS:
            self._identity = address or login.user
        self._output.append(messages.result(self._number, "bindRequest", code, text))

    def tls_started(self) -> None:
        self.wants_tls = False
        self._tls = "on"

    def shut(self, code: int, text: str) -> None:
        """Our last word: a notice of disconnection. Idempotent."""
        if not self.closing:
            self._disconnect(code, text)

    # Requests.

    def _next_request(self) -> bool:
        """Reads one request. False: there is none, or none may be read now."""
        if self.blocked or not self._tail:
            return False
        try:
            length = messages.frame_length(self._tail)
            if not length or length > len(self._tail):
                return False
            message = messages.decode(bytes(self._tail[:length]))
            del self._tail[:length]
            self.progress += 1
            self._take(message)
        except BadMessage as error:
            self._disconnect(messages.PROTOCOL_ERROR, str(error))
        return not self.blocked

    def _take(self, message: Message) -> None:
        number, kind = message.number, message.kind
        if number in self._running:
            raise BadMessage("the id of a request that is not answered yet")
        if kind == "unbindRequest":
            self._running.clear()
            self._tail.clear()
            self.closing = True
        elif kind == "abandonRequest":
            self._running.pop(message.body, None)
        elif kind not in messages.REPLIES:
            raise BadMessage("an operation that is not a request")
        elif any(control.critical and not _is_known(control.type, kind) for control in message.controls):
            self._refuse(message, messages.UNAVAILABLE_CRITICAL_EXTENSION)
        elif kind == "extendedRequest":
            self._extended(message)
        elif self._tls == "required" and not _is_about_us(message):
            self._refuse(message, messages.CONFIDENTIALITY_REQUIRED, "StartTLS first")
        elif kind == "bindRequest":
            self._bind(message)
        elif kind in ("searchRequest", "compareRequest"):
            self._look(message)
        else:
            self._refuse(message, messages.UNWILLING_TO_PERFORM, "the address book is read-only")

    def _refuse(self, message: Message, code: int, text: str = "") -> None:
        if message.kind == "extendedRequest":
            self._output.append(messages.extended(message.number, code, text))
        else:
            self._output.append(messages.result(message.number, message.kind, code, text))

    def _bind(self, message: Message) -> None:
        self._running.clear()
        self._identity = ""
        body = message.body
        method, secret = body["authentication"]
        name = body["name"]
        if body["version"] != 3:
            self._refuse(message, messages.PROTOCOL_ERROR, "LDAP version 3 only")
        elif method != "simple":
            self._refuse(message, messages.AUTH_METHOD_NOT_SUPPORTED, "simple bind only")
        elif not name and not secret:
            code = messages.SUCCESS if self._settings.anonymous else messages.INAPPROPRIATE_AUTHENTICATION
            self._refuse(message, code, "" if self._settings.anonymous else "bind with a name and password")
        elif not secret:
            # RFC 4513 §5.1.2: whoever forgot the password must not believe that it was right.
            self._refuse(message, messages.UNWILLING_TO_PERFORM, "a name without a password")
        elif self._tls != "on" and not self._settings.plaintext:
            self._refuse(message, messages.CONFIDENTIALITY_REQUIRED, "passwords only with TLS")
        else:
            self._ask(message, name, secret)

    def _ask(self, message: Message, name: bytes, secret: bytes) -> None:
        """The name may be an entry's, or a mail address. One that is neither takes as long as the others."""
        try:
            text, password = name.decode(), secret.decode()
        except UnicodeDecodeError:
            self._refuse(message, messages.INVALID_CREDENTIALS)
            return
        try:
            address = self._book.login_address(key(text)) or text
        except BadName:
            address = text
        self._number = message.number
        self.login = Login(address, password)

    def _look(self, message: Message) -> None:
        """Search and compare."""
        number, kind, body = message.number, message.kind, message.body
        name = body["base"] if kind == "searchRequest" else body["entry"]
        try:
            base = key(name.decode())
        except (BadName, UnicodeDecodeError):
            self._refuse(message, messages.INVALID_DN_SYNTAX)
            return
        if not self._settings.anonymous and not self._identity and not _is_about_us(message, base):
            self._refuse(message, messages.INSUFFICIENT_ACCESS_RIGHTS, "bind first")
        elif len(self._running) >= RUNNING:
            self._refuse(message, messages.BUSY, f"more than {RUNNING} operations at a time")
        elif kind == "compareRequest":
            self._running[number] = compare(number, base, body["assertion"], self._book, self._root())
        elif not BASE <= body["scope"] <= SUB or min(body["sizeLimit"], body["timeLimit"]) < 0:
            self._refuse(message, messages.PROTOCOL_ERROR, "no such scope, or a limit below zero")
        else:
            try:
                query = read_query(number, body, base, paging_of(message.controls))
            except BadMessage as error:
                self._refuse(message, messages.PROTOCOL_ERROR, str(error))
                return
            except FilterTooLarge:
                self._refuse(message, messages.ADMIN_LIMIT_EXCEEDED, "the filter is too deep or too long")
                return
            self._searched()
            self._running[number] = search(query, self._book, self._root(), self._settings.limits, self._clock)

    def _root(self) -> Entry:
        return root_entry(self._book.bases, tls_offered=self._tls in ("offered", "required"))

    def _extended(self, message: Message) -> None:
        name = message.body["name"].decode("ascii", "replace")
        if name == messages.START_TLS and self._tls != "none":
            self._start_tls(message)
        elif name == messages.WHO_AM_I:
            who = f"u:{self._identity}".encode() if self._identity else b""
            self._output.append(messages.extended(message.number, messages.SUCCESS, value=who))
        else:
            self._refuse(message, messages.PROTOCOL_ERROR, "no such extended operation")

    def _start_tls(self, message: Message) -> None:
        if self._tls == "on" or self._running:
            self._refuse(message, messages.OPERATIONS_ERROR, "TLS is on, or operations are not answered yet")
            return
        if self._tail:
            raise BadMessage("octets between StartTLS and the handshake")
        self._output.append(messages.extended(message.number, messages.SUCCESS, name=messages.START_TLS))
        self.wants_tls = True

    def _disconnect(self, code: int, text: str) -> None:
        self._running.clear()
        self._tail.clear()
        self.login = None
        self.wants_tls = False
        self.closing = True
        self._output.append(messages.notice(code, text))


def _is_known(control: str, kind: str) -> bool:
    """Pages are of searches. There are no referrals here, so a client may well want to see them as objects."""
    return control == messages.MANAGE_DSA_IT or (control == messages.PAGED_RESULTS and kind == "searchRequest")


def _is_about_us(message: Message, base: Key | None = None) -> bool:
    """Whether it reads the rootDSE or the subschema, which everybody may."""
    if message.kind != "searchRequest" or message.body["scope"] != BASE:
        return False
    return message.body["base"] == b"" or base == _SUBSCHEMA
