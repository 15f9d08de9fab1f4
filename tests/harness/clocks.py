"""Clocks that a test sets. Owns: what time it is. Never does: wait."""

from mta.clock import SystemClock


class SetClock:
    """Stands still until it is moved. Both clocks are ``seconds``."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


class ForwardClock(SystemClock):
    """The machine's clock, whose monotonic side the test can set forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead
