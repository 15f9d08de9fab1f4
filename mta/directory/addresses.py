"""Addresses as the directory holds and finds them: syntax, folding, and making one for a new person.

Owns: what may be an address of ours, what may be a target, and the key under which an address is found. Never does:
look anything up.

Two addresses that differ by case alone are one address: ``fold`` gives both the same key. RFC 5321 §2.4 would let a
site tell ``Mark`` from ``mark``, and advises against it: people write their addresses as they like, paper and telephone
carry no case, and mail for one of two such people would sooner or later be read by the other. So the domain and the
local part are folded (Unicode default caseless matching, then NFC, so that composed and decomposed letters are one),
and needless quotes are no difference either (``"mark"@`` is ``mark@``). What is shown is what the operator wrote.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from mta.errors import DataError
from mta_ext.path import parse_path

#: Octets of a local part (RFC 5321 §4.5.3.1.1).
LOCAL_PART_LIMIT: Final = 64
#: Numbers that are tried behind a generated address before giving up.
NUMBERS: Final = 10_000
#: How a local part of ours may not begin: other programs take these for options, programs, files and lists of files.
_HOSTILE_START: Final = ("-", "|", "~", "/", ":")
_HOSTILE: Final = ("..", "/", "\\")
_NOT_PLAIN = re.compile(r"[^a-z0-9_-]+", re.ASCII)
_DOT_STRING = re.compile(r"[^\s\"(),.:;<>@\[\\\]\x00-\x1f]+(?:\.[^\s\"(),.:;<>@\[\\\]\x00-\x1f]+)*")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "oe", "å": "aa", "œ": "oe"})
_UMLAUTS.update(str.maketrans({"ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}))


class BadAddress(DataError):
    """Not an address, or one that the directory does not take; the text says why."""


def fold(address: str) -> str:
    """The key of an address; of any text, for what is no address is found nowhere. ``fold(fold(x)) == fold(x)``."""
    if address.isascii() and '"' not in address:
        return address.lower()
    local, at, domain = address.rpartition("@")
    if not at:
        return _caseless(address)
    return f"{_caseless(_unquoted(local))}@{_caseless(domain)}"


def split(address: str) -> tuple[str, str]:
    """(local part, domain), at the last ``@``."""
    local, _, domain = address.rpartition("@")
    return local, domain


def target(text: str) -> str:
    """An address that mail may go to, in the form in which it is kept: the domain in lower case, letters composed,
    no needless quotes. Raises BadAddress."""
    address = unicodedata.normalize("NFC", text.strip())
    local, at, domain = address.rpartition("@")
    if not at or not local:
        raise BadAddress(f"{_shown(text)} is not an address such as mark@minasi.example")
    if not domain.isascii():
        raise BadAddress(f"{_shown(text)}: write the domain as DNS has it (xn--…)")
    _check_characters(address, text)
    if len(local.encode()) > LOCAL_PART_LIMIT:
        raise BadAddress(f"{_shown(text)}: its local part is longer than {LOCAL_PART_LIMIT} octets")
    # The syntax of octets above 127 (RFC 6531) is that of letters.
    path = parse_path(b"<%s>" % re.sub(rb"[\x80-\xff]", b"x", address.encode()))
    if path is None or len(path.mailbox) != len(address.encode()):  # shorter: there was a source route
        raise BadAddress(f"{_shown(text)} is not an address such as mark@minasi.example")
    return f"{_unquoted(local)}@{domain if domain.startswith('[') else domain.lower()}"


def entry(text: str) -> str:
    """As ``target``, for an address of ours: nothing that looks like a path or an option, no address literal."""
    address = target(text)
    local, domain = split(address)
    bare = local.strip('"')
    if domain.startswith("["):
        raise BadAddress(f"{_shown(text)}: an entry has a domain, no address literal")
    if bare.startswith(_HOSTILE_START) or any(hostile in bare for hostile in _HOSTILE):
        raise BadAddress(f"{_shown(text)}: an address of ours does not look like a path, a program or an option")
    return address


def catch_all(text: str) -> str:
    """``@domain``, in lower case, for what nobody else gets. Raises BadAddress."""
    domain = text.strip().removeprefix("@").lower()
    if not text.strip().startswith("@") or split(target(f"x@{domain}"))[1] != domain or domain.startswith("["):
        raise BadAddress(f"{_shown(text)} is not a catch-all such as @minasi.example")
    return f"@{domain}"


def generate(template: str, given: str, surname: str, domain: str, taken: Callable[[str], bool]) -> str:
    """An address that nobody has: ``%g`` given name, ``%s`` surname, ``%i`` first letter of the given name, ``%d`` the
    domain, ``%%`` a per cent sign; a number from 2 on where it is taken. Raises BadAddress."""
    names = {"g": plain(given), "s": plain(surname), "i": plain(given)[:1], "d": domain, "%": "%"}
    made = re.sub(r"%(.)", lambda found: names.get(found[1], found[0]), template)
    local, at, where = made.rpartition("@")
    if not at:
        local, where = made, domain
    local = re.sub(r"\.{2,}", ".", local).strip(".-")
    if not local or not where:
        raise BadAddress(f'an address cannot be made from "{template}": give a name or write the address')
    for number in range(1, NUMBERS):
        suffix = "" if number == 1 else str(number)
        address = entry(f"{local[: LOCAL_PART_LIMIT - len(suffix)].rstrip('.')}{suffix}@{where}")
        if not taken(address):
            return address
    raise BadAddress(f"{local}@{where} and {NUMBERS} others like it are taken: write the address")


def plain(name: str) -> str:
    """A name in ASCII and lower case, for a local part: ``Käthe van den Berg`` → ``kaethe.van.den.berg``. What has no
    such letters vanishes."""
    composed = unicodedata.normalize("NFC", name).lower().translate(_UMLAUTS)
    letters = "".join(c for c in unicodedata.normalize("NFKD", composed) if not unicodedata.combining(c))
    words = (_NOT_PLAIN.sub("", word).strip("-") for word in re.split(r"[\s.]+", letters))
    return ".".join(word for word in words if word)


def _caseless(text: str) -> str:
    """Unicode D145, composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold()))


def _unquoted(local: str) -> str:
    """A quoted local part without its quotes where it can do without, else with no needless backslash."""
    if len(local) < 2 or local[0] != '"' or local[-1] != '"':
        return local
    text = re.sub(r"\\(.)", r"\1", local[1:-1])
    if _DOT_STRING.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _check_characters(address: str, text: str) -> None:
    """Nothing that is not seen: control and format characters, lone surrogates, foreign spaces, unassigned ones."""
    for character in address:
        kind = unicodedata.category(character)
        if kind[0] == "C" or (kind[0] == "Z" and character != " "):
            raise BadAddress(f"{_shown(text)}: character U+{ord(character):04X} is not for addresses")


def _shown(text: str) -> str:
    """An address as given, for one line of an error."""
    return ascii(text if len(text) <= 100 else text[:100] + "…")
