"""What a session hands on as content: byte for byte what was sent, with the facts that a relay needs."""

from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_ext.dots import stuff
from tests.harness.corpora import corpus
from tests.harness.recording_handler import RecordingHandler, cut, new_session, octet_by_octet, play
from tests.harness.reference import count_fields, split_content, stuff_content

ENVELOPE = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"


def send(raw, *, pieces=None, **limits):
    """Play an envelope and then ``raw``, whole or in the pieces given; the last reply and the handler."""
    session, handler = new_session(**limits)
    transcript = play(session, handler, [ENVELOPE, *(pieces or [raw])])
    return transcript.split(b"354 end data with <CRLF>.<CRLF>\r\n")[1], handler


def test_a_message_is_handed_on_with_its_facts():
    content = b"Received: a\r\nreceived: b\r\nDate: x\r\n\r\n.dot \xfc\r\n"
    reply, handler = send(stuff_content(content))
    assert reply == b"250 2.0.0 ok\r\n"
    assert handler.contents == [content]
    assert handler.facts == [
        {
            "size": len(content),
            "streamed": 0,
            "dotted": True,
            "eight_bit": True,
            "hops": 2,
            "has_date": True,
            "has_message_id": False,
            "message_id": b"",
        }
    ]


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"Message-ID: <1@x>\r\n", b"<1@x>"),
        (b"Subject: hi\r\nmessage-id \t:<1@x> \t\r\nX: y\r\n", b"<1@x>"),
        (b"Message-ID:\r\n\t<1@x>\r\n\r\n", b"<1@x>"),
        (b"Message-ID: <1\r\n @x>\r\nMessage-ID: <2@x>\r\n", b"<1 @x>"),
        (b"Message-ID:\r\n\r\n", b""),
        (b"Message-ID:\r\n \r\n", b""),
        (b"X: y\r\n Message-ID: folded\r\n\r\nMessage-ID: <body@x>\r\n", b""),
        (b"Message-ID: <" + b"l" * 900 + b"@x>\r\n", b"<" + b"l" * 900 + b"@x>"),
    ],
)
def test_the_message_id_is_found_whatever_the_segmentation(head, found):
    raw = stuff_content(head + b"\r\n.text\r\n")
    for pieces in ([raw], octet_by_octet(raw), cut(raw, range(7, len(raw), 7))):
        assert [facts["message_id"] for facts in send(raw, pieces=pieces)[1].facts] == [found]


