"""What stories about whole servers share: routes to sinks, and reports (DSN) read as their reader would.

Owns: reading a report with the standard library alone, and its outer form (RFC 3461, 3462, 3464).
"""

from email import message_from_bytes
from email.message import Message
from typing import Any, NamedTuple

from tests.harness.scripted_remote import Received

Row = dict[str, Any]


def route(domain: str, port: int) -> Row:
    """One ``[[route]]`` by SMTP to a sink on 127.0.0.1."""
    return {"domain": domain, "to": f"smtp://127.0.0.1:{port}"}


class Report(NamedTuple):
    """A DSN taken apart. ``recipients``: the fields of each recipient; ``headers``: those of the original message."""

    message: Message
    text: str
    about: Message
    recipients: list[Message]
    headers: Message

    @property
    def statuses(self) -> dict[str, tuple[str, str]]:
        """Final recipient → (action, status)."""
        return {
            block["Final-Recipient"].removeprefix("rfc822; "): (block["Action"], block["Status"])
            for block in self.recipients
        }


def read_report(received: Received, to: str = "alice@athena.example", by: str = "hermes.example") -> Report:
    """Fails on whatever a reader of reports would trip over."""
    assert received.reverse_path == "", "a report has the null reverse-path"
    assert received.recipients == [to]
    message = message_from_bytes(received.content)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["Auto-Submitted"].startswith("auto-")
    assert message["From"]
    assert message["Date"]
    assert message["Message-ID"]
    assert to in message["To"]
    parts = message.get_payload()
    assert isinstance(parts, list)
    types = [part.get_content_type() for part in parts]
    assert types == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    about, *recipients = parts[1].get_payload()
    assert about["Reporting-MTA"] == f"dns; {by}"
    assert about["Arrival-Date"]
    headers = message_from_bytes(parts[2].get_payload(decode=True))
    assert not message.defects
    return Report(message, parts[0].get_payload(), about, recipients, headers)
