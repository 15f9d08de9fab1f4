"""Who notices that the event loop hangs, and shows where, before the attendant kills the process.

Owns: one thread, and the line and the stack that it writes to stderr. Never does: interrupt the loop or end the
process; the attendant does that when the heartbeats have been missing for long enough (``attendant/restart.py``).

Two cases. The loop's thread waits or computes in Python: this thread sees no beat and writes the loop's stack. The
loop's thread is stuck in C code and keeps the interpreter to itself: then this thread cannot run either, and
``faulthandler``, whose own thread needs no interpreter, writes all stacks. It is wound up again at every look.
"""

import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress

from mta.clock import Clock

#: The descriptor: ``sys.stderr`` may be anything, or nothing.
STDERR = 2
#: Seconds without a beat (one comes every second) before the stack is shown; the attendant kills after 10.
HUNG_AFTER = 4.0
#: Seconds without a look of this thread before faulthandler speaks.
DEAF_AFTER = 6.0
#: Seconds between two looks. One that comes this late itself proves nothing: the whole process was asleep.
LOOK = 1.0
LATE_LOOK = 2.0


class LoopWatchdog:
    """``start`` is called on the loop's thread; ``beat`` once a second there. ``say`` writes lines to stderr, from the
    watchdog's thread. At most one report per hang, and one line when it is over."""

    def __init__(self, process: str, clock: Clock, say: Callable[[str], None], hung_after: float = HUNG_AFTER) -> None:
        self._process = process
        self._clock = clock
        self._say = say
        self._hung_after = hung_after
        self._watched = 0
        self._last_beat = 0.0
        self._told = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._watched = threading.get_ident()
        self._last_beat = self._clock.monotonic()
        self._thread.start()

    def beat(self) -> None:
        """The loop runs."""
        self._last_beat = self._clock.monotonic()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        looked = self._clock.monotonic()
        try:
            while not self._ended.wait(LOOK):
                faulthandler.dump_traceback_later(DEAF_AFTER, file=STDERR)
                now = self._clock.monotonic()
                if now - looked < LATE_LOOK:
                    self.look(now)
                looked = now
        finally:
            faulthandler.cancel_dump_traceback_later()

    def look(self, now: float) -> None:
        """One look: tells when a hang begins, and when it is over."""
        silent = now - self._last_beat
        if not self._told and silent > self._hung_after:
            self._told = self._last_beat
            self._say(
                f"mta: {self._process}: the event loop has not run for {silent:.1f} s; it is here:\n{self._stack()}"
            )
        elif self._told and silent <= self._hung_after:
            self._say(f"mta: {self._process}: the event loop runs again, after {self._last_beat - self._told:.1f} s\n")
            self._told = 0.0

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._watched)
        return "".join(traceback.format_stack(frame)) if frame is not None else "  its thread has ended\n"


def to_stderr(text: str) -> None:
    """One write, so that lines of other processes do not come between."""
    with suppress(OSError):  # nobody reads it any more
        os.write(STDERR, text.encode("utf-8", "backslashreplace"))
