"""Content on its way out: transparency, its end, pieces, and what leaves together with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.client_driver import Driver, Job, greeted
from tests.harness.scripted_remote import ScriptedRemote

GO = b"250 ok\r\n250 ok\r\n354 go\r\n"


def reference_stuffed(content: bytes) -> bytes:
    """The slow, obvious version: a dot more behind each CRLF and at the start, then the end of content."""
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    if content and not content.endswith(b"\r\n"):
        stuffed += b"\r\n"
    return stuffed + b".\r\n"


def sent(content, dotted: bool = True) -> bytes:
    driver = greeted(Driver([Job(1, content=content, dotted=dotted)]), "PIPELINING")
    return driver.hear(GO)


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r", b"a\r\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"..\r\n.\r\n", b"...\r\n..\r\n.\r\n"),
        (b"a\n.b\r.c\r\n", b"a\n.b\r.c\r\n.\r\n"),
        (b"\r\n.\r\n.\r\n", b"\r\n..\r\n..\r\n.\r\n"),
    ],
)
def test_dots_at_the_start_of_lines_are_doubled_and_the_end_is_unmistakable(content: bytes, wire: bytes) -> None:
    assert sent(content) == wire == reference_stuffed(content)


@given(st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"\r\n.", b"a", b"bc" * 40]), max_size=40), st.data())
def test_pieces_are_stuffed_like_the_whole_wherever_they_are_cut(parts: list[bytes], data) -> None:
    content = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    expected = reference_stuffed(content)
    assert sent(content) == expected
    assert sent(lambda: iter(pieces)) == expected
    assert sent(lambda: (content[n : n + 1] for n in range(len(content)))) == expected


def test_a_remote_that_unstuffs_gets_the_content_as_it_was() -> None:
    content = b".\r\n..\r\nx.\r\n" + b".line\r\n" * 60_000
    remote = ScriptedRemote()
    Driver([Job(1, content=content)]).converse(remote)
    assert remote.received[0].content == content


def test_content_without_dots_goes_out_as_it_is() -> None:
    assert sent(b"a\r\nb", dotted=False) == b"a\r\nb\r\n.\r\n"


def test_large_content_without_dots_is_handed_on_uncopied_and_the_next_commands_leave_with_its_end() -> None:
    content = b"x" * 70_000 + b"\r\n"
    driver = greeted(Driver([Job(1, content=content, dotted=False), Job(2)]), "PIPELINING")
    driver.session.feed(GO)
    assert ("room",) not in driver.events
    assert driver.session.take_output() is content
    assert driver.session.has_output
    assert driver.session.stage == "CONTENT"
    assert driver.session.take_output().startswith(b".\r\nMAIL FROM")
    assert driver.events[-1] == ("room",)
    assert driver.session.stage == "DOT"


def test_large_content_with_dots_is_pulled_in_pieces() -> None:
    content = b".12345678\r\n" * 100_000
    driver = greeted(Driver([Job(1, content=content)]), "PIPELINING")
    before = len(driver.writes)
    driver.hear(GO)
    sizes = [len(octets) for octets in driver.writes[before:]]
    assert max(sizes) < 300_000
    assert len(sizes) == 5
    assert b"".join(driver.writes[before:]) == reference_stuffed(content)


def test_an_iterator_is_asked_only_for_what_a_take_needs() -> None:
    asked = []

    def source():
        for n in range(1000):
            asked.append(n)
            yield b"y" * 4080

    driver = greeted(Driver([Job(1, content=source, dotted=False), Job(2)]), "PIPELINING")
    driver.session.feed(GO)
    assert asked == []
    first = driver.session.take_output()
    assert 262_144 <= len(first) < 262_144 + 4080
    assert len(asked) == len(first) // 4080
    rest = driver.take()
    assert rest.startswith(b"y")
    assert b"y\r\n.\r\nMAIL FROM" in driver.writes[-1]
    assert len(asked) == 1000


def test_a_small_iterator_leaves_in_one_write_with_the_next_transaction() -> None:
    driver = greeted(Driver([Job(1, content=lambda: iter([b"", b"a", b"", b"b\r\n"])), Job(2)]), "PIPELINING")
    driver.session.feed(GO)
    assert driver.session.take_output().startswith(b"ab\r\n.\r\nMAIL FROM")
    assert not driver.session.has_output


def test_a_shell_that_writes_from_on_room_does_not_reorder_what_leaves() -> None:
    driver = greeted(Driver([Job(1, content=lambda: iter([b"a\r\n"]))]), "PIPELINING")
    nested = []

    def on_room() -> None:
        driver.deliver(Job(2))
        nested.append((driver.session.has_output, driver.session.take_output()))

    driver.jobs, driver._deliver_next = [], on_room
    driver.session.feed(GO)
    assert driver.session.take_output().startswith(b"a\r\n.\r\nMAIL FROM")
    assert nested == [(False, b"")]


def test_a_source_of_anything_but_octets_is_trouble_not_a_crash() -> None:
    driver = greeted(Driver([Job(1, content=lambda: iter(["text"]))]), "PIPELINING")
    driver.hear(GO)
    assert "TypeError" in driver.trouble[2]
    with pytest.raises(TypeError):
        greeted(Driver(), "PIPELINING").session.deliver(1, "a@b", ["c@d"], None, size=1, dotted=True)


def test_without_pipelining_large_content_goes_out_before_room_is_told() -> None:
    driver = greeted(Driver([Job(1, content=b"x" * 70_000 + b"\r\n", dotted=False), Job(2)]))
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        driver.hear(reply)
    assert driver.wire.endswith(b"x\r\n.\r\n")
    assert ("room",) not in driver.events
    assert driver.hear(b"250 ok\r\n").startswith(b"MAIL")
