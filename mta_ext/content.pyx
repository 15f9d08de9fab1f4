"""What arrives between DATA and its end, or by BDAT: in one C buffer, measured and looked through on the way.

Owns: the buffer, its growth and its end, the facts that a relay needs of a content, and which limit it breaks.
Never does: replies, or decide what happens to a content with a flaw.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy, memset

from mta_ext.dots cimport LINE_START, follow, unstuff
from mta_ext.headers cimport DATE, MESSAGE_ID, behind_field, feed_headers
from mta_ext.scan cimport any_high

cdef enum:
    FIRST_ROOM = 4096
    HT = 9
    LF = 10
    CR = 13
    SPACE = 32
    COLON = 58


cdef inline bint _is_space(char octet) noexcept nogil:
    return octet == SPACE or octet == HT or octet == CR or octet == LF


cdef class Content:
    """See the stub. One object serves all transactions of a session, one after the other."""

    def __dealloc__(self):
        free(self._octets)

    @property
    def size(self):
        return self._size

    @property
    def streamed(self):
        return self._streamed

    @property
    def dotted(self):
        return bool(self._dots.dotted)

    @property
    def eight_bit(self):
        return bool(self._eight_bit)

    @property
    def hops(self):
        return self._headers.hops

    @property
    def has_date(self):
        return bool(self._headers.seen & DATE)

    @property
    def has_message_id(self):
        return bool(self._headers.seen & MESSAGE_ID)

    @property
    def message_id(self):
        cdef const char *at
        cdef const char *end
        if not self._headers.seen & MESSAGE_ID or self._streamed or self._octets == NULL:
            return b""
        at = self._octets + self._headers.message_id
        end = behind_field(at, self._octets + self._length)
        at = <const char *> memchr(at, COLON, end - at) + 1   # it is there: else this were no field
        while at < end and _is_space(at[0]):
            at += 1
        while at < end and _is_space(end[-1]):
            end -= 1
        value = <bytes> at[:end - at]
        return value if memchr(at, LF, end - at) == NULL else value.replace(b"\r\n", b"").replace(b"\n", b"")

    def __sizeof__(self):
        """The buffer included, so that sys.getsizeof tells what a session costs."""
        return object.__sizeof__(self) + self._room

    def joined(self, bytes head):
        cdef Py_ssize_t length = PyBytes_GET_SIZE(head)
        cdef bytes whole = PyBytes_FromStringAndSize(NULL, length + self._length)
        cdef char *out = PyBytes_AS_STRING(whole)
        memcpy(out, PyBytes_AS_STRING(head), length)
        if self._length:
            memcpy(out + length, self._octets, self._length)
        return whole

    cdef void begin(self, const Limits *limits, bint binary) noexcept:
        """A new transaction's content begins."""
        self._limits = limits[0]
        self._binary = binary
        self._length = self._size = self._streamed = self.arrived = 0
        self._eight_bit = self._void = self._no_memory = False
        memset(&self._dots, 0, sizeof(self._dots))
        memset(&self._headers, 0, sizeof(self._headers))

    cdef Py_ssize_t take(self, const char *octets, Py_ssize_t length) noexcept:
        """Octets consumed of at most PIECE: all, or those up to the end of content."""
        cdef Py_ssize_t consumed, written
        cdef char *out = NULL
        if length > PIECE:
            length = PIECE
        if not self._void and self._make_room(length + 1):
            out = self._octets + self._length
        consumed = unstuff(&self._dots, octets, length, out, &written)
        self.arrived += consumed
        self._size += written
        if out != NULL:
            self._look_at(out, written)
            self._length += written
        if not self._void and self.flaw() != SOUND:
            self.throw_away()
        return consumed

    cdef Py_ssize_t take_chunk(self, const char *octets, Py_ssize_t length) noexcept:
        """Octets of a chunk (RFC 3030), as they are; at most PIECE of them are consumed."""
        if length > PIECE:
            length = PIECE
        if not self._void and self._make_room(length):
            memcpy(self._octets + self._length, octets, length)
            self._look_at(self._octets + self._length, length)
            self._length += length
        follow(&self._dots, octets, length)
        self.arrived += length
        self._size += length
        if not self._void and self.flaw() != SOUND:
            self.throw_away()
        return length

    cdef void finish(self) noexcept:
        """The last chunk is in. Text gets the line end that may be missing, so that all content ends in one."""
        if not self._binary:
            if self._dots.after_cr:
                self._dots.bare = True
            elif self._size and self._dots.place != LINE_START:
                self.take_chunk(b"\r\n", 2)
        self._dots.ended = True
        if not self._void and self.flaw() != SOUND:
            self.throw_away()

    cdef void _look_at(self, const char *octets, Py_ssize_t length) noexcept:
        """Fresh unstuffed octets: the header section is scanned as far as it goes, 8-bit octets are looked for."""
        if not self._headers.done:
            feed_headers(&self._headers, octets, length)
        if not self._eight_bit:
            self._eight_bit = any_high(octets, length)

    cdef bint ended(self) noexcept:
        return self._dots.ended

    cdef Flaw flaw(self) noexcept:
        """The gravest flaw so far. Line ends, size and line lengths are watched even while octets are thrown away,
        and each flaw that makes us throw away is graver than those found only in what is kept."""
        cdef Py_ssize_t longest = self._dots.longest if self._dots.longest > self._dots.line else self._dots.line
        if self._dots.bare and not self._binary:
            return BARE_LINE_END
        if self._size > self._limits.size:
            return TOO_LARGE
        if longest > self._limits.line and not self._binary:
            return LINE_TOO_LONG
        if self._headers.size > self._limits.header:
            return HEADER_TOO_LARGE
        if self._dots.ended and self._headers.hops > self._limits.hops:
            return TOO_MANY_HOPS
        return NO_MEMORY if self._no_memory else SOUND

    cdef bint has_piece(self) noexcept:
        """Enough has gathered to be handed out: the first time above ``stream_above``, later PIECE by PIECE."""
        if self._void or self._dots.ended or self._length < PIECE:
            return False
        return self._streamed > 0 or self._length > self._limits.stream_above

    cdef bytes take_piece(self):
        """The buffer's octets, which leave it."""
        cdef bytes piece = PyBytes_FromStringAndSize(self._octets, self._length)
        self._streamed += self._length
        self._length = 0
        return piece

    cdef void throw_away(self) noexcept:
        """From now on only the end is looked for; what was kept is given back."""
        self._void = True
        self._length = self._room = 0
        free(self._octets)
        self._octets = NULL

    cdef void release(self) noexcept:
        """The transaction is over. A small buffer stays for the next one."""
        self._length = 0
        if self._room > KEPT_ROOM:
            self.throw_away()

    cdef bint _make_room(self, Py_ssize_t length) noexcept:
        """Room for ``length`` octets more; without memory the content is refused, the session goes on."""
        cdef Py_ssize_t need = self._length + length
        cdef char *grown
        if need <= self._room:
            return True
        if need < FIRST_ROOM:
            need = FIRST_ROOM
        if need < 2 * self._room:
            need = 2 * self._room
        grown = <char *> realloc(self._octets, need)
        if grown == NULL:
            self._no_memory = True
            self.throw_away()
            return False
        self._octets = grown
        self._room = need
        return True
