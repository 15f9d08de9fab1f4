"""Refusals: by stage, in part, with the replies that follow a refused command swallowed in step."""

import pytest

from tests.harness.client_driver import Driver, Job, greeted, sevens, single_octets, whole
from tests.harness.scripted_remote import ScriptedRemote

SPLITS = pytest.mark.parametrize("split", [whole, single_octets, sevens])
BOTH = pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelined", "lock-step"])
THREE = ("a@x.example", "b@x.example", "c@x.example")


def run(script, jobs, extensions=("PIPELINING",), split=whole, **kwargs) -> tuple[Driver, ScriptedRemote]:
    driver = Driver(jobs, quit_when_done=True, **kwargs)
    remote = ScriptedRemote(script, extensions)
    driver.converse(remote, split)
    assert remote.violations == []
    assert driver.trouble is None
    return driver, remote


@SPLITS
@BOTH
def test_content_still_goes_to_those_who_were_accepted(split, extensions) -> None:
    script = {"RCPT": ["250 2.1.5 <a> ok", "550 5.1.1 no b", "250-2.1.5 c\r\n250 2.1.5 fine"]}
    driver, remote = run(script, [Job(1, THREE), Job(2)], extensions, split)
    assert driver.outcomes == [
        (1, "DOT", "250 2.0.0 queued as 1.0", ["250 2.1.5 <a> ok", "550 5.1.1 no b", "250 2.1.5 c fine"]),
        (2, "DOT", "250 2.0.0 queued as 2.0", None),
    ]
    assert remote.received[0].recipients == ["a@x.example", "c@x.example"]


@SPLITS
@BOTH
def test_a_refused_sender_is_the_outcome_and_the_next_transaction_goes_on(split, extensions) -> None:
    driver, remote = run({"MAIL": ["550 5.7.1 not you"]}, [Job(1, THREE), Job(2)], extensions, split)
    assert driver.outcomes == [(1, "MAIL", "550 5.7.1 not you", None), (2, "DOT", "250 2.0.0 queued as 1.0", None)]
    assert "RSET" not in remote.commands


@SPLITS
@BOTH
def test_when_all_recipients_are_refused_the_first_decides_and_rset_clears_the_sender(split, extensions) -> None:
    script = {"RCPT": ["450 4.2.1 a", "550 5.1.1 b", "550 5.1.1 c"]}
    driver, remote = run(script, [Job(1, THREE), Job(2)], extensions, split)
    assert driver.outcomes == [
        (1, "RCPT", "450 4.2.1 a", ["450 4.2.1 a", "550 5.1.1 b", "550 5.1.1 c"]),
        (2, "DOT", "250 2.0.0 queued as 1.0", None),
    ]
    assert remote.commands.count("RSET") == 1
    if extensions:
        assert remote.reads[2][:2] == ["RSET", "MAIL FROM:<jones@athena.example>"]


@SPLITS
def test_a_remote_that_wants_content_for_nobody_gets_a_lone_dot_and_its_reply_is_nobodys(split) -> None:
    script = {"RCPT": ["550 no"], "DATA": ["354 go on"], "DOT": ["554 no valid recipients"]}
    driver, remote = run(script, [Job(1), Job(2)], split=split)
    assert driver.outcomes == [(1, "RCPT", "550 no", ["550 no"]), (2, "DOT", "250 2.0.0 queued as 2.0", None)]
    assert remote.received[0].content == b""
    assert "RSET" not in remote.commands
    assert remote.reads[2][0] == "."
    assert remote.reads[2][1].startswith("MAIL")


def test_a_remote_that_wants_content_after_refusing_the_sender_gets_a_lone_dot() -> None:
    driver = greeted(Driver([Job(1, THREE), Job(2)]), "PIPELINING")
    assert driver.hear(b"550 no\r\n") == b""
    assert driver.outcomes == [(1, "MAIL", "550 no", None)]
    assert not driver.session.room
    assert driver.hear(b"503 a\r\n250 b\r\n503 c\r\n354 well\r\n").startswith(b".\r\nMAIL FROM")
    driver.hear(b"250 empty message taken\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n")
    assert driver.trouble == ("CONTENT", None, driver.trouble[2], [(2, False)])


@SPLITS
@BOTH
def test_refused_data_is_reported_with_the_recipients_that_differ(split, extensions) -> None:
    script = {"RCPT": ["250 a", "550 b", "250 c"], "DATA": ["451 4.3.0 later"]}
    driver, remote = run(script, [Job(1, THREE), Job(2)], extensions, split)
    assert driver.outcomes[0] == (1, "DATA", "451 4.3.0 later", ["250 a", "550 b", "250 c"])
    assert driver.outcomes[1][:2] == (2, "DOT")
    assert remote.commands.count("RSET") == 1


def test_refused_data_with_all_recipients_accepted_gives_no_list() -> None:
    driver, remote = run({"DATA": ["554 5.7.1 no"]}, [Job(1, THREE)])
    assert driver.outcomes == [(1, "DATA", "554 5.7.1 no", None)]
    assert remote.commands[-1] == "QUIT"
    assert "RSET" not in remote.commands


@SPLITS
@BOTH
def test_refused_content_leaves_the_next_transaction_alone(split, extensions) -> None:
    driver, remote = run({"DOT": ["554 5.7.1 spam"]}, [Job(1), Job(2)], extensions, split)
    assert [outcome[:3] for outcome in driver.outcomes] == [
        (1, "DOT", "554 5.7.1 spam"),
        (2, "DOT", "250 2.0.0 queued as 2.0"),
    ]
    assert "RSET" not in remote.commands


