"""SCRAM bound to its TLS channel, with a client that nobody here wrote, and the mechanisms that show tokens."""

import base64

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st

from mta.directory.passwords import scram_keys
from mta.policy.sasl import TOKEN_LIMIT, Bearer, Challenge, Failed, Proved, Scram, Token, XOAuth2

KEYS = scram_keys("pencil", b"s" * 16, 4096)
NAME = "tls-server-end-point"
BINDINGS = {NAME: b"e" * 32}


def server(bindings=BINDINGS, plus=True):
    return Scram(lambda user: KEYS if user == "user" else None, "ours", lambda user: KEYS, bindings, plus=plus)


def converse(client, exchange):
    step = exchange.step(client.get_client_first().encode())
    if isinstance(step, Failed):
        return step
    client.set_server_first(step.octets.decode())
    step = exchange.step(client.get_client_final().encode())
    if isinstance(step, Failed):
        return step
    client.set_server_final(step.octets.decode())
    return exchange.step(b"")


def bound_client(name=NAME, octets=b"e" * 32):
    return scramp.ScramClient(["SCRAM-SHA-256-PLUS"], "user", "pencil", channel_binding=(name, octets))


def test_a_client_bound_to_the_same_channel_proves_itself():
    assert converse(bound_client(), server()) == Proved("user")


def test_a_client_bound_to_another_channel_fails_with_the_right_password():
    assert converse(bound_client(octets=b"x" * 32), server()) == Failed("another nonce or channel binding")


def test_a_binding_that_is_not_offered_fails():
    assert converse(bound_client("tls-unique", b"e" * 32), server()) == Failed("channel binding that is not offered")


@pytest.mark.parametrize("flag", ["n", "y"])
def test_plus_without_a_binding_fails(flag):
    assert server().step(f"{flag},,n=user,r=abc".encode()) == Failed("no channel binding in SCRAM-SHA-256-PLUS")


def test_a_binding_without_plus_fails():
    step = server(plus=False).step(f"p={NAME},,n=user,r=abc".encode())
    assert step == Failed("channel binding that is not offered")


def test_who_was_told_that_there_is_no_binding_while_there_is_one_is_turned_away():
    step = server(plus=False).step(b"y,,n=user,r=abc")
    assert step == Failed("somebody took channel binding from our offer")
    assert isinstance(server({}, plus=False).step(b"y,,n=user,r=abc"), Challenge)


def test_who_cannot_bind_may_go_without_where_binding_is_offered():
    client = scramp.ScramClient(["SCRAM-SHA-256"], "user", "pencil")
    assert converse(client, server(plus=False)) == Proved("user")


def test_the_binding_cannot_be_left_out_at_the_end():
    exchange = server()
    exchange.step(f"p={NAME},,n=user,r=abc".encode())
    header = base64.b64encode(f"p={NAME},,".encode()).decode()
    assert isinstance(exchange.step(f"c={header},r=abcours,p={'A' * 43}=".encode()), Failed)


def test_oauthbearer_takes_the_example_of_rfc_7628():
    hints = b"host=server.example.com\x01port=143\x01"
    first = b"n,a=user@example.com,\x01" + hints + b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHR==\x01\x01"
    assert Bearer().step(first) == Token("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHR==")


def test_oauthbearer_may_leave_the_user_to_the_token_and_escapes_names():
    assert Bearer().step(b"n,,\x01auth=Bearer abc\x01\x01") == Token("", "abc")
    assert Bearer().step(b"y,a=a=2Cb=3Dc,\x01auth=bearer abc\x01\x01") == Token("a,b=c", "abc")


def test_xoauth2_takes_what_its_clients_send():
    assert XOAuth2().step(b"user=a@b.example\x01auth=Bearer ya29.x-y_z\x01\x01") == Token("a@b.example", "ya29.x-y_z")


@pytest.mark.parametrize("mechanism", [Bearer, XOAuth2])
def test_without_an_initial_response_one_is_asked_for(mechanism):
    assert mechanism().step(None) == Challenge(b"")


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\x01",
        b"n,,",
        b"n,,\x01\x01",
        b"n,,\x01auth=Bearer abc\x01",
        b"n,,\x01auth=Bearer abc\x01\x01x",
        b"n,,\x01auth=Basic abc\x01\x01",
        b"n,,\x01auth=Bearer a b\x01\x01",
        b"n,,\x01auth=Bearer abc\x01auth=Bearer def\x01\x01",
        b"p=tls-unique,,\x01auth=Bearer abc\x01\x01",
        b"n,a=x=y,\x01auth=Bearer abc\x01\x01",
        b"n,,\x01auth=Bearer " + b"a" * (TOKEN_LIMIT + 1) + b"\x01\x01",
        b"n,a=" + b"u" * 1025 + b",\x01auth=Bearer abc\x01\x01",
        b"n,,\x01auth=Bearer \xff\x01\x01",
    ],
)
def test_oauthbearer_fails_on_what_is_none(response):
    assert isinstance(Bearer().step(response), Failed)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"user=a\x01auth=Bearer abc\x01",
        b"user=\x01auth=Bearer abc\x01\x01",
        b"user=a\x01auth=Basic abc\x01\x01",
        b"user=a\0b\x01auth=Bearer abc\x01\x01",
        b"user=a\x01auth=Bearer abc\x01\x01\n",
        b"a" * 20_000,
    ],
)
def test_xoauth2_fails_on_what_is_none(response):
    assert isinstance(XOAuth2().step(response), Failed)


@given(st.sampled_from([Bearer, XOAuth2]), st.binary(max_size=200))
def test_whatever_comes_is_a_token_or_fails(mechanism, response):
    assert isinstance(mechanism().step(response), Token | Failed)
