"""Passwords: what is kept, what is right, what is none."""

import base64

import pytest

from mta.directory import passwords
from mta.directory.passwords import BadPassword, check_hash, make_credentials, prepared, scram_keys, verify
from mta.directory.protocol import Credentials


@pytest.fixture(scope="module")
def secret():
    return make_credentials("correct horse")


def test_the_right_password_is_right_and_no_other_is(secret):
    assert verify(secret, "correct horse")
    for wrong in ("correct  horse", "Correct horse", "correct horse ", "", "x" * 600, "a\0b", "correct horse\0"):
        assert not verify(secret, wrong)


def test_nobody_and_people_without_a_password_have_no_right_one(secret):
    assert not verify(None, "correct horse")
    assert not verify(Credentials(), "")
    assert not verify(Credentials(scram=secret.scram), "correct horse")
    assert not verify(Credentials("no hash"), "correct horse")


def test_the_costs_are_the_named_ones(secret):
    assert secret.argon2.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords._NOBODY.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert secret.scram.iterations >= 4096
    assert make_credentials("correct horse").argon2 != secret.argon2
    assert make_credentials("correct horse").scram.salt != secret.scram.salt


def test_a_password_is_the_same_from_every_keyboard():
    secret = make_credentials("Ka\u0308the\u00a0\u00ad\u2168")
    assert verify(secret, "K\u00e4the IX")


@pytest.mark.parametrize(
    ("text", "form"), [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX")]
)
def test_the_examples_of_rfc_4013(text, form):
    assert prepared(text) == form


@pytest.mark.parametrize(
    "text", ["\u0007", "\u0627\u0031", "", "\u00ad", "a\nb", "x" * 513, "ä" * 257, "\u0627a\u0627"]
)
def test_what_nobody_can_type_is_refused(text):
    with pytest.raises(BadPassword):
        prepared(text)
    with pytest.raises(BadPassword):
        make_credentials(text)


def test_right_to_left_letters_and_pictures_are_passwords():
    assert prepared("\u0627\u0628")
    assert prepared("pass \U0001f680 word")


def test_the_keys_are_those_of_rfc_7677():
    """From the example of §3: the proof and the signature there follow from these keys (checked in test_sasl)."""
    keys = scram_keys("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    assert base64.b64encode(keys.stored_key) == b"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    assert base64.b64encode(keys.server_key) == b"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="


def test_hashes_from_elsewhere_are_looked_at(secret):
    assert check_hash(secret.argon2) == secret.argon2
    for text in (
        "",
        "$2b$12$abcdefghijklmnopqrstuv",
        secret.argon2.replace("argon2id", "argon2i"),
        secret.argon2.replace("m=19456", "m=1946000"),
        secret.argon2.replace("m=19456", "m=7"),
        secret.argon2.replace("m=19456", "m=\u0661\u0669\u0664\u0665\u0666"),
        secret.argon2.replace("t=2", "t=0"),
        secret.argon2.replace("m=19456,t=2", "t=2,m=19456"),
        secret.argon2.replace("p=1$", "p=1$*"),
        secret.argon2 + "\n",
        "$argon2id$v=19$m=19456,t=2,p=1$YQ$" + secret.argon2.rpartition("$")[2],
    ):
        with pytest.raises(BadPassword):
            check_hash(text)
