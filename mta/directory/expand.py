"""From an address to everybody who gets the message: follows aliases and lists to mailboxes and remote addresses.

Owns: the walk, its limits, what is found wrong on it. Never does: IO; look-ups are passed in. Each entry is walked
once: the first way to it counts, in the order in which targets are written. It ends for every directory: a loop, a
limit or an unknown address is a finding beside the recipients that were found, no error.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from mta.directory.addresses import fold, split
from mta.directory.protocol import Resolution

#: Aliases and lists between an address and its recipient.
DEPTH_LIMIT: Final = 20
#: Recipients of one address.
RECIPIENT_LIMIT: Final = 10_000
#: Addresses that are looked up for one address: recipients, and lists and aliases on the way.
LOOKUP_LIMIT: Final = 20_000

Trouble = Literal["loop", "depth", "recipients", "lookups", "unknown"]


class Recipient(NamedTuple):
    """One who gets the message. ``mailbox`` 0: the address is remote. ``owner``: of the innermost list with an owner on
    the way, who hears of failures in the sender's place; "" without one."""

    address: str
    mailbox: int = 0
    tag: str = ""
    owner: str = ""


class Finding(NamedTuple):
    """What was wrong at ``address``; ``via``: the entry that named it; ``owner``: as of a recipient there."""

    trouble: Trouble
    address: str
    via: str
    owner: str = ""

    def __str__(self) -> str:
        return _SENTENCES[self.trouble].format(address=self.address, via=self.via or self.address)


class Expansion(NamedTuple):
    recipients: tuple[Recipient, ...]
    findings: tuple[Finding, ...]


_SENTENCES: Final = {
    "loop": "{via} leads back to {address}",
    "depth": f"{{address}} lies more than {DEPTH_LIMIT} aliases and lists deep",
    "recipients": f"more than {RECIPIENT_LIMIT} recipients; cut off at {{address}}",
    "lookups": f"more than {LOOKUP_LIMIT} look-ups; cut off at {{address}}",
    "unknown": "{via} names {address}, which does not exist",
}


class _Step(NamedTuple):
    """An address to look at. ``leaving``: the entry of this key has been walked; no address."""

    address: str
    via: str
    owner: str
    tag: str
    leaving: bool = False


def expand(address: str, resolve: Callable[[str], Resolution | None], is_local: Callable[[str], bool]) -> Expansion:
    """``resolve``: the directory's, which may raise. ``is_local(domain)``: whether an address there that the directory
    does not know is unknown; elsewhere it is remote."""
    walk = _Walk(resolve, is_local)
    walk.run(address)
    return Expansion(tuple(walk.recipients.values()), tuple(dict.fromkeys(walk.findings)))


class _Walk:
    def __init__(self, resolve: Callable[[str], Resolution | None], is_local: Callable[[str], bool]) -> None:
        self._resolve = resolve
        self._is_local = is_local
        self.recipients: dict[int | str, Recipient] = {}
        self.findings: list[Finding] = []
        self._above: list[str] = []  # keys of the entries that lead here
        self._walked: set[str] = set()
        self._lookups = 0

    def run(self, address: str) -> None:
        """Depth first, with a stack of its own: no depth of lists is a depth of calls."""
        stack = [_Step(address, "", "", "")]
        while stack:
            step = stack.pop()
            if step.leaving:
                self._above.pop()
                continue
            if self._lookups == LOOKUP_LIMIT or len(self.recipients) == RECIPIENT_LIMIT:
                self._cut_off(step)
                return
            self._lookups += 1
            met = self._resolve(step.address)
            if met is None:
                self._leaf(step)
            elif met.kind == "mailbox":
                tag = met.tag or step.tag
                self.recipients.setdefault(met.mailbox, Recipient(met.address, met.mailbox, tag, step.owner))
            else:
                stack.extend(self._enter(met, step))

    def _cut_off(self, step: _Step) -> None:
        trouble: Trouble = "lookups" if self._lookups == LOOKUP_LIMIT else "recipients"
        self.findings.append(Finding(trouble, step.address, step.via))

    def _leaf(self, step: _Step) -> None:
        if self._is_local(split(step.address)[1].lower()):
            self.findings.append(Finding("unknown", step.address, step.via, step.owner))
        else:
            self.recipients.setdefault(fold(step.address), Recipient(step.address, owner=step.owner))

    def _enter(self, met: Resolution, step: _Step) -> list[_Step]:
        """Its targets, the first one on top, above the mark that it has been left."""
        key = fold(met.address)
        if key in self._above:
            self.findings.append(Finding("loop", met.address, step.via))
            return []
        if key in self._walked:
            return []
        if len(self._above) == DEPTH_LIMIT:
            self.findings.append(Finding("depth", met.address, step.via))
            return []
        self._walked.add(key)
        self._above.append(key)
        owner = met.owner or step.owner
        tag = met.tag or step.tag if met.kind == "alias" else ""
        targets = [_Step(target, met.address, owner, tag) for target in reversed(met.targets)]
        return [_Step("", "", "", "", leaving=True), *targets]
