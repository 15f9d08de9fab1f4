"""LDAP messages between octets and values (RFC 4511), by asn1tools from the ASN.1 below.

Owns: what of the protocol we understand, the limits of a message's form, and the replies' octets. Never does: decide.
A message is framed by its first octets and walked once before the library sees it, so that no length, depth or number
of elements that a client makes up costs more than its octets. What is refused without being read (modify, add …) has
no components here: with EXTENSIBILITY IMPLIED the decoder passes over what it does not know, as RFC 4511 §4 asks.
"""

from typing import Any, Final, NamedTuple

import asn1tools

#: Octets of one request, its head included. The longest filters of clients take 1 KiB.
MESSAGE_SIZE: Final = 65_536
#: Levels of elements within elements, and elements, in one request.
NESTING: Final = 32
ELEMENTS: Final = 2_048
#: RFC 4511 §4.1.1: ids are up to this; 0 is for what nobody asked for.
MAX_INT: Final = 2**31 - 1

MODULE: Final = """
Ldap DEFINITIONS IMPLICIT TAGS EXTENSIBILITY IMPLIED ::= BEGIN

Message ::= SEQUENCE {
    number INTEGER,
    operation CHOICE {
        bindRequest [APPLICATION 0] SEQUENCE {
            version INTEGER,
            name OCTET STRING,
            authentication CHOICE { simple [0] OCTET STRING, sasl [3] SEQUENCE { } } },
        bindResponse [APPLICATION 1] Result,
        unbindRequest [APPLICATION 2] NULL,
        searchRequest [APPLICATION 3] SEQUENCE {
            base OCTET STRING,
            scope Enumerated,
            aliases Enumerated,
            sizeLimit INTEGER,
            timeLimit INTEGER,
            typesOnly BOOLEAN,
            filter Filter,
            attributes SEQUENCE OF OCTET STRING },
        searchEntry [APPLICATION 4] SEQUENCE {
            name OCTET STRING,
            attributes SEQUENCE OF SEQUENCE { type OCTET STRING, values SET OF OCTET STRING } },
        searchDone [APPLICATION 5] Result,
        modifyRequest [APPLICATION 6] SEQUENCE { },
        modifyResponse [APPLICATION 7] Result,
        addRequest [APPLICATION 8] SEQUENCE { },
        addResponse [APPLICATION 9] Result,
        delRequest [APPLICATION 10] OCTET STRING,
        delResponse [APPLICATION 11] Result,
        modDNRequest [APPLICATION 12] SEQUENCE { },
        modDNResponse [APPLICATION 13] Result,
        compareRequest [APPLICATION 14] SEQUENCE { entry OCTET STRING, assertion Assertion },
        compareResponse [APPLICATION 15] Result,
        abandonRequest [APPLICATION 16] INTEGER,
        extendedRequest [APPLICATION 23] SEQUENCE { name [0] OCTET STRING, value [1] OCTET STRING OPTIONAL },
        extendedResponse [APPLICATION 24] SEQUENCE {
            code Enumerated, matched OCTET STRING, text OCTET STRING,
            name [10] OCTET STRING OPTIONAL, value [11] OCTET STRING OPTIONAL } },
    controls [0] SEQUENCE OF Control OPTIONAL }

Result ::= SEQUENCE { code Enumerated, matched OCTET STRING, text OCTET STRING }

Control ::= SEQUENCE {
    type OCTET STRING, critical BOOLEAN DEFAULT FALSE, value OCTET STRING OPTIONAL }

Filter ::= CHOICE {
    and [0] SET OF Filter,
    or [1] SET OF Filter,
    not [2] Filter,
    equal [3] Assertion,
    substrings [4] SEQUENCE {
        type OCTET STRING,
        pieces SEQUENCE OF CHOICE {
            initial [0] OCTET STRING, any [1] OCTET STRING, final [2] OCTET STRING } },
    atLeast [5] Assertion,
    atMost [6] Assertion,
    present [7] OCTET STRING,
    approx [8] Assertion,
    extensible [9] SEQUENCE {
        rule [1] OCTET STRING OPTIONAL,
        type [2] OCTET STRING OPTIONAL,
        value [3] OCTET STRING,
        names [4] BOOLEAN DEFAULT FALSE } }

Assertion ::= SEQUENCE { type OCTET STRING, value OCTET STRING }

-- An ENUMERATED whose unknown values are values too: they get an answer, not a closed connection.
Enumerated ::= [UNIVERSAL 10] INTEGER

Paging ::= SEQUENCE { size INTEGER, cookie OCTET STRING }

END
"""

