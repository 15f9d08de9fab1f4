"""The only module that reads the time. Everything that decides gets a Clock or a moment passed in.

Owns: the two clocks of the process. ``now_ms`` is wall time for what is written down (ids, due times, events);
``monotonic`` is for durations and deadlines, which must not jump when the wall clock is set.
Never does: timers and sleeps (they belong to the IO shells).
"""

import time
from email.utils import formatdate
from typing import Final, Protocol

#: The last second that is written as a date: a calendar ends with the year 9999, in some time zones a day earlier.
LAST_MOMENT: Final = 253_402_214_400


class Clock(Protocol):
    """What deciders may ask: wall milliseconds since 1970 (UTC) and monotonic seconds."""

    def now_ms(self) -> int: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clocks. Any thread or process."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC; may jump when an operator sets the clock."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        return time.monotonic()


def rfc5322_date(ms: int) -> str:
    """``Tue, 24 Nov 2026 01:38:42 +0000`` for a moment in milliseconds (RFC 5322 §3.3), always in UTC."""
    return formatdate(ms / 1000).replace("-0000", "+0000")