@BOTH
def test_a_remote_that_refuses_rset_is_out_of_step(extensions) -> None:
    driver = Driver([Job(1), Job(2)])
    driver.converse(ScriptedRemote({"DATA": ["451 no"], "RSET": ["502 no RSET here"]}, extensions))
    assert driver.trouble == ("MAIL", "502 no RSET here", "the remote refused RSET", [(2, False)])


def test_many_recipients_accepted_before_the_first_refusal_keep_their_replies() -> None:
    people = [f"u{n}@x.example" for n in range(300)]
    said = [f"250 2.1.{n} {'x' * (n % 50)}{n}" for n in range(299)] + ["550 no"]
    driver, _ = run({"RCPT": said}, [Job(1, people)])
    assert driver.outcomes[0][3] == said


# --- LMTP ---


def lmtp(script, jobs, split=whole, extensions=("PIPELINING",)) -> tuple[Driver, ScriptedRemote]:
    driver = Driver(jobs, quit_when_done=True, options={"lmtp": True})
    remote = ScriptedRemote(script, extensions, lmtp=True)
    driver.converse(remote, split)
    return driver, remote


@SPLITS
@BOTH
def test_lmtp_gives_each_recipient_its_own_reply(split, extensions) -> None:
    script = {"RCPT": ["250 ok", "550 5.1.1 b", "250 ok"], "DOT": ["250 2.0.0 a", "452 4.2.2 c is full"]}
    driver, remote = lmtp(script, [Job(1, THREE), Job(2)], split, extensions)
    assert remote.commands[0] == "LHLO hermes.example"
    assert driver.outcomes == [
        (1, "DOT", "452 4.2.2 c is full", ["250 2.0.0 a", "550 5.1.1 b", "452 4.2.2 c is full"]),
        (2, "DOT", "250 2.0.0 queued as 2.0", ["250 2.0.0 queued as 2.0"]),
    ]
    assert driver.trouble is None


def test_lmtp_refusals_before_the_content_read_as_in_smtp() -> None:
    driver, _ = lmtp({"RCPT": ["550 a", "550 b", "550 c"]}, [Job(1, THREE)])
    assert driver.outcomes == [(1, "RCPT", "550 a", ["550 a", "550 b", "550 c"])]
    driver, _ = lmtp({"DATA": ["451 no"]}, [Job(1, THREE)])
    assert driver.outcomes == [(1, "DATA", "451 no", None)]
    driver, _ = lmtp({"RCPT": ["250 a", "550 b", "250 c"], "DATA": ["451 no"]}, [Job(1, THREE)])
    assert driver.outcomes == [(1, "DATA", "451 no", ["250 a", "550 b", "250 c"])]


LOST = "0 the connection was lost before the reply to the end of content came"


@pytest.mark.parametrize("others", [[], [Job(2)]])
def test_lmtp_lost_between_two_replies_leaves_only_the_others_uncertain(others) -> None:
    driver = greeted(Driver([Job(1, THREE), *others], options={"lmtp": True}), "PIPELINING")
    driver.hear(b"250 ok\r\n250 a\r\n250 b\r\n250 c\r\n354 go\r\n")
    driver.hear(b"250 a\r\n552 b\r\n")
    driver.session.eof()
    assert driver.outcomes == [(1, "DOT", "552 b", ["250 a", "552 b", LOST])]
    assert driver.trouble[0] == "DOT"
    assert driver.trouble[3] == [(job.token, False) for job in others]


def test_lmtp_lost_before_the_first_reply_is_uncertain_for_all() -> None:
    driver = greeted(Driver([Job(1, THREE)], options={"lmtp": True}), "PIPELINING")
    driver.hear(b"250 ok\r\n250 a\r\n550 b\r\n250 c\r\n354 go\r\n")
    driver.session.eof()
    assert (driver.outcomes, driver.trouble[3]) == ([], [(1, True)])


@pytest.mark.parametrize("others", [[], [Job(2)]])
def test_lmtp_421_after_some_replies_speaks_for_the_recipients_left(others) -> None:
    driver = greeted(Driver([Job(1, THREE), *others], options={"lmtp": True}), "PIPELINING")
    driver.hear(b"250 ok\r\n250 a\r\n250 b\r\n250 c\r\n354 go\r\n")
    driver.hear(b"250 a\r\n421 4.3.2 going\r\n")
    assert driver.outcomes == [(1, "DOT", "421 4.3.2 going", ["250 a", "421 4.3.2 going", "421 4.3.2 going"])]
    assert driver.trouble[:2] == ("DOT", "421 4.3.2 going")
    assert driver.trouble[3] == [(job.token, False) for job in others]


def test_lmtp_that_wants_content_for_nobody_is_out_of_step() -> None:
    driver, _ = lmtp({"RCPT": ["550 a"], "DATA": ["354 go"]}, [Job(1), Job(2)])
    assert driver.outcomes == [(1, "RCPT", "550 a", ["550 a"])]
    assert driver.trouble[0] == "DATA"


def test_lmtp_never_falls_back_to_helo() -> None:
    driver, remote = lmtp({"LHLO": ["500 what?"]}, [Job(1)])
    assert remote.commands == ["LHLO hermes.example", "QUIT"]
    assert driver.trouble[:3] == ("EHLO", "500 what?", "the remote refused LHLO")
