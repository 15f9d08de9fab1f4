"""Mail for the domains whose recipients the directory knows: who is taken at RCPT, and who is behind an address.

Owns: the answers to RCPT for local domains, and the step before a delivery in which aliases and lists are replaced by
those they stand for. Never does: deliver; what is left are mailboxes, which go where the routes say, by default to the
store. Loop thread only.

A directory that cannot be read is trouble that passes: 451 at RCPT, and what is queued waits. Nobody hears that a
recipient does not exist from a directory that could not be asked.
"""

import logging
from collections.abc import Iterator
from typing import Protocol

from mta.clock import Clock, SystemClock
from mta.config import Config
from mta.config.load import read_password
from mta.config.sections import Route
from mta.directory.expand import expand
from mta.directory.protocol import DirectoryUnreadable, Resolution
from mta.model.message import Recipient, members
from mta.policy.trouble import Kind, Problem
from mta.queue.entry import Entry
from mta.routing.destination import Login
from mta.routing.routes import Row
from mta.services.expansions import Lost, Replaced

_log = logging.getLogger("mta.local")

UNKNOWN = b"550 5.1.1 no such recipient here\r\n"
UNREADABLE = b"451 4.3.0 the directory cannot be read, try again later\r\n"
NOBODY = Problem(Kind.ROUTING, status="5.1.1", text="no such recipient here")
LOOP = Problem(Kind.ROUTING, status="5.4.6", text="the alias or list leads only back to itself")
EMPTY = Problem(Kind.ROUTING, status="5.2.4", text="nobody is behind the alias or list")
#: Seconds between two lines in the log about a directory that stays unreadable.
REMIND = 60.0


def routes(config: Config) -> Iterator[Row]:
    """The route table: those that name a local domain exactly (another server has its mailboxes), our own store for
    the other local domains, and then all others, so that ``*`` to a smarthost does not send local mail away. Raises
    ConfigError for a password that cannot be read."""
    local = frozenset(config.local.domains)
    yield from (_row(route) for route in config.route if route.domain in local)
    yield from (Row(domain, f"lmtp+unix:{config.store_socket}") for domain in config.local.domains)
    yield from (_row(route) for route in config.route if route.domain not in local)


def _row(route: Route) -> Row:
    if not route.username:
        return Row(route.domain, route.to, route.tls or "")
    assert route.password_file is not None, "the configuration was checked"
    # A password is not shown to whoever answers there.
    return Row(route.domain, route.to, route.tls or "verify", Login(route.username, read_password(route.password_file)))


class Resolver(Protocol):
    """The part of a ``Directory`` that is asked here."""

    def resolve(self, address: str) -> Resolution | None: ...


class LocalMail:
    """One per worker. ``postmaster``: where mail for the bare ``postmaster`` goes, "": to the host's own domain."""

    def __init__(self, domains: frozenset[str], directory: Resolver, *, postmaster: str, clock: Clock) -> None:
        self.domains = domains
        self.postmaster = postmaster
        self._directory = directory
        self._clock = clock
        self._remind_at = 0.0

    # Reception.

    def refusal(self, forward_path: str) -> bytes | None:
        """The reply to RCPT for an address in one of ``domains``; None: it is taken."""
        try:
            found = self._directory.resolve(forward_path)
        except DirectoryUnreadable as error:
            self._complain(error)
            return UNREADABLE
        return UNKNOWN if found is None else None

    def members(self, address: str) -> tuple[str, ...]:
        """Whom an alias or list of ours names; nobody for anything else. Raises DirectoryUnreadable."""
        if address.rpartition("@")[2].lower() not in self.domains:
            return ()
        found = self._directory.resolve(address)
        return found.targets if found is not None else ()

    # Delivery.

    def prepare(self, entry: Entry) -> bool:
        """Before an entry for one of ``domains`` goes on its way: aliases and lists give way to those behind them,
        and who is unknown by now fails. True: what the entry has left are mailboxes; False: it is settled, or waits.
        """
        scheduler = entry.home.scheduler
        message = scheduler.open(entry)
        if message is None:
            scheduler.close(entry)
            return False
        replaced: list[Replaced] = []
        lost: list[Lost] = []
        try:
            for recipient in members(message, entry.group):
                found = self._directory.resolve(recipient.forward_path)
                if found is None:
                    lost.append((recipient, NOBODY))
                elif found.kind != "mailbox":
                    behind = self._behind(recipient)
                    if isinstance(behind, Replaced):
                        replaced.append(behind)
                    else:
                        lost.append((recipient, behind))
        except DirectoryUnreadable as error:
            self._complain(error)
            entry.home.outcomes.failed_whole(entry, "", "", Problem(Kind.DIRECTORY, text=str(error)))
            return False
        if not replaced and not lost:
            return True
        # Once more, for what has come in their place: an address that a list names may be nobody's.
        return entry.home.expansions.apply(entry, message, replaced, lost) and self.prepare(entry)

    def _behind(self, recipient: Recipient) -> Replaced | Problem:
        """Who gets the message in the recipient's place, or why there is nobody. An address that a list names and
        nobody has is among them: it fails by itself, and whoever hears of the list's failures hears of it."""
        found = expand(recipient.forward_path, self._directory.resolve, self.domains.__contains__)
        by_owner: dict[str, list[str]] = {"": []}
        for member in found.recipients:
            by_owner.setdefault(member.owner, []).append(member.address)
        for finding in found.findings:
            _log.warning("%s: %s", recipient.forward_path, finding)
            if finding.trouble == "unknown":
                by_owner.setdefault(finding.owner, []).append(finding.address)
        if not any(by_owner.values()):
            return LOOP if any(finding.trouble == "loop" for finding in found.findings) else EMPTY
        targets = tuple(by_owner.pop(""))
        return Replaced(recipient, targets, tuple((owner, tuple(names)) for owner, names in by_owner.items()))

    def _complain(self, error: DirectoryUnreadable) -> None:
        """One line now and then: with every recipient it would fill the disk that is in trouble already."""
        now = self._clock.monotonic()
        if now >= self._remind_at:
            self._remind_at = now + REMIND
            _log.error("%s: local recipients get 451 and local mail waits until it can be read again", error)


class _NoDirectory:
    """Where there is no local domain nobody asks."""

    def resolve(self, address: str) -> Resolution | None:
        raise AssertionError(f"{address}: there are no local domains")


NO_LOCAL_MAIL = LocalMail(frozenset(), _NoDirectory(), postmaster="", clock=SystemClock())
