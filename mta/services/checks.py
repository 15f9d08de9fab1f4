"""Checks of logins: what one is and comes to, whose turn it is, and which passwords need none.

Owns: the order in which checks run, how many may wait, and what is remembered of the good ones. Never does: compute,
look anybody up, or speak. Loop thread only.

* So many of one client (``CLIENT_LIMIT``) and in all (``WAITING_LIMIT``) may wait.
* Clients take turns. Those that have failed lately have all threads but one among them, so that one is free for
  everybody else; those that failed too often wait behind all others.
* A right password is remembered for ``login.remember`` seconds as an HMAC under a key of this process, made over
  person, version of the credentials and password: a changed password or a removed person is out at once.
"""

import hmac
import os
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from mta.directory.protocol import Credentials

#: Checks of one client that may wait, and of all clients.
CLIENT_LIMIT: Final = 32
WAITING_LIMIT: Final = 1_024
#: Right passwords that are remembered.
REMEMBERED_LIMIT: Final = 20_000

Status = Literal["ok", "wrong", "unavailable", "busy"]


class Login(NamedTuple):
    """What came of it. ``wrong``: no such name, or not its password. ``unavailable``: the directory cannot be read.
    ``busy``: too many wait; try again. ``person``, ``address``: who it is, with ``ok`` alone."""

    status: Status
    person: int = 0
    address: str = ""


Done = Callable[[Login], None]


class Check:
    """One check under way. ``cancel``: nobody waits for the answer any more."""

    __slots__ = ("_done", "client", "credentials", "login", "password", "suspect")

    def __init__(self, client: str, password: str, login: Login, credentials: Credentials | None, done: Done) -> None:
        self.client = client
        self.password = password
        self.login = login
        self.credentials = credentials
        self.suspect = False
        self._done: Done | None = done

    def cancel(self) -> None:
        self._done = None

    @property
    def awaited(self) -> bool:
        return self._done is not None

    def answer(self, login: Login) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(login)


class Turns:
    """Who is next. A check is entered, waits, runs and is finished; or is entered and leaves."""

    def __init__(self, threads: int) -> None:
        self._free = threads
        self._for_suspects = max(1, threads - 1)
        self._present: dict[str, int] = {}
        self._count = 0
        self._calm: dict[str, deque[Check]] = {}
        self._suspect: dict[str, deque[Check]] = {}
        self._behind: dict[str, deque[Check]] = {}

    def room(self, client: str) -> bool:
        return self._count < WAITING_LIMIT and self._present.get(client, 0) < CLIENT_LIMIT

    def enter(self, check: Check) -> None:
        self._count += 1
        self._present[check.client] = self._present.get(check.client, 0) + 1

    def leave(self, check: Check) -> None:
        self._count -= 1
        self._present[check.client] -= 1
        if not self._present[check.client]:
            del self._present[check.client]

    def wait(self, check: Check, late: bool) -> None:
        check.suspect |= late
        line = self._behind if late else self._suspect if check.suspect else self._calm
        line.setdefault(check.client, deque()).append(check)

    def next(self) -> Check | None:
        """The next one to run, one client after the other; None: nobody, or no thread is free for who waits."""
        while self._free:
            check = self._take(self._calm)
            if check is None and self._for_suspects:
                check = self._take(self._suspect) or self._take(self._behind)
            if check is None:
                return None
            if check.awaited:
                self._free -= 1
                self._for_suspects -= check.suspect
                return check
            self.leave(check)
        return None

    def finished(self, check: Check) -> None:
        self._free += 1
        self._for_suspects += check.suspect
        self.leave(check)

    def clear(self) -> list[Check]:
        """All that wait; they are gone then."""
        lines = (self._calm, self._suspect, self._behind)
        waiting = [check for line in lines for checks in line.values() for check in checks]
        for line in lines:
            line.clear()
        return waiting

    @staticmethod
    def _take(line: dict[str, deque[Check]]) -> Check | None:
        if not line:
            return None
        client = next(iter(line))
        checks = line.pop(client)
        check = checks.popleft()
        if checks:
            line[client] = checks  # behind the other clients
        return check


class Remembered:
    """Right passwords, as HMACs under a key that lives no longer than this process."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._key = os.urandom(32)
        self._until: dict[bytes, float] = {}

    def has(self, check: Check, now: float) -> bool:
        name = self._name(check)
        until = self._until.get(name)
        if until is not None and until <= now:
            del self._until[name]
        return until is not None and until > now

    def add(self, check: Check, now: float) -> None:
        if not self._seconds:
            return
        name = self._name(check)
        self._until.pop(name, None)
        self._until[name] = now + self._seconds
        if len(self._until) > REMEMBERED_LIMIT:
            del self._until[next(iter(self._until))]

    def _name(self, check: Check) -> bytes:
        version = check.credentials.version if check.credentials is not None else 0
        text = f"{check.login.person}\0{version}\0{check.password}"
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")
