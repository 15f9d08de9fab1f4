"""Diagnostics on stderr: one line each, with the journal's priorities under systemd."""

import io
import logging
import re

import pytest

from mta.log import diagnostics


@pytest.fixture(autouse=True)
def untouched_logging():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def said(environ, level="info", **options):
    stream = io.StringIO()
    diagnostics(level, environ=environ, stream=stream, **options)
    logging.getLogger("mta.x").debug("small")
    logging.getLogger("mta.x").error("bad\nthing")
    return stream.getvalue()


def test_under_systemd_every_line_has_its_priority():
    assert said({"JOURNAL_STREAM": "8:1"}, process="worker-0") == "<3>worker-0: bad\n<3>worker-0: thing\n"


def test_elsewhere_lines_have_time_and_level():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d error bad\nthing\n", said({}))


def test_a_second_set_up_replaces_the_first():
    first = io.StringIO()
    diagnostics("debug", environ={}, stream=first)
    assert "small" in said({}, level="debug")
    assert first.getvalue() == ""


def test_an_exception_is_told_with_its_trace():
    stream = io.StringIO()
    diagnostics("info", environ={"JOURNAL_STREAM": "8:1"}, stream=stream)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("mta.x").exception("bug")
    lines = stream.getvalue().splitlines()
    assert all(line.startswith("<3>") for line in lines)
    assert lines[-1] == "<3>ValueError: why"
