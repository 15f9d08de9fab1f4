"""What must be true before the first test is imported: the extensions are those of the sources beside them."""

import pytest

from tests.harness.extensions import BuildError, ensure_built


def pytest_configure(config: pytest.Config) -> None:
    capture = config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(text, flush=True)

    try:
        ensure_built(say)
    except BuildError as error:
        raise pytest.UsageError(str(error)) from None
