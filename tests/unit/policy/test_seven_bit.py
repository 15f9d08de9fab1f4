"""Conversion for 7-bit hosts: what a reader decodes is what was sent, in any structure; signed mail is refused."""

from email import message_from_bytes, policy
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.policy.seven_bit import DEPTH_LIMIT, Unconvertible, seven_bit

TEXT = "Grüße aus Köln\r\n.\r\nFrom here on = sign, trailing space \r\n".encode()


def leaves(content: bytes) -> list[tuple[str, bytes]]:
    return [
        (part.get_content_type(), part.get_payload(decode=True))
        for part in message_from_bytes(content, policy=policy.compat32).walk()
        if not part.is_multipart()
    ]


def is_seven_bit(content: bytes) -> bool:
    body = content.partition(b"\r\n\r\n")[2]
    lines = body.split(b"\r\n")
    return body.isascii() and all(len(line) <= 998 and not set(line) & {0, 10, 13} for line in lines)


def test_a_text_becomes_quoted_printable():
    sent = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    sent += b"Content-Transfer-Encoding: 8bit\r\nX-Last: y\r\n\r\n" + TEXT
    came = seven_bit(sent)
    assert is_seven_bit(came)
    assert came.startswith(
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nX-Last: y\r\n"
    )
    assert came.count(b"Content-Transfer-Encoding") == 1
    assert leaves(came) == [("text/plain", TEXT)]
    assert b"Gr=C3=BC=C3=9Fe aus K=C3=B6ln\r\n" in came


@pytest.mark.parametrize("said", [b"8bit (as it comes)", b"8BIT; x=1", b"\r\n 8bit"])
def test_a_comment_behind_the_encoding_is_none_of_it(said: bytes):
    content = (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
        + said
        + b"\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
    )
    assert is_seven_bit(seven_bit(content))


def test_a_message_without_mime_says_what_is_known_of_it():
    came = seven_bit(b"Subject: x\r\n\r\n" + TEXT)
    parsed: Message = message_from_bytes(came)
    assert parsed["MIME-Version"] == "1.0"
    assert parsed.get_content_charset() == "unknown-8bit"
    assert leaves(came) == [("text/plain", TEXT)]


@pytest.mark.parametrize("content", [b"Subject: x\r\n\r\nplain\r\n", b"\r\nplain\r\n", b"", b"Subject: x\r\n"])
def test_what_is_clean_is_not_touched(content: bytes):
    assert seven_bit(content) == content


def test_a_clean_body_that_is_called_8bit_is_called_7bit():
    came = seven_bit(b"Content-Transfer-Encoding: 8bit\r\nMIME-Version: 1.0\r\n\r\nplain\r\n")
    assert came == b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\n\r\nplain\r\n"


MULTIPART = b"""MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="a b"
Content-Transfer-Encoding: binary

preamble \xff
--a b
Content-Type: text/plain; charset=utf-8

\xc3\xa4 and much more of what is plain text
--a b  \t
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Transfer-Encoding: base64

aGVsbG8=
--inner
Content-Type: image/png
Content-Transfer-Encoding: binary

\x89PNG\x00\r\xff
--inner--
--a b
Content-Type: message/rfc822

Subject: inside

J\xfcrgen sends this from very far away
--a b--
epilogue \xff
""".replace(b"\n", b"\r\n")  # fmt: skip


def test_every_part_of_many_is_encoded_as_it_needs():
    came = seven_bit(MULTIPART)
    assert is_seven_bit(came)
    assert leaves(came) == leaves(MULTIPART)
    assert [kind for kind, _ in leaves(came)] == ["text/plain", "text/plain", "image/png", "text/plain"]
    assert b"aGVsbG8=\r\n" in came
    assert came.count(b"quoted-printable") == 2
    assert seven_bit(came) == came, "once is enough"


def test_a_part_without_its_last_delimiter_and_empty_parts_keep_what_they_have():
    sent = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\n\r\n\xff\xfe\xfd"
    came = seven_bit(sent)
    assert is_seven_bit(came)
    assert [body for _, body in leaves(came)][-1] == b"\xff\xfe\xfd"


SIGNED = b'Content-Type: multipart/signed; boundary=b; protocol="x/y"\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (SIGNED, "5.6.3"),
        (b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + SIGNED + b"\r\n--o--\r\n", "5.6.3"),
        (b"Content-Type: message/partial; id=x\r\n\r\n\xff", "5.6.3"),
        (b"Content-Type: multipart/mixed\r\n\r\n\xff", "5.6.1"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\xff", "5.6.1"),
        (b'Content-Type: multipart/mixed; boundary="\xfc"\r\n\r\n--\xfc\r\n\r\n\xff\r\n--\xfc--\r\n', "5.6.1"),
        (b"Content-Type: multipart/mixed; boundary*=utf-8''%C3%BC\r\n\r\n\xff", "5.6.1"),
        (b"Content-Transfer-Encoding: base64\r\n\r\n\xff", "5.6.1"),
        (b"Content-Type: message/rfc822\r\n\r\n" * (DEPTH_LIMIT + 2) + b"\xff", "5.6.1"),
    ],
)
def test_what_cannot_be_converted_is_refused(content: bytes, status: str):
    with pytest.raises(Unconvertible) as caught:
        seven_bit(content)
    assert caught.value.status == status
    assert "\n" not in caught.value.text


def test_a_signed_message_that_is_clean_passes():
    clean = SIGNED.replace(b"\xff", b"x")
    assert seven_bit(clean) == clean


@given(st.binary(max_size=300), st.sampled_from(["text/plain", "text/html", "application/pdf"]))
def test_any_octets_come_back_as_they_were(body: bytes, kind: str):
    sent = f"MIME-Version: 1.0\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: binary\r\n\r\n".encode() + body
    came = seven_bit(sent)
    assert is_seven_bit(came)
    assert leaves(came)[0][1] == body


@given(st.binary(max_size=400))
def test_any_content_comes_out_clean_or_not_at_all(content: bytes):
    try:
        came = seven_bit(content)
    except Unconvertible:
        return
    assert is_seven_bit(came) or b"\r\n\r\n" not in content
