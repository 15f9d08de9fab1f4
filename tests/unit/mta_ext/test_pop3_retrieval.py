"""Messages on their way out: in parts, no more asked for than goes out, never cut without the client knowing."""

import pytest

from tests.harness.pop3_handler import PolicyBroke, Pop3Handler, logged_in, take_all
from tests.harness.reference import stuff_content

PART = 65_536


def holding(*messages):
    """A handler class whose maildrop is ``messages``, each a list of pieces."""

    class Holding(Pop3Handler):
        def __init__(self):
            super().__init__()
            self.messages = list(messages)

    return Holding


class Breaking(Pop3Handler):
    """Tells the size of all pieces, gives the first ``good`` and raises ``error``, or ends."""

    def __init__(self, good, error=None, pieces=(b"a: b\r\n\r\n", b"x" * 100_000 + b"\r\n", b"end\r\n")):
        super().__init__()
        self.messages = [list(pieces)]
        self.good = good
        self.error = error

    def _pieces(self, message):
        yield from message[: self.good]
        if self.error:
            raise self.error


def test_a_large_message_leaves_in_parts_and_pieces_are_asked_for_as_it_leaves():
    pieces = [b"x" * 998 + b"\r\n" for _ in range(3000)]
    session, handler = logged_in(make=holding(pieces))
    session.feed(b"RETR 1\r\nNOOP\r\n")
    parts = [session.take_output()]
    assert handler.pulled < 80
    while session.go_on():
        before = session.progress
        asked = handler.pulled
        parts.append(session.take_output())
        assert len(parts[-1]) <= PART + 2000
        assert handler.pulled - asked < 80
        if len(parts) < 40:
            assert session.progress > before, "a client that reads makes progress"
    assert b"".join(parts) == b"+OK 3000000 octets\r\n" + b"".join(pieces) + b".\r\n+OK\r\n"
    assert (session.buffered, session.choked) == (0, False)


def test_a_client_that_does_not_read_is_not_asked_for():
    session, handler = logged_in(make=holding([b"y" * 50_000] * 100))
    session.feed(b"RETR 1\r\n" * 1000)
    assert handler.pulled == 2
    assert (session.choked, session.idle) == (True, False)
    session.feed(b"RETR 1\r\n" * 1000)
    assert handler.pulled == 2
    assert session.buffered > 15_000


def test_one_large_piece_leaves_in_parts():
    session, _ = logged_in(make=holding([b".x" * 500_000 + b"\r\n.\r\n"]))
    session.feed(b"RETR 1\r\n")
    parts = [session.take_output()]
    while session.go_on():
        parts.append(session.take_output())
    assert max(map(len, parts)) <= PART + 100
    assert b"".join(parts) == b"+OK 1000005 octets\r\n.." + b"x." * 499_999 + b"x\r\n..\r\n.\r\n"


