"""The event log: ``write`` costs the hot path an encoding and an append; a thread of its own does the rest.

Owns: the buffer of encoded records and the writer thread (one per process, started with the log). A failing disk
never stops mail: records are kept up to a limit, then counted as lost, and the trouble is reported when it begins and
when it ends. Never does: touch the disk on the loop thread, except in ``close``.
"""

import logging
import re
import threading
from collections.abc import Callable

import msgspec

from mta.log.event import Event
from mta.log.output import Output, ShortWrite

#: Seconds that a record waits at most, and octets that wake the writer before that.
FLUSH_INTERVAL = 0.1
FLUSH_OCTETS = 64 * 1024
#: Octets kept while the disk refuses or lags; beyond them records are lost, so that memory stays bounded.
BACKLOG_OCTETS = 32 * 1024 * 1024

#: What ends a line or turns the writing direction in some viewer: C1 controls, separators, bidirectional marks.
_DECEIVING = re.compile("[\u0080-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")

_log = logging.getLogger("mta.log")


class EventLog:
    """Appends events to ``path`` ("-": stdout). ``on_lost(count)`` is called in the writer thread.

    Sharing without a lock: the loop thread only appends to the list and grows ``_given``; the writer thread only
    takes from the front and grows ``_taken``. Each of these is one step under the interpreter's lock.
    """

    def __init__(
        self, path: str, *, rotate_size: int = 0, keep: int = 1, on_lost: Callable[[int], None] | None = None
    ) -> None:
        self.path = path
        self._encode = msgspec.json.Encoder().encode
        self._records: list[bytes] = []
        self._given = 0
        self._taken = 0
        self._output = Output(path, rotate_size, keep)
        self._on_lost = on_lost
        self._refused = 0
        self._counted = 0
        self._lost = 0
        self._in_trouble = False
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Records that could not be written since the start."""
        return self._lost

    def write(self, event: Event) -> None:
        """Loop thread only; about 0.6 µs."""
        record = self._encode(event)
        waiting = self._given - self._taken
        if waiting > FLUSH_OCTETS:
            if waiting > BACKLOG_OCTETS:
                self._refused += 1
                return
            if not self._wake.is_set():
                self._wake.set()
        self._records.append(record)
        self._given += len(record)

    def close(self) -> None:
        """Writes what is waiting and ends the thread; 10 seconds at most when the disk hangs. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(FLUSH_INTERVAL)
            self._wake.clear()
            self._flush()
        self._flush()
        self._output.close()
        if self._records:
            self._lose(len(self._records))
            _log.error("%s: %d event records were lost at the end", self.path, self.lost)

    def _flush(self) -> None:
        count = len(self._records)
        if not count:
            return
        lines = [record if record.isascii() else visible(record) for record in self._records[:count]]
        try:
            self._output.write(lines)
        except ShortWrite as error:
            self._drop(error.written)
            self._trouble(error)
        else:
            self._drop(count)
            self._recovered()

    def _drop(self, count: int) -> None:
        """The first records are on file now."""
        self._taken += sum(map(len, self._records[:count]))
        del self._records[:count]

    def _trouble(self, error: OSError) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            _log.error("%s: events cannot be written: %s; mail goes on", self.path, error.strerror or error)
        self._count_refused()

    def _recovered(self) -> None:
        self._count_refused()
        if self._in_trouble:
            self._in_trouble = False
            _log.warning("%s: events are written again; %d records were lost", self.path, self.lost)

    def _count_refused(self) -> None:
        """The loop thread grows ``_refused`` and this thread ``_counted``: no step of either gets lost."""
        count = self._refused - self._counted
        self._counted += count
        self._lose(count)

    def _lose(self, count: int) -> None:
        self._lost += count
        if count and self._on_lost is not None:
            self._on_lost(count)


def visible(record: bytes) -> bytes:
    """The JSON text with deceiving characters written as escapes. Only a remote's words ever need it."""
    return _DECEIVING.sub(lambda found: f"\\u{ord(found[0]):04x}", record.decode()).encode()
