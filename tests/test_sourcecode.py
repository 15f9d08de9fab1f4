"""The source keeps to its budgets and tools: sizes, types, style, and nothing of the machine it was written on."""

import ast
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILE_LIMIT, FILE_P90, FILE_MEDIAN = 600, 350, 150
FUNCTION_LIMIT, FUNCTION_P90, FUNCTION_MEDIAN = 60, 30, 10
SETUP_LIMIT = 80
PUBLIC_NAMES = 12
TESTS_PER_SOURCE = 0.8

_CYTHON_FUNCTION = re.compile(r"^(\s*)(?:async )?(?:def|cdef|cpdef)\b(?! class\b)[^=]*\(.*$")


def tracked() -> list[Path]:
    """The files of the project: what git tracks, or will; everything when there is no git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: no telling which files belong to the project")
    return sorted(ROOT / name for name in names if name and (ROOT / name).is_file())


def sources(*tops: str, suffixes: tuple[str, ...] = (".py", ".pyx")) -> list[Path]:
    return sorted(path for top in tops for path in (ROOT / top).rglob("*") if path.suffix in suffixes)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def line_count(path: Path) -> int:
    return len(path.read_text().splitlines())


def python_functions(text: str) -> list[tuple[str, int]]:
    """(name, lines) of every function, nested ones too, decorators not counted."""
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in nodes]


def cython_functions(text: str) -> list[tuple[str, int]]:
    """(first line, lines) of every function, by indentation."""
    lines = text.splitlines()
    found = []
    for start, line in enumerate(lines):
        head = _CYTHON_FUNCTION.match(line)
        if head is None or not _opens_a_body(lines, start):
            continue
        end = start
        for at in range(start + 1, len(lines)):
            text_at = lines[at]
            if (
                text_at.strip()
                and len(text_at) - len(text_at.lstrip()) <= len(head[1])
                and not text_at.lstrip().startswith(")")
            ):
                break
            if text_at.strip():
                end = at
        found.append((line.strip(), end - start + 1))
    return found


def _opens_a_body(lines: list[str], start: int) -> bool:
    """Whether the declaration that begins here ends in a colon: a function, not a field or a call."""
    depth = 0
    for line in lines[start : start + 20]:
        depth += line.count("(") - line.count(")")
        if depth <= 0:
            return line.split("#")[0].rstrip().endswith(":")
    return False


def functions(path: Path) -> list[tuple[str, int]]:
    read = cython_functions if path.suffix == ".pyx" else python_functions
    return [(f"{name(path)}: {what}", lines) for what, lines in read(path.read_text())]


def percentile_90(numbers: list[int]) -> float:
    return statistics.quantiles(numbers, n=10)[-1]


def run(*command: str) -> None:
    """A tool from the directory of this interpreter; its output is the message of the failure."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert done.returncode == 0, done.stdout + done.stderr


CODE = sources("mta", "mta_ext")
ALL = sources("mta", "mta_ext", "tests", "bench")


def test_no_file_is_too_long():
    assert [f"{name(path)}: {line_count(path)} lines" for path in ALL if line_count(path) > FILE_LIMIT] == []


def test_most_files_are_short():
    lengths = [line_count(path) for path in CODE]
    assert statistics.median(lengths) <= FILE_MEDIAN
    assert percentile_90(lengths) <= FILE_P90


def test_no_function_is_too_long():
    long = [f"{what}: {lines} lines" for path in ALL for what, lines in functions(path) if lines > FUNCTION_LIMIT]
    assert long == []


def test_most_functions_are_short():
    lengths = [lines for path in CODE for _, lines in functions(path)]
    assert statistics.median(lengths) <= FUNCTION_MEDIAN
    assert percentile_90(lengths) <= FUNCTION_P90


def test_setup_stays_small():
    assert line_count(ROOT / "setup.py") <= SETUP_LIMIT


def test_there_is_enough_test_for_the_source():
    # Recorded dialogues are tests as well.
    tests = sum(line_count(path) for path in sources("tests", suffixes=(".py", ".txt", ".dialogue", ".smtp", ".pop3")))
    assert tests >= TESTS_PER_SOURCE * sum(line_count(path) for path in CODE)


@pytest.mark.parametrize("path", CODE, ids=name)
def test_every_module_opens_with_what_it_is(path):
    text = path.read_text()
    opening = ast.get_docstring(ast.parse(text)) if path.suffix == ".py" else re.match(r'"""\S[^"]{20,}"""', text)
    assert opening, "a module's docstring says what it owns and what it never does"


@pytest.mark.parametrize("path", [p for p in CODE if p.name == "__init__.py"], ids=name)
def test_a_package_shows_few_names(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            assert len(ast.literal_eval(node.value)) <= PUBLIC_NAMES


@pytest.mark.parametrize("path", CODE, ids=name)
def test_nothing_is_left_for_later_and_nothing_is_swallowed(path):
    # Put together here, so that this file does not find itself.
    marks = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"))
    text = path.read_text()
    assert re.findall(rf"\b(?:{marks})\b", text) == []
    assert re.findall(r"except(?: (?:Base)?Exception)?:\s*\n?\s*(?:pass|\.\.\.)\b", text) == []


def test_no_file_knows_the_machine_it_was_written_on():
    homes = re.compile(r"(?<![\w.~])/(?:ro" + r"ot|ho" + r"me|Us" + r"ers|wo" + r"rk|mn" + r"t)/[\w.]")
    hosts = re.compile(
        r"\b(?:py" + r"pi\.org|files\.python" + r"hosted\.org|registry\.np" + r"mjs\.org|proxy\.go" + r"lang\.org)"
    )
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{name(path)}: {hit[0]}" for pattern in (homes, hosts) for hit in pattern.finditer(text)]
    assert found == []


def test_ruff_has_nothing_to_say():
    run(sys.executable, "-m", "ruff", "check", ".")


def test_the_types_are_right():
    """mypy --strict (pyproject.toml) on the whole package."""
    run(sys.executable, "-m", "mypy")


def test_cython_lint_has_nothing_to_say():
    files = [str(path) for path in sources("mta_ext", suffixes=(".pyx", ".pxd"))]
    run("cython-lint", *files)


def test_the_ruler_measures_right():
    python = "def f():\n    def g():\n        pass\n    return g\n\n\nasync def h(): ...\n"
    assert sorted(python_functions(python)) == [("f", 4), ("g", 2), ("h", 1)]
    cython = (
        "cdef int x = f(1)\n"
        "cdef class A(B):\n"
        "    cdef int f(self, int a) noexcept nogil:  # why\n"
        "        return a\n"
        "\n"
        "    cdef int declared(self)\n"
        "    def g(self,\n"
        "          int b):\n"
        "        if b:\n"
        "            return 1\n"
        "\n"
        "def last(): pass\n"
        "def really():\n"
        "    pass\n"
    )
    assert [lines for _, lines in cython_functions(cython)] == [2, 4, 2]
