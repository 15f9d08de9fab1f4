"""BDAT, and the parameters of MAIL and RCPT, as the client session says them."""

import pytest

from tests.harness.client_driver import Driver, Job, greeted, sevens, single_octets, whole
from tests.harness.scripted_remote import ScriptedRemote

CHUNKS = ("PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME")
LARGE = b".a line that begins with a dot\r\n" * 40_000
BINARY = b"\0\r\n.\r\nMAIL FROM:<x>\n" * 3
SPLITS = pytest.mark.parametrize("split", [whole, single_octets, sevens])


def sent(job: Job, *more: Job, script=None, extensions=CHUNKS, lmtp=False, split=whole):
    driver = Driver([job, *more], quit_when_done=True, options={"lmtp": lmtp})
    remote = ScriptedRemote(script or {}, extensions, lmtp=lmtp)
    driver.converse(remote, split)
    assert remote.violations == []
    return driver, remote


@SPLITS
@pytest.mark.parametrize("pipelining", [True, False])
def test_large_content_goes_as_it_is(split, pipelining: bool) -> None:
    driver, remote = sent(Job(1, content=LARGE), Job(2), extensions=CHUNKS[0 if pipelining else 1 :], split=split)
    assert [each.content for each in remote.received] == [LARGE, Job(2).content]
    assert [each.chunked for each in remote.received] == [True, False], "small content is no trouble"
    assert f"BDAT {len(LARGE)} LAST" in remote.commands
    assert [outcome[1] for outcome in driver.outcomes] == ["DOT", "DOT"]


def test_where_it_is_not_offered_content_goes_with_dots() -> None:
    _, remote = sent(Job(1, content=LARGE), extensions=("PIPELINING",))
    assert remote.received[0].content == LARGE
    assert not remote.received[0].chunked


@SPLITS
def test_binary_content_goes_as_a_chunk_whatever_its_size(split) -> None:
    job = Job(1, content=BINARY, more={"binary": True})
    driver, remote = sent(job, split=split)
    assert remote.received[0].content == BINARY
    assert remote.received[0].mail.endswith(" BODY=BINARYMIME")
    assert driver.outcomes[0][1] == "DOT"


def test_binary_content_has_no_way_to_who_does_not_take_it() -> None:
    driver = greeted(Driver(), "CHUNKING", "8BITMIME")
    with pytest.raises(ValueError, match="binary"):
        driver.deliver(Job(1, content=BINARY, more={"binary": True}))
    assert driver.session.room


@pytest.mark.parametrize("content", [lambda: iter([LARGE[:10], LARGE[10:]]), lambda: iter([LARGE])])
def test_pieces_of_a_chunk_are_counted(content) -> None:
    _, remote = sent(Job(1, content=content, size=len(LARGE)))
    assert remote.received[0].content == LARGE


@pytest.mark.parametrize("size", [len(LARGE) - 1, len(LARGE) + 1])
def test_content_of_another_size_than_announced_never_goes_out_whole(size: int) -> None:
    driver, remote = sent(Job(1, content=lambda: iter([LARGE[:100], LARGE[100:]]), size=size))
    assert driver.trouble is not None
    assert driver.trouble[0] == "CONTENT"
    assert driver.trouble[3] == [(1, False)]
    assert remote.received == []
    assert driver.session.closing


@pytest.mark.parametrize("pipelining", [True, False])
def test_after_a_refused_chunk_the_transaction_is_reset(pipelining: bool) -> None:
    extensions = CHUNKS[0 if pipelining else 1 :]
    driver, remote = sent(Job(1, content=LARGE), Job(2), script={"BDAT": ["552 5.3.4 too much"]}, extensions=extensions)
    assert [outcome[:3] for outcome in driver.outcomes] == [
        (1, "DOT", "552 5.3.4 too much"),
        (2, "DOT", "250 2.0.0 queued as 2.0"),
    ]
    assert "RSET" in remote.commands


@pytest.mark.parametrize("script", [{"MAIL": ["550 no"]}, {"RCPT": ["550 no", "551 no"]}])
@pytest.mark.parametrize("pipelining", [True, False])
def test_when_nobody_is_accepted_no_chunk_is_sent(script, pipelining: bool) -> None:
    people = ("a@x.example", "b@x.example")
    job = Job(1, people, content=LARGE)
    driver, remote = sent(job, Job(2), script=script, extensions=CHUNKS[0 if pipelining else 1 :])
    assert [outcome[0] for outcome in driver.outcomes] == [1, 2]
    assert not any(command.startswith("BDAT") for command in remote.commands)
    assert [each.content for each in remote.received] == [Job(2).content]


def test_a_chunk_goes_to_the_accepted_ones_and_lmtp_answers_for_each() -> None:
    people = ("a@x.example", "b@x.example", "c@x.example")
    driver, remote = sent(
        Job(1, people, content=LARGE), script={"RCPT": ["250 ok", "550 no"], "BDAT": ["250 a", "450 c"]}, lmtp=True
    )
    assert driver.outcomes == [(1, "DOT", "450 c", ["250 a", "550 no", "450 c"])]
    assert remote.received[0].recipients == ["a@x.example", "c@x.example"]


def test_a_refusal_in_the_middle_of_a_chunk_is_an_answer() -> None:
    driver = greeted(Driver([Job(1, content=lambda: iter([b"x" * 300_000] * 4), size=1_200_000)]), "CHUNKING")
    driver.hear(b"250 ok\r\n")
    driver.session.feed(b"250 ok\r\n")
    driver.session.take_output()
    driver.session.feed(b"452 4.3.1 full\r\n")
    assert driver.trouble == (
        "CONTENT",
        "452 4.3.1 full",
        "the remote refused the content before its end",
        [(1, False)],
    )


# Parameters.


@SPLITS
def test_parameters_stand_behind_their_paths(split) -> None:
    more = {"parameters": "RET=HDRS ENVID=QQ+2B1", "recipient_parameters": ["NOTIFY=NEVER", ""]}
    job = Job(1, ("a@x.example", "b@x.example"), eight_bit=True, more=more)
    _, remote = sent(job, split=split, extensions=("PIPELINING", "SIZE", "8BITMIME"))
    [got] = remote.received
    assert got.mail == f"FROM:<jones@athena.example> SIZE={len(job.content)} BODY=8BITMIME RET=HDRS ENVID=QQ+2B1"
    assert got.arguments == ["TO:<a@x.example> NOTIFY=NEVER", "TO:<b@x.example>"]


def test_utf8_goes_where_it_is_said() -> None:
    job = Job(1, ("jürgen@köln.example",), reverse_path="ü@x.example", more={"smtputf8": True})
    driver = greeted(Driver([job]), "PIPELINING", "SMTPUTF8")
    assert "MAIL FROM:<ü@x.example> SMTPUTF8\r\nRCPT TO:<jürgen@köln.example>\r\n".encode() in driver.wire


@pytest.mark.parametrize("words", ["A\r\nDATA", "A\0", "Ü=1", "A\x7f"])
def test_a_parameter_that_would_end_its_command_is_an_error_and_changes_nothing(words: str) -> None:
    driver = greeted(Driver(), "PIPELINING")
    for more in ({"parameters": words}, {"recipient_parameters": [words]}, {"recipient_parameters": []}):
        with pytest.raises(ValueError, match="parameters"):
            driver.deliver(Job(1, more=more))
    for path in ("ü\n@x.example", "<ü@x.example"):
        with pytest.raises(ValueError, match="no path"):
            driver.deliver(Job(1, (path,), more={"smtputf8": True}))
    assert driver.session.room
    assert driver.take() == b""
