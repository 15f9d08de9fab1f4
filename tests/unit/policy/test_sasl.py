"""SASL: the examples of the RFCs, a client that nobody here wrote, and what must fail."""

import base64

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st

from mta.directory.passwords import scram_keys
from mta.directory.protocol import DirectoryUnreadable
from mta.policy.sasl import FIELD_LIMIT, RESPONSE_LIMIT, Attempt, Challenge, Failed, Login, Plain, Proved, Scram

KEYS = scram_keys("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
VERIFIER = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def scram(keys=KEYS, nonce=NONCE):
    return Scram(lambda user: keys if user == "user" else None, nonce, lambda user: scram_keys("?", b"s" * 16, 4096))


def test_scram_speaks_the_example_of_rfc_7677():
    exchange = scram()
    assert exchange.step(FIRST) == Challenge(CHALLENGE)
    assert exchange.step(FINAL) == Challenge(VERIFIER)
    assert exchange.step(b"") == Proved("user")


def test_scram_without_an_initial_response_asks_for_one():
    exchange = scram()
    assert exchange.step(None) == Challenge(b"")
    assert exchange.step(FIRST) == Challenge(CHALLENGE)
    assert isinstance(exchange.step(None), Failed)


def test_scram_with_a_client_of_others():
    for user, password in (("user", "pencil"), ("a=b,c", "pencil"), ("käthe@minasi.example", "pencil")):
        client = scramp.ScramClient(["SCRAM-SHA-256"], user, password)
        exchange = Scram(lambda name, user=user: KEYS if name == user else None, "ours", lambda name: KEYS)
        client.set_server_first(exchange.step(client.get_client_first().encode()).octets.decode())
        client.set_server_final(exchange.step(client.get_client_final().encode()).octets.decode())
        assert exchange.step(b"") == Proved(user)


def test_a_wrong_password_fails():
    client = scramp.ScramClient(["SCRAM-SHA-256"], "user", "pencils")
    exchange = scram()
    client.set_server_first(exchange.step(client.get_client_first().encode()).octets.decode())
    assert exchange.step(client.get_client_final().encode()) == Failed("wrong password")


def test_who_does_not_exist_gets_the_same_salt_each_time_and_fails_even_with_the_right_proof():
    fake = scram_keys("pencil", b"f" * 16, 4096)
    for _ in range(2):
        client = scramp.ScramClient(["SCRAM-SHA-256"], "nobody", "pencil")
        exchange = Scram(lambda user: None, "ours", lambda user: fake)
        challenge = exchange.step(client.get_client_first().encode()).octets.decode()
        assert f"s={base64.b64encode(fake.salt).decode()},i=4096" in challenge
        client.set_server_first(challenge)
        assert exchange.step(client.get_client_final().encode()) == Failed("no such user, or no keys")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n,,",
        b"n,,n=user",
        b"n,,n=,r=abc",
        b"n,,n=user,r=",
        b"p=tls-unique,,n=user,r=abc",
        b"n,,m=ext,n=user,r=abc",
        b"n,a=other,n=user,r=abc",
        b"n,,n=us=er,r=abc",
        b"n,,n=user,r=a\x00c",
        b"x,,n=user,r=abc",
        b"n,,n=us\xffer,r=abc",
        b"n,,n=user,r=" + b"x" * 257,
        b"n,,n=" + b"u" * (FIELD_LIMIT + 1) + b",r=abc",
        b"n,,n=user,r=abc\n",
        b"n,,n=u\0ser,r=abc",
        b"n" * (RESPONSE_LIMIT + 1),
    ],
)
def test_a_first_message_that_is_none_fails(first):
    assert isinstance(scram().step(first), Failed)


def test_an_authzid_that_is_the_user_and_the_flag_y_are_let_through():
    exchange = scram()
    assert isinstance(exchange.step(b"y,a=user,n=user,r=abc"), Challenge)
    assert exchange.step(FINAL) == Failed("another nonce or channel binding")


@pytest.mark.parametrize(
    "final",
    [
        b"",
        FINAL.replace(b"c=biws", b"c=eSws"),
        FINAL.replace(b"c=biws", b"c=!"),
        FINAL.replace(b"r=rOpr", b"r=sOpr"),
        FINAL.replace(b"k0,", b"k0x,"),
        FINAL[:-8] + b"AAAAAAA=",
        FINAL[:-4],
        FINAL.partition(b",p=")[0],
        FINAL.partition(b",p=")[0] + b",p=",
        FINAL.partition(b",p=")[0] + b",p=AAAA",
        FINAL + b"AAAA",
        FINAL + b",x=1",
        FINAL + b"\n",
        b"\xff",
    ],
)
def test_a_final_message_that_is_wrong_fails(final):
    exchange = scram()
    exchange.step(FIRST)
    assert isinstance(exchange.step(final), Failed)


def test_more_behind_the_verifier_fails():
    exchange = scram()
    exchange.step(FIRST)
    exchange.step(FINAL)
    assert isinstance(exchange.step(b"x"), Failed)


def test_a_directory_that_cannot_be_read_is_no_failure_of_the_client():
    def fail(user):
        raise DirectoryUnreadable("gone")

    with pytest.raises(DirectoryUnreadable):
        Scram(fail, "ours", lambda user: KEYS).step(FIRST)


@pytest.mark.parametrize("response", [b"\0mark\0secret", b"mark\0mark\0secret"])
def test_plain_is_an_attempt(response):
    assert Plain().step(None) == Challenge(b"")
    assert Plain().step(response) == Attempt("mark", "secret")


def test_plain_takes_utf_8():
    assert Plain().step("\0käthe\0straße".encode()) == Attempt("käthe", "straße")


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"mark",
        b"mark\0secret",
        b"\0mark\0",
        b"\0\0secret",
        b"ann\0mark\0secret",
        b"\0mark\0sec\0ret",
        b"\0mark\xff\0secret",
        b"\0mark\0" + b"x" * (FIELD_LIMIT + 1),
        b"\0" * (RESPONSE_LIMIT + 1),
    ],
)
def test_plain_fails_on_what_is_none(response):
    assert isinstance(Plain().step(response), Failed)


def test_login_asks_twice():
    exchange = Login()
    assert exchange.step(None) == Challenge(b"Username:")
    assert exchange.step(b"mark") == Challenge(b"Password:")
    assert exchange.step(b"secret") == Attempt("mark", "secret")


def test_login_takes_the_name_as_an_initial_response():
    exchange = Login()
    assert exchange.step(b"mark") == Challenge(b"Password:")


@pytest.mark.parametrize("response", [b"", b"\xff", b"a\0b", b"x" * (FIELD_LIMIT + 1)])
def test_login_fails_on_what_is_none(response):
    assert isinstance(Login().step(response), Failed)
    exchange = Login()
    exchange.step(b"mark")
    assert isinstance(exchange.step(response), Failed)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=60), st.sampled_from([FIRST, FINAL, b""])), max_size=4))
def test_whatever_comes_nobody_is_proved_who_has_not_proved_it(responses):
    for mechanism in (Plain(), Login(), scram()):
        said = []
        for response in responses:
            step = mechanism.step(response)
            said.append(response)
            if isinstance(step, Proved):
                assert [text for text in said if text is not None][-3:] == [FIRST, FINAL, b""]
            if not isinstance(step, Challenge):
                break
