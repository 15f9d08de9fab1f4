"""Rows as text for people: the listing of ``mailq``, the table of ``qshape``, services, waits.

Owns: columns and wording. Never does: fetch or print.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

import click
import msgspec

from mta.clock import LAST_MOMENT

Row = dict[str, Any]

_MARKS = {"active": "*", "hold": "!"}
_STATE_COLOURS = {"running": "green", "stopped": "yellow", "waiting": "red", "quarantined": "red", "failing": "red"}
AGES = ("5", "10", "20", "40", "80", "160", "320", "640", "1280", "1280+")


def json_line(row: Row) -> str:
    return msgspec.json.encode(row).decode()


def colour(text: str, name: str | None) -> str:
    """Coloured when a person looks and NO_COLOR is not set."""
    if name is None or os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return click.style(text, fg=name)


def mailq(rows: Iterable[Row]) -> Iterator[str]:
    """Lines as Postfix's mailq prints them; ids are marked ``*`` active or ``!`` on hold."""
    messages = octets = 0
    for row in rows:
        if not messages:
            yield "-Queue ID-------  --Size-- ----Arrival Time---- -Sender/Recipient-------"
        messages += 1
        octets += row["message_size"]
        mark = _MARKS.get(row["queue_name"], " ")
        arrival = local_time(row["arrival_time"], "%a %b %d %H:%M:%S")
        yield f"{row['queue_id'] + mark:<16} {row['message_size']:>8} {arrival:<20} {row['sender']}"
        yield from _recipients(row["recipients"])
        yield ""
    if not messages:
        yield "Mail queue is empty"
    else:
        yield f"-- {-(-octets // 1024)} Kbytes in {messages} Request{'s' if messages != 1 else ''}."


def _recipients(recipients: list[Row]) -> Iterator[str]:
    told = ""
    for recipient in recipients:
        reason = recipient.get("delay_reason", "")
        if reason and reason != told:
            yield f"{f'({reason})':>72}"
        told = reason
        yield f"{'':>46} {recipient['address']}"


def qshape(rows: list[Row]) -> Iterator[str]:
    """Recipients per domain and minutes of age, with their total first."""
    width = max([30, *(len(row["domain"]) for row in rows)])
    columns = ("total", *AGES)
    total = {name: sum(row.get(name, 0) for row in rows) for name in columns}
    yield " " * width + f" {'T':>7}" + "".join(f"{name:>6}" for name in AGES)
    for row in [{"domain": "TOTAL"} | total, *rows]:
        yield f"{row['domain']:>{width}} {row['total']:>7}" + "".join(f"{row.get(name, 0):>6}" for name in AGES)


def mailbox(rows: Iterable[Row]) -> Iterator[str]:
    """One line a message, as wide as it needs to be."""
    count = octets = 0
    for row in rows:
        if not count:
            yield f"{'N':>6} {'UNIQUE-ID':<13} {'SIZE':>9} {'ARRIVED':<19} {'FROM':<30} SUBJECT"
        count += 1
        octets += row["size"]
        arrived = local_time(row["arrived"], "%Y-%m-%d %H:%M:%S")
        yield (
            f"{row['number']:>6} {row['unique_id']} {row['size']:>9} {arrived} {row['from'][:30]:<30} {row['subject']}"
        )
    yield f"{count} message{'s' if count != 1 else ''}, {octets} octets"


def usage(rows: Iterable[Row]) -> Iterator[str]:
    """One line a mailbox; a quota where there is one."""
    rows = iter(rows)
    first = list(islice(rows, 1))  # before the heading: there may be an error instead
    yield f"{'MAILBOX':<40} {'MESSAGES':>9} {'OCTETS':>14}  QUOTA"
    for row in chain(first, rows):
        limits = [f"{row['quota_messages']} messages"] if row["quota_messages"] else []
        limits += [f"{row['quota_octets']} octets"] if row["quota_octets"] else []
        name = row["address"] or f"{row['mailbox']} (nobody's)"
        yield f"{name:<40} {row['messages']:>9} {row['octets']:>14}  {', '.join(limits) or '-'}"


def services(rows: list[Row], now: float) -> Iterator[str]:
    """A line a service; one that does not run as it should has a second line: why, and what comes next. ``now``:
    seconds since 1970."""
    yield f"{'NAME':<12} {'STATE':<11} {'PID':>7}  {'SINCE':<30} {'RESTARTS':>8}  DESCRIPTION"
    for row in rows:
        state = colour(f"{row['state']:<11}", _STATE_COLOURS.get(row["state"]))
        pid = row["pid"] if row["pid"] is not None else "-"
        since = f"{local_time(row['since'], '%Y-%m-%d %H:%M:%S')} ({span(now - row['since'])})"
        yield f"{row['name']:<12} {state} {pid:>7}  {since:<30} {row['restarts']:>8}  {row['description']}"
        if row.get("reason"):
            yield f"{'':<12} {row['reason']}{_next_start(row)}"


def _next_start(row: Row) -> str:
    """When a service that is down is started again, and how an operator does it."""
    by_hand = f"`mta status start {row['name']}`"
    if row["state"] == "stopped":
        return f"; {by_hand} starts it"
    if not row.get("retry_at"):
        return ""
    at = local_time(row["retry_at"], "%H:%M:%S")
    return f"; it is tried again at {at}, or now by {by_hand}"


def span(seconds: float) -> str:
    """How long, in the largest unit of which there are two, or seconds."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def why(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        if row["waiting_for"] == "nothing":
            yield f"{row['recipient']}: {row['state']}"
            continue
        until = f" until {local_time(row['until'], '%Y-%m-%d %H:%M:%S')}" if row["until"] is not None else ""
        detail = f" ({row['detail']})" if row["detail"] else ""
        yield f"{row['recipient']}: waits for {row['waiting_for']}{until}{detail}; attempts: {row['attempts']}"
        if row["last_reply"]:
            yield f"    {row['last_reply']}"


def record(row: Row) -> Iterator[str]:
    """``mta queue show``: one fact a line, then one paragraph per recipient."""
    for name, value in row.items():
        if name != "recipients" and value not in (None, ""):
            yield f"{name:<16} {_shown(name, value)}"
    for recipient in row["recipients"]:
        yield f"\n{'recipient':<16} {recipient['address']}"
        for name, value in recipient.items():
            if name != "address" and value not in (None, ""):
                yield f"  {name:<14} {_shown(name, value)}"


def _shown(name: str, value: Any) -> str:
    if name in ("arrival_time", "due", "last_attempt"):
        return local_time(value, "%Y-%m-%d %H:%M:%S")
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def local_time(seconds: float, form: str) -> str:
    return datetime.fromtimestamp(min(seconds, LAST_MOMENT), UTC).astimezone().strftime(form)
