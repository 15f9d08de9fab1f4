"""System calls of a server that fail on demand: a library of our own, compiled for the test and preloaded.

Owns: the library and the switches. Never does: start the server; ``environment`` is for whoever does.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("faulty_calls.c")
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="failing system calls need a C compiler")


def compiled(source: Path, directory: Path) -> Path:
    """The library made from a file in C, for LD_PRELOAD. Needs ``COMPILER``."""
    library = directory / f"{source.stem}.so"
    assert COMPILER is not None
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


class Faults:
    """``arm("fdatasync")`` makes that call fail in every process that has ``environment``, ``disarm`` ends it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "faults"
        self._directory.mkdir()
        library = compiled(_SOURCE, directory)
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "FAULTS": str(self._directory)}

    @contextmanager
    def armed(self, call: str) -> Iterator[None]:
        """The call fails inside the block."""
        switch = self._directory / call
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()