@pytest.mark.parametrize("size", [PART - 30, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 7])
@pytest.mark.parametrize("ending", [b"", b"\r", b"\r\n", b"\r\n.", b"\r\n.\r\n"])
def test_dots_and_line_ends_at_the_borders_of_parts(size, ending):
    content = (b"." + b"z" * 61 + b"\r\n") * (size // 64) + b"q" * (size % 64) + ending
    for pieces in (
        [content],
        [content[:PART], content[PART:]],
        [content[i : i + 1000] for i in range(0, size + 9, 1000)],
    ):
        session, _ = logged_in(make=holding(pieces))
        session.feed(b"RETR 1\r\n")
        said = take_all(session).partition(b"\r\n")[2]
        assert said == stuff_content(content)


def test_pipelined_small_messages_share_a_part():
    session, _ = logged_in(make=holding([b"a: b\r\n\r\nhello\r\n"]))
    session.feed(b"RETR 1\r\n" * 500)
    assert session.take_output().count(b"hello") == 500
    assert not session.go_on()


def test_a_long_listing_leaves_in_parts():
    session, _ = logged_in()
    session.feed(b"LIST\r\nUIDL\r\n" * 3000)
    parts = [session.take_output()]
    while session.go_on():
        parts.append(session.take_output())
    assert len(parts) > 3
    assert (
        b"".join(parts)
        == (
            b"+OK 3 messages (130 octets)\r\n1 61\r\n2 40\r\n3 29\r\n.\r\n"
            b"+OK\r\n1 1000000000000\r\n2 1000000000001\r\n3 1000000000018\r\n.\r\n"
        )
        * 3000
    )


def test_top_asks_for_no_more_than_it_puts_out():
    pieces = [b"a: b\r\n", b"\r\n", b"1\r\n2\r\n", b"3\r\n"]
    for lines, pulled in ((0, 2), (1, 3), (2, 3), (3, 4)):
        session, handler = logged_in(make=holding(pieces))
        session.feed(b"TOP 1 %d\r\n" % lines)
        assert take_all(session).endswith(b"a: b\r\n\r\n" + b"1\r\n2\r\n3\r\n"[: 3 * lines] + b".\r\n")
        assert handler.pulled == pulled
        assert handler.errors == []


@pytest.mark.parametrize("at", range(1, 26))
def test_top_finds_the_blank_line_wherever_pieces_end(at):
    message = b"a: b\r\nc:\r\n\r\n.one\r\n\r\ntwo\r\n"
    for lines, expected in ((0, b"a: b\r\nc:\r\n\r\n"), (1, b"a: b\r\nc:\r\n\r\n..one\r\n"), (2, message[:-5])):
        session, _ = logged_in(make=holding([message[:at], message[at:]]))
        session.feed(b"TOP 1 %d\r\n" % lines)
        stuffed = expected.replace(b"\n.one", b"\n..one")
        assert take_all(session) == b"+OK\r\n" + stuffed + b".\r\n"


def test_top_of_a_message_that_is_all_head_and_of_one_without_head():
    session, _ = logged_in(make=holding([b"a: b\r\nc: d\r\n"], [b"\r\nbody\r\n"], [b"\r", b"\r\nx\r\n"]))
    session.feed(b"TOP 1 5\r\nTOP 2 0\r\nTOP 2 1\r\nTOP 3 0\r\n")
    assert take_all(session) == (
        b"+OK\r\na: b\r\nc: d\r\n.\r\n+OK\r\n\r\n.\r\n+OK\r\n\r\nbody\r\n.\r\n+OK\r\n\r\r\nx\r\n.\r\n"
    )


@pytest.mark.parametrize("good", [1, 2])
@pytest.mark.parametrize("error", [None, PolicyBroke("disk"), MemoryError()])
def test_a_message_that_breaks_off_is_never_ended(good, error):
    session, handler = logged_in(make=lambda: Breaking(good, error))
    session.feed(b"RETR 1\r\nQUIT\r\n")
    said = take_all(session)
    assert said.startswith(b"+OK 100015 octets\r\na: b\r\n\r\n")
    assert not said.endswith(b".\r\n")
    assert session.closing
    assert handler.deletes == []
    assert [type(found) for found in handler.errors] == [type(error) if error else EOFError]


def test_a_message_that_cannot_be_read_at_all_costs_only_the_command():
    session, handler = logged_in(make=lambda: Breaking(0, PolicyBroke("disk")))
    session.feed(b"RETR 1\r\nNOOP\r\n")
    assert take_all(session) == b"-ERR [SYS/TEMP] internal error\r\n+OK\r\n"
    assert len(handler.errors) == 1
    assert not session.closing


def test_top_of_a_message_that_breaks_off_behind_the_lines_is_whole():
    session, handler = logged_in(make=lambda: Breaking(1, PolicyBroke("disk")))
    session.feed(b"TOP 1 0\r\nNOOP\r\n")
    assert take_all(session) == b"+OK\r\na: b\r\n\r\n.\r\n+OK\r\n"
    session.feed(b"TOP 1 1\r\nNOOP\r\n")
    assert not take_all(session).endswith(b".\r\n")
    assert session.closing
    assert len(handler.errors) == 1


@pytest.mark.parametrize("refusal", [b"-ERR [SYS/PERM] damaged\r\n", b"-ERR [UTF8] say UTF8 first\r\n"])
def test_policy_may_refuse_a_message(refusal):
    class Refusing(Pop3Handler):
        def on_retrieve(self, index):
            return refusal

    session, handler = logged_in(make=Refusing)
    session.feed(b"RETR 1\r\nTOP 1 1\r\nNOOP\r\n")
    assert take_all(session) == refusal * 2 + b"+OK\r\n"
    assert handler.errors == []


@pytest.mark.parametrize("source", [b"+OK\r\n", b"raw octets", 7, None, [b"x", "y"], ["y"]])
def test_a_source_that_is_none_is_an_error_of_policy(source):
    class Wrong(Pop3Handler):
        def on_retrieve(self, index):
            return source

    session, handler = logged_in(make=Wrong)
    session.feed(b"RETR 1\r\n")
    said = take_all(session)
    assert said == b"-ERR [SYS/TEMP] internal error\r\n" or (session.closing and not said.endswith(b".\r\n"))
    assert len(handler.errors) == 1


@pytest.mark.parametrize("how", ["shut", "eof", "timed_out"])
def test_the_end_in_the_middle_of_a_message_has_no_last_word(how):
    session, _ = logged_in(make=holding([b"x" * 998 + b"\r\n"] * 1000))
    session.feed(b"RETR 1\r\n")
    session.take_output()
    assert session.go_on()
    getattr(session, how)(*([b"-ERR [SYS/TEMP] going down\r\n"] if how == "shut" else []))
    assert session.take_output() == b""
    assert not session.go_on()
    assert (session.closing, session.buffered) == (True, 0)


@pytest.mark.parametrize("how", ["shut", "eof"])
@pytest.mark.parametrize("at", [0, 1, 90])
def test_a_source_may_end_the_session_while_it_is_asked(how, at):
    class Ending(Pop3Handler):
        def _pieces(self, message):
            for index, piece in enumerate(message):
                if index == at:
                    self.session.shut(b"-ERR x\r\n") if how == "shut" else self.session.eof()
                yield piece

    def make():
        handler = Ending()
        handler.messages = [[b"x" * 998 + b"\r\n"] * 200]
        return handler

    session, handler = logged_in(make=make)
    session.feed(b"RETR 1\r\n")
    said = take_all(session)
    assert session.closing
    assert not said.endswith(b".\r\n")
    assert handler.errors == []


def test_a_source_that_takes_output_gets_none_and_breaks_nothing():
    class Curious(Pop3Handler):
        def _pieces(self, message):
            for piece in message:
                taken.append(self.session.take_output())
                self.session.go_on()
                yield piece

    taken: list[bytes] = []
    session, _ = logged_in(make=Curious)
    session.feed(b"RETR 1\r\n")
    said = b"".join(taken) + take_all(session)
    assert said.endswith(b"..dot\r\n...\r\n.\r\n")
    assert said.count(b"Hello") == 1
