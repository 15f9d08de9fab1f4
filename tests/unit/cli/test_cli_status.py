"""The services applet: what a person sees of a service that runs, one that waits, one that was stopped."""

from collections.abc import Iterator

import pytest

from mta.cli.render import services, span, usage
from mta.errors import TemporaryError

NOW = 1_800_000_000.0


def row(name: str, state: str, **more: object) -> dict[str, object]:
    plain = {
        "pid": 4711,
        "since": NOW - 190,
        "restarts": 2,
        "description": "does things",
        "reason": "",
        "retry_at": None,
    }
    return plain | {"name": name, "state": state} | more


def test_a_service_that_runs_is_one_line() -> None:
    head, line = services([row("worker-0", "running")], NOW)
    assert head.split() == ["NAME", "STATE", "PID", "SINCE", "RESTARTS", "DESCRIPTION"]
    assert line.split()[:3] == ["worker-0", "running", "4711"]
    assert line.split("(")[1].split() == ["3", "min)", "2", "does", "things"]


def test_one_in_quarantine_says_why_when_it_is_tried_again_and_what_to_do() -> None:
    down = row("directory", "quarantined", pid=None, reason="exit 74: no file", retry_at=NOW + 600)
    _, line, why = services([down], NOW)
    assert line.split()[:3] == ["directory", "quarantined", "-"]
    assert why.strip().startswith("exit 74: no file; it is tried again at ")
    assert why.endswith("or now by `mta status start directory`")


def test_one_that_was_stopped_says_how_to_start_it() -> None:
    _, _, why = services([row("store", "stopped", pid=None, reason="stopped by an operator")], NOW)
    assert why.strip() == "stopped by an operator; `mta status start store` starts it"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (3 * 86400, "3 days")],
)
def test_a_span_is_told_in_the_largest_unit_of_which_there_are_two(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_an_error_has_no_heading_of_a_table_before_it() -> None:
    def refused() -> Iterator[dict[str, object]]:
        raise TemporaryError("store is not running")
        yield {}

    lines = usage(refused())
    with pytest.raises(TemporaryError):
        next(lines)
    assert len(list(usage([]))) == 1
