"""HAProxy in front of a server: TCP through, a PROXY header put before it.

Owns: its configuration and process. Never does: TLS; what it forwards is the client's.
"""

import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.process import free_port
from tests.harness.mta_server import wait_until
from tests.harness.sinks import peer_program


class HaProxy:
    """``backends``: name → (port behind it, "send-proxy" or "send-proxy-v2"). ``ports``: name → where it listens."""

    def __init__(self, directory: Path, backends: Mapping[str, tuple[int, str]]) -> None:
        program = peer_program("haproxy", "haproxy")
        self.ports = {name: free_port() for name in backends}
        lines = ["defaults", "mode tcp", "timeout connect 5s", "timeout client 30s", "timeout server 30s"]
        for name, (port, option) in backends.items():
            lines += [
                f"listen {name}",
                f"bind 127.0.0.1:{self.ports[name]}",
                f"server hermes 127.0.0.1:{port} {option}",
            ]
        file = directory / "haproxy.cfg"
        file.write_text("\n".join(lines) + "\n")
        self._process = subprocess.Popen([program, "-db", "-f", str(file)], stderr=subprocess.DEVNULL)
        wait_until(lambda: all(map(_answers, self.ports.values())), "haproxy listens")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
