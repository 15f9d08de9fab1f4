"""The client session when remotes behave: what leaves in which write, and who hears what."""

import pytest

from mta_ext.smtp_client import SmtpClientSession
from tests.harness.client_driver import Driver, Job, greeted, sevens, single_octets, whole
from tests.harness.scripted_remote import ScriptedRemote

SPLITS = pytest.mark.parametrize("split", [whole, single_octets, sevens])


@SPLITS
def test_with_pipelining_a_message_costs_one_round_trip_on_a_warm_connection(split) -> None:
    driver = Driver([Job(n) for n in range(4)], quit_when_done=True)
    remote = ScriptedRemote()
    driver.converse(remote, split)
    commands = ["MAIL FROM:<jones@athena.example> SIZE=22", "RCPT TO:<smith@arlington.example>", "DATA"]
    assert remote.reads == [["EHLO hermes.example"], commands, *[[".", *commands]] * 3, [".", "QUIT"]]
    assert len(driver.writes) == 6
    assert [outcome[:3] for outcome in driver.outcomes] == [
        (n, "DOT", f"250 2.0.0 queued as {n + 1}.0") for n in range(4)
    ]
    assert driver.trouble is None
    assert driver.session.closing
    assert remote.violations == []


@SPLITS
def test_without_pipelining_each_command_waits_for_the_reply_before_it(split) -> None:
    driver = Driver([Job(n, ("a@x.example", "b@x.example")) for n in range(2)], quit_when_done=True)
    remote = ScriptedRemote(extensions=("8BITMIME",))
    driver.converse(remote, split)
    one = ["MAIL FROM:<jones@athena.example>", "RCPT TO:<a@x.example>", "RCPT TO:<b@x.example>", "DATA", "."]
    assert remote.reads == [["EHLO hermes.example"], *[[each] for each in one * 2], ["QUIT"]]
    assert [outcome[1] for outcome in driver.outcomes] == ["DOT", "DOT"]
    assert [each.recipients for each in remote.received] == [["a@x.example", "b@x.example"]] * 2


def test_the_next_transaction_may_be_given_late() -> None:
    driver = greeted(Driver([Job("first")]), "PIPELINING")
    driver.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert driver.session.room
    assert driver.session.outstanding == 1
    driver.deliver(Job("second"))
    assert driver.take().startswith(b"MAIL")
    assert not driver.session.room
    assert driver.session.outstanding == 2
    driver.hear(b"250 done\r\n")
    assert driver.session.outstanding == 1
    assert driver.outcomes == [("first", "DOT", "250 done", None)]


def test_a_third_transaction_has_no_room() -> None:
    driver = greeted(Driver([Job(1), Job(2)]), "PIPELINING")
    driver.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    with pytest.raises(RuntimeError, match="no room"):
        driver.deliver(Job(3))
    assert driver.session.outstanding == 2


def test_stages_tell_the_shell_which_deadline_counts() -> None:
    driver = Driver([Job(1, content=b"x" * 100_000 + b"\r\n")])
    session = driver.session
    stages = [session.stage]
    for said in (b"220 hi\r\n", b"250-x\r\n250 PIPELINING\r\n", b"250 ok\r\n", b"250 ok\r\n"):
        driver.hear(said)
        stages.append(session.stage)
    session.feed(b"354 go\r\n")
    stages.append(session.stage)
    driver.take()
    stages.append(session.stage)
    driver.hear(b"250 ok\r\n")
    stages.append(session.stage)
    session.quit()
    stages.append(session.stage)
    assert stages == ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT", "DOT", "IDLE", "QUIT"]


def test_progress_grows_with_every_reply_and_every_piece_of_content() -> None:
    driver = greeted(Driver([Job(1, content=lambda: iter([b"x" * 300_000] * 3), dotted=False)]), "PIPELINING")
    before = driver.session.progress
    driver.session.feed(b"250-a\r\n")
    assert driver.session.progress == before
    driver.session.feed(b"250 a\r\n250 b\r\n354 c\r\n")
    assert driver.session.progress == before + 3
    for n in range(1, 4):
        driver.session.take_output()
        assert driver.session.progress == before + 3 + n


def test_extensions_decide_what_stands_behind_mail() -> None:
    driver = greeted(Driver([Job(1, eight_bit=True)]), "size 1000", "8BITMIME", "AUTH PLAIN  LOGIN ", "X-\0odd")
    assert driver.session.extensions["AUTH"] == "PLAIN  LOGIN"
    assert driver.session.size_limit == 1000
    assert b"MAIL FROM:<jones@athena.example> SIZE=22 BODY=8BITMIME\r\n" in driver.wire
    plain = greeted(Driver([Job(1, eight_bit=True)]))
    assert plain.writes[-1] == b"MAIL FROM:<jones@athena.example>\r\n"
    assert plain.session.extensions == {}


@pytest.mark.parametrize(("said", "limit"), [("SIZE", 0), ("SIZE 0", 0), ("SIZE -1", 0), ("SIZE 9999", 9999),
                                             ("SIZE " + "9" * 30, 0), ("SIZE 1_0", 0)])  # fmt: skip
