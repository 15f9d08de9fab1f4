"""What README.md and INTERNALS.md say can be checked: files, names, defaults, metrics, commands, configurations."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from mta.cli import COMMANDS
from mta.config import parse
from mta.config.units import duration, rate, size
from mta.metrics.layout import EXTRA, METRICS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
INTERNALS = (ROOT / "mta/INTERNALS.md").read_text()
#: Every page about the inside, the overview first.
PAGES = sorted(ROOT.glob("mta/**/INTERNALS.md"), key=lambda path: len(path.parts))
#: Where a path in a document may begin.
TOPS = (ROOT, ROOT / "mta", ROOT / "tests")

_CODE = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)+\.(?:pyx?|txt|md)\b|\.ci/run")
_PLACED = re.compile(r"`([\w.]+)`,? (?:in|of) `((?:[\w-]+/)+[\w-]+\.pyx?)`")


def section(text: str, title: str) -> str:
    """The text from a heading to the next of its rank."""
    found = re.search(rf"^(##+) (?:\d+\. )?{re.escape(title)}$(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, headings and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|- ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def is_there(path: str) -> bool:
    return any((top / path).is_file() for top in TOPS)


def rooms() -> dict[str, str]:
    """Package → its row of the table of layers, of those whose modules are told one by one."""
    table = [row for row in rows(section(INTERNALS, "Layers and modules")) if row[0].isdigit()]
    told = {row[1].strip("`/"): row[2] for row in table if row[1].count("`") == 2}
    return {name: row for name, row in told.items() if name != "cli"}


@pytest.mark.parametrize("package", rooms())
def test_the_table_of_layers_names_every_module(package):
    folder = ROOT / package if package == "mta_ext" else ROOT / "mta" / package
    modules = {path.stem for path in folder.iterdir() if path.suffix in (".py", ".pyx", ".pxd")} - {"__init__"}
    assert sorted(modules - set(_CODE.findall(rooms()[package]))) == []


def test_every_package_is_in_the_table_of_layers():
    packages = {path.parent.name for path in ROOT.glob("mta/*/__init__.py")}
    table = section(INTERNALS, "Layers and modules")
    assert sorted(name for name in packages if f"`{name}/`" not in table) == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_is_there(page):
    text = page.read_text()
    named = {name for code in _CODE.findall(text) for name in _FILE.findall(code)} | set(_FILE.findall(text))
    named = {name for name in named if not name.startswith(("bin/", "usr/", "local/"))}
    assert [name for name in sorted(named) if not is_there(name.lstrip("/"))] == []


def test_every_name_is_in_the_file_that_it_is_said_to_be_in():
    placed = [found for page in PAGES for found in _PLACED.findall(page.read_text())]
    assert len(placed) >= 4
    for name, path in placed:
        source = next(top / path for top in TOPS if (top / path).is_file()).read_text()
        for part in name.split("."):
            assert re.search(rf"\b{part}\b", source), f"{path} has no {name}"


def default_of(key: str) -> object:
    config = parse("")
    part, _, name = key.rpartition(".")
    return getattr(getattr(config, part or "limits"), name)


def spelt(text: str) -> float:
    """``50 MiB``, ``300 s``, ``500 octets/s`` and ``1,000`` as the configuration has them."""
    plain = text.replace(",", "")
    for read, form in ((size, plain.replace(" ", "")), (duration, plain.replace(" ", "")), (rate, plain)):
        try:
            return float(read(form))
        except ValueError:
            continue
    return float(plain.split()[0])


def limits() -> list[list[str]]:
    return [row for row in rows(section(INTERNALS, "Limits")) if row[0].startswith("`")]


@pytest.mark.parametrize("row", limits(), ids=lambda row: row[0].strip("`"))
def test_a_limit_has_the_default_that_is_told(row):
    assert default_of(row[0].strip("`")) == spelt(row[1])


def test_every_key_of_the_limits_is_in_the_table():
    told = {row[0].strip("`") for row in limits()}
    assert set(parse("").limits.__struct_fields__) <= told


@pytest.mark.parametrize("row", rows(section(INTERNALS, "Limits"))[1:], ids=lambda row: row[0].strip("`"))
def test_a_limit_names_a_test(row):
    folder = ""
    names = re.findall(r"`([^`]+)`", row[3])
    assert names
    for name in names:
        folder = name.rpartition("/")[0] or folder
        assert is_there(name if "/" in name else f"{folder}/{name}"), name


def test_every_metric_is_in_the_table_and_no_other():
    told = set(re.findall(r"`(mta_\w+)(?:\{\w+\})?`", section(INTERNALS, "Metrics")))
    assert told == {metric.name for metric in METRICS} | set(EXTRA)


def test_labels_of_metrics_are_those_that_are_told():
    told = dict(re.findall(r"`(mta_\w+)\{(\w+)\}`", section(INTERNALS, "Metrics")))
    real = {metric.name: metric.label for metric in METRICS if metric.label}
    assert told == real | {name: ",".join(extra.labels) for name, extra in EXTRA.items()}


@pytest.mark.parametrize(
    "text", re.findall(r"```toml\n(.*?)```", README, re.DOTALL), ids=["small", "whole", "production"]
)
def test_the_configurations_of_the_readme_are_right(text, monkeypatch):
    load = import_module("mta.config.load")
    monkeypatch.setattr(load, "_user_exists", lambda name: True)
    monkeypatch.setattr(load, "read_password", lambda path: "")
    assert parse(text).listener


def test_the_readme_shows_every_command():
    told = {row[0].split()[1].strip("`,") for row in rows(section(README, "Commands"))[1:]}
    assert told == set(COMMANDS)


def test_the_commands_of_the_readme_are_those_of_the_contract():
    assert "python3 -m pip install . && mta demo\n" in README
    assert "python3 -m pip install '.[test]' && python3 -m pytest\n" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_about_the_inside_is_not_too_long_to_be_read(page):
    assert len(page.read_text().splitlines()) <= 450
    assert page == PAGES[0] or f"`{page.relative_to(ROOT)}`" in INTERNALS, "the overview leads to it"
