"""The build before the tests: what counts as stale, and what is said when it fails."""

import os

import pytest

from tests.harness.extensions import BuildError, built_name, ensure_built, stale

SETUP = """
import sys
from pathlib import Path
from tests_suffix import SUFFIX
for source in Path("mta_ext").glob("*.pyx"):
    source.with_name(source.stem + SUFFIX).write_text(source.read_text())
"""


@pytest.fixture
def tree(tmp_path):
    """Two modules that are built, everything of the same second, and a setup.py that builds by copying."""
    (tmp_path / "mta_ext").mkdir()
    for name in ("one", "two"):
        source = tmp_path / "mta_ext" / f"{name}.pyx"
        source.write_text(name)
        built_name(source).write_text("built")
    (tmp_path / "mta_ext/one.pxd").write_text("")
    (tmp_path / "setup.py").write_text(SETUP)
    (tmp_path / "tests_suffix.py").write_text(f"SUFFIX = {str(built_name(source))[len(str(source)) - 4 :]!r}\n")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1000, 1000))
    return tmp_path


def touch(path):
    os.utime(path, (2000, 2000))


def test_what_is_as_new_as_its_source_is_left_alone(tree):
    assert stale(tree) == []
    ensure_built(pytest.fail, tree)


def test_a_module_is_stale_when_its_source_is_newer(tree):
    touch(tree / "mta_ext/two.pyx")
    assert stale(tree) == ["two"]


def test_a_missing_module_is_stale(tree):
    built_name(tree / "mta_ext/one.pyx").unlink()
    assert stale(tree) == ["one"]


@pytest.mark.parametrize("shared", ["mta_ext/one.pxd", "setup.py"])
def test_what_modules_share_makes_all_of_them_stale(tree, shared):
    touch(tree / shared)
    assert stale(tree) == ["one", "two"]


def test_the_build_is_said_and_made_once(tree):
    touch(tree / "mta_ext/one.pyx")
    said = []
    ensure_built(said.append, tree)
    ensure_built(said.append, tree)
    assert len(said) == 1
    assert "one" in said[0]
    assert built_name(tree / "mta_ext/one.pyx").read_text() == "one"
    assert stale(tree) == []


def test_a_failed_build_shows_what_the_compiler_said(tree):
    touch(tree / "mta_ext/one.pyx")
    (tree / "setup.py").write_text("raise SystemExit('one.pyx:7: no such thing')")
    with pytest.raises(BuildError, match="no such thing"):
        ensure_built(lambda text: None, tree)
    assert stale(tree) != []
