"""Where third-party test data lies. It is read, never copied; a test that wants it is skipped by name without it."""

import os
from pathlib import Path

import pytest

CORPORA = Path(os.environ.get("MTA_CORPORA") or Path(__file__).parents[3] / "shared" / "corpora")


def corpus(name: str) -> Path:
    """The folder of one corpus; skips the calling test when it is absent."""
    folder = CORPORA / name
    if not folder.is_dir():
        pytest.skip(f"corpus {name} is not there")
    return folder
