"""Where mail goes, as values: a Destination with its hosts, or the RoutingError that says why there is none.

Owns: the values and the site name. Pure; any thread. Never does: decide which of them applies.
"""

import hashlib
from collections.abc import Collection, Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from mta.errors import MtaError

#: Characters; a longer site name ends in a hash, so that it stays a usable label and key.
MAX_SITE_NAME: Final = 200
_HASH_DIGITS: Final = 16

Protocol = Literal["smtp", "lmtp", "discard"]


class Host(NamedTuple):
    """One host to try. No addresses: look them up. A unix socket has its path for a name, and port 0. ``fixed``: to be
    looked up, and named by a route, so that its absence is a slip of the configuration."""

    name: str
    port: int
    preference: int
    addresses: tuple[str, ...] = ()
    fixed: bool = False


class Login(NamedTuple):
    """Who we are for a remote. Never shows the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r})"


class Destination(msgspec.Struct, frozen=True):
    """Hosts in the order of trial. Destinations with the same ``site`` share connections and limits. ``tls``: as in a
    route, "" for what is usual. ``requiretls``: made by :func:`checked`. ``whole``: of which site this is a part, made
    by :func:`without`."""

    site: str
    protocol: Protocol
    hosts: tuple[Host, ...] = ()
    tls: str = ""
    login: Login | None = None
    requiretls: bool = False
    whole: str = ""


def checked(destination: Destination) -> Destination:
    """The same hosts for mail with REQUIRETLS: connections of its own, on which certificates are checked."""
    site = f"{destination.site} REQUIRETLS"
    return msgspec.structs.replace(destination, site=site, tls="verify", requiretls=True, whole="")


def without(destination: Destination, lacking: Collection[Host]) -> Destination | None:
    """What is left for mail for which the hosts ``lacking`` are no good; None when that is nothing. However often it is
    called in turn, the names are those that the site had at first: whoever leaves out the same hosts shares a part."""
    gone = {_label(host) for host in lacking}
    left = tuple(host for host in destination.hosts if _label(host) not in gone)
    if not left:
        return None
    whole = destination.whole or destination.site
    site = _short(f"{whole} without {','.join(sorted(gone))}")
    return msgspec.structs.replace(destination, site=site, hosts=left, whole=whole)


def _label(host: Host) -> str:
    return f"{host.name}:{host.port}" if host.port not in (0, 25) else host.name


class RoutingError(MtaError):
    """There is no way to a domain or host. ``status``: RFC 3463; transient unless ``permanent``.

    ``remote``: the host, or the name server, that it is about; may be empty. Instances that the router gives out are
    shared: raise a :meth:`copy`.
    """

    def __init__(self, permanent: bool, status: str, text: str, remote: str = "") -> None:
        super().__init__(text)
        self.permanent = permanent
        self.status = status
        self.text = text
        self.remote = remote

    def copy(self) -> "RoutingError":
        return RoutingError(self.permanent, self.status, self.text, self.remote)


def site_name(hosts: Iterable[str]) -> str:
    """The same text for the same set of hosts whatever their order; at most 200 characters."""
    return _short(",".join(sorted(set(hosts))))


def _short(name: str) -> str:
    if len(name) <= MAX_SITE_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{name[: MAX_SITE_NAME - _HASH_DIGITS - 1]}#{digest}"
