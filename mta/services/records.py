"""What reception writes down, by SMTP and by LMTP: an event for each recipient that was taken, and for each refusal.

Owns: what such an event says. Never does: decide, or answer. Loop thread only.
"""

from mta.log import Event, EventLog, PeerAddress, Response
from mta.model.message import Message
from mta.net.tls import TlsFacts

#: Octets of a Message-ID that the event log keeps (RFC 5322 §2.1.1 has no longer line).
MESSAGE_ID_LIMIT = 998


def record_reception(
    events: EventLog, message: Message, text: str, took: float, message_id: bytes, tls: TlsFacts | None
) -> None:
    """``text``: the message's id. ``took``: seconds from MAIL to the commit."""
    peer = PeerAddress(message.client_name, message.client_address)
    arrival = message.arrival / 1000
    delays = (took, 0.0, 0.0, 0.0)
    named = message_id[:MESSAGE_ID_LIMIT].decode("utf-8", "replace")
    special = message.submitter or tls is not None
    for recipient in message.recipients:
        event = Event(
            type="Reception",
            id=text,
            sender=message.reverse_path,
            recipient=recipient.forward_path,
            queue=recipient.domain,
            size=message.size,
            peer_address=peer,
            timestamp=arrival,
            created=arrival,
            session_id=message.session_id,
            reception_protocol=message.protocol,
            delays=delays,
            message_id=named,
        )
        events.write(marked(event, message.submitter, tls) if special else event)


def rejection(
    sender: str, recipient: str, reply: bytes, command: str, session: str, peer: PeerAddress, protocol: str, now: float
) -> Event:
    """``reply``: with its enhanced code, whether the client sees it or not. ``now``: seconds since 1970."""
    code, status, text = reply.decode().rstrip().split(" ", 2)
    return Event(
        type="Rejection",
        sender=sender,
        recipient=recipient,
        timestamp=now,
        created=now,
        session_id=session,
        peer_address=peer,
        response=Response(int(code), status, text, command),
        reception_protocol=protocol,
    )


def record_rejection(events: EventLog, event: Event, submitter: str, tls: TlsFacts | None) -> None:
    events.write(marked(event, submitter, tls))


def marked(event: Event, submitter: str, tls: TlsFacts | None) -> Event:
    """With who had logged in, and what TLS came to."""
    event.submitter = submitter
    if tls is not None:
        event.tls_protocol_version, event.tls_cipher, event.tls_peer = tls.version, tls.cipher, tls.peer
    return event
