"""Answers for a worker that is down for a while: 421, so that clients go elsewhere at once instead of hanging.

Owns: the readers on the parked sockets. Never does: speak any more SMTP than that, or touch a socket whose worker
lives. The kernel keeps spreading connections over every socket of a SO_REUSEPORT group, also those of a dead worker;
a short absence is bridged by the backlog, a long one by this.
"""

import asyncio
import socket

#: Connections answered in one go before the loop may do something else.
AT_ONCE = 64


class ParkedListeners:
    """Which workers' sockets are parked. Loop thread only."""

    def __init__(self, hostname: str) -> None:
        self._reply = f"421 4.3.2 {hostname} service is being restarted, try again later\r\n".encode()
        self._parked: dict[int, list[socket.socket]] = {}

    def park(self, worker: int, sockets: list[socket.socket]) -> None:
        if worker in self._parked:
            return
        self._parked[worker] = sockets
        for sock in sockets:
            asyncio.get_running_loop().add_reader(sock.fileno(), self._answer, sock)

    def release(self, worker: int) -> None:
        """The worker accepts for itself again. Idempotent."""
        for sock in self._parked.pop(worker, ()):
            asyncio.get_running_loop().remove_reader(sock.fileno())

    def _answer(self, listener: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # nobody waits any more, or the client has gone again
            with connection:
                connection.setblocking(False)
                try:
                    connection.send(self._reply)
                except OSError:
                    pass  # the client left without waiting for its 421
