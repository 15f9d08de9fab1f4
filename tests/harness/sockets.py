"""Listening sockets as the attendant hands them over."""

import socket


def listening() -> socket.socket:
    """On a free port of 127.0.0.1, non-blocking."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    sock.setblocking(False)
    return sock
