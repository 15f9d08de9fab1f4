"""The parameters of MAIL and RCPT beyond SIZE and BODY: RFC 3461, 4954, 6531, 8689, 6710, 2852 and 4865.

Owns: the syntax and limits of their values, and which of them go together. Most messages have none of them, so that
this is written to be read and not for speed. Never does: policy, or what needs to know the time.
"""

import re

from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8

from mta_ext.params cimport PARAMS_UNKNOWN, PARAMS_WRONG, MailParams, Param, judge_param, next_param
from mta_ext.path cimport PathParts, scan_path
from mta_ext.scan cimport any_high
from mta_ext.smtp_extensions cimport (
    AUTH,
    DELIVERBY,
    DSN,
    FUTURERELEASE,
    MT_PRIORITY,
    REQUIRETLS,
    SMTPUTF8,
    Offers,
)
from mta_ext.smtp_replies cimport BAD_ARGUMENT, BY_TOO_SHORT, UNKNOWN_PARAMETER
from mta_ext.utf8 cimport is_utf8

from mta_ext.envelope import MailParameters, RcptParameters
from mta_ext.xtext import decode_xtext

cdef enum:
    ENVID_LIMIT = 100        # characters of xtext, RFC 3461 §4.4
    ORCPT_LIMIT = 500        # §4.2
    AUTH_LIMIT = 500         # RFC 4954 §5

_BY = re.compile(r"([+-]?[0-9]{1,9});([NR])(T?)", re.IGNORECASE)
_PRIORITY = re.compile(r"-?[1-9]|0")
_HOLD_FOR = re.compile(r"[1-9][0-9]{0,8}")
_MOMENT = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]{1,9})?Z")
_ORCPT = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*);(.+)", re.DOTALL)

cdef dict _offers_of = {
    "SMTPUTF8": SMTPUTF8, "RET": DSN, "ENVID": DSN, "REQUIRETLS": REQUIRETLS, "MT-PRIORITY": MT_PRIORITY,
    "BY": DELIVERBY, "HOLDFOR": FUTURERELEASE, "HOLDUNTIL": FUTURERELEASE, "AUTH": AUTH,
}
cdef dict _offers_of_rcpt = {"NOTIFY": DSN, "ORCPT": DSN}


class _Refused(Exception):
    """With the reply."""


cdef int _wrong() except -1:
    raise _Refused(BAD_ARGUMENT)


