"""The STARTTLS dialogues of Apache James, played to Hermes: once by a client that waits where RFC 2920 has it, once
with all that the dialogue says between two replies as one write. Reply codes are compared one by one; ``DIFFERENT`` has
those that part, and says why. Texts are each server's own.

Three of them are about servers that looked for "starttls" in what was pipelined and found it in an address or a letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.corpora import corpus
from tests.harness.in_step import groups
from tests.harness.mail_house import MailHouse, below_trace
from tests.harness.smtp_wire import SmtpWire

NAME = "smtp-dialogs-james"
BOB, STARTTLS = "bob@mydomain.tld", "starttls@mydomain.tld"
PEOPLE = {BOB: "secret", STARTTLS: "other-1998"}
#: Dialogues by name, with what is in a mailbox after it: (whose, what stands in the last line); none: nothing at all.
DELIVERED = {
    "data_starts_with_starttls": (BOB, b"starttls content\r\n"),
    "data_with_starttls": (BOB, b"content starttls content\r\n"),
    "rcpt_with_starttls": (STARTTLS, b"content content\r\n"),
    "starttls_session_fixation": None,
    "starttls_with_injection": None,
}
#: The listener for who logs in; mail for our own people goes to the other.
SUBMITTED = {"starttls_session_fixation"}
WAYS = ("waits", "at once")


class Difference(NamedTuple):
    """Codes of the whole dialogue, as James has them and as we do; ``-``: the connection is closed."""

    theirs: str
    ours: str
    reason: str


_WAITS = "RFC 2920 §3.1: EHLO is the last command of a group; what stands behind it came without waiting for its answer"
_503 = "RFC 5321 §4.2.4: 503 is a bad sequence of commands, which it is; 501 would be a fault in its arguments"
_CLOSED = (
    "RFC 3207 §4: what stands in the clear behind STARTTLS is no handshake. STARTTLS had its 220 before anybody looked "
    "at that; then the connection ends, and none of it was read as a command"
)
_MAIL = "220 250 250 250 354 250"
DIFFERENT = {
    ("data_starts_with_starttls", "at once"): Difference(_MAIL, "220 554 -", _WAITS),
    ("data_with_starttls", "at once"): Difference(_MAIL, "220 554 -", _WAITS),
    ("rcpt_with_starttls", "at once"): Difference(_MAIL, "220 554 -", _WAITS),
    ("starttls_session_fixation", "waits"): Difference(
        "220 250 334 334 235 250 250 501", "220 250 334 334 235 250 250 503", _503
    ),
    ("starttls_session_fixation", "at once"): Difference(
        "220 250 334 334 235 250 250 501", "220 250 334 334 235 250 250 503", _503
    ),
    ("starttls_with_injection", "waits"): Difference("220 250 451", "220 250 220 -", _CLOSED),
    ("starttls_with_injection", "at once"): Difference("220 250 451", "220 250 220 -", _CLOSED),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailHouse]:
    directory = tmp_path_factory.mktemp("james")
    tls = {
        "tls": "starttls", "certificate": str(directory / "cert.pem"), "private_key": str(directory / "key.pem"),
        "address": "127.0.0.1:0",
    }  # fmt: skip
    made = MailHouse(
        directory,
        PEOPLE,
        listener=[
            tls,
            {"protocol": "submission", "dangerously_allow_plaintext_auth": True, **tls},
            {"protocol": "pop3", "address": "127.0.0.1:0", "dangerously_allow_plaintext_auth": True},
        ],
        local={"domains": ["mydomain.tld"]},
        relay={"networks": []},
    )
    try:
        yield made.start()
        made.stop()
    finally:
        made.close()


def turns(path: Path) -> Iterator[tuple[bytes, list[str]]]:
    """What the client says, and the codes of the replies to it; first the greeting."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:2] in ("C:", "S:")]
    said = b""
    for who, block in groupby(lines, key=lambda line: line[0]):
        texts = [line[2:].removeprefix(" ") for line in block]
        if who == "C":
            said = b"".join(text.replace("\\r\\n", "\r\n").removesuffix("\r\n").encode() + b"\r\n" for text in texts)
        else:
            # A line is the last of its reply when a space stands behind the code.
            yield said, [text[:3] for text in texts if re.match(r"\d{3}( |$)", text)]
            said = b""


def codes(port: int, script: list[tuple[bytes, list[str]]], way: str) -> str:
    """What a server says to it, until the end of the dialogue or of the connection."""
    heard: list[bytes] = []
    with SmtpWire(port) as wire:
        heard.append(wire.said)
        for said, _ in script[1:]:
            content = heard[-1].startswith(b"354")
            for group in groups(said) if way == "waits" and not content else [said]:
                wire.send(group)
                heard += [wire.reply() for _ in range(1 if content else group.count(b"\r\n"))]
            if b"" in heard:
                break
    found = [reply[:3].decode() for reply in heard if reply]
    return " ".join([*found, "-"] if b"" in heard else found)


def test_the_corpus_has_the_dialogues_that_we_play() -> None:
    assert {path.stem for path in corpus(NAME).glob("*.test")} == set(DELIVERED)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", DELIVERED)
def test_a_dialogue_goes_as_with_james_or_we_know_why_not(house: MailHouse, name: str, way: str) -> None:
    house.empty()
    script = list(turns(corpus(NAME) / f"{name}.test"))
    theirs = " ".join(code for _, expected in script for code in expected)
    ours = codes(house.ports("submission" if name in SUBMITTED else "smtp")[0], script, way)
    difference = DIFFERENT.get((name, way))
    if difference is None:
        assert ours == theirs
    else:
        assert (ours, theirs) == (difference.ours, difference.theirs)
        assert ours != theirs, "a difference that is none any more"
    house.wait_for_empty_queue()
    delivered = DELIVERED[name] if ours == theirs else None
    boxes = {address: house.mailbox(address) for address in PEOPLE}
    assert {address: len(box) for address, box in boxes.items()} == {
        address: int(delivered is not None and delivered[0] == address) for address in PEOPLE
    }
    if delivered is not None:
        assert below_trace(boxes[delivered[0]][0]) == b"subject: test\r\n\r\n" + delivered[1]


def test_every_difference_belongs_to_a_dialogue() -> None:
    assert {name for name, _ in DIFFERENT} <= set(DELIVERED)
    assert {way for _, way in DIFFERENT} <= set(WAYS)
