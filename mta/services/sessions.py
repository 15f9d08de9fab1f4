"""What the SMTP and LMTP sessions of a service have in common: limits from the configuration, and last words.

Owns: the limits as one value, and making a session with them. Never does: decide who gets one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mta.config import Config
from mta.net.server import ServerConnection
from mta_ext.smtp_server import SmtpServerHandler, SmtpServerSession

DRAINING = b"421 4.3.2 shutting down, try again later\r\n"
FAILING = b"421 4.3.2 storage trouble, try again later\r\n"

#: A new connection and its peer → its session, or the reply that turns it away.
Opened = Callable[[ServerConnection, tuple[str, int]], SmtpServerSession | bytes]


class SessionSettings(NamedTuple):
    """From the configuration; octets and counts."""

    hostname: str
    message_size: int
    recipients: int
    command_line: int
    content_line: int
    header_section: int
    errors: int
    hops: int
    connections: int
    connections_per_client: int
    in_step: bool = True  # who does not wait where RFC 2920 has it wait is sent away

    def session(self, handler: SmtpServerHandler, *, in_step: bool = True, **options: Any) -> SmtpServerSession:
        """One with these limits. ``options``: what else ``SmtpServerSession`` takes."""
        return SmtpServerSession(
            handler,
            self.hostname,
            message_size=self.message_size,
            recipients=self.recipients,
            command_line=self.command_line,
            content_line=self.content_line,
            header_section=self.header_section,
            errors=self.errors,
            hops=self.hops,
            in_step=self.in_step and in_step,
            **options,
        )


def settings_of(config: Config) -> SessionSettings:
    limits = config.limits
    return SessionSettings(
        config.hostname,
        limits.message_size,
        limits.recipients,
        limits.command_line,
        limits.content_line,
        limits.header_section,
        limits.errors,
        limits.hops,
        limits.connections,
        limits.connections_per_client,
    )
