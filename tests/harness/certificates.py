"""Certificates for tests, made by the openssl command. Never does: assertions."""

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """Files in PEM. Valid for its host and 127.0.0.1, signed by itself."""

    certificate: Path
    private_key: Path

    def client_context(self) -> ssl.SSLContext:
        """A client that trusts this certificate and nothing else."""
        return ssl.create_default_context(cafile=self.certificate)


def make_certificate(
    directory: Path,
    name: str = "server",
    kind: str = "ec -pkeyopt ec_paramgen_curve:P-256",
    host: str = "localhost",
) -> Certificate:
    """Takes about 10 ms. ``kind``: of the key, as openssl's -newkey has it; ``rsa:2048`` takes a tenth of a second.
    ``host``: the name in it."""
    made = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
    command = (
        f"openssl req -x509 -newkey {kind} -nodes -days 2 -subj /CN={host} "
        f"-addext subjectAltName=DNS:{host},IP:127.0.0.1"
    )
    subprocess.run(
        [*command.split(), "-keyout", made.private_key, "-out", made.certificate], check=True, capture_output=True
    )
    return made


def encrypt_key(key: Path, to: Path) -> Path:
    """The same key behind a passphrase."""
    command = ["openssl", "pkey", "-in", key, "-aes128", "-passout", "pass:secret", "-out", to]
    subprocess.run(command, check=True, capture_output=True)
    return to
