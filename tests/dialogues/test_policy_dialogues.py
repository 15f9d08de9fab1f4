"""Plays conversations with the real policy: what a client hears from reception and submission, not from the session.

The files are described in ``tests.harness.dialogues``. Here they may say: ``client: ADDRESS`` where it comes from (one
that may relay, if nothing else is said); ``listener: NAME`` one of ``LISTENERS`` (submission, if nothing else is said);
``trouble: directory`` or the status of every login. A queue id is written ``<id>``. The people are those of
``tests.harness.submitting``.
"""

import re
from pathlib import Path

import pytest

from mta.config.units import network
from mta.services.access import Access
from mta.services.checks import Login
from tests.harness.dialogues import read
from tests.harness.in_process import turns
from tests.harness.submitting import SUBMITS, Submitting

FILES = sorted(Path(__file__).parent.glob("policy/*.txt"))
KEYS = ("client", "listener", "trouble")
#: Few extensions, as EHLO says each of them in every file.
LISTENERS = {
    "submission": SUBMITS._replace(extensions=("ENHANCEDSTATUSCODES", "PIPELINING", "AUTH")),
    "relay": Access(extensions=("ENHANCEDSTATUSCODES", "PIPELINING", "ETRN"), verify=False),
    "telling": Access(extensions=("ENHANCEDSTATUSCODES", "PIPELINING", "ETRN", "VRFY", "EXPN"), verify=True),
    "proxied": Access(
        extensions=("ENHANCEDSTATUSCODES", "PIPELINING", "XCLIENT", "XFORWARD"), xclient=(network("192.0.2.7/32"),)
    ),
    "submission_proxied": SUBMITS._replace(
        extensions=("ENHANCEDSTATUSCODES", "PIPELINING", "AUTH", "XCLIENT"), xclient=(network("192.0.2.7/32"),)
    ),
    "required": Access(required=True, extensions=("ENHANCEDSTATUSCODES", "PIPELINING", "STARTTLS")),
}
_QUEUED = re.compile(r"^250 2\.0\.0 [0-9A-Z]{13} queued", re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_policy_says_what_is_written(path: Path, tmp_path: Path) -> None:
    dialogue = read(path, KEYS)
    place = Submitting(tmp_path, messages=2 / 3600, recipients=3 / 3600)
    trouble = dialogue.expected.get("trouble", "")
    place.people.broken = trouble == "directory"
    if trouble and not place.people.broken:
        place.logins.trouble = Login(trouble)  # type: ignore[arg-type]
    access = LISTENERS[dialogue.expected.get("listener", "submission")]
    connection, transport = place.connect(peer=(dialogue.expected.get("client", "192.0.2.7"), 4711), access=access)
    for write in dialogue.writes[0]:
        connection.data_received(write)
        await turns(10)
    said = _QUEUED.sub("250 2.0.0 <id> queued", b"".join(transport.written).decode())
    assert said == dialogue.server.decode(), dialogue.title
    connection.connection_lost(None)
    assert place.left_over() == {"sessions": 0, "clients": 0, "watched": 0, "gauge": 0}
    await place.close()


def test_there_are_conversations():
    assert len(FILES) >= 8
