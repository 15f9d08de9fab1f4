"""Answers for a service that is down for a while, so that clients go elsewhere at once instead of hanging.

Owns: the readers on the parked sockets. Never does: speak any more of a protocol than one refusal, or touch a socket
whose service lives. The kernel keeps spreading connections over every socket of a SO_REUSEPORT group, also those of a
dead worker; a short absence is bridged by the backlog, a long one by this.
"""

import asyncio
import socket
from collections.abc import Sequence

#: Connections answered in one go before the loop may do something else.
AT_ONCE = 64


class ParkedListeners:
    """Which services' sockets are parked. Loop thread only."""

    def __init__(self, hostname: str) -> None:
        sorry = f"{hostname} service is being restarted, try again later\r\n"
        self._replies = {
            "smtp": f"421 4.3.2 {sorry}".encode(),
            "submission": f"421 4.3.2 {sorry}".encode(),
            "lmtp": f"421 4.3.2 {sorry}".encode(),
            "pop3": f"-ERR [SYS/TEMP] {sorry}".encode(),
        }
        self._parked: dict[str, list[socket.socket]] = {}

    def park(self, service: str, sockets: Sequence[tuple[str, socket.socket]]) -> None:
        """``sockets``: (protocol, listening socket). A protocol without a word for it has its clients cut off."""
        if service in self._parked:
            return
        self._parked[service] = [sock for _, sock in sockets]
        for protocol, sock in sockets:
            reply = self._replies.get(protocol, b"")
            asyncio.get_running_loop().add_reader(sock.fileno(), self._answer, sock, reply)

    def release(self, service: str) -> None:
        """The service accepts for itself again. Idempotent."""
        for sock in self._parked.pop(service, ()):
            asyncio.get_running_loop().remove_reader(sock.fileno())

    def _answer(self, listener: socket.socket, reply: bytes) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # nobody waits any more, or the client has gone again
            with connection:
                connection.setblocking(False)
                try:
                    connection.send(reply)
                except OSError:
                    pass  # the client left without waiting for its answer
