"""Turns the time of a call into the unit that a reader thinks in, and prints these figures after the run.

Owns: the fixture ``measured``. pytest-benchmark's own table stays: it has the spread, this one has the meaning.
"""

from collections.abc import Callable
from typing import Any, Protocol

import pytest

_LINES = pytest.StashKey[list[str]]()


class Measured(Protocol):
    """Runs ``call`` under the benchmark; each call does ``amount`` of ``unit``: octets, or any other word."""

    def __call__(self, call: Callable[[], object], amount: int, unit: str) -> None: ...


def figure(seconds: float, amount: int, unit: str) -> str:
    """``12.3 GB/s`` for octets, else nanoseconds (or microseconds) for one."""
    if unit == "octets":
        return f"{amount / seconds / 1e9:8.2f} GB/s"
    each = seconds / amount
    return f"{each * 1e9:8.0f} ns per {unit}" if each < 1e-5 else f"{each * 1e6:8.1f} µs per {unit}"


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line to the list at the end."""
    lines = request.config.stash.setdefault(_LINES, [])
    return lambda text: lines.append(f"{request.node.name:<58} {text}")


@pytest.fixture
def measured(benchmark: Any, report: Callable[[str], None]) -> Measured:
    """The benchmark with its unit; the median counts."""

    def run(call: Callable[[], object], amount: int, unit: str) -> None:
        benchmark(call)
        benchmark.extra_info.update(amount=amount, unit=unit)
        if benchmark.stats is not None:  # None with --benchmark-disable
            report(figure(benchmark.stats.stats.median, amount, unit))

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("the cores, median")
        for line in lines:
            terminalreporter.write_line(line)
