"""Search filters: from what came to a function that says of an entry True, False or None, which is Undefined.

Owns: the three-valued logic of RFC 4511 §4.5.1.7 and the matching of values. Never does: look at more than the folded
values of one entry. What a filter names and we do not know is Undefined, never an error; ``not`` leaves that so.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from mta.ldap.messages import RawFilter
from mta.ldap.schema import (
    ATTRIBUTES,
    MATCHING_RULES,
    Attribute,
    attribute,
    fold_as,
    fold_piece,
    fold_plainly,
    has_pieces,
)

#: Levels of a filter within a filter, and its items with all their pieces.
DEPTH: Final = 20
NODES: Final = 256
#: What an approximate match costs beyond another one: accents are taken off as it goes.
_APPROX: Final = 20

#: Attribute → folded values.
Folded = Mapping[str, tuple[str, ...]]
Test = Callable[[Folded], bool | None]


class FilterTooLarge(Exception):
    """Deeper or longer than we are willing to evaluate."""


def compile_filter(raw: RawFilter) -> tuple[Test, int]:
    """The test, and what one evaluation costs, in nodes. Raises FilterTooLarge."""
    counted = _Count()
    test = _compile(raw, 1, counted)
    return test, counted.nodes + _APPROX * counted.approx


def matches(kind: Attribute, value: str, folded: Folded) -> bool:
    """Whether an entry has this value: of an equality filter, or of compare."""
    return fold_as(kind, value) in folded.get(kind.name, ())


class _Count:
    """Of a filter that is being compiled: nodes, and the approximate matches among them."""

    def __init__(self) -> None:
        self.nodes = 0
        self.approx = 0


def _compile(raw: RawFilter, depth: int, counted: _Count) -> Test:
    kind, body = raw
    counted.nodes += 1 + (len(body["pieces"]) if kind == "substrings" else 0)
    counted.approx += kind == "approx"
    if depth > DEPTH or counted.nodes > NODES:
        raise FilterTooLarge
    if kind in ("and", "or"):
        parts = [_compile(part, depth + 1, counted) for part in body]
        return _all_of(parts) if kind == "and" else _any_of(parts)
    if kind == "not":
        return _negated(_compile(body, depth + 1, counted))
    make = _ITEMS.get(kind or "")
    return (make(body) if make is not None else None) or _undefined


def _undefined(folded: Folded) -> bool | None:
    return None


def _all_of(parts: list[Test]) -> Test:
    """No parts: absolute true (RFC 4526)."""

    def test(folded: Folded) -> bool | None:
        verdict: bool | None = True
        for part in parts:
            found = part(folded)
            if found is False:
                return False
            if found is None:
                verdict = None
        return verdict

    return test


def _any_of(parts: list[Test]) -> Test:
    """No parts: absolute false (RFC 4526)."""

    def test(folded: Folded) -> bool | None:
        verdict: bool | None = False
        for part in parts:
            found = part(folded)
            if found:
                return True
            if found is None:
                verdict = None
        return verdict

    return test


def _negated(part: Test) -> Test:
    def test(folded: Folded) -> bool | None:
        found = part(folded)
        return None if found is None else not found

    return test


# Items. Each gives None when it is Undefined for every entry.


def known(octets: bytes) -> Attribute | None:
    """The attribute that a description names; None when it is none of ours."""
    return attribute(octets.decode("utf-8", "replace"))


def text_of(octets: bytes) -> str | None:
    """An assertion value as text; None when it is not UTF-8."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return None


def _present(body: bytes) -> Test | None:
    kind = known(body)
    if kind is None:
        return None
    name = kind.name
    return lambda folded: name in folded


def _equal(body: Any) -> Test | None:
    kind, value = known(body["type"]), text_of(body["value"])
    if kind is None or value is None:
        return None
    name, wanted = kind.name, fold_as(kind, value)
    return lambda folded: wanted in folded.get(name, ())


