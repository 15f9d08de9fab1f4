"""From an address to its recipients, on every directory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.directory import expand as module
from mta.directory.expand import DEPTH_LIMIT, Finding, Recipient, expand
from mta.directory.protocol import DirectoryUnreadable, Resolution

D = "minasi.example"


class Entries:
    """A directory of dicts: people by name, aliases and lists by name with their targets."""

    def __init__(self, people=(), aliases=None, lists=None, owners=None):
        self.table = {f"{name}@{D}": Resolution("mailbox", f"{name}@{D}", number) for number, name in people}
        for kind, entries in (("alias", aliases or {}), ("list", lists or {})):
            for name, targets in entries.items():
                owner = (owners or {}).get(name, "")
                own = name if name.startswith("@") else f"{name}@{D}"
                self.table[own] = Resolution(kind, own, targets=tuple(map(full, targets)), owner=owner)

    def expand(self, name):
        return expand(full(name), self.resolve, lambda domain: domain == D)

    def resolve(self, address):
        local, _, tag = address.partition("@")[0].partition("+")
        found = self.table.get(address) or self.table.get(f"{local}@{D}")
        return found._replace(tag=tag) if found else self.table.get(f"@{D}")


def full(name):
    return name if "@" in name else f"{name}@{D}"


def addresses(expansion):
    return [recipient.address.removesuffix(f"@{D}") for recipient in expansion.recipients]


def test_a_person_is_one_recipient():
    assert Entries([(7, "mark")]).expand("mark+books") == ((Recipient(f"mark@{D}", 7, "books"),), ())


def test_an_alias_leads_to_all_its_targets_in_order():
    entries = Entries([(1, "a"), (2, "b")], {"both": ["b", "a", "far@else.example"]})
    assert addresses(entries.expand("both")) == ["b", "a", "far@else.example"]


def test_a_tag_goes_through_an_alias_to_the_person():
    entries = Entries([(1, "mark")], {"m": ["mark"], "n": ["mark+own"]})
    assert entries.expand("m+books").recipients[0].tag == "books"
    assert entries.expand("n+books").recipients[0].tag == "own"


def test_everybody_gets_it_once():
    entries = Entries([(1, "a")], {"x": ["a", "y", "F@else.example"], "y": ["a", "f@ELSE.example"]})
    assert addresses(entries.expand("x")) == ["a", "f@ELSE.example"]


def test_the_innermost_owner_hears_of_failures():
    entries = Entries(
        [(1, "a"), (2, "b"), (3, "c")],
        {"q": ["c"]},
        {"outer": ["a", "inner", "q"], "inner": ["b"]},
        {"outer": "o@x.example", "inner": "i@x.example"},
    )
    assert [recipient.owner for recipient in entries.expand("outer").recipients] == [
        "o@x.example",
        "i@x.example",
        "o@x.example",
    ]


def test_a_list_without_an_owner_leaves_failures_to_the_one_around_it():
    entries = Entries([(1, "a")], {}, {"outer": ["inner"], "inner": ["a"]}, {"outer": "o@x.example"})
    assert entries.expand("outer").recipients[0].owner == "o@x.example"


def test_a_loop_is_found_and_stops_nobody():
    entries = Entries([(1, "a")], {"x": ["y", "a"], "y": ["z"], "z": ["x", "a"]})
    expansion = entries.expand("x")
    assert addresses(expansion) == ["a"]
    assert expansion.findings == (Finding("loop", f"x@{D}", f"z@{D}"),)
    assert str(expansion.findings[0]) == f"z@{D} leads back to x@{D}"


def test_two_ways_to_one_list_are_no_loop():
    entries = Entries([(1, "a")], {"x": ["y", "z"], "y": ["l"], "z": ["l"]}, {"l": ["a"]})
    assert entries.expand("x") == ((Recipient(f"a@{D}", 1),), ())


def test_a_catch_all_that_leads_to_nobody_is_a_loop():
    assert [f.trouble for f in Entries((), {"@minasi.example": ["gone"]}).expand("x").findings] == ["loop"]


def test_an_unknown_target_is_a_finding_and_an_unknown_address_is_one_too():
    expansion = Entries([(1, "a")], {"x": ["gone", "a"]}).expand("x")
    assert addresses(expansion) == ["a"]
    assert expansion.findings == (Finding("unknown", f"gone@{D}", f"x@{D}"),)
    assert Entries().expand("gone").findings == (Finding("unknown", f"gone@{D}", ""),)


def test_a_chain_may_be_as_deep_as_the_limit_and_no_deeper():
    def chain(length):
        return Entries([(1, "n0")], {f"n{n}": [f"n{n - 1}"] for n in range(1, length + 1)}).expand(f"n{length}")

    assert addresses(chain(DEPTH_LIMIT)) == ["n0"]
    assert [f.trouble for f in chain(DEPTH_LIMIT + 1).findings] == ["depth"]


def test_recipients_and_look_ups_have_limits(monkeypatch):
    everybody = Entries([(n, f"p{n}") for n in range(1, 9)], {"all": [f"p{n}" for n in range(1, 9)]})
    monkeypatch.setattr(module, "RECIPIENT_LIMIT", 5)
    expansion = everybody.expand("all")
    assert len(expansion.recipients) == 5
    assert [f.trouble for f in expansion.findings] == ["recipients"]
    monkeypatch.setattr(module, "LOOKUP_LIMIT", 3)
    assert [f.trouble for f in everybody.expand("all").findings] == ["lookups"]


def test_a_directory_that_cannot_be_read_is_an_error():
    def fail(address):
        raise DirectoryUnreadable("gone")

    with pytest.raises(DirectoryUnreadable):
        expand("x@y.example", fail, lambda domain: True)


NAMES = st.sampled_from("abcdefghij")
GRAPHS = st.dictionaries(NAMES, st.lists(st.one_of(NAMES, st.sampled_from(["r@x.example", "p1", "p2"])), max_size=5))


@given(GRAPHS, GRAPHS, NAMES)
def test_every_graph_comes_to_an_end_with_the_recipients_that_can_be_reached(aliases, lists, start):
    entries = Entries([(1, "p1"), (2, "p2")], aliases, lists)
    expansion = entries.expand(start)
    reached, rest = set(), [full(start)]
    while rest:
        if (address := rest.pop()) not in reached:
            reached.add(address)
            met = entries.resolve(address)
            rest += met.targets if met else ()
    wanted = reached & {f"p1@{D}", f"p2@{D}", "r@x.example"}
    assert {recipient.address for recipient in expansion.recipients} == wanted
    unknown = {a for a in reached if a.endswith(D) and entries.resolve(a) is None}
    assert {f.address for f in expansion.findings if f.trouble == "unknown"} == unknown
    assert ("loop" in {f.trouble for f in expansion.findings}) == _cyclic(entries, full(start), ())


def _cyclic(entries, address, above):
    if address in above:
        return True
    met = entries.resolve(address)
    return any(_cyclic(entries, target, (*above, address)) for target in (met.targets if met else ()))
