"""Every module of ``mta_ext`` is fuzzed, by itself or through the core that uses it, or there is a reason why not."""

import re
from pathlib import Path

import pytest

from mta_ext.smtp_extensions import EXTENSIONS
from tests.fuzz.cores import CORES, NO_PEER, REACHED
from tests.fuzz.logins import MECHANISMS, LoginHandler, exchanges
from tests.fuzz.seeds import seeds
from tests.fuzz.servers import OFFERED, converse
from tests.fuzz.ways import FLIGHT
from tests.harness.recording_handler import new_session

FOLDER = Path(__file__).parents[3] / "mta_ext"
MODULES = {path.stem for path in FOLDER.glob("*.pyx")}
IMPORT = re.compile(r"^(?:from|cimport|import) mta_ext\.(\w+)", re.MULTILINE)


def behind(module: str) -> set[str]:
    """The modules that this one imports, and itself."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found and name in MODULES:
            found.add(name)
            for path in FOLDER.glob(f"{name}.p[yx][xd]"):
                waiting += IMPORT.findall(path.read_text(encoding="utf-8"))
    return found


def test_every_module_is_fuzzed_or_hears_nothing_of_a_peer() -> None:
    assert set(REACHED) <= set(CORES)
    fuzzed = set().union(*(behind(module) for module in REACHED.values())) | {"xtext"}
    assert len(MODULES) > 30
    assert MODULES - fuzzed == set(NO_PEER)


def test_sessions_are_offered_everything_between_them() -> None:
    """What a core is not offered, the one with logins and TLS is."""
    assert set(EXTENSIONS) - set(OFFERED) == {"STARTTLS", "AUTH", "REQUIRETLS", "FUTURERELEASE"}


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_login_with_each_mechanism_is_among_the_seeds(mechanism: str) -> None:
    """Mutations cannot find a proof; each must begin as one that is right."""
    good = 0
    for said in exchanges():
        if said.startswith(b"AUTH %b" % mechanism.encode()):
            session, handler = new_session(
                LoginHandler, extensions=EXTENSIONS, mechanisms=MECHANISMS, plaintext_login=True
            )
            session.greet()
            good += b"\r\n235 " in converse(session, handler, [[b"EHLO x\r\n" + said]])
    assert good


def test_seeds_have_handshakes() -> None:
    for core in ("submission", "pop3", "client", "smarthost"):
        assert any(FLIGHT in seed for seed in seeds(core)), core
