"""The whole suite in several processes at once: which tests go together, and which run while no other does.

Owns: the distribution among pytest-xdist's workers, and the lock between them. Never does: matter when files or
directories are named on the command line; they run in one process unless ``-n`` says otherwise.

A new test is to know three things. Who measures time or memory goes into ``ALONE``. Who mounts something, or unshares
the mounts, goes into ``TOGETHER``. A port that has to be known before somebody binds it, or that is to stay closed for
a while, comes from ``bench.process.free_port``: no two processes get the same, and the kernel gives it to nobody.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
#: Processes on two cores: most tests of whole servers wait for another process.
WORKERS = 3
#: Where the names of tests begin that measure time or memory: no other test runs meanwhile.
ALONE = (
    "tests/scenarios/hostile/",
    "tests/scenarios/policy/test_slow_attackers_are_gone_by_their_deadline.py",
    "tests/scenarios/test_a_slow_site_does_not_hold_up_another.py::test_a_slow_site_does_not_hold_up_another",
    "tests/interop/test_ldap_clients_find_people.py::test_ten_thousand_people_are_searched_while_the_user_types",
    "tests/unit/services/test_logins.py::test_an_unknown_name_takes_as_long_as_a_wrong_password",
    "tests/unit/services/test_logins.py::test_ten_wrong_passwords_a_second_slow_down_that_address_alone",
    "tests/unit/services/test_logins.py::test_even_a_flood_of_wrong_passwords_slows_down_that_address_alone",
)
#: Where tests begin that stay in one process, one after the other. A mount namespace that is made while a disk of the
#: power cuts is mounted keeps it mounted.
TOGETHER = ("tests/crash/", "tests/interop/differential/")
#: What begins first because it takes longest; the rest follows in alphabetical order.
FIRST = (
    *TOGETHER,
    "tests/interop/",
    "tests/scenarios/",
    "tests/unit/spool/test_spool_model.py",
    "tests/unit/store/test_store_model.py",
)


def is_whole(config: pytest.Config) -> bool:
    """Whether pytest was told to run everything, and has not been told how."""
    option = config.option
    return (
        config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and config.pluginmanager.hasplugin("xdist")
        and not hasattr(config, "workerinput")
        and option.numprocesses is None
        and option.dist == "no"
        and not option.usepdb
    )


def scope(nodeid: str) -> str:
    """Tests of one scope run in one process: a file, or what stays together."""
    if is_alone(nodeid):
        return "alone"
    return "together" if nodeid.startswith(TOGETHER) else nodeid.partition("::")[0]


def rank(nodeid: str) -> tuple[bool, int]:
    """Those that are to be alone come last, when no other process has much left to do."""
    first = (number for number, start in enumerate(FIRST) if nodeid.startswith(start))
    return is_alone(nodeid), next(first, len(FIRST))


def is_alone(nodeid: str) -> bool:
    return nodeid.startswith(ALONE)


def scheduler(config: pytest.Config, log: Any) -> Any:
    """xdist's distribution by scope, in the order of the collection."""
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class ByScope(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid)

    config.option.loadscopereorder = False
    return ByScope(config, log)


@contextmanager
def turn(alone: bool, tests: Path = ROOT / "tests") -> Iterator[None]:
    """Runs beside others, or ``alone``. Directories are the locks: one that whoever runs shares, and a gate before it,
    so that who waits to be alone is not overtaken for ever."""
    gate, running = (os.open(path, os.O_RDONLY) for path in (tests / "harness", tests))
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
    finally:
        os.close(gate)
        os.close(running)
