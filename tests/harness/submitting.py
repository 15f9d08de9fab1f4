"""A submission listener in this process: the real policy and session, with two people, their passwords and no socket.

Owns: the people, and logins that are decided in the next turn of the loop. Never does: assertions.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mta.clock import SystemClock
from mta.directory.protocol import DirectoryUnreadable, Person, Resolution
from mta.metrics import MetricsTable
from mta.policy import sasl
from mta.policy.sasl import Attempt, Challenge, Token
from mta.services.access import EVERYWHERE, Access
from mta.services.checks import Done, Login
from mta.services.local import LocalMail
from mta.services.submission import Allowance, Submission
from tests.harness.in_process import InProcess

DOMAIN = "minasi.example"
PASSWORDS = {f"mark@{DOMAIN}": "arlington", f"zoe@{DOMAIN}": "athens"}
ALIASES = {f"books@{DOMAIN}": (f"mark@{DOMAIN}", f"zoe@{DOMAIN}"), f"zoes@{DOMAIN}": (f"zoe@{DOMAIN}",)}
LISTS = {f"everybody@{DOMAIN}": tuple(PASSWORDS)}
SUBMITS = Access(
    submission=True,
    plaintext=True,
    extensions=(*EVERYWHERE, "AUTH", "FUTURERELEASE", "VRFY", "EXPN"),
    mechanisms=("PLAIN", "LOGIN"),
    max_hold=86_400,
    verify=True,
)


class People:
    """A directory. ``broken``: it cannot be read."""

    broken = False

    def find(self, address: str) -> Person | None:
        names = [*PASSWORDS]
        return Person(id=names.index(address) + 1, address=address) if address in names else None

    def resolve(self, address: str) -> Resolution | None:
        if self.broken:
            raise DirectoryUnreadable("gone")
        address = address.lower()
        if address in ALIASES or address in LISTS:
            kind = "alias" if address in ALIASES else "list"
            return Resolution(kind, address=address, targets=(ALIASES | LISTS)[address])  # type: ignore[arg-type]
        person = self.find(address)
        return Resolution("mailbox", address=address, mailbox=person.id) if person is not None else None


class _Check:
    def __init__(self, done: Done, login: Login) -> None:
        self._handle = asyncio.get_running_loop().call_soon(done, login)

    def cancel(self) -> None:
        self._handle.cancel()


class _Exchange:
    def __init__(self, logins: "PromptLogins", mechanism: sasl.Mechanism) -> None:
        self._logins = logins
        self._mechanism = mechanism

    def step(self, response: bytes | None, done: Done) -> Challenge | _Check:
        step = self._mechanism.step(response)
        if isinstance(step, Challenge):
            return step
        return _Check(done, self._logins.judged(step))


class PromptLogins:
    """``trouble``: what every login comes to, while it is set."""

    def __init__(self) -> None:
        self.trouble: Login | None = None

    def exchange(self, mechanism: str, client: str, bindings: Any = None) -> _Exchange | None:
        made: dict[str, Callable[[], sasl.Mechanism]] = {
            "PLAIN": sasl.Plain,
            "LOGIN": sasl.Login,
            "OAUTHBEARER": sasl.Bearer,
            "XOAUTH2": sasl.XOAuth2,
        }
        return _Exchange(self, made[mechanism]()) if mechanism in made else None

    def judged(self, step: sasl.Step) -> Login:
        if self.trouble is not None:
            return self.trouble
        if isinstance(step, Token) and step.token == "good":
            return Login("ok", 1, next(iter(PASSWORDS)))
        if isinstance(step, Attempt) and PASSWORDS.get(step.user) == step.password:
            return Login("ok", [*PASSWORDS].index(step.user) + 1, step.user)
        return Login("wrong")


class Submitting(InProcess):
    """``connect`` to its submission listener by ``access=SUBMITS``."""

    def __init__(self, directory: Path, messages: float = 0.0, recipients: float = 0.0) -> None:
        self.people = People()
        local = LocalMail(frozenset([DOMAIN]), self.people, postmaster="", clock=SystemClock())
        super().__init__(directory, local=local)
        self.logins = PromptLogins()
        table = MetricsTable.create(1)
        allowance = Allowance(table.rates(), table.secret, messages, recipients)
        self.submission = Submission(self.reception, self.logins, self.people, allowance)

    def opener(self, access: Access) -> Any:
        return self.submission.listener(access) if access.submission else super().opener(access)