cdef list _words(const char *text, Py_ssize_t length, MailParams *known):
    """(keyword in upper case, value or None) of all that ``known`` does not take, each once."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t step
    cdef Param param
    cdef list words = []
    while at < length:
        step = next_param(text + at, length - at, &param)
        if step < 0 or (at == 0 and text[0] != b" "):
            _wrong()
        at += step
        if param.keyword_length == 0:
            continue
        flaw = judge_param(&param, known)
        if flaw == PARAMS_WRONG:
            _wrong()
        if flaw == PARAMS_UNKNOWN:
            keyword = PyUnicode_DecodeASCII(param.keyword, param.keyword_length, NULL).upper()
            value = None if param.value == NULL else PyUnicode_DecodeUTF8(param.value, param.value_length, NULL)
            words.append((keyword, value))
    return words


cdef dict _read(list words, dict keywords, long offers, Offers configured):
    """Fields of the NamedTuple that is to be made."""
    cdef dict fields = {}
    seen = set()
    for keyword, value in words:
        offer = keywords.get(keyword)
        if offer is None or not offers & <long> offer:
            raise _Refused(UNKNOWN_PARAMETER)
        if keyword in seen or (value is None) != (keyword in ("SMTPUTF8", "REQUIRETLS")):
            _wrong()
        if value is not None and keyword != "ORCPT" and not value.isascii():
            _wrong()
        seen.add(keyword)
        fields.update(READERS[keyword](value, configured))
    return fields


cdef object mail_parameters(const char *text, Py_ssize_t length, MailParams *known, long offers, Offers configured):
    """MailParameters, or the reply that refuses them. ``known`` is filled with SIZE and BODY."""
    known.size = 0
    known.has_size = known.has_body = known.eight_bit = known.binary = False
    try:
        fields = _read(_words(text, length, known), _offers_of, offers, configured)
        if "hold_for" in fields and "hold_until" in fields:
            _wrong()
    except _Refused as refused:
        return refused.args[0]
    return MailParameters(binary=bool(known.binary), **fields)


cdef object rcpt_parameters(const char *text, Py_ssize_t length, long offers, bint utf8):
    """RcptParameters, None when there is nothing but spaces, or the reply that refuses. ``utf8``: the message is one
    of SMTPUTF8, whose original recipients may be written as they are (RFC 6533 §3)."""
    cdef MailParams known = MailParams(False, False, False, 0, False, False, False, False)
    if any_high(text, length) and not (utf8 and is_utf8(text, length)):
        return BAD_ARGUMENT
    try:
        fields = _read(_words(text, length, &known), _offers_of_rcpt, offers, None)
    except _Refused as refused:
        return refused.args[0]
    return RcptParameters(**fields) if fields else None


# -- One function a keyword ------------------------------------------------------------------------------------------

def _smtputf8(value, Offers configured):
    return {"smtputf8": True}


def _requiretls(value, Offers configured):
    return {"requiretls": True}


def _ret(str value, Offers configured):
    if value.upper() not in ("FULL", "HDRS"):
        _wrong()
    return {"ret": value.upper()}


def _envid(str value, Offers configured):
    if len(value) > ENVID_LIMIT or not _is_printable(value):
        _wrong()
    return {"envid": value}


def _priority(str value, Offers configured):
    """RFC 6710 §4.1."""
    if _PRIORITY.fullmatch(value) is None:
        _wrong()
    return {"priority": int(value)}


def _by(str value, Offers configured):
    """RFC 2852 §4: what is to be returned needs a time that is not over."""
    found = _BY.fullmatch(value)
    if found is None:
        _wrong()
    seconds = int(found[1])
    mode = found[2].upper()
    if mode == "R":
        if seconds <= 0:
            _wrong()
        if seconds < configured.min_by:
            raise _Refused(BY_TOO_SHORT)
    return {"by": seconds, "by_mode": mode, "by_trace": bool(found[3])}


def _hold_for(str value, Offers configured):
    """RFC 4865 §4.1."""
    if _HOLD_FOR.fullmatch(value) is None or int(value) > configured.max_hold:
        _wrong()
    return {"hold_for": int(value)}


def _hold_until(str value, Offers configured):
    """A date and time of UTC; whether it is too far away is for those who know the time."""
    if _MOMENT.fullmatch(value.upper()) is None:
        _wrong()
    return {"hold_until": value.upper()}


def _auth(str value, Offers configured):
    """RFC 4954 §5: ``<>`` or a mailbox in xtext; curl puts that into angle brackets as well."""
    cdef PathParts path
    cdef bytes whole
    if value == "<>":
        return {"auth": ""}
    if value.startswith("<") and value.endswith(">"):
        value = value[1:-1]
    octets = decode_xtext(value) if len(value) <= AUTH_LIMIT else None
    if octets is None or not octets.isascii():
        _wrong()
    whole = b"<%b>" % octets
    if scan_path(whole, len(whole), &path) != len(whole) or not path.domain_length:
        _wrong()
    return {"auth": octets.decode("ascii")}


def _notify(str value, Offers configured):
    """RFC 3461 §4.1: NEVER stands alone."""
    words = value.upper().split(",")
    if words != ["NEVER"] and not (set(words) <= {"SUCCESS", "FAILURE", "DELAY"} and len(set(words)) == len(words)):
        _wrong()
    return {"notify": ",".join(words)}


def _orcpt(str value, Offers configured):
    """``type;address``: xtext, or with the type utf-8 also text (RFC 6533 §3)."""
    found = _ORCPT.fullmatch(value)
    if found is None or len(value.encode()) > ORCPT_LIMIT:
        _wrong()
    if not value.isascii():
        if found[1].lower() != "utf-8":
            _wrong()
        # What is left is ASCII and has to be xtext.
        if decode_xtext("".join(one for one in found[2] if one.isascii())) is None:
            _wrong()
    elif not _is_printable(found[2]):
        _wrong()
    return {"orcpt": value}


cdef bint _is_printable(str value):
    """xtext of printable ASCII: what a report can repeat (RFC 3461 §4.4)."""
    octets = decode_xtext(value)
    return octets is not None and octets.isascii()


READERS = {
    "SMTPUTF8": _smtputf8, "RET": _ret, "ENVID": _envid, "REQUIRETLS": _requiretls, "MT-PRIORITY": _priority,
    "BY": _by, "HOLDFOR": _hold_for, "HOLDUNTIL": _hold_until, "AUTH": _auth, "NOTIFY": _notify, "ORCPT": _orcpt,
}
