"""What the comparison computes: cells, counts, medians, percentiles, ratios and the table."""

import pytest

from bench.figures import Figures, Results, as_record, combined, percentile, ratio, verdicts
from bench.plan import MAIN_CELL, Cell, cells, cells_of_bars, message_count, size_text, warm_up_count
from bench.table import render

CELL = MAIN_CELL


def results_of(**rates: tuple[float, float]) -> Results:
    results = Results()
    for peer, (rate, cpu) in rates.items():
        results.add(CELL, peer.replace("_", "-"), Figures(messages=100, rate=rate, cpu=cpu))
    return results


def test_cells_come_once_by_size_then_kept_then_few_sessions() -> None:
    assert cells([102_400, 4096, 4096], [20, 1], [False, True]) == [
        Cell(4096, True, 1), Cell(4096, True, 20), Cell(4096, False, 1), Cell(4096, False, 20),
        Cell(102_400, True, 1), Cell(102_400, True, 20), Cell(102_400, False, 1), Cell(102_400, False, 20),
    ]  # fmt: skip


def test_the_quick_cells_are_those_of_the_bars() -> None:
    assert cells_of_bars() == [
        Cell(4096, True, 1), Cell(4096, True, 20), Cell(4096, False, 20), Cell(102_400, True, 20),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rate", "most", "count"), [(1000.0, 60_000, 4500), (100_000.0, 60_000, 60_000), (1.0, 60_000, 20), (9e9, 7, 20)]
)
def test_a_cell_takes_as_many_messages_as_fit_the_time_but_one_a_session_at_least(
    rate: float, most: int, count: int
) -> None:
    assert message_count(CELL, rate, 4.5, most) == count


def test_a_warm_up_reaches_every_session_and_keeps_to_the_limit() -> None:
    assert warm_up_count(Cell(4096, True, 200), 60_000) == 600
    assert warm_up_count(Cell(102_400, True, 1), 60_000) == 100
    assert warm_up_count(Cell(4096, True, 200), 50) == 50


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_a_value_that_occurred(share: float, value: int) -> None:
    assert percentile(list(range(1, 101)), share) == value
    assert percentile([7], share) == 7


def test_repeats_become_their_median_and_keep_all_notes() -> None:
    repeats = [
        Figures(rate=10.0, p50=None, notes=("busy",)),
        Figures(rate=30.0, p50=4.0, notes=("busy", "late")),
        Figures(rate=11.0, p50=2.0),
    ]
    merged = combined(repeats)
    assert (merged.rate, merged.p50, merged.cpu) == (11.0, 3.0, None)
    assert merged.notes == ("busy", "late")


def test_a_ratio_above_one_is_always_the_better_one() -> None:
    mine, postfix = Figures(rate=800.0, cpu=100.0), Figures(rate=100.0, cpu=2000.0)
    assert ratio(mine, postfix, "rate") == 8.0
    assert ratio(mine, postfix, "cpu") == 20.0
    assert ratio(mine, None, "rate") is None
    assert ratio(Figures(), postfix, "rate") is None


def test_each_bar_is_judged_for_each_hermes_that_ran() -> None:
    results = results_of(hermes_1=(7990.0, 150.0), hermes_2=(8000.0, 300.0), postfix=(1000.0, 2400.0))
    judged = verdicts(results, ["hermes-1", "hermes-2", "postfix"])
    assert [(v.bar.figure, v.peer, v.ok) for v in judged] == [
        ("rate", "hermes-1", False), ("rate", "hermes-2", True),
        ("cpu", "hermes-1", True), ("cpu", "hermes-2", False),
    ]  # fmt: skip


def test_a_bar_without_postfix_is_not_measured_rather_than_short() -> None:
    results = results_of(hermes_1=(8000.0, 150.0))
    text = render({}, results, ["hermes-1"], verdicts(results, ["hermes-1"]))
    assert text.count("not measured") == 2
    assert "short" not in text


def test_the_table_shows_every_row_with_its_ratios_and_notes() -> None:
    results = results_of(straight=(9800.0, 1.0), postfix=(800.0, 2000.0))
    results.add(CELL, "hermes-1", Figures(100, 8000.0, cpu=100.0, p50=1.234, p99=123.4, notes=("machine busy",)))
    peers = ["straight", "hermes-1", "postfix"]
    lines = render({"kernel": "K"}, results, peers, verdicts(results, peers)).splitlines()
    assert "4 KiB messages, connection kept" in lines
    assert "  kernel  K" in lines
    rows = {line[10:24].strip(): line for line in lines if line[10:24].strip() in peers}
    assert rows["straight"].startswith("20        straight            9,800           –          –           –")
    assert rows["hermes-1"].split() == [
        "hermes-1", "8,000", "10.0", "×", "100", "20.0", "×", "1.23", "123", "–", "machine", "busy",
    ]  # fmt: skip
    assert rows["postfix"].split() == ["postfix", "800", "–", "2,000", "–", "–", "–", "–"]
    assert sum(line.endswith("  ok") for line in lines) == 2


def test_a_record_for_the_file_has_units_ratios_and_each_repeat() -> None:
    results = results_of(hermes_1=(8000.0, 100.0), postfix=(1000.0, 2000.0))
    results.add(CELL, "hermes-1", Figures(rate=6000.0))
    record = as_record(CELL, "hermes-1", results)
    assert record["rate_per_second"] == 7000.0
    assert record["rate_times_postfix"] == 7.0
    assert [one["rate_per_second"] for one in record["repeats"]] == [8000.0, 6000.0]  # type: ignore[attr-defined]
    assert "rate_times_postfix" not in as_record(CELL, "postfix", results)


@pytest.mark.parametrize(("octets", "text"), [(4096, "4 KiB"), (1 << 20, "1 MiB"), (5000, "5000 octets")])
def test_sizes_are_said_in_the_unit_that_fits(octets: int, text: str) -> None:
    assert size_text(octets) == text
