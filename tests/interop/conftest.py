"""Whole servers with mailboxes as fixtures: Hermes, and Dovecot beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bench.dovecot import Dovecot
    from tests.harness.mail_house import MailHouse
    from tests.harness.many_doors import ManyDoors


@pytest.fixture
def mail_house(tmp_path: Path) -> Iterator[Callable[..., MailHouse]]:
    """``mail_house(**settings)``: a running Hermes with mailboxes. At the end it is drained, its books balanced."""
    from tests.harness.mail_house import MailHouse

    houses: list[MailHouse] = []

    def start(**settings: Any) -> MailHouse:
        houses.append(MailHouse(tmp_path / f"house{len(houses)}", **settings))
        return houses[-1].start()

    yield start
    try:
        for house in houses:
            house.stop()
    finally:
        for house in houses:
            house.close()


@pytest.fixture(scope="module")
def one_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailHouse]:
    """A Hermes with mailboxes for a whole module; each test begins with ``empty()``."""
    from tests.harness.mail_house import MailHouse

    house = MailHouse(tmp_path_factory.mktemp("house"))
    try:
        yield house.start()
        house.stop()
    finally:
        house.close()


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManyDoors]:
    """A Hermes with many listeners for a whole module; each test takes with ``arrived()`` what it has sent."""
    from tests.harness.many_doors import ManyDoors

    house = ManyDoors(tmp_path_factory.mktemp("doors"))
    try:
        yield house.start()
        house.stop()
    finally:
        house.close()


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    """A running Dovecot with the same people, for a whole module."""
    from tests.harness.dovecot import running_dovecot
    from tests.harness.mail_house import PEOPLE

    with running_dovecot(PEOPLE) as server:
        yield server
