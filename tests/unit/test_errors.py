"""Errors that an operator sees: one line each, and an exit code that scripts understand (sysexits.h)."""

import os

import pytest

from mta import errors
from mta.errors import ConfigError, MtaError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MtaError)]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 64),
        (errors.DataError, 65),
        (errors.UnavailableError, 69),
        (errors.CannotCreateError, 73),
        (errors.StorageError, 74),
        (errors.TemporaryError, 75),
        (errors.NotAllowedError, 77),
        (errors.ConfigError, 78),
        (errors.MtaError, os.EX_SOFTWARE),
    ],
)
def test_each_kind_of_error_has_the_exit_code_of_the_contract(kind, code):
    assert kind.exit_code == code


def test_no_kind_is_without_a_code_of_its_own():
    codes = [kind.exit_code for kind in KINDS]
    assert len(set(codes)) == len(KINDS)


def test_a_wrong_configuration_tells_one_finding_a_line():
    error = ConfigError(["a.toml: x: wrong", "a.toml: y: wrong"])
    assert str(error).splitlines() == error.findings
