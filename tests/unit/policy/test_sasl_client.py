"""Logins of our own, against the server's side of the same mechanisms, and against servers that lie."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.directory.passwords import scram_keys
from mta.policy.sasl import Challenge, Proved
from mta.policy.sasl import Scram as ServerScram
from mta.policy.sasl_client import ITERATIONS_LIMIT, Binding, Scram, choose
from mta.routing.destination import Login

LOGIN = Login("user", "pencil")
KEYS = scram_keys("pencil", b"0123456789abcdef", 4096)
NONCE = "rOprNGfwEbeRWgbNEkqO"
#: RFC 7677 §3.
FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
PROOF = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
LAST = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_example_of_rfc_7677():
    scram = choose("PLAIN SCRAM-SHA-256", LOGIN, NONCE, secure=False)
    assert scram is not None
    assert scram.name == "SCRAM-SHA-256"
    assert scram.step(None) == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert scram.step(FIRST) == PROOF
    assert not scram.finished
    assert scram.step(LAST) == b""
    assert scram.finished


def test_a_server_that_does_not_know_the_password_is_not_believed():
    scram = Scram(LOGIN, NONCE, None, plus=False)
    scram.step(None), scram.step(FIRST)
    assert scram.step(LAST.replace(b"6rri", b"7rri")) is None
    assert not scram.finished
    assert Scram(LOGIN, NONCE, None, plus=False).step(LAST) is None, "an end without a beginning"


@pytest.mark.parametrize(
    "challenge",
    [
        b"", b"nonsense", b"\xff", FIRST.replace(b"r=rOpr", b"r=xxxx"), FIRST.replace(b"4096", b"1"),
        FIRST.replace(b"4096", str(ITERATIONS_LIMIT + 1).encode()), FIRST.replace(b"4096", b"99999999999"),
        FIRST.replace(b"W22", b"W2"), b"r=" + NONCE.encode() + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"m=x," + FIRST, b"x" * 5000,
    ],
)  # fmt: skip
def test_a_challenge_that_cannot_be_one_has_no_answer(challenge: bytes):
    scram = Scram(LOGIN, NONCE, None, plus=False)
    scram.step(None)
    assert scram.step(challenge) is None


def test_channel_binding_is_in_the_proof_and_its_absence_is_told():
    binding = Binding("tls-unique", b"\1\2\3")
    plus = choose("SCRAM-SHA-256 SCRAM-SHA-256-PLUS", LOGIN, NONCE, secure=True, binding=binding)
    assert plus is not None
    assert plus.name == "SCRAM-SHA-256-PLUS"
    assert plus.step(None) == b"p=tls-unique,,n=user,r=" + NONCE.encode()
    answer = plus.step(FIRST)
    assert answer is not None
    assert base64.b64decode(answer[2:].split(b",")[0]) == b"p=tls-unique,,\1\2\3"
    without = choose("SCRAM-SHA-256", LOGIN, NONCE, secure=True, binding=binding)
    assert without is not None
    assert (without.step(None) or b"").startswith(b"y,,")
    assert choose("SCRAM-SHA-256-PLUS", LOGIN, NONCE, secure=True) is None, "nothing to bind to"


@pytest.mark.parametrize(
    ("offered", "secure", "name"),
    [
        ("LOGIN PLAIN", True, "PLAIN"), ("login", True, "LOGIN"), ("LOGIN PLAIN", False, None), ("", True, None),
        ("GSSAPI NTLM", True, None), ("plain scram-sha-256", True, "SCRAM-SHA-256"),
    ],
)  # fmt: skip
def test_the_password_is_shown_under_tls_only_and_never_when_it_need_not_be(offered, secure, name):
    exchange = choose(offered, LOGIN, NONCE, secure=secure)
    assert (exchange.name if exchange else None) == name


def test_plain_and_login_say_it_once():
    plain = choose("PLAIN", LOGIN, NONCE, secure=True)
    assert plain is not None
    assert (plain.step(None), plain.step(b""), plain.step(b"more?")) == (b"\0user\0pencil", b"\0user\0pencil", None)
    assert plain.step(b"") is None, "who asks for ever gets no answer"
    login = choose("LOGIN", Login("jürgen", "pässword"), NONCE, secure=True)
    assert login is not None
    assert login.step(None) is None
    assert not login.finished
    assert login.step(b"Username:") == "jürgen".encode()
    assert login.step(b"Password:") == "pässword".encode()
    assert login.finished
    assert login.step(b"Token:") is None


def test_a_login_does_not_show_its_password():
    assert "pencil" not in f"{LOGIN!r} {LOGIN}"


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20))
def test_our_own_server_side_agrees_whatever_the_name(user: str):
    server = ServerScram({user: KEYS}.get, "server", lambda name: KEYS)
    client = Scram(Login(user, "pencil"), "client", None, plus=False)
    said = client.step(None)
    for _ in range(3):
        answer = server.step(said)
        if not isinstance(answer, Challenge):
            break
        said = client.step(answer.octets)
    assert answer == Proved(user)
    assert client.finished
