"""What we write down: events for machines (a JSON line per thing that happened to a recipient), words for people."""

from mta.log.diagnostics import diagnostics
from mta.log.event import Event, EventType, PeerAddress, Response
from mta.log.eventlog import EventLog

__all__ = ["Event", "EventLog", "EventType", "PeerAddress", "Response", "diagnostics"]
