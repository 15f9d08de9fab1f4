"""One script of dialogues with Hermes, Postfix, Exim and OpenSMTPD: whole, octet by octet and cut at random, in clear
and under TLS, content by DATA and by BDAT. Replies are compared by class, and what was accepted by what comes out.

Hermes's own answers stand in the script. Where a peer's are others, ``differences`` says why; a difference that is not
there is a failure, and so is a row that is none.
"""

import re
import ssl
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.harness.certificates import make_certificate
from tests.harness.mta_server import MtaServer
from tests.harness.recording_handler import cut, octet_by_octet
from tests.harness.sinks import LoopThread, RecordingSink
from tests.harness.smtp_peers import MESSAGE_SIZE, PEERS, running_peer
from tests.harness.smtp_wire import SmtpWire, classes, play, rush
from tests.harness.stories import route
from tests.interop.differential.differences import DIFFERENCES, NOT_PLAYED
from tests.interop.differential.script import DIALOGUES, TAG, Dialogue

#: Sessions at once: some servers think for a fifth of a second before they hang up.
SESSIONS = 16
_numbers = count()


class Outcome(NamedTuple):
    """What can be seen of a dialogue from outside. ``classes`` end with ``?`` when the server waits for more behind
    QUIT. ``reset``: replies may be missing at the end."""

    classes: str
    accepted: int
    reset: bool = False

    def fits(self, allowed: "Outcome", vague: bool = False) -> bool:
        """``vague``: what is allowed is a regular expression."""
        same = allowed.classes == self.classes or (self.reset and allowed.classes.startswith(self.classes))
        same |= vague and re.fullmatch(allowed.classes, self.classes) is not None
        return same and allowed.accepted == self.accepted


class Server(NamedTuple):
    name: str
    port: int
    context: ssl.SSLContext
    await_empty_queue: Callable[[], None]


@pytest.fixture(scope="module")
def drain() -> Iterator[RecordingSink]:
    """Where everybody relays to."""
    loop = LoopThread()
    sink = RecordingSink(loop).start()
    yield sink
    sink.stop()
    loop.stop()


@pytest.fixture(scope="module", params=["hermes", *PEERS])
def server(request: pytest.FixtureRequest, drain: RecordingSink, tmp_path_factory: pytest.TempPathFactory):
    if request.param == "hermes":
        yield from running_hermes(tmp_path_factory.mktemp("hermes"), drain.port)
        return
    with running_peer(request.param, drain.port) as peer:
        yield Server(peer.name, peer.port, peer.certificate.client_context(), peer.await_empty_queue)


def running_hermes(directory: Path, sink_port: int) -> Iterator[Server]:
    certificate = make_certificate(directory)
    hermes = MtaServer(
        directory / "mta",
        route=[route("*", sink_port)],
        limits={"message_size": MESSAGE_SIZE},
        listener=[{"address": "127.0.0.1:0", **tls_settings(certificate)}],
    ).start()
    try:
        yield Server("hermes", hermes.port, certificate.client_context(), hermes.wait_for_empty_queue)
        hermes.stop()
    finally:
        hermes.close()


def tls_settings(certificate) -> dict[str, str]:
    return {
        "tls": "starttls",
        "certificate": str(certificate.certificate),
        "private_key": str(certificate.private_key),
    }


def offered(port: int) -> set[str]:
    """Keywords behind EHLO."""
    with SmtpWire(port) as wire:
        lines = wire.say("EHLO client.example").decode().splitlines()
        wire.say("QUIT")
    return {line[4:].split(" ")[0].upper() for line in lines[1:]}


def ways(name: str) -> dict[str, Callable[[bytes], list[bytes]]]:
    """The segmentations; that at random is the same for a dialogue each time."""
    random = Random(name)
    return {
        "whole": lambda said: [said],
        "octet by octet": octet_by_octet,
        "at random": lambda said: cut(said, [random.randrange(len(said) + 1) for _ in range(9)]),
    }


class Run(NamedTuple):
    dialogue: Dialogue
    way: str
    tag: str
    wire: SmtpWire

    def outcome(self, accepted: int) -> Outcome:
        return Outcome(classes(self.wire.said) + "?" * self.wire.silent, accepted, self.wire.reset)


