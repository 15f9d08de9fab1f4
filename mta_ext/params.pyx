"""ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2), read in place.

Owns: their syntax, that of SIZE's number and BODY's values. Never does: replies.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII

from mta_ext.scan cimport DIGIT, KEYWORD, VALUE, class_of, same_word

cdef enum:
    SPACE = 32
    HYPHEN = 45
    EQUALS = 61
    SIZE_DIGITS = 20         # RFC 1870 §4


cdef Py_ssize_t next_param(const char *text, Py_ssize_t length, Param *param) noexcept nogil:
    """Octets read, spaces before the parameter included; -1 when the syntax is wrong.

    At the end of the text ``keyword_length`` is 0.
    """
    cdef Py_ssize_t at = 0
    while at < length and text[at] == SPACE:
        at += 1
    param.keyword = text + at
    param.value = NULL
    param.value_length = 0
    while at < length and class_of(text[at]) & KEYWORD:
        at += 1
    param.keyword_length = text + at - param.keyword
    if param.keyword_length and param.keyword[0] == HYPHEN:
        return -1
    if at < length and text[at] == EQUALS:
        at += 1
        param.value = text + at
        while at < length and class_of(text[at]) & VALUE:
            at += 1
        param.value_length = text + at - param.value
        if param.value_length == 0 or param.keyword_length == 0:
            return -1
    return at if at == length or text[at] == SPACE else -1


cdef long long scan_size(const char *digits, Py_ssize_t length) noexcept nogil:
    """SIZE's number, cut to 2**63 - 1; -1 when it is none."""
    cdef unsigned long long number = 0
    cdef unsigned long long most = (1ULL << 63) - 1
    cdef Py_ssize_t at
    if length < 1 or length > SIZE_DIGITS:
        return -1
    for at in range(length):
        if not class_of(digits[at]) & DIGIT:
            return -1
        # Nineteen digits cannot overflow; the twentieth is held off before it could.
        number = most if number > (most - 9) // 10 else number * 10 + (digits[at] - 48)
    return number


cdef ParamFlaw _judge_body(const Param *param, MailParams *known) noexcept nogil:
    if param.value_length == 8 and same_word(param.value, "8bitmime", 8):
        known.eight_bit = True
        return PARAMS_FINE
    if known.offers_binarymime and param.value_length == 10 and same_word(param.value, "binarymime", 10):
        known.eight_bit = known.binary = True
        return PARAMS_FINE
    return PARAMS_FINE if param.value_length == 4 and same_word(param.value, "7bit", 4) else PARAMS_WRONG


cdef ParamFlaw judge_param(const Param *param, MailParams *known) noexcept nogil:
    if param.keyword_length != 4:
        return PARAMS_UNKNOWN
    if known.offers_size and same_word(param.keyword, "size", 4):
        known.size = scan_size(param.value, param.value_length)
        if known.has_size or known.size < 0:
            return PARAMS_WRONG
        known.has_size = True
        return PARAMS_FINE
    if known.offers_8bitmime and same_word(param.keyword, "body", 4):
        if known.has_body:
            return PARAMS_WRONG
        known.has_body = True
        return _judge_body(param, known)
    return PARAMS_UNKNOWN


cdef ParamFlaw read_params(const char *text, Py_ssize_t length, MailParams *params) noexcept nogil:
    """All that stands behind a path, as long as it is SIZE and BODY; the first flaw decides."""
    cdef Param param
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t step
    cdef ParamFlaw flaw = PARAMS_FINE
    if length and text[0] != SPACE:
        return PARAMS_WRONG
    while at < length and flaw == PARAMS_FINE:
        step = next_param(text + at, length - at, &param)
        if step < 0:
            return PARAMS_WRONG
        at += step
        flaw = judge_param(&param, params)
    return flaw


def parse_params(bytes text):
    cdef const char *at = PyBytes_AS_STRING(text)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(text)
    cdef Py_ssize_t step
    cdef Param param
    cdef dict params = {}
    if not text.isascii():
        return None
    while length:
        step = next_param(at, length, &param)
        if step < 0:
            return None
        at += step
        length -= step
        if param.keyword_length == 0:
            continue
        keyword = PyUnicode_DecodeASCII(param.keyword, param.keyword_length, NULL).upper()
        if keyword in params:
            return None
        params[keyword] = None
        if param.value != NULL:
            params[keyword] = PyUnicode_DecodeASCII(param.value, param.value_length, NULL)
    return params


def parse_size(str value):
    cdef bytes digits
    if not value.isascii():
        return -1
    digits = value.encode("ascii")
    if scan_size(PyBytes_AS_STRING(digits), PyBytes_GET_SIZE(digits)) < 0:
        return -1
    # Digits and nothing else by now, so that Python's int() reads what RFC 1870 means, also above 63 bits.
    return int(digits)
