"""Diagnostics: what an operator reads on stderr or in the journal. Not events, and nothing per message.

Owns: the set-up of the standard library's logging for this process. Never does: log anything itself.
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

#: syslog(3) priorities, as systemd takes them at the head of a line.
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Formatter(logging.Formatter):
    def __init__(self, journal: bool, process: str) -> None:
        super().__init__()
        self._journal = journal
        self._process = f"{process}: " if process else ""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if self._journal:
            prefix = f"<{_PRIORITY.get(record.levelno, 6)}>"
            return "\n".join(f"{prefix}{self._process}{line}" for line in text.split("\n"))
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        return f"{stamp} {record.levelname.lower()} {self._process}{text}"


def diagnostics(
    level: str, *, process: str = "", environ: Mapping[str, str] | None = None, stream: TextIO | None = None
) -> None:
    """Sends logging to stderr from ``level`` (debug, info, warning, error) on, replacing an earlier set-up.

    ``process`` names us on every line. Under systemd (JOURNAL_STREAM is set) lines carry their priority instead of
    time and level, which the journal keeps by itself.
    """
    environ = os.environ if environ is None else environ
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Formatter("JOURNAL_STREAM" in environ, process))
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, _Formatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
