"""Replies of a remote (RFC 5321 §4.2, RFC 2034/3463): lines in, one Reply out.

Owns: the grammar of a reply line, the limits of a reply, what of its text is kept.
ReplyReader takes lines and makes no Python object before it is asked for one; ReplyParser splits lines for those who
have no line engine. Never does: deciding what a reply means for a transaction.
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.string cimport memcmp, memcpy


cdef dict _C1_TO_SPACE = {code: " " for code in range(0x80, 0xA0)}


class ReplyError(ValueError):
    """What came is no reply: nonsense, a changing code, too long or too many lines."""


@cython.final
@cython.freelist(64)
cdef class Reply:
    """Code, enhanced code and text as the remote gave them; immutable."""

    def __init__(self, int code, str enhanced, str text not None):
        self.code = code
        self.enhanced = enhanced
        self.text = text

    @property
    def positive(self):
        """2yz, and 3yz in answer to DATA."""
        return 200 <= self.code < 400

    @property
    def transient(self):
        """4yz: the same again may be accepted later."""
        return 400 <= self.code < 500

    @property
    def permanent(self):
        """5yz: the same again will be refused again."""
        return self.code >= 500

    def __str__(self):
        parts = [str(self.code)]
        if self.enhanced:
            parts.append(self.enhanced)
        if self.text:
            parts.append(self.text.replace("\n", " "))
        return " ".join(parts)

    def __repr__(self):
        return f"Reply({self.code}, {self.enhanced!r}, {self.text!r})"

    def __eq__(self, other):
        if not isinstance(other, Reply):
            return NotImplemented
        return (self.code, self.enhanced, self.text) == (other.code, other.enhanced, other.text)

    def __hash__(self):
        return hash((self.code, self.enhanced, self.text))


cdef Reply _make_reply(int code, const char *enhanced, Py_ssize_t enhanced_length,
                       const char *text, Py_ssize_t length, bint cut):
    cdef Reply reply = Reply.__new__(Reply)
    cdef str decoded = text[:length].decode("utf-8", "replace")
    if cut:
        decoded = decoded.rstrip("\ufffd")   # half of a character at the cut
    if not decoded.isascii():
        decoded = decoded.translate(_C1_TO_SPACE)
    reply.code = code
    reply.enhanced = enhanced[:enhanced_length].decode("ascii") if enhanced_length else None
    reply.text = decoded
    return reply


cdef inline bint _digit(char octet) noexcept nogil:
    return 48 <= octet <= 57


cdef Py_ssize_t enhanced_at(const char *text, Py_ssize_t length, char kind) noexcept nogil:
    """Octets of the enhanced code at the head of ``text`` if its class is ``kind`` (2, 4 or 5), else 0."""
    cdef Py_ssize_t at = 1
    cdef Py_ssize_t digits
    cdef int _part
    if length < 5 or text[0] != kind or kind == 51:
        return 0
    for _part in range(2):
        if at >= length or text[at] != 46:
            return 0
        at += 1
        digits = 0
        while at < length and digits < 3 and _digit(text[at]):
            at += 1
            digits += 1
        if digits == 0:
            return 0
    return at if at == length or text[at] == 32 else 0


@cython.final
cdef class ReplyReader:
    """One reply in the making. ``add`` takes a line with or without its line end."""

    def __cinit__(self, int lines_limit=128):
        self._lines_limit = lines_limit
        self._whole = True

    cdef ReplyState add(self, const char *line, Py_ssize_t length) noexcept nogil:
        cdef int code
        if length and line[length - 1] == 10:
            length -= 1
        if length and line[length - 1] == 13:
            length -= 1
        if length < 3 or not (_digit(line[0]) and _digit(line[1]) and _digit(line[2])):
            self.wrong = "this is no SMTP reply"
            return REPLY_WRONG
        if length > 3 and line[3] != 32 and line[3] != 45:
            self.wrong = "this is no SMTP reply"
            return REPLY_WRONG
        code = (line[0] - 48) * 100 + (line[1] - 48) * 10 + (line[2] - 48)
        if code < 200 or code > 599:
            self.wrong = "the reply code is outside 200 to 599"
            return REPLY_WRONG
        if self._whole:
            self._whole = self._cut = False
            self.code = code
            self.lines = 0
            self._length = self._enhanced_length = 0
        elif code != self.code:
            self.wrong = "the reply code changes within one reply"
            return REPLY_WRONG
        self.lines += 1
        if self.lines > self._lines_limit:
            self.wrong = "the reply has too many lines"
            return REPLY_WRONG
        if length > 4:
            self._keep(line + 4, length - 4)
        elif self.lines > 1:
            self._keep(line, 0)
        self._whole = length == 3 or line[3] == 32
        return REPLY_WHOLE if self._whole else REPLY_MORE

    cdef void _keep(self, const char *text, Py_ssize_t length) noexcept nogil:
        """Append a line's text, without an enhanced code that is already known, controls as spaces."""
        cdef Py_ssize_t enhanced = enhanced_at(text, length, 48 + self.code // 100)
        cdef Py_ssize_t at
        cdef unsigned char octet
        if enhanced and self._enhanced_length == 0:
            memcpy(self._enhanced, text, enhanced)
            self._enhanced_length = enhanced
        if enhanced and enhanced == self._enhanced_length and memcmp(self._enhanced, text, enhanced) == 0:
            text += enhanced
            length -= enhanced
            if length:               # the space behind it
                text += 1
                length -= 1
        while length and (<unsigned char> text[length - 1]) <= 32:
            length -= 1
        if self.lines > 1:
            if self._length == TEXT_LIMIT:
                self._cut = True
                return
            self._text[self._length] = 10
            self._length += 1
        if length > TEXT_LIMIT - self._length:
            length = TEXT_LIMIT - self._length
            self._cut = True
        for at in range(length):
            octet = text[at]
            self._text[self._length + at] = 32 if octet < 32 or octet == 127 else octet
        self._length += length

    cdef Reply reply(self):
        """The last whole reply."""
        return _make_reply(self.code, self._enhanced, self._enhanced_length, self._text, self._length, self._cut)

    cdef str complaint(self, const char *line, Py_ssize_t length):
        """``wrong`` with the beginning of the line it is about, for an operator: one line."""
        cdef str shown = line[:min(length, 80)].decode("ascii", "replace").rstrip()
        return f"{self.wrong.decode('ascii')}: {ascii(shown)}"


cdef struct Record:
    int code
    int enhanced
    int length
    bint cut


@cython.final
cdef class KeptReplies:
    """Replies as octets, made into Reply objects only when somebody wants them. Bounded by what one plan asks for."""

    def __dealloc__(self):
        PyMem_Free(self._records)

    cdef int keep(self, ReplyReader reader) except -1:
        cdef Record record
        cdef Py_ssize_t need = self._length + sizeof(Record) + reader._enhanced_length + reader._length
        cdef char *to
        if need > self._room:
            need += need >> 1
            to = <char *> PyMem_Realloc(self._records, need)
            if to == NULL:
                raise MemoryError()
            self._records = to
            self._room = need
        record.code = reader.code
        record.enhanced = reader._enhanced_length
        record.length = reader._length
        record.cut = reader._cut
        to = self._records + self._length
        memcpy(to, &record, sizeof(Record))
        to += sizeof(Record)
        memcpy(to, reader._enhanced, reader._enhanced_length)
        memcpy(to + reader._enhanced_length, reader._text, reader._length)
        self._length += sizeof(Record) + reader._enhanced_length + reader._length
        return 0

    cdef list replies(self):
        cdef list found = []
        cdef Record record
        cdef const char *text
        cdef const char *at = self._records
        cdef const char *end = self._records + self._length
        while at < end:
            memcpy(&record, at, sizeof(Record))
            at += sizeof(Record)
            text = at + record.enhanced
            found.append(_make_reply(record.code, at, record.enhanced, text, record.length, record.cut))
            at = text + record.length
        return found


@cython.final
cdef class ReplyParser:
    """Replies out of octets, resumable at any octet. After an error it is of no more use: it raises again."""

    def __cinit__(self, *, int line=4096, int lines=128):
        self._reader = ReplyReader(lines)
        self._tail = bytearray()
        self._line_limit = line

    def feed(self, bytes data not None):
        """The replies that are whole now. Those ahead of an error are returned first: the next call raises it."""
        cdef list found = []
        self._tail += data
        if self._error is None:
            self._parse(found)
        if self._error is not None and not found:
            raise ReplyError(self._error)
        return found

    cdef int _parse(self, list found) except -1:
        cdef bytes line
        cdef Py_ssize_t end
        cdef ReplyState state
        while True:
            end = self._tail.find(b"\n") + 1
            if end > self._line_limit or (end == 0 and len(self._tail) > self._line_limit):
                self._error = f"a line of the reply is longer than {self._line_limit} octets"
                return 0
            if end == 0:
                return 0
            line = bytes(self._tail[:end])
            del self._tail[:end]
            state = self._reader.add(line, len(line))
            if state == REPLY_WRONG:
                self._error = self._reader.complaint(line, len(line))
                return 0
            if state == REPLY_WHOLE:
                found.append(self._reader.reply())
