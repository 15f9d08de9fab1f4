"""Two thousand connections opened and reset at once leave nothing behind, and hold up nobody for long."""

import socket
import threading

from tests.harness.hostile import ENVELOPE, HELLO, Footprint, Raw, good_client

COUNT = 2000


def test_two_thousand_connections_come_and_go_at_once(server) -> None:
    before = Footprint(server)
    clients = [Raw(server.port, greeted=False) for _ in range(COUNT)]
    for n, client in enumerate(clients):
        client.say((b"", HELLO, HELLO + ENVELOPE, b"\x00\r\n")[n % 4])
    good_client(server)
    for client in clients:
        client.reset()
    good_client(server)
    before.back()


def test_connections_reset_before_they_are_accepted(server) -> None:
    """The kernel has completed the handshake and taken the RST before the worker comes to it."""

    def burst() -> None:
        for _ in range(COUNT // 4):
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()

    threads = [threading.Thread(target=burst) for _ in range(4)]
    for thread in threads:
        thread.start()
    good_client(server)
    for thread in threads:
        thread.join()
