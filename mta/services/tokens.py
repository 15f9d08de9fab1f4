"""Tokens instead of passwords (OAUTHBEARER, XOAUTH2): the hook that judges them.

Owns: the shape of the hook, its loading and its time limit. Never does: know an issuer, a key or a token's form; that
is the site's own code, named by ``login.token_verifier = "module:name"``. A stable interface: fields of ``Claim`` are
added at its end only.
"""

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from mta.errors import ConfigError, UnavailableError
from mta.services.foreign import RAISED, is_given_up

_log = logging.getLogger("mta.login")

#: Seconds that a verifier may take.
VERIFY_LIMIT: Final = 10.0


class Claim(NamedTuple):
    """What a client says. ``user``: who it says it is; "" in OAUTHBEARER when it leaves that to the token.
    ``client``: its IP address. The token is a secret: no log may have it."""

    mechanism: str
    user: str
    token: str
    client: str


#: ``async def verify(claim) -> str | None``: the address of whom the token is, or None when it is no good. Called on
#: the loop, so it must not block; what it raises is an outage (454) and not a wrong token.
Verifier = Callable[[Claim], Awaitable[str | None]]


def load_verifier(name: str) -> Verifier | None:
    """``module:name``; "": None. Raises ConfigError."""
    if not name:
        return None
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError([f'login.token_verifier: "{name}" cannot be loaded: {error}']) from error
    if not callable(found):
        raise ConfigError([f'login.token_verifier: "{name}" is nothing that can be called'])
    return found


async def verified(verifier: Verifier, claim: Claim) -> str | None:
    """What the verifier says. Raises UnavailableError when it says nothing."""
    try:
        async with asyncio.timeout(VERIFY_LIMIT):
            return await verifier(claim)
    except TimeoutError:
        raise UnavailableError(f"the token verifier did not answer within {VERIFY_LIMIT:g} s") from None
    except RAISED as error:
        if is_given_up(error):
            raise
        _log.error("the token verifier failed: %r", error, exc_info=error)
        raise UnavailableError("the token verifier failed; the log has its traceback") from None
