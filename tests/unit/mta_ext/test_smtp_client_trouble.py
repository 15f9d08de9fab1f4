"""Sessions that end without an outcome: 421, nonsense, lost connections, deadlines; and what is uncertain then."""

import pytest

from tests.harness.client_driver import Driver, Job, greeted, single_octets, whole
from tests.harness.scripted_remote import DROP, ScriptedRemote

SPLITS = pytest.mark.parametrize("split", [whole, single_octets])
BOTH = pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelined", "lock-step"])


@SPLITS
@BOTH
@pytest.mark.parametrize(
    ("verb", "stage", "lost"),
    [
        ("CONNECT", "GREETING", []),
        ("EHLO", "EHLO", []),
        ("MAIL", "MAIL", [(1, False)]),
        ("RCPT", "RCPT", [(1, False)]),
        ("DATA", "DATA", [(1, False)]),
        ("DOT", "DOT", [(1, False)]),
    ],
)
def test_421_at_any_stage_is_trouble_with_that_reply(split, extensions, verb, stage, lost) -> None:
    driver = Driver([Job(1)])
    driver.converse(ScriptedRemote({verb: ["421 4.3.2 closing"]}, extensions), split)
    assert driver.trouble == (stage, "421 4.3.2 closing", "the remote closes the session", lost)
    assert driver.outcomes == []
    assert driver.session.closing
    assert driver.session.stage == "IDLE"


@SPLITS
@pytest.mark.parametrize(
    ("verb", "stage", "lost"),
    [
        ("CONNECT", "GREETING", []),
        ("EHLO", "EHLO", []),
        ("MAIL", "MAIL", [(1, False)]),
        ("RCPT", "RCPT", [(1, False)]),
        ("DATA", "DATA", [(1, False)]),
        ("DOT", "DOT", [(1, True), (2, False)]),
    ],
)
def test_a_lost_connection_is_uncertain_only_behind_the_end_of_content(split, verb, stage, lost) -> None:
    driver = Driver([Job(1), Job(2)])
    remote = ScriptedRemote({verb: [DROP]})
    driver.converse(remote, split)
    if not driver.events or driver.trouble is None:  # nothing was said: the driver had nothing to hear
        driver.session.eof()
    assert driver.trouble[0] == stage
    assert driver.trouble[1] is None
    assert "connection was lost" in driver.trouble[2]
    assert driver.trouble[3] == lost


def test_with_421_to_the_end_of_content_only_the_next_transaction_is_left_over() -> None:
    driver = Driver([Job(1), Job(2)])
    driver.converse(ScriptedRemote({"DOT": ["421 4.3.2 closing"]}))
    assert driver.trouble[3] == [(1, False), (2, False)]


@SPLITS
@pytest.mark.parametrize(
    "nonsense",
    ["what?", "99 low", "650 high", "250-x\r\n251 y", "354 no, thank you", "250" + "x" * 5000, "250-x\r\n" * 129],
)
@pytest.mark.parametrize(
    ("verb", "stage", "uncertain"),
    [("CONNECT", "GREETING", None), ("EHLO", "EHLO", None), ("MAIL", "MAIL", False), ("RCPT", "RCPT", False),
     ("DOT", "DOT", True)],
)  # fmt: skip
def test_nonsense_at_any_stage_is_trouble_with_a_reason_and_no_reply(split, nonsense, verb, stage, uncertain) -> None:
    driver = Driver([Job(1)])
    driver.converse(ScriptedRemote({verb: [nonsense]}), split)
    assert driver.trouble[:2] == (stage, None)
    assert driver.trouble[2].isprintable()
    assert len(driver.trouble[2]) < 200
    assert driver.trouble[3] == ([] if uncertain is None else [(1, uncertain)])


def test_250_to_data_is_out_of_step() -> None:
    driver = Driver([Job(1)])
    driver.converse(ScriptedRemote({"DATA": ["250 sure"]}))
    assert driver.trouble == ("DATA", None, "this is no reply to DATA: '250 sure'", [(1, False)])


def test_a_line_without_end_is_not_awaited_for_ever() -> None:
    driver = Driver()
    driver.session.feed(b"220-" + b"x" * 4093)
    assert driver.trouble[:3] == ("GREETING", None, "a line of the reply is longer than 4096 octets")


def test_limits_of_replies_can_be_set() -> None:
    driver = Driver(options={"reply_line": 20, "reply_lines": 2})
    driver.hear(b"220-" + b"x" * 14 + b"\r\n220 x\r\n")
    assert driver.trouble is None
    driver.hear(b"250-" + b"x" * 15 + b"\r\n")
    assert "longer than 20 octets" in driver.trouble[2]