def test_a_size_limit_is_digits_or_unknown(said: str, limit: int) -> None:
    assert greeted(Driver(), said).session.size_limit == limit


def test_extensions_beyond_what_is_kept_of_a_reply_text_are_still_seen() -> None:
    driver = greeted(Driver(), *[f"X{n} {'y' * 100}" for n in range(30)], "PIPELINING")
    assert "PIPELINING" in driver.session.extensions


def test_a_remote_that_refuses_ehlo_gets_helo_and_no_extensions() -> None:
    driver = Driver([Job(1)], quit_when_done=True)
    remote = ScriptedRemote({"EHLO": ["502 5.5.1 what? SIZE"]})
    driver.converse(remote)
    assert remote.commands[:3] == ["EHLO hermes.example", "HELO hermes.example", "MAIL FROM:<jones@athena.example>"]
    assert driver.session.extensions == {}
    assert [outcome[1] for outcome in driver.outcomes] == ["DOT"]


def test_the_null_path_and_many_recipients_go_out_in_one_write() -> None:
    people = [f"user{n}@x.example" for n in range(1000)]
    driver = Driver([Job("dsn", people, reverse_path="")], quit_when_done=True)
    remote = ScriptedRemote()
    driver.converse(remote)
    assert remote.received[0].recipients == people
    assert len(remote.reads[1]) == 1002
    assert remote.commands[1].startswith("MAIL FROM:<> ")
    assert driver.outcomes == [("dsn", "DOT", "250 2.0.0 queued as 1.0", None)]


BAD_PATHS = ["a\r\nRSET", "a\n", "a\0b", "ä@x.example", "a\udc80", "a@x> SIZE=1", "<a@x", "a b@x", '"open@x', "a\x7f"]


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("pipelining", [True, False])
def test_a_path_that_would_end_its_command_is_an_error_and_changes_nothing(path: str, pipelining: bool) -> None:
    driver = greeted(Driver(), *["PIPELINING"] * pipelining)
    for job in (Job(1, reverse_path=path), Job(1, ("fine@x.example", path)), Job(1, ())):
        with pytest.raises(ValueError, match=r"is no path|needs a recipient|surrogates"):
            driver.deliver(job)
    assert driver.session.room
    assert driver.session.outstanding == 0
    assert driver.take() == b""


def test_quoted_local_parts_pass() -> None:
    driver = greeted(Driver([Job(1, (r'"a b>\"<"@x.example',))]), "PIPELINING")
    assert rb'RCPT TO:<"a b>\"<"@x.example>' in driver.wire


@pytest.mark.parametrize("name", ["", "a b", "a\r\nMAIL", "ä.example"])
def test_an_ehlo_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        SmtpClientSession(Driver(), name)


def test_quit_before_anything_was_said_closes_at_once_and_silently() -> None:
    driver = Driver()
    driver.session.quit()
    assert driver.session.closing
    assert driver.take() == b""
    driver.session.eof()
    driver.session.timed_out()
    assert driver.events == []


def test_quit_during_ehlo_goes_out_after_its_reply_and_nobody_is_called_ready() -> None:
    driver = Driver()
    driver.hear(b"220 hi\r\n")
    driver.session.quit()
    assert driver.take() == b""
    assert driver.hear(b"250 hi\r\n") == b"QUIT\r\n"
    driver.session.quit()
    assert driver.take() == b""
    driver.hear(b"nonsense, but nobody cares by now\r\n")
    assert driver.session.closing
    assert driver.events == []


@pytest.mark.parametrize("end", [b"221 bye\r\n", b"421 bye\r\n", b"554 no\r\n", b"250 odd\r\n", b"x" * 5000, None])
def test_after_quit_with_nothing_outstanding_nothing_is_trouble(end: bytes | None) -> None:
    driver = greeted(Driver(quit_when_done=True))
    assert driver.writes[-1] == b"QUIT\r\n"
    if end is None:
        driver.session.eof()
    else:
        driver.hear(end)
    assert driver.session.closing
    assert driver.trouble is None


def test_quit_with_a_transaction_outstanding_waits_for_its_outcome_without_pipelining() -> None:
    driver = greeted(Driver([Job(1)]))
    driver.session.quit()
    for said, expected in [(b"250 ok\r\n", b"RCPT TO:<smith@arlington.example>\r\n"), (b"250 ok\r\n", b"DATA\r\n")]:
        assert driver.hear(said) == expected
    assert driver.hear(b"354 go\r\n").endswith(b"\r\n.\r\n")
    assert driver.hear(b"250 ok\r\n") == b"QUIT\r\n"
    assert driver.outcomes == [(1, "DOT", "250 ok", None)]
    assert ("room",) not in driver.events


def test_an_empty_write_is_taken_when_there_is_nothing_to_write() -> None:
    driver = Driver()
    assert not driver.session.has_output
    assert driver.session.take_output() == b""
