"""The service manager's notification socket (sd_notify): READY, RELOADING, STOPPING, WATCHDOG.

Owns: one datagram per state. Never does: fail the server; without NOTIFY_SOCKET every call does nothing.
"""

import os
import socket
from collections.abc import Mapping

from mta.clock import Clock


class Notifier:
    """Talks to $NOTIFY_SOCKET of ``environ``; an address that begins with ``@`` is an abstract one."""

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self.watchdog = _watchdog_seconds(environ)

    def ready(self) -> None:
        self._send("READY=1")

    def reloading(self) -> None:
        """Type=notify-reload wants the monotonic moment with it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto(state.encode(), address)
            except OSError:
                pass  # a service manager that went away must not take the mail with it


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    """Half of $WATCHDOG_USEC when it is meant for this process: how often WATCHDOG=1 is due. 0: never."""
    text = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(text) / 2_000_000 if meant and text.isdecimal() else 0.0