@SPLITS
def test_a_reply_nobody_asked_for_ends_the_session(split) -> None:
    driver = greeted(Driver(), "PIPELINING")
    driver.hear(b"250 surprise\x1b[2J\r\n250 more\r\n", split)
    assert driver.trouble == ("IDLE", None, "a reply came though no command was sent: '250 surprise [2J'", [])


def test_421_in_an_idle_session_comes_with_its_reply() -> None:
    driver = greeted(Driver())
    driver.hear(b"421 4.4.2 you said nothing for long\r\n")
    assert driver.trouble[:2] == ("IDLE", "421 4.4.2 you said nothing for long")


def test_refused_greeting_and_refused_helo_get_a_quit_and_are_trouble() -> None:
    driver = Driver()
    assert driver.hear(b"554 5.7.1 not from you\r\n250 ignored\r\n") == b"QUIT\r\n"
    assert driver.trouble == ("GREETING", "554 5.7.1 not from you", "the remote refused the connection", [])
    driver = Driver()
    driver.converse(ScriptedRemote({"EHLO": ["500 what?"], "HELO": ["450 later"]}))
    assert driver.trouble == ("EHLO", "450 later", "the remote refused EHLO and HELO", [])
    driver = Driver()
    driver.converse(ScriptedRemote({"EHLO": ["451 4.3.0 later"]}))
    assert driver.trouble == ("EHLO", "451 4.3.0 later", "the remote refused EHLO", [])


@pytest.mark.parametrize("reply", ["552 5.3.4 too much", "451 4.3.0 disk"])
def test_a_refusal_in_the_middle_of_content_is_its_answer(reply: str) -> None:
    driver = greeted(Driver([Job(1, content=lambda: iter([b"x" * 300_000] * 4), dotted=False)]), "PIPELINING")
    driver.session.feed(b"250 ok\r\n250 ok\r\n354 go\r\n")
    driver.session.take_output()
    driver.session.feed(reply.encode() + b"\r\n")
    assert driver.trouble == ("CONTENT", reply, "the remote refused the content before its end", [(1, False)])
    assert driver.take() == b""


def test_acceptance_before_the_content_is_sent_is_no_acceptance() -> None:
    driver = greeted(Driver([Job(1)]), "PIPELINING")
    driver.session.feed(b"250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 queued already\r\n")
    assert driver.outcomes == []
    assert driver.trouble[:2] == ("CONTENT", None)
    assert driver.trouble[3] == [(1, False)]
    assert driver.take() == b""


def test_deadlines_are_told_by_stage_and_silence_after_the_dot_is_uncertain() -> None:
    driver = greeted(Driver([Job(1), Job(2)]), "PIPELINING")
    driver.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    driver.session.timed_out()
    driver.session.timed_out()
    driver.session.eof()
    reason = "the deadline passed before the reply to the end of content came"
    assert driver.trouble == ("DOT", None, reason, [(1, True), (2, False)])


def test_content_that_was_begun_never_gets_its_end_when_the_session_breaks() -> None:
    driver = greeted(Driver([Job(1, content=lambda: iter([b"x" * 300_000, b"y\r\n"]), dotted=False)]), "PIPELINING")
    driver.session.feed(b"250 ok\r\n250 ok\r\n354 go\r\n")
    first = driver.session.take_output()
    driver.session.timed_out()
    assert first == b"x" * 300_000
    assert driver.trouble == ("CONTENT", None, "the deadline passed while content was being sent", [(1, False)])
    assert not driver.session.has_output
    assert driver.session.take_output() == b""


def test_queued_content_that_was_not_taken_is_not_uncertain() -> None:
    driver = greeted(Driver([Job(1), Job(2)]), "PIPELINING")
    driver.session.feed(b"250 ok\r\n250 ok\r\n354 go\r\n")
    driver.session.eof()
    assert driver.trouble[0] == "CONTENT"
    assert driver.trouble[3] == [(1, False), (2, False)]


def test_content_that_cannot_be_read_is_trouble_without_an_end_of_content() -> None:
    def broken():
        yield b"x" * 300_000
        raise OSError("the disk is gone")

    driver = greeted(Driver([Job(1, content=broken, dotted=False)]), "PIPELINING")
    driver.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert driver.writes[-1] == b"x" * 300_000
    assert driver.trouble[:2] == ("CONTENT", None)
    assert "OSError: the disk is gone" in driver.trouble[2]
    assert driver.trouble[3] == [(1, False)]


def test_after_trouble_nothing_is_heard_and_nothing_can_be_delivered() -> None:
    driver = greeted(Driver(), "PIPELINING")
    driver.session.eof()
    driver.hear(b"250 ok\r\n")
    driver.session.quit()
    assert not driver.session.room
    with pytest.raises(RuntimeError):
        driver.deliver(Job(1))
    assert [event[0] for event in driver.events] == ["ready", "trouble"]