def _at_least(body: Any) -> Test | None:
    kind, value = known(body["type"]), text_of(body["value"])
    if kind is None or value is None or kind.kind == "oid":
        return None
    name, bound = kind.name, fold_as(kind, value)

    def test(folded: Folded) -> bool | None:
        return any(value >= bound for value in folded.get(name, ()))

    return test


def _at_most(body: Any) -> Test | None:
    kind, value = known(body["type"]), text_of(body["value"])
    if kind is None or value is None or kind.kind == "oid":
        return None
    name, bound = kind.name, fold_as(kind, value)

    def test(folded: Folded) -> bool | None:
        return any(value <= bound for value in folded.get(name, ()))

    return test


def _approx(body: Any) -> Test | None:
    """Every word begins a word of the value; accents make no difference."""
    kind, value = known(body["type"]), text_of(body["value"])
    if kind is None or value is None:
        return None
    if kind.kind not in ("text", "ascii"):
        return _equal(body)
    name, words = kind.name, [" " + word for word in dict.fromkeys(fold_plainly(value).split())]

    def test(folded: Folded) -> bool | None:
        for value in folded.get(name, ()):
            plain = " " + (value if value.isascii() else fold_plainly(value))
            if all(word in plain for word in words):
                return True
        return False

    return test


def _extensible(body: Any) -> Test | None:
    """Equality, with the attribute's own rule or one that is named; without an attribute, of all that the rule fits."""
    value = text_of(body["value"])
    rule, named = body.get("rule"), body.get("type")
    if value is None or body["names"]:
        return None
    kinds = ATTRIBUTES if named is None else tuple(filter(None, (known(named),)))
    if rule is not None:
        fits = MATCHING_RULES.get(rule.decode("utf-8", "replace").lower(), ())
        kinds = tuple(kind for kind in kinds if kind.kind in fits)
    elif named is None:
        return None
    if not kinds:
        return None
    wanted = [(kind.name, fold_as(kind, value)) for kind in kinds]
    return lambda folded: any(value in folded.get(name, ()) for name, value in wanted)


def _substrings(body: Any) -> Test | None:
    kind = known(body["type"])
    if kind is None or not has_pieces(kind):
        return None
    initial = final = ""
    middle: list[str] = []
    for at, (place, octets) in enumerate(body["pieces"]):
        text = text_of(octets)
        if text is None or (place == "initial" and at) or (place == "final" and at + 1 < len(body["pieces"])):
            return None
        piece = fold_piece(kind, text)
        if place == "initial":
            initial = piece.lstrip(" ")
        elif place == "final":
            final = piece.rstrip(" ")
        elif place == "any":
            middle.append(piece)
        else:
            return None
    return _pieces_test(kind.name, initial, middle, final)


def _pieces_test(name: str, initial: str, middle: list[str], final: str) -> Test:
    """What clients ask as their user types, ``an*`` and ``*an*``, goes by plain loops, in a third of the time."""
    if not middle and not final:

        def begins(folded: Folded) -> bool | None:
            for value in folded.get(name, ()):  # noqa: SIM110
                if value.startswith(initial):
                    return True
            return False

        return begins
    if len(middle) == 1 and not initial and not final:
        piece = middle[0]

        def contains(folded: Folded) -> bool | None:
            for value in folded.get(name, ()):  # noqa: SIM110
                if piece in value:
                    return True
            return False

        return contains
    return lambda folded: any(_has_pieces(value, initial, middle, final) for value in folded.get(name, ()))


def _has_pieces(value: str, initial: str, middle: list[str], final: str) -> bool:
    """One after the other, none within another."""
    if not value.startswith(initial):
        return False
    at = len(initial)
    for piece in middle:
        at = value.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return len(value) - at >= len(final) and value.endswith(final)


_ITEMS: Final[dict[str, Callable[[Any], Test | None]]] = {
    "present": _present,
    "equal": _equal,
    "substrings": _substrings,
    "atLeast": _at_least,
    "atMost": _at_most,
    "approx": _approx,
    "extensible": _extensible,
}
