"""What people fetched, held against what was sent: letters and reports.

Owns: what may stand above a letter, what a report must say. Pure. Never does: fetch or draw.
"""

import email
import email.policy
from email.message import EmailMessage

from mta.cli.demonstration.facts import Refused
from mta.cli.demonstration.stage import ARLINGTON, AUTHOR, NOBODY, verify

#: Servers that add a Received field: the author's, the gateway and the reader's.
HOPS = 3
#: Fields of a report's machine-readable part that are shown.
_SHOWN = ("Final-Recipient", "Action", "Status", "Remote-MTA")


def verify_letter(message: bytes, content: bytes, reverse_path: str, recipient: str) -> None:
    """Byte for byte what was sent, behind what the store and the three servers have added. Raises DemoFailed."""
    verify(message.endswith(content), f"the letter to {recipient} arrived changed")
    head = message[: len(message) - len(content)]
    store = f"Return-Path: <{reverse_path}>\r\nDelivered-To: {recipient}\r\n".encode()
    verify(head.startswith(store), f"the letter to {recipient} has no Return-Path and Delivered-To of its envelope")
    fields = received(head[len(store) :])
    verify(len(fields) == HOPS, f"the letter to {recipient} has {len(fields)} Received fields, should have {HOPS}")
    whole = len(store) + sum(map(len, fields)) == len(head)
    verify(whole, f"more than trace fields came before the letter to {recipient}")


def received(head: bytes) -> list[bytes]:
    """The Received fields at the very beginning, each with its folded lines and line ends."""
    fields: list[bytes] = []
    for line in head.splitlines(keepends=True):
        if line.startswith(b"Received:"):
            fields.append(line)
        elif fields and line[:1] in b" \t":
            fields[-1] += line
        else:
            break
    return fields


def report(octets: bytes, reply: str, seconds: float) -> Refused:
    """The DSN must be one, to Ada, with the null reverse-path, and say 5.1.1 about the right recipient."""
    message = email.message_from_bytes(octets, policy=email.policy.default)
    path = message["Return-Path"]
    verify(path == "<>", f"the report has the reverse-path {path}, should have none")
    verify(message["Delivered-To"] == AUTHOR, f"the report went to {message['Delivered-To']}")
    verify(message.get_content_type() == "multipart/report", f"the report is {message.get_content_type()}")
    parts = list(message.iter_parts())
    verify(len(parts) == 3, f"the report has {len(parts)} parts, should have 3")
    people, status, original = parts
    assert isinstance(people, EmailMessage)
    fields = status.as_bytes().decode("ascii").partition("\n\n")[2].splitlines()
    shown = tuple(line for line in fields if line.split(":")[0] in _SHOWN)
    wanted = f"Final-Recipient: rfc822; {NOBODY}"
    for line in (wanted, "Action: failed", "Status: 5.1.1", f"Remote-MTA: dns; {ARLINGTON}"):
        verify(line in shown, f'the report does not say "{line}"')
    verify(b"Is anybody there?" in original.as_bytes(), "the report does not hold the letter's header section")
    lines = tuple(people.get_content().strip().splitlines())
    return Refused(NOBODY, reply, shown, lines, AUTHOR, "5.1.1", seconds)
