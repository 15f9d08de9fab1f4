"""What follows when a delivery does not go well. The only place that judges; everything else reports.

Owns: the classes of failure and the verdict on each. Never does: act on it, or know of connections.
A failure has a *kind* (what happened, ours or the remote's) and, when the remote spoke, its reply. Whatever is not
known to be permanent is transient: on doubt we try again, and a duplicate is better than a loss.

==========  ==================================================  ===========================================
kind        what happened                                       what follows
==========  ==================================================  ===========================================
REPLY       the remote answered MAIL, RCPT, DATA or the dot     4yz: retry; 5yz: the recipient has failed
REPLY       552 to RCPT: too many recipients                    retry (RFC 5321 §4.5.3.1.10)
GREETING    greeting or EHLO refused, whatever the code         next host (the shell), then retry
CONNECT     no connection to a host                             next host (the shell), then retry
LOST        connection lost before the end of content           next host (the shell), then retry
UNCERTAIN   lost after it: perhaps delivered (RFC 1047)         retry, never fail: at worst a duplicate
DNS         the resolver is in trouble                          retry
DIRECTORY   the directory cannot be read                        retry
ROUTING     no such domain, null MX, a loop                     the recipient has failed
TOO_LARGE   above the remote's SIZE limit                       next host (the shell), then failed
LACKING     the remote lacks what the message needs             next host (the shell), then failed
DEADLINE    the sender's deadline has passed (DELIVERBY)        the recipient has failed
TLS         no TLS, or none that can be trusted, but needed     next host (the shell), then retry
TLS         530 to MAIL after TLS that was offered has failed   retry
LOGIN       the remote refused our login                        next host (the shell), then retry
==========  ==================================================  ===========================================
"""

from enum import Enum
from typing import Protocol


class Kind(Enum):
    """What happened."""

    REPLY = "reply"
    GREETING = "greeting"
    CONNECT = "connect"
    LOST = "lost"
    UNCERTAIN = "uncertain"
    DNS = "dns"
    DIRECTORY = "directory"
    ROUTING = "routing"
    TOO_LARGE = "too large"
    LACKING = "lacking"
    DEADLINE = "deadline"
    TLS = "tls"
    LOGIN = "login"


class Verdict(Enum):
    """What follows for a recipient."""

    RETRY = "retry"
    FAIL = "fail"
    EXPIRE = "expire"


#: Kinds that are final without a reply.
PERMANENT = frozenset({Kind.ROUTING, Kind.TOO_LARGE, Kind.LACKING, Kind.DEADLINE})
#: Kinds that are about the host and not about the message.
HOST_TROUBLE = frozenset({Kind.GREETING, Kind.CONNECT, Kind.LOST, Kind.TLS, Kind.LOGIN})
#: Kinds that are about what one host can, and no trouble of it.
LACKING_HOST = frozenset({Kind.TOO_LARGE, Kind.LACKING})
#: Enhanced status of a failure that came without one (RFC 3463), as a transient; a verdict of FAIL makes it 5.
_STATUS = {
    Kind.REPLY: "4.0.0",
    Kind.GREETING: "4.3.2",
    Kind.CONNECT: "4.4.1",
    Kind.LOST: "4.4.2",
    Kind.UNCERTAIN: "4.4.2",
    Kind.DNS: "4.4.3",
    Kind.DIRECTORY: "4.3.0",
    Kind.ROUTING: "5.4.4",
    Kind.TOO_LARGE: "5.3.4",
    Kind.LACKING: "5.6.3",
    Kind.DEADLINE: "5.4.7",
    Kind.TLS: "4.7.5",
    Kind.LOGIN: "4.7.8",
}


#: Statuses that too many recipients in a transaction have: said with 552, and as we call it, since it passes.
_TOO_MANY, _TOO_MANY_NOW = "5.5.3", "4.5.3"


class RemoteReply(Protocol):
    """The part of a remote's reply that matters here (``mta_ext.reply.Reply``)."""

    @property
    def code(self) -> int: ...

    @property
    def enhanced(self) -> str | None: ...

    @property
    def text(self) -> str: ...


class Problem:
    """One failure. ``code`` is the remote's reply code, 0 when it did not speak; ``stage`` what we were doing."""

    __slots__ = ("code", "kind", "stage", "status", "text")

    def __init__(self, kind: Kind, *, code: int = 0, status: str = "", text: str = "", stage: str = "") -> None:
        self.kind = kind
        self.code = code
        self.status = status or _STATUS[kind]
        self.text = text or kind.value
        self.stage = stage

    @classmethod
    def of_reply(cls, stage: str, reply: RemoteReply) -> "Problem":
        """The remote answered ``stage`` with something else than success."""
        kind = Kind.GREETING if stage in ("GREETING", "EHLO") else Kind.REPLY
        if _too_many(stage, reply.code, reply.enhanced or _TOO_MANY):
            return cls(kind, code=reply.code, status=_TOO_MANY_NOW, text=reply.text, stage=stage)
        status = reply.enhanced or f"{5 if reply.code >= 500 and kind is Kind.REPLY else 4}.0.0"
        return cls(kind, code=reply.code, status=status, text=reply.text, stage=stage)


def _too_many(stage: str, code: int, status: str) -> bool:
    """RFC 821 had 552 where 452 is meant: this recipient is one more than the remote takes in one transaction. One with
    another status (a full mailbox) means what it says."""
    return code == 552 and stage == "RCPT" and status in (_TOO_MANY, _TOO_MANY_NOW)


def permanent(problem: Problem) -> bool:
    """Whether trying again cannot help."""
    if problem.kind is Kind.REPLY:
        return 500 <= problem.code <= 599 and not _too_many(problem.stage, problem.code, problem.status)
    return problem.kind in PERMANENT


def tries_next_host(problem: Problem) -> bool:
    """Whether the site's next host may do better now: the trouble is the host's own and nothing can be delivered yet.

    421 is the host speaking of itself (RFC 5321 §4.2.3), except after the end of content, where it answers that."""
    if problem.kind is Kind.REPLY:
        return problem.code == 421 and problem.stage != "DOT"
    return problem.kind in HOST_TROUBLE


def asks_for_tls(reply: RemoteReply) -> bool:
    """Whether a host may have refused MAIL for want of TLS (RFC 3207 §4). Where it offers that, and it did not come
    about now, the refusal says nothing about the mail."""
    return reply.code == 530


def lacks(problem: Problem) -> bool:
    """Whether only this host is known to be no good for the message: another of its site may be. It has failed when
    all of them have said so; as long as one has not been reached, nobody knows."""
    return problem.kind in LACKING_HOST


def decide(problem: Problem, *, expired: bool) -> Verdict:
    """The verdict for a recipient. ``expired``: its message is older than the give-up time."""
    if permanent(problem):
        return Verdict.FAIL
    return Verdict.EXPIRE if expired else Verdict.RETRY
