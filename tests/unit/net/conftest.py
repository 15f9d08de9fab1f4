"""A reception in this process for the tests of its shell."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.in_process import InProcess


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[InProcess]:
    made = InProcess(tmp_path)
    yield made
    await made.close()