CODEC: Final = asn1tools.compile_string(MODULE, "ber")

#: A filter as it came: (kind, what belongs to it); kind is None for one that we do not know.
RawFilter = tuple[str | None, Any]

# Result codes, RFC 4511 appendix A.
SUCCESS: Final = 0
OPERATIONS_ERROR: Final = 1
PROTOCOL_ERROR: Final = 2
TIME_LIMIT_EXCEEDED: Final = 3
SIZE_LIMIT_EXCEEDED: Final = 4
COMPARE_FALSE: Final = 5
COMPARE_TRUE: Final = 6
AUTH_METHOD_NOT_SUPPORTED: Final = 7
ADMIN_LIMIT_EXCEEDED: Final = 11
UNAVAILABLE_CRITICAL_EXTENSION: Final = 12
CONFIDENTIALITY_REQUIRED: Final = 13
NO_SUCH_ATTRIBUTE: Final = 16
UNDEFINED_ATTRIBUTE_TYPE: Final = 17
NO_SUCH_OBJECT: Final = 32
INVALID_DN_SYNTAX: Final = 34
INAPPROPRIATE_AUTHENTICATION: Final = 48
INVALID_CREDENTIALS: Final = 49
INSUFFICIENT_ACCESS_RIGHTS: Final = 50
BUSY: Final = 51
UNAVAILABLE: Final = 52
UNWILLING_TO_PERFORM: Final = 53

PAGED_RESULTS: Final = "1.2.840.113556.1.4.319"
MANAGE_DSA_IT: Final = "2.16.840.1.113730.3.4.2"
START_TLS: Final = "1.3.6.1.4.1.1466.20037"
WHO_AM_I: Final = "1.3.6.1.4.1.4203.1.11.3"
_NOTICE_OF_DISCONNECTION: Final = b"1.3.6.1.4.1.1466.20036"

#: Request → the reply that says how it ended. Unbind and abandon have none.
REPLIES: Final = {
    "bindRequest": "bindResponse",
    "searchRequest": "searchDone",
    "modifyRequest": "modifyResponse",
    "addRequest": "addResponse",
    "delRequest": "delResponse",
    "modDNRequest": "modDNResponse",
    "compareRequest": "compareResponse",
    "extendedRequest": "extendedResponse",
}


class BadMessage(Exception):
    """What came is not an LDAP request that we could answer. The connection ends with a notice of disconnection."""


class Control(NamedTuple):
    """``value`` is None when there is none."""

    type: str
    critical: bool
    value: bytes | None


class Message(NamedTuple):
    """A request. ``kind`` is the name of its choice in the module above, ``body`` what asn1tools made of it."""

    number: int
    kind: str
    body: Any
    controls: tuple[Control, ...]


def frame_length(octets: bytes | bytearray, at: int = 0) -> int:
    """Octets of the message that begins at ``at``, head included; 0: too little has come to tell. Raises BadMessage
    for what cannot begin a message, and for one that is too large: before anything of it is kept."""
    seen = len(octets) - at
    if seen and octets[at] != 0x30:
        raise BadMessage("no LDAP message")
    if seen < 2:
        return 0
    length = octets[at + 1]
    if length < 0x80:
        return 2 + length
    head = 2 + (length & 0x7F)
    if not 2 < head <= 6:
        raise BadMessage("a length that is not definite, or too long")
    if seen < head:
        return 0
    whole = head + int.from_bytes(octets[at + 2 : at + head], "big")
    if whole > MESSAGE_SIZE:
        raise BadMessage(f"a request of more than {MESSAGE_SIZE} octets")
    return whole


