"""Imports go down only. Reads every import, also inside functions and TYPE_CHECKING, and every cimport.

The table is the design's. A module that is not in it fails the test: a new package takes its place there first.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Unit → layer. A unit is the longest prefix of a module's name in this table.
LAYERS = {
    "mta_ext": 0,
    "mta.errors": 1, "mta.clock": 1, "mta.model": 1, "mta.config": 1, "mta.log": 1, "mta.metrics": 1,
    "mta.disk": 2, "mta.spool": 2, "mta.store": 2, "mta.directory": 2, "mta.routing": 2,
    "mta.policy": 3, "mta.queue": 3, "mta.ldap": 3,
    "mta.net": 4,
    "mta.services": 5,
    "mta.attendant": 6,
    "mta.cli": 7, "mta.__main__": 7,
}  # fmt: skip
#: Beneath all else in layers 1 and 2: their siblings may use them.
FOUNDATION = {"mta.errors", "mta.clock", "mta.disk"}
#: The package itself holds only its version, so everybody may read that.
BARE = {"mta"}

_IO = {
    "asyncio",
    "uvloop",
    "socket",
    "socketserver",
    "ssl",
    "select",
    "selectors",
    "lmdb",
    "http",
    "urllib",
    "aiohttp",
}
#: Standard and foreign modules that a layer must not know. Of ``select`` the log needs one constant.
FORBIDDEN = {0: _IO | {"time"}, 1: _IO | {"time"}, 2: {"time"}, 3: _IO | {"time"}} | {n: {"time"} for n in range(4, 8)}
EXCEPTIONS = {("mta.clock", "time"), ("mta.log.output", "select")}

_CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\b|c?import\s+([\w., ]+))", re.MULTILINE)


def unit_of(module: str) -> str | None:
    """The unit a module belongs to, or None when the table does not know it."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in LAYERS), None)


def python_imports(text: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Every module that a source imports, wherever in the file; ``from a import b`` counts as a.b."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, base] if base else parts)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def cython_imports(text: str) -> Iterator[str]:
    """Every module in an import or cimport line."""
    for found in _CIMPORT.finditer(text):
        yield from [found[1]] if found[1] else (name.split(" as ")[0].strip() for name in found[2].split(","))


def findings(module: str, imports: Iterator[str]) -> list[str]:
    """What is wrong with the imports of a module, one line each."""
    unit = unit_of(module)
    if unit is None:
        return [] if module in BARE and not list(imports) else [f"{module}: has no place in the table of layers"]
    wrong = []
    for name in imports:
        top = name.split(".")[0]
        if top in ("mta", "mta_ext"):
            wrong += _wrong_inside(module, unit, name)
        elif top in FORBIDDEN[LAYERS[unit]] and (module, top) not in EXCEPTIONS:
            wrong.append(f"{module}: layer {LAYERS[unit]} knows no {top}")
    return wrong


def _wrong_inside(module: str, unit: str, name: str) -> list[str]:
    other = unit_of(name)
    if other is None:
        return [] if name in ("mta.__version__", "mta") else [f"{module}: {name} has no place in the table of layers"]
    if other == unit or LAYERS[other] < LAYERS[unit]:
        return []
    if LAYERS[other] == LAYERS[unit]:
        fine = LAYERS[unit] == 7 or (other in FOUNDATION and unit not in FOUNDATION)
        return [] if fine else [f"{module}: imports its sibling {name}"]
    return [f"{module}: layer {LAYERS[unit]} imports {name} of layer {LAYERS[other]}"]


def sources() -> list[Path]:
    return sorted(
        p for top in ("mta", "mta_ext") for p in (ROOT / top).rglob("*") if p.suffix in (".py", ".pyx", ".pxd", ".pyi")
    )


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    text = path.read_text()
    if path.suffix in (".pyx", ".pxd"):
        return cython_imports(text)
    return python_imports(text, module_of(path), path.stem == "__init__")


def test_there_is_something_to_read():
    assert len(sources()) > 20


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path):
    assert findings(module_of(path), imports_of(path)) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("mta.model.message", "from mta.spool.protocol import Ticket"),
        ("mta.model.message", "import mta.cli"),
        ("mta.policy.relay", "from mta.queue import scheduler"),
        ("mta.policy.relay", "def f():\n    from mta.net import smtp"),
        ("mta.policy.relay", "import typing\nif typing.TYPE_CHECKING:\n    import mta.services.worker"),
        ("mta.policy.relay", "from ..net import smtp"),
        ("mta.config.load", "from mta.log import EventLog"),
        ("mta.clock", "from mta.errors import MtaError"),
        ("mta.spool.disk", "from mta.routing import mx"),
        ("mta.queue.scheduler", "import asyncio"),
        ("mta.policy.relay", "from socket import AF_INET"),
        ("mta.model.message", "import time"),
        ("mta.net.smtp", "import time"),
        ("mta.services.worker", "def f():\n    import time as t"),
        ("mta.log.eventlog", "import select"),
        ("mta.novelty", "import os"),
        ("mta.cli.main", "import mta.novelty"),
        ("mta", "from mta.errors import MtaError"),
        ("mta_ext.scan", "from mta.errors import MtaError"),
    ],
)
def test_an_import_that_goes_up_or_aside_is_found(module, text):
    assert len(findings(module, python_imports(text, module))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "cimport lmdb",
        "from mta.errors import MtaError",
        "    import time",
        "import os, socket",
        "from asyncio cimport x",
    ],
)
def test_an_import_of_an_extension_that_it_must_not_know_is_found(text):
    assert len(findings("mta_ext.scan", cython_imports(text))) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("mta.model.spoolid", "from mta.clock import Clock\nfrom mta.errors import DataError"),
        ("mta.metrics.table", "from mta_ext.counters import Counters"),
        ("mta.queue.scheduler", "from mta.spool.protocol import Spool\nfrom mta.model.message import Message"),
        ("mta.queue.scheduler", "from .ready import Ready"),
        ("mta.cli.main", "from mta import __version__\nimport mta.attendant, asyncio"),
        ("mta.__main__", "from mta.cli import main"),
        ("mta.clock", "import time"),
        ("mta.net.smtp", "import asyncio, socket, ssl"),
    ],
)
def test_what_the_table_allows_is_let_through(module, text):
    assert findings(module, python_imports(text, module)) == []


def test_relative_imports_are_resolved_from_modules_and_packages():
    assert list(python_imports("from .a import b", "mta.queue.x")) == ["mta.queue.a.b"]
    assert list(python_imports("from . import b", "mta.queue", is_package=True)) == ["mta.queue.b"]
    assert list(python_imports("from ..net import b", "mta.queue.x")) == ["mta.net.b"]
