"""When a service that died comes back, and when one that lives is taken for dead. Pure: the moment is passed in.

Owns: the numbers and the counting. Never does: start or kill anything. Moments are monotonic seconds.

A first death is answered at once, so that one crash costs nothing but itself; from the second death in a row the
delay doubles, so that a service that cannot start does not eat the machine. One that could start and was killed (by an
operator, by the system short of memory, by a bug in what it serves) never stays away for long, however often that
happens: its clients wait in the backlog meanwhile.

A service that has died many times and never became ready is in quarantine: something has to be done about it, which
starting it again is not. It is still tried now and then, since what was wrong (a disk that was full, a file that was
locked) may have gone without anybody telling us; a mail server that nobody looks after must not stay down for ever.
"""

#: A life of this many seconds wipes the record of deaths.
GOOD_LIFE = 10.0
#: Delay after the second death in a row; doubles with each further one.
FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
#: The longest delay for a service that had become ready.
LONGEST_AFTER_READY = 0.8
#: Seconds without a heartbeat (they come every second) after which a ready service is stuck and gets SIGKILL.
STUCK_AFTER = 10.0
#: Seconds from start to ``ready`` that a service may take: opening a large environment after a power cut.
START_LIMIT = 60.0
#: Deaths without becoming ready once, within so many seconds, that lead to quarantine.
QUARANTINE_DEATHS = 8
QUARANTINE_WINDOW = 300.0
#: Seconds between two starts in quarantine.
QUARANTINE_RETRY = 600.0


class RestartPolicy:
    """The record of one service. Loop thread only."""

    def __init__(self) -> None:
        self._started = 0.0
        self._heard = 0.0
        self._ready = False
        self._deaths = 0
        self._failed_starts: list[float] = []
        self._quarantined = False

    @property
    def deaths(self) -> int:
        """Deaths in a row, the last one included."""
        return self._deaths

    @property
    def quarantined(self) -> bool:
        """It has failed to start too often. Only becoming ready, or ``forgive``, ends that."""
        return self._quarantined

    def started(self, now: float) -> None:
        self._started = self._heard = now
        self._ready = False

    def ready(self, now: float) -> None:
        self._heard = now
        self._ready = True
        self._failed_starts.clear()
        self._quarantined = False

    def heard(self, now: float) -> None:
        """A heartbeat came, or the attendant itself slept and knows nothing about the time since."""
        self._heard = now

    def stuck(self, now: float) -> bool:
        return now - self._heard > (STUCK_AFTER if self._ready else START_LIMIT)

    def died(self, now: float) -> float:
        """Seconds to wait before the next start."""
        if not self._ready:
            self._failed_starts = [at for at in self._failed_starts if now - at < QUARANTINE_WINDOW] + [now]
            self._quarantined |= len(self._failed_starts) >= QUARANTINE_DEATHS
        if now - self._started >= GOOD_LIFE:
            self._deaths = 0
        self._deaths += 1
        if self._quarantined:
            return QUARANTINE_RETRY
        if self._deaths == 1:
            return 0.0
        longest = LONGEST_AFTER_READY if self._ready else LONGEST_DELAY
        return float(min(longest, FIRST_DELAY * 2.0 ** min(self._deaths - 2, 30)))

    def forgive(self) -> None:
        """An operator started it by hand, or it ended because it was told to."""
        self._deaths = 0
        self._failed_starts.clear()
        self._quarantined = False
