"""Who may log in: the check of names and passwords for every protocol, beside the loop.

Owns: the threads in which passwords are computed, who somebody is, and that failures cost the one who fails. Never
does: decide whose turn it is (``services/checks.py``), speak a protocol (``policy/sasl.py`` and the sessions do), or
write to the directory.

* A check takes 30 ms of a core. At most ``login.checks`` run at once; the others wait, and beyond the limits of
  ``services/checks.py`` the answer is "busy". Who failed too often waits first (``policy/failures.py``).
* A name that does not exist costs the same work, gets the same answer, and for SCRAM a salt of its own that stays.
"""

import asyncio
import hmac
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from mta.clock import Clock, SystemClock
from mta.config import Config
from mta.directory.addresses import fold
from mta.directory.passwords import SCRAM_ITERATIONS, SCRAM_SALT, verify
from mta.directory.protocol import Credentials, Directory, DirectoryUnreadable, Person, ScramKeys
from mta.errors import MtaError
from mta.policy import sasl
from mta.policy.failures import Failures, client_of
from mta.policy.sasl import Attempt, Challenge, Proved, Token
from mta.services.checks import Check, Done, Login, Remembered, Status, Turns
from mta.services.idn import in_ascii
from mta.services.tokens import Claim, Verifier, load_verifier, verified

_log = logging.getLogger("mta.login")

#: Characters of a name; a longer one is nobody's.
USER_LIMIT: Final = 320
#: In the order in which they are offered; ``Logins.mechanisms`` has those that need more.
MECHANISMS: Final = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
_MADE: Final[Mapping[str, Callable[[], sasl.Mechanism]]] = {
    "PLAIN": sasl.Plain,
    "LOGIN": sasl.Login,
    "OAUTHBEARER": sasl.Bearer,
    "XOAUTH2": sasl.XOAuth2,
}
#: Octets of our half of a SCRAM nonce, before it is written in hexadecimal.
_NONCE: Final = 18

_WRONG: Final = Login("wrong")
_BUSY: Final = Login("busy")
_UNAVAILABLE: Final = Login("unavailable")


class Logins:
    """Loop thread only; made on it. ``counts``: answers by status since the start."""

    def __init__(self, directory: Directory, config: Config, clock: Clock | None = None) -> None:
        self._directory = directory
        self._domain = config.local.domains[0] if len(config.local.domains) == 1 else ""
        self._clock = clock or SystemClock()
        self._loop = asyncio.get_running_loop()
        self._turns = Turns(config.login.checks)
        self._threads = ThreadPoolExecutor(config.login.checks, "login")
        self._failures = Failures(config.login.failures)
        self._remembered = Remembered(config.login.remember)
        self._late: dict[Check, asyncio.TimerHandle] = {}
        self._stopped = False
        self._verifier: Verifier | None = load_verifier(config.login.token_verifier)
        self._verifying: set[asyncio.Task[None]] = set()
        self.counts: dict[Status, int] = {"ok": 0, "wrong": 0, "unavailable": 0, "busy": 0}

    def check(self, user: str, password: str, client: str, done: Done) -> Check:
        """Whether ``password`` is that of ``user``: a full or further address, or a local part where there is one local
        domain. ``client``: its IP address. ``done(login)`` comes later on the loop, never inside this call."""
        key = client_of(client)
        try:
            person, credentials = self._find(user)
        except DirectoryUnreadable as error:
            _log.error("login: %s", error)
            return self._at_once(Check(key, "", _WRONG, None, done), _UNAVAILABLE)
        login = Login("ok", person.id, person.address) if person is not None else _WRONG
        check = Check(key, password, login, credentials, done)
        now = self._clock.monotonic()
        delay = self._failures.delay(key, now)
        if self._stopped:
            return self._at_once(check, _UNAVAILABLE)
        if not self._turns.room(key):
            return self._at_once(check, _BUSY)
        if not delay and credentials is not None and self._remembered.has(check, now):
            return self._at_once(check, login)
        check.suspect = self._failures.suspect(key, now)
        self._turns.enter(check)
        if delay:
            self._late[check] = self._loop.call_later(delay, self._in_line, check, True)
        else:
            self._in_line(check, False)
        return check

    def mechanisms(self, bindings: Mapping[str, bytes] | None = None) -> tuple[str, ...]:
        """What can be offered to a client, the best first. ``bindings``: octets of channel bindings, by name."""
        plus = (sasl.BOUND,) if bindings else ()
        return plus + MECHANISMS + (sasl.TOKENS if self._verifier is not None else ())

    def exchange(self, mechanism: str, client: str, bindings: Mapping[str, bytes] | None = None) -> "Exchange | None":
        """A SASL exchange with a client; None for a mechanism that is none of ``mechanisms(bindings)``."""
        if mechanism not in self.mechanisms(bindings):
            return None
        made: sasl.Mechanism
        if mechanism.startswith("SCRAM"):
            plus = mechanism.endswith("-PLUS")
            made = sasl.Scram(self._keys_of, os.urandom(_NONCE).hex(), self._fake_keys, bindings, plus=plus)
        else:
            made = _MADE[mechanism]()
        return Exchange(self, made, client, mechanism)

    def stop(self) -> None:
        """Who waits is told "unavailable"; nothing new is taken."""
        self._stopped = True
        for timer in self._late.values():
            timer.cancel()
        for check in [*self._late, *self._turns.clear()]:
            self._answer(check, _UNAVAILABLE)
        self._late.clear()
        for task in self._verifying:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # What an exchange asks

    def proved(self, user: str, client: str, done: Done) -> Check:
        """SCRAM has shown that the client knows the password of ``user``."""
        try:
            person, credentials = self._find(user)
        except DirectoryUnreadable:
            return self._at_once(Check("", "", _WRONG, None, done), _UNAVAILABLE)
        login = Login("ok", person.id, person.address) if person is not None else _WRONG
        return self._after_delay(Check(client_of(client), "", login, credentials, done), login)

    def shown(self, claim: Claim, done: Done) -> Check:
        """A client shows a token; the hook of the configuration says whose it is."""
        key = client_of(claim.client)
        check = Check(key, "", _WRONG, None, done)
        if self._stopped or self._verifier is None:
            return self._at_once(check, _UNAVAILABLE)
        if not self._turns.room(key):
            return self._at_once(check, _BUSY)
        self._turns.enter(check)
        task = self._loop.create_task(self._verify(check, claim, self._verifier))
        self._verifying.add(task)
        task.add_done_callback(self._verifying.discard)
        return check

    async def _verify(self, check: Check, claim: Claim, verifier: Verifier) -> None:
        login = _UNAVAILABLE
        try:
            login = self._owner(claim, await verified(verifier, claim))
        except MtaError as error:
            _log.error("login: %s", error)
        finally:
            self._turns.leave(check)
            if self._stopped:
                self._answer(check, login)
        if login.status == "wrong":
            self.failed("a token that is not good", claim.client, check.answer)
        elif not self._stopped:
            self._after_delay(check, login)

    def _owner(self, claim: Claim, address: str | None) -> Login:
        """Whose token it is; nobody's when the client says that it is somebody else. Raises DirectoryUnreadable."""
        person = self._find(address)[0] if address else None
        if person is None or (claim.user and self._find(claim.user)[0] != person):
            return _WRONG
        return Login("ok", person.id, person.address)

    def failed(self, reason: str, client: str, done: Done) -> Check:
        """An exchange came to nothing; counts as a wrong password."""
        key = client_of(client)
        check = Check(key, "", _WRONG, None, done)
        if not self._turns.room(key):
            return self._at_once(check, _BUSY)
        _log.info("login from %s failed: %s", client or "a local client", reason)
        self._failures.record(key, self._clock.monotonic())
        return self._after_delay(check, _WRONG)

    # Inside

    def _find(self, user: str) -> tuple[Person | None, Credentials | None]:
        address = self._address(user)
        person = self._directory.find(address) if address else None
        return person, self._directory.credentials(person.id) if person is not None else None

    def _address(self, user: str) -> str:
        if len(user) > USER_LIMIT:
            return ""
        return in_ascii(user) if "@" in user or not self._domain else f"{user}@{self._domain}"

    def _keys_of(self, user: str) -> ScramKeys | None:
        credentials = self._find(user)[1]
        return credentials.scram if credentials is not None else None

    def _fake_keys(self, user: str) -> ScramKeys:
        """The same in all processes and after each start, as real ones are."""
        key = self._directory.key()
        name = fold(self._address(user)).encode("utf-8", "surrogatepass")
        salt, stored, server = (hmac.digest(key, use + name, "sha256") for use in (b"salt\0", b"stored\0", b"server\0"))
        return ScramKeys(salt[:SCRAM_SALT], SCRAM_ITERATIONS, stored, server)

    def _at_once(self, check: Check, login: Login) -> Check:
        self._loop.call_soon(self._answer, check, login)
        return check

    def _after_delay(self, check: Check, login: Login) -> Check:
        delay = self._failures.delay(check.client, self._clock.monotonic())
        self._turns.enter(check)
        self._late[check] = self._loop.call_later(delay, self._late_answer, check, login)
        return check

    def _late_answer(self, check: Check, login: Login) -> None:
        del self._late[check]
        self._turns.leave(check)
        self._answer(check, login)

    def _in_line(self, check: Check, late: bool) -> None:
        self._late.pop(check, None)
        self._turns.wait(check, late)
        self._begin()

    def _begin(self) -> None:
        while (check := self._turns.next()) is not None:
            work = self._loop.run_in_executor(self._threads, verify, check.credentials, check.password)
            work.add_done_callback(lambda done, check=check: self._verified(check, done))  # type: ignore[misc]

    def _verified(self, check: Check, done: "asyncio.Future[bool]") -> None:
        self._turns.finished(check)
        if done.cancelled() or self._stopped:
            self._answer(check, _UNAVAILABLE)
            return
        if (failure := done.exception()) is not None:
            _log.error("login: a check came to nothing: %r", failure)
            self._answer(check, _UNAVAILABLE)
        else:
            self._answer(check, self._judged(check, done.result()))
        self._begin()

    def _judged(self, check: Check, right: bool) -> Login:
        """What was right when the check came must still be so: it may have waited for long."""
        now = self._clock.monotonic()
        try:
            if right and self._directory.credentials(check.login.person) == check.credentials:
                self._remembered.add(check, now)
                return check.login
        except DirectoryUnreadable as error:
            _log.error("login: %s", error)
            return _UNAVAILABLE
        _log.info("login from %s failed: wrong name or password", check.client or "a local client")
        self._failures.record(check.client, now)
        return _WRONG

    def _answer(self, check: Check, login: Login) -> None:
        check.password = ""
        self.counts[login.status] += 1
        check.answer(login)


class Exchange:
    """One SASL exchange. Loop thread only."""

    def __init__(self, logins: Logins, mechanism: sasl.Mechanism, client: str, name: str) -> None:
        self._name = name
        self._logins = logins
        self._mechanism = mechanism
        self._client = client

    def step(self, response: bytes | None, done: Done) -> Challenge | Check:
        """The next challenge; or the exchange is over and ``done(login)`` follows on the loop. None: there was no
        initial response."""
        try:
            step = self._mechanism.step(response)
        except DirectoryUnreadable as error:
            _log.error("login: %s", error)
            return self._logins._at_once(Check("", "", _WRONG, None, done), _UNAVAILABLE)
        if isinstance(step, Challenge):
            return step
        if isinstance(step, Attempt):
            return self._logins.check(step.user, step.password, self._client, done)
        if isinstance(step, Proved):
            return self._logins.proved(step.user, self._client, done)
        if isinstance(step, Token):
            return self._logins.shown(Claim(self._name, step.user, step.token, self._client), done)
        return self._logins.failed(step.reason, self._client, done)
