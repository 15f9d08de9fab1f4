"""What DNS said, as values: an Answer (found, no data, no such name), an Alias to go on with, or trouble.

Owns: reading a parsed DNS message (the CNAME chain, RFC 1034 §3.6.2; negative TTLs, RFC 2308 §5) and the bounds on
what is kept of it. Pure; any thread. Never does: look up, cache, or decide what an answer means for mail.
"""

from enum import Enum, StrEnum
from typing import Final, Generic, NamedTuple, TypeVar

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import msgspec
from dns.rdatatype import RdataType

from mta.errors import TemporaryError

R = TypeVar("R")

#: Seconds. A TTL of 0 means "this transaction only": a burst of messages within one second is one transaction.
MIN_TTL: Final = 1
#: Seconds; longer ones are cut, as resolvers do.
MAX_TTL: Final = 86_400
#: RFC 2181 §8: a TTL with the high bit set counts as 0.
_TTL_SIGN: Final = 1 << 31
#: RFC 2308 §5 recommends one to three hours as the most for "there is no such thing".
MAX_NEGATIVE_TTL: Final = 3 * 3600
#: Negative answer without an SOA: no TTL is given, so it is kept only for a moment.
NO_SOA_TTL: Final = 60
#: Records kept of one answer; a zone with a thousand must not fill the cache.
MAX_RECORDS: Final = 100
#: CNAMEs in a row before it counts as a loop (unbound and BIND give up in the same region).
MAX_CHAIN: Final = 8


class Kind(Enum):
    """The three things that a name server can say about a name and type without being in trouble."""

    FOUND = "found"
    NODATA = "nodata"  # the name exists, the type does not
    NXDOMAIN = "nxdomain"


class MxRecord(NamedTuple):
    """One MX record; ``host`` in lower case without the final dot, ``.`` for the root."""

    preference: int
    host: str


class Answer(msgspec.Struct, Generic[R], frozen=True):
    """``ttl`` in seconds, bounded, over the whole CNAME chain. ``records`` is empty unless FOUND."""

    kind: Kind
    records: tuple[R, ...]
    ttl: int


class Alias(NamedTuple):
    """The message ends in the middle of a CNAME chain: ask again for ``target``."""

    target: str
    ttl: int


class Reason(StrEnum):
    """Why there is no answer."""

    SERVFAIL = "the name server failed"
    REFUSED = "the name server refused"
    TIMEOUT = "no name server answered in time"
    UNREACHABLE = "no name server can be reached"
    LOOP = "its CNAME records do not come to an end"


class DnsTrouble(TemporaryError):
    """DNS could not say. Always transient; never a reason to send a message back."""

    def __init__(self, reason: Reason, name: str, remote: str = "") -> None:
        super().__init__(f"{name}: {reason}" + (f" ({remote})" if remote else ""))
        self.reason = reason
        self.name = name
        self.remote = remote


def host_text(name: dns.name.Name) -> str:
    """Lower case, without the final dot; the root is ``.``. Odd octets come escaped, so they never look right."""
    return name.to_text(omit_final_dot=True).lower()


def read_answer(message: dns.message.Message, name: str, rdtype: RdataType) -> Answer[MxRecord] | Answer[str] | Alias:
    """What ``message`` says about ``name``. Raises DnsTrouble for a loop and for other rcodes."""
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise DnsTrouble(Reason.REFUSED if rcode == dns.rcode.REFUSED else Reason.SERVFAIL, name)
    owner, ttl = dns.name.from_text(name), MAX_TTL
    for links in range(MAX_CHAIN):
        found = _find(message, owner, rdtype)
        if found is not None:
            return _found(found, min(ttl, _bounded(found.ttl)))
        cname = _find(message, owner, RdataType.CNAME)
        if cname is None:
            return _nothing(message, rcode, owner, ttl, links)
        ttl = min(ttl, _bounded(cname.ttl))
        owner = cname[0].target
    raise DnsTrouble(Reason.LOOP, name)


def _find(message: dns.message.Message, owner: dns.name.Name, rdtype: RdataType) -> dns.rrset.RRset | None:
    return message.get_rrset(message.answer, owner, dns.rdataclass.IN, rdtype)


def _found(rrset: dns.rrset.RRset, ttl: int) -> Answer[MxRecord] | Answer[str]:
    if rrset.rdtype == RdataType.MX:
        best = sorted(MxRecord(r.preference, host_text(r.exchange)) for r in rrset)[:MAX_RECORDS]
        return Answer(Kind.FOUND, tuple(best), ttl)
    return Answer(Kind.FOUND, tuple([r.to_text() for r in rrset][:MAX_RECORDS]), ttl)


def _nothing(
    message: dns.message.Message, rcode: dns.rcode.Rcode, owner: dns.name.Name, ttl: int, links: int
) -> Answer[str] | Alias:
    if rcode == dns.rcode.NXDOMAIN:
        return Answer(Kind.NXDOMAIN, (), min(ttl, _negative_ttl(message)))
    soa = any(rrset.rdtype == RdataType.SOA for rrset in message.authority)
    if links and not soa:
        # Only who has the target's zone may say that there is nothing: this server followed the chain out of its own.
        return Alias(host_text(owner), ttl)
    return Answer(Kind.NODATA, (), min(ttl, _negative_ttl(message)))


def _negative_ttl(message: dns.message.Message) -> int:
    for rrset in message.authority:
        if rrset.rdtype == RdataType.SOA:
            return min(_bounded(rrset.ttl), _bounded(rrset[0].minimum), MAX_NEGATIVE_TTL)
    return NO_SOA_TTL


def _bounded(ttl: int) -> int:
    return MIN_TTL if ttl >= _TTL_SIGN else min(max(ttl, MIN_TTL), MAX_TTL)
