"""Tokens in the place of passwords: a hook of the site judges, and what it says is held against the directory."""

import asyncio
import sys
import types

import pytest

from mta.errors import ConfigError
from mta.services import tokens
from mta.services.checks import Login
from tests.unit.services.test_logins import HOME, MARK, RIGHT, WRONG, place

__all__ = ["place"]  # a fixture
OWNERS = {"good": MARK, "theirs": "other@minasi.example", "stranger": "nobody@else.example"}


class Hook:
    def __init__(self):
        self.claims = []
        self.answer = lambda claim: OWNERS.get(claim.token)

    async def verify(self, claim):
        self.claims.append(claim)
        await asyncio.sleep(0)
        return self.answer(claim)


@pytest.fixture
def hook(monkeypatch):
    hook = Hook()
    module = types.ModuleType("site_tokens")
    module.hook = hook
    module.number = 7
    monkeypatch.setitem(sys.modules, "site_tokens", module)
    return hook


TOML = '[login]\ntoken_verifier = "site_tokens:hook.verify"'


def bearer(token, user=""):
    return f"n,{f'a={user}' if user else ''},\x01auth=Bearer {token}\x01\x01".encode()


async def test_who_shows_a_good_token_is_whom_it_says(place, hook):
    logins = place(TOML)
    assert await logins.sasl("OAUTHBEARER", bearer("good")) == RIGHT
    assert await logins.sasl("OAUTHBEARER", None, bearer("good", MARK)) == RIGHT
    assert await logins.sasl("XOAUTH2", f"user={MARK}\x01auth=Bearer good\x01\x01".encode()) == RIGHT
    assert hook.claims[-1] == ("XOAUTH2", MARK, "good", HOME)


@pytest.mark.parametrize(
    ("token", "user"), [("bad", ""), ("theirs", MARK), ("stranger", ""), ("good", "x@minasi.example")]
)
async def test_a_token_of_nobody_or_of_somebody_else_is_a_wrong_password(place, hook, token, user):
    logins = place(TOML, people=(MARK, "other@minasi.example"))
    assert await logins.sasl("OAUTHBEARER", bearer(token, user)) == WRONG
    assert logins.logins.counts["wrong"] == 1


async def test_wrong_tokens_are_answered_ever_later(place, hook):
    logins = place(TOML + '\nfailures = "60/min"')
    logins.logins._failures._allowed = 0.0
    since = logins.clock.monotonic()
    await logins.sasl("OAUTHBEARER", bearer("bad"))
    assert logins.clock.monotonic() - since > 0.5


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, asyncio.CancelledError])
async def test_a_hook_that_fails_is_an_outage(place, hook, caplog, error):
    logins = place(TOML)

    def fail(claim):
        raise error("no issuer")

    hook.answer = fail
    assert await logins.sasl("OAUTHBEARER", bearer("good")) == Login("unavailable")
    assert "no issuer" in caplog.text


async def test_a_hook_that_does_not_answer_is_an_outage(place, hook, monkeypatch):
    monkeypatch.setattr(tokens, "VERIFY_LIMIT", 0.05)
    logins = place(TOML)

    async def hang(claim):
        await asyncio.Event().wait()

    hook.verify = hang
    logins.logins._verifier = hang
    assert await logins.sasl("OAUTHBEARER", bearer("good")) == Login("unavailable")


async def test_who_does_not_wait_any_more_is_not_told(place, hook):
    logins = place(TOML)
    told = []
    logins.logins.exchange("OAUTHBEARER", HOME).step(bearer("good"), told.append).cancel()
    assert await logins.sasl("OAUTHBEARER", bearer("good")) == RIGHT
    assert told == []


async def test_no_log_has_a_token(place, hook, caplog):
    logins = place(TOML)
    with caplog.at_level("DEBUG"):
        await logins.sasl("OAUTHBEARER", bearer("secret-token"))
    assert "secret-token" not in caplog.text


async def test_without_a_verifier_tokens_are_not_offered(place):
    logins = place().logins
    assert logins.mechanisms() == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    assert logins.exchange("OAUTHBEARER", HOME) is None


async def test_the_offer_has_the_best_first(place, hook):
    logins = place(TOML).logins
    assert logins.mechanisms({"tls-server-end-point": b"x"}) == (
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-256",
        "PLAIN",
        "LOGIN",
        "OAUTHBEARER",
        "XOAUTH2",
    )
    assert logins.exchange("SCRAM-SHA-256-PLUS", HOME) is None


@pytest.mark.parametrize("name", ["site_tokens:nothing", "no_such_module:x", "site_tokens:number"])
def test_a_hook_that_cannot_be_had_is_named(hook, name):
    with pytest.raises(ConfigError, match=f'login.token_verifier: "{name}"'):
        tokens.load_verifier(name)
