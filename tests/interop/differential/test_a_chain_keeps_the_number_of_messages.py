"""Hermes → peer → Hermes → sink: whatever a client says to the first, what arrives is what it legitimately sent.

The dialogues and vectors of the script. The books of both Hermes balance, and nothing with a bare CR or LF comes out.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.mta_server import MtaServer
from tests.harness.sinks import RecordingSink
from tests.harness.smtp_peers import MESSAGE_SIZE, PEERS, running_peer
from tests.harness.smtp_wire import play
from tests.harness.stories import route
from tests.interop.differential.script import DIALOGUES, TAG, Dialogue
from tests.interop.differential.test_servers_agree_with_hermes import offered, tags

#: Above it Postfix and OpenSMTPD refuse what Hermes, which adds a Received field, passes on.
ROOM = 700


@pytest.mark.parametrize("name", PEERS)
def test_what_goes_through_hermes_a_peer_and_hermes_again_is_what_was_sent(
    mta: Callable[..., MtaServer], sink: Callable[..., RecordingSink], name: str
) -> None:
    drain = sink()
    last = mta(route=[route("*", drain.port)])
    with running_peer(name, last.port) as peer:
        first = mta(route=[route("*", peer.port)], limits={"message_size": MESSAGE_SIZE - ROOM})
        keywords = offered(first.port)
        dialogues = [one for one in DIALOGUES if not one.chunking or "CHUNKING" in keywords]

        def one(numbered: tuple[int, Dialogue]) -> None:
            number, dialogue = numbered
            play(first.port, dialogue.said.replace(TAG, b"c%05d" % number), lambda said: [said])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, enumerate(dialogues)))
        first.wait_for_empty_queue()
        peer.await_empty_queue()
        last.wait_for_empty_queue()
    arrived = Counter(tag for message in drain.received if message.reverse_path for tag in tags(message.recipients))
    wrong = {
        dialogue.name: (arrived[f"c{number:05}"], dialogue.accepted)
        for number, dialogue in enumerate(dialogues)
        if arrived[f"c{number:05}"] != dialogue.accepted
    }
    assert wrong == {}, "arrived, sent"
    assert drain.violations == []
