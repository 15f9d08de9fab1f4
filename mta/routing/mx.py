"""From MX records to hosts in the order of trial (RFC 5321 §5.1, RFC 7505): decisions only.

Owns: preferences, the implicit MX, the null MX, ourselves among the hosts, invalid targets, and the limit on hosts.
Pure: answers, names and a source of randomness are passed in. Any thread. Never does: look up or cache.
"""

from collections.abc import Collection, Iterable
from random import Random
from typing import Final

from mta.routing.answers import Answer, Kind, MxRecord
from mta.routing.destination import Host, RoutingError
from mta.routing.names import is_host_name

#: Hosts kept of a domain's MX records; who has more does not get tried on all of them anyway.
MAX_HOSTS: Final = 20
_ROOT: Final = "."


def hosts_of(
    domain: str, answer: Answer[MxRecord], *, port: int, own_names: Collection[str], random: Random
) -> tuple[Host, ...]:
    """The hosts for ``domain``, best first, equal ones shuffled. Raises RoutingError (permanent) without any."""
    if answer.kind is Kind.NXDOMAIN:
        raise RoutingError(True, "5.1.2", f"the domain {domain} does not exist")
    if answer.kind is Kind.NODATA:
        # The implicit MX (RFC 5321 §5.1): only when DNS says that there is no MX, never when it could not say.
        records: Iterable[MxRecord] = (MxRecord(0, domain),)
    elif [record.host for record in answer.records] == [_ROOT]:
        raise RoutingError(True, "5.1.10", f"the domain {domain} accepts no mail (null MX)")
    else:
        records = answer.records
    hosts = _best_of_each(records, port)
    if not hosts:
        raise RoutingError(True, "5.4.4", f"no MX record of {domain} names a usable host")
    ours = {host.name for host in hosts if host.name in own_names}
    return tuple(shuffled(better_than_ours(domain, hosts, ours), random)[:MAX_HOSTS])


def better_than_ours(domain: str, hosts: Collection[Host], ours: Collection[str]) -> list[Host]:
    """Without the hosts named in ``ours`` and every one of equal or worse preference: mail must come closer with
    every hop. Raises RoutingError (permanent 5.4.6) when nothing is left."""
    limit = min((host.preference for host in hosts if host.name in ours), default=None)
    if limit is None:
        return list(hosts)
    left = [host for host in hosts if host.preference < limit]
    if not left:
        name = next(host.name for host in hosts if host.name in ours)
        raise RoutingError(True, "5.4.6", f"mail for {domain} loops: its best MX host {name} is this server", name)
    return left


def shuffled(hosts: Iterable[Host], random: Random) -> list[Host]:
    """By preference, those of equal preference in random order (RFC 5321 §5.1); for every connection anew."""
    mixed = list(hosts)
    random.shuffle(mixed)
    mixed.sort(key=lambda host: host.preference)
    return mixed


def _best_of_each(records: Iterable[MxRecord], port: int) -> list[Host]:
    """Every valid host once, with its best preference. An address is no host name, although zones have them."""
    best: dict[str, int] = {}
    for preference, name in records:
        if is_host_name(name):
            best[name] = min(preference, best.get(name, preference))
    return [Host(name, port, preference) for name, preference in best.items()]