def test_a_message_id_that_was_streamed_away_is_not_in_the_buffer_any_more():
    raw = stuff_content(b"Message-ID: <1@x>\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 8000)
    _, handler = send(raw, stream_above=1000)
    assert [(facts["streamed"] > 0, facts["message_id"]) for facts in handler.facts] == [(True, b"")]
    assert handler.contents[0].startswith(b"Message-ID: <1@x>\r\n")


def test_a_head_is_put_before_the_content_in_one_object():
    joined = []
    handler = RecordingHandler()
    handler.on_content = lambda content: joined.append(content.joined(b"Received: here\r\n"))
    session, _ = new_session(lambda: handler)
    play(session, handler, [ENVELOPE + b"Subject: x\r\n\r\n.\r\n"])
    assert joined == [b"Received: here\r\nSubject: x\r\n\r\n"]


def test_empty_content_and_nul_octets_are_content_too():
    assert send(b".\r\n")[1].contents == [b""]
    assert send(b"a\0b\r\n\0\r\n.\r\n")[1].contents == [b"a\0b\r\n\0\r\n"]


@pytest.mark.parametrize(
    ("raw", "limits", "reply"),
    [
        (b"x" * 94 + b"\r\n" + b"\r\n.\r\n", {"message_size": 98}, b"250"),
        (b"x" * 95 + b"\r\n" + b"\r\n.\r\n", {"message_size": 98}, b"552 5.3.4"),
        (b"..\r\n" * 10 + b".\r\n", {"message_size": 30}, b"250"),
        (b"x" * 98 + b"\r\n.\r\n", {"content_line": 100}, b"250"),
        (b"x" * 99 + b"\r\n.\r\n", {"content_line": 100}, b"554 5.6.0"),
        (b".." + b"x" * 97 + b"\r\n.\r\n", {"content_line": 100}, b"250"),
        (b"A: b\r\n\r\n" + b"x\r\n" * 99 + b".\r\n", {"header_section": 8}, b"250"),
        (b"A: bc\r\n\r\n.\r\n", {"header_section": 8}, b"554 5.6.0"),
        (b"Received: x\r\n" * 3 + b"\r\n.\r\n", {"hops": 3}, b"250"),
        (b"Received: x\r\n" * 4 + b"\r\n.\r\n", {"hops": 3}, b"554 5.4.6"),
        (b"\r\n" + b"Received: x\r\n" * 4 + b".\r\n", {"hops": 3}, b"250"),
        (b"x\ny\r\n.\r\n", {}, b"550 5.5.2"),
        (b"x\ry\r\n.\r\n", {}, b"550 5.5.2"),
        (b"xxxxxxxxxx\ny\r\n.\r\n", {"message_size": 5, "content_line": 5}, b"550 5.5.2"),
    ],
)
def test_a_limit_is_kept_to_the_octet_whatever_the_segmentation(raw, limits, reply):
    for pieces in ([raw], octet_by_octet(raw)):
        said, handler = send(raw, pieces=pieces, **limits)
        assert said.startswith(reply)
        assert len(said.splitlines()) == 1
        last = ("content", len(split_content(raw).content)) if reply == b"250" else ("refused",)
        assert handler.calls[-1] == last


LINE = st.sampled_from([b"Received: x", b"Date: y", b"", b".", b"..", b".x", b"text", b"\xff", b"\0", b"x" * 300])


@given(st.lists(LINE, max_size=20), st.lists(st.integers(0, 3000), max_size=6), st.sampled_from([0, 1, 100, 1 << 20]))
def test_any_content_arrives_unchanged_in_any_pieces(lines, places, stream_above):
    content = b"".join(line + b"\r\n" for line in lines)
    raw = stuff_content(content)
    for pieces in ([raw], octet_by_octet(raw), cut(raw, places)):
        reply, handler = send(raw, pieces=pieces, stream_above=stream_above)
        assert reply == b"250 2.0.0 ok\r\n"
        assert handler.contents == [content]
        assert handler.facts[0]["hops"] == count_fields(content, b"received")
        assert handler.facts[0]["eight_bit"] == (not content.isascii())
        assert handler.facts[0]["dotted"] == any(line.startswith(b".") for line in lines)


@pytest.mark.parametrize("step", [100_003, 262_144, 10_000_000])
def test_large_content_is_streamed_in_large_pieces_and_is_complete(step):
    content = b"Received: first\r\n\r\n" + b"".join(b".%d some text\r\n" % i for i in range(120_000))
    raw = stuff(content) + b".\r\n"
    handler = RecordingHandler()
    sizes = []
    keep = handler.pieces.append
    handler.on_piece = lambda data: (sizes.append(len(data)), keep(data))
    session, _ = new_session(lambda: handler, stream_above=300_000)
    play(session, handler, [ENVELOPE, *(raw[i : i + step] for i in range(0, len(raw), step))])
    assert handler.contents == [content]
    assert len(sizes) >= 3
    assert min(sizes) >= 262_144
    assert sizes[0] > 300_000
    assert handler.facts[0]["streamed"] == sum(sizes)
    assert handler.facts[0]["size"] == len(content)
    assert (handler.facts[0]["hops"], handler.facts[0]["dotted"]) == (1, True)


def test_memory_is_bounded_while_content_streams_and_given_back_after_it():
    handler = RecordingHandler()
    kept, held = [], []
    handler.on_content = lambda content: kept.append(content)
    handler.on_piece = lambda data: held.append(getsizeof(kept[0]))
    session, _ = new_session(lambda: handler)
    play(session, handler, [ENVELOPE + b"x" * 10_000 + b"\r\n.\r\n"])
    assert 10_000 < getsizeof(kept[0]) < 17_000, "what an idle session keeps for its next message"
    large = [ENVELOPE + b"\r\n", *[b"y" * 49_998 + b"\r\n"] * 100, b".\r\n"]
    for piece in large:
        session.feed(piece)
    assert kept[0] is kept[1]
    assert len(held) > 10
    assert max(held) < 4 * 1_048_576
    assert getsizeof(kept[0]) < 1000


def test_octets_above_the_limit_are_thrown_away_not_kept():
    session, handler = new_session(message_size=1000)
    play(session, handler, [ENVELOPE])
    for _ in range(50):
        session.feed(b"x" * 9_998 + b"\r\n")
    assert session.content_octets == 500_000
    assert session.buffered == 0
    session.feed(b".\r\n")
    assert session.take_output() == b"552 5.3.4 message too large\r\n"
    assert handler.contents == []


def message_files():
    folder = corpus("eml")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in files if not path.name.startswith(("LICENSE", "SOURCE")))


def test_every_message_of_the_corpus_comes_through_unchanged_or_is_refused_for_its_line_ends():
    refused = []
    for path in message_files():
        content = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        if not content.endswith(b"\r\n"):
            content += b"\r\n"
        raw = stuff(content) + b".\r\n"
        reply, handler = send(raw, pieces=[raw[i : i + 1000] for i in range(0, len(raw), 1000)])
        if b"\r" in content.replace(b"\r\n", b""):
            assert reply.startswith(b"550 5.5.2")
            refused.append(path.name)
        else:
            assert reply.startswith(b"250"), path
            assert handler.contents == [content], path
            assert handler.facts[0]["hops"] == count_fields(content, b"received"), path
    assert "mail_outlook_1" in refused
    assert len(refused) < 5