def play_all(server: Server, drain: RecordingSink, context: ssl.SSLContext | None) -> dict[str, dict[str, Outcome]]:
    """Dialogue → segmentation → what came of it; and that whatever is accepted comes out, content untouched."""
    keywords = offered(server.port)
    pipelining = "PIPELINING" in keywords
    dialogues = [
        dialogue
        for dialogue in DIALOGUES
        if (not dialogue.chunking or "CHUNKING" in keywords) and (server.name, dialogue.name) not in NOT_PLAYED
    ]

    def one(dialogue: Dialogue, way: str, cutter: Callable[[bytes], list[bytes]]) -> Run:
        tag = f"t{next(_numbers):05}"
        assert len(tag) == len(TAG)
        said = dialogue.said.replace(TAG, tag.encode())
        return Run(dialogue, way, tag, play(server.port, said, cutter, context, pipelining))

    with ThreadPoolExecutor(SESSIONS) as pool:
        jobs = [(dialogue, *way) for dialogue in dialogues for way in ways(dialogue.name).items()]
        runs = list(pool.map(lambda job: one(*job), jobs))
    server.await_empty_queue()
    arrived = Counter(tag for message in drain.received for tag in tags(message.recipients))
    results: dict[str, dict[str, Outcome]] = defaultdict(dict)
    for run in runs:
        results[run.dialogue.name][run.way] = run.outcome(arrived[run.tag])
    return results


def tags(recipients: list[str]) -> set[str]:
    """Of whom a message is; the smuggled ones count for the dialogue that they came out of."""
    names = (address.partition("@")[0] for address in recipients)
    return {name.rpartition("-")[2].rpartition(".")[2] for name in names}


@pytest.mark.parametrize("secured", [False, True], ids=["clear", "TLS"])
def test_replies_and_messages_are_the_same_or_the_difference_is_explained(
    server: Server, drain: RecordingSink, secured: bool
) -> None:
    if secured and "STARTTLS" not in offered(server.port):
        pytest.skip(f"{server.name} does not offer STARTTLS")
    results = play_all(server, drain, server.context if secured else None)
    wrong = []
    for dialogue in DIALOGUES:
        seen = results.get(dialogue.name)
        if seen is None:
            continue
        ours = Outcome(dialogue.classes, dialogue.accepted)
        row = DIFFERENCES.get((server.name, dialogue.name))
        allowed = {Outcome(*outcome) for outcome in row.outcomes} if row else {ours}
        vague = row is not None and row.sometimes
        if not all(
            any(outcome.fits(one, vague) for one in (allowed | {ours} if vague else allowed))
            for outcome in seen.values()
        ):
            wrong.append(f"{dialogue.name}: {seen}; expected {allowed}")
        elif row and not row.sometimes and all(outcome.fits(ours) for outcome in seen.values()):
            wrong.append(f"{dialogue.name}: no difference any more, but a row: {row.why}")
    assert wrong == [], "\n".join(wrong)
    if server.name == "hermes":
        assert len(results) > 60
        broken_off = [name for name, seen in results.items() if any(outcome.reset for outcome in seen.values())]
        assert set(broken_off) <= {"commands behind QUIT"}
        look_at_contents(drain)


@pytest.mark.parametrize("server", ["hermes"], indirect=True)
def test_who_does_not_wait_for_hermes_has_nothing_accepted(server: Server, drain: RecordingSink) -> None:
    """All of a dialogue in one segment: what stands behind EHLO is there too early."""
    for number, dialogue in enumerate(DIALOGUES):
        tag = f"r{number:05}"
        wire = rush(server.port, dialogue.said.replace(TAG, tag.encode()), lambda said: [said])
        assert wire.said.startswith(b"554 5.5.0"), dialogue.name
    server.await_empty_queue()
    assert not [
        message for message in drain.received if any(name.startswith("r0") for name in tags(message.recipients))
    ]


def look_at_contents(drain: RecordingSink) -> None:
    """What Hermes sends on has no bare CR or LF, and the octets that a dialogue names."""
    assert drain.violations == []
    contents = [message.content for message in drain.received]
    for dialogue in DIALOGUES:
        if dialogue.content and not dialogue.chunking:
            assert any(dialogue.content in content for content in contents), dialogue.name


def test_every_row_of_the_table_names_a_dialogue() -> None:
    names = {dialogue.name for dialogue in DIALOGUES}
    assert len(names) == len(DIALOGUES)
    if any(name.startswith("vector ") for name in names):
        assert {name for _, name in DIFFERENCES} <= names
        assert {name for _, name in NOT_PLAYED} <= names
    assert {peer for peer, _ in [*DIFFERENCES, *NOT_PLAYED]} <= set(PEERS), "Hermes's answers stand in the script"
