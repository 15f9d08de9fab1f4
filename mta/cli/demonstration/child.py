"""What all processes that the demonstration starts have in common.

Owns: that they end when the demonstration is killed. Never does: start or stop one.
"""

import ctypes
import signal
from collections.abc import Callable

#: Linux prctl PR_SET_PDEATHSIG: what this process gets when its parent dies.
_PDEATHSIG = 1


def die_with_parent() -> Callable[[], None] | None:
    """A killed demonstration takes its servers with it (Linux); looked up before the fork."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return (lambda: prctl(_PDEATHSIG, signal.SIGTERM)) if prctl is not None else None