def check_form(octets: bytes) -> None:
    """Raises BadMessage unless every element lies within the one around it, has a definite length and a tag of one
    octet (RFC 4511 §5.1), and there are not too many of them, nor too deep. Iterative, once over the elements."""
    ends = [len(octets)]
    at = elements = 0
    while True:
        while at == ends[-1]:
            ends.pop()
            if not ends:
                return
        end = ends[-1]
        elements += 1
        if elements > ELEMENTS or len(ends) > NESTING:
            raise BadMessage("a request of too many parts")
        if at + 2 > end:
            raise BadMessage("an element is cut off")
        tag, length = octets[at], octets[at + 1]
        at += 2
        if length >= 0x80:
            size = length & 0x7F
            if not 0 < size <= 4 or at + size > end:
                raise BadMessage("a length that is not definite, or too long")
            length = int.from_bytes(octets[at : at + size], "big")
            at += size
        if tag & 0x1F == 0x1F or at + length > end:
            raise BadMessage("an element that goes beyond the one around it")
        if tag & 0x20:
            ends.append(at + length)
        else:
            at += length


def decode(octets: bytes) -> Message:
    """One whole message. Raises BadMessage; ``kind`` is "" for an operation that nobody knows."""
    check_form(octets)
    try:
        whole = CODEC.decode("Message", octets)
    except asn1tools.DecodeError:
        raise BadMessage("a request that is not as RFC 4511 wants it") from None
    number = whole["number"]
    if not 0 < number <= MAX_INT:
        raise BadMessage("a message id that is not from 1 to 2147483647")
    kind, body = whole["operation"]
    controls = tuple(
        Control(control["type"].decode("ascii", "replace"), control["critical"], control.get("value"))
        for control in whole.get("controls", ())
    )
    return Message(number, kind or "", body, controls)


def decode_paging(value: bytes | None) -> tuple[int, bytes]:
    """(size, cookie) of the control for paged results (RFC 2696). Raises BadMessage."""
    octets = value or b""
    check_form(octets)
    try:
        paging = CODEC.decode("Paging", octets)
    except asn1tools.DecodeError:
        raise BadMessage("a control that is not as RFC 2696 wants it") from None
    if not 0 <= paging["size"] <= MAX_INT:
        raise BadMessage("a page size out of range")
    return paging["size"], paging["cookie"]


def result(number: int, kind: str, code: int, text: str = "", matched: str = "") -> bytes:
    """The end of an operation. ``kind``: of the request."""
    body = {"code": code, "matched": matched.encode(), "text": text.encode()}
    return _encode({"number": number, "operation": (REPLIES[kind], body)})


def search_done(number: int, code: int, text: str = "", matched: str = "", cookie: bytes | None = None) -> bytes:
    """The end of a search; ``cookie``: of a paged one, b"" with its last page."""
    body = {"code": code, "matched": matched.encode(), "text": text.encode()}
    message: dict[str, Any] = {"number": number, "operation": ("searchDone", body)}
    if cookie is not None:
        value = CODEC.encode("Paging", {"size": 0, "cookie": cookie})
        message["controls"] = [{"type": PAGED_RESULTS.encode(), "value": value}]
    return _encode(message)


def search_entry(number: int, name: str, attributes: list[tuple[str, tuple[str, ...]]]) -> bytes:
    """One entry that was found."""
    shown = [{"type": kind.encode(), "values": [value.encode() for value in values]} for kind, values in attributes]
    return _encode({"number": number, "operation": ("searchEntry", {"name": name.encode(), "attributes": shown})})


def extended(number: int, code: int, text: str = "", name: str = "", value: bytes | None = None) -> bytes:
    """The answer to an extended request."""
    body: dict[str, Any] = {"code": code, "matched": b"", "text": text.encode()}
    if name:
        body["name"] = name.encode()
    if value is not None:
        body["value"] = value
    return _encode({"number": number, "operation": ("extendedResponse", body)})


def notice(code: int, text: str) -> bytes:
    """Notice of disconnection (RFC 4511 §4.4.1): our last word."""
    body = {"code": code, "matched": b"", "text": text.encode(), "name": _NOTICE_OF_DISCONNECTION}
    return _encode({"number": 0, "operation": ("extendedResponse", body)})


def _encode(message: dict[str, Any]) -> bytes:
    return bytes(CODEC.encode("Message", message))
