"""A Hermes where people log in and send: submission three ways, relaying with TLS three ways, mailboxes behind it.

Owns: its listeners and their ports by name. Never does: assertions.
"""

import smtplib
import ssl
from pathlib import Path
from typing import Any

from tests.harness.mail_house import DOMAIN, MailHouse
from tests.harness.mta_server import PATIENCE


class SubmissionHouse(MailHouse):
    """``starttls``, ``implicit``, ``clear`` are submission; ``relay``, ``relay_required``, ``relay_implicit`` are smtp
    with TLS offered, required, from the first octet. ``keys``: further ones of every listener."""

    NAMES = ("starttls", "implicit", "clear", "relay", "relay_required", "relay_implicit")

    def __init__(self, directory: Path, keys: dict[str, Any] | None = None, **settings: Any) -> None:
        tls = {"certificate": str(directory / "cert.pem"), "private_key": str(directory / "key.pem")}
        more = keys or {}
        own = {
            "listener": [
                {"address": "127.0.0.1:0", **listener, **more}
                for listener in (
                    {"protocol": "submission", "tls": "starttls", **tls},
                    {"protocol": "submission", "tls": "implicit", **tls},
                    {"protocol": "submission", "dangerously_allow_plaintext_auth": True},
                    {"tls": "starttls", **tls},
                    {"tls": "required", **tls},
                    {"tls": "implicit", **tls},
                )
            ]
            + [{"protocol": "pop3", "address": "127.0.0.1:0", "dangerously_allow_plaintext_auth": True, **more}],
            "local": {"domains": [DOMAIN]},
        }
        super().__init__(directory, **(own | settings))

    def port_of(self, name: str) -> int:
        at = self.NAMES.index(name)
        ports = self.ports("submission") + self.ports("smtp")
        return ports[at]

    def client(self, name: str, context: ssl.SSLContext | None = None) -> smtplib.SMTP:
        """A session of the standard library that has said EHLO, under TLS but for ``clear``."""
        context = context or self.certificate.context()
        port = self.port_of(name)
        if name.endswith("implicit"):
            session: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", port, "client.example", context=context)
        else:
            session = smtplib.SMTP("127.0.0.1", port, "client.example", PATIENCE)
            if name != "clear":
                session.starttls(context=context)
        session.ehlo()
        return session
