"""A maildrop as one POP3 session sees it (RFC 1939 §5): fixed when it is opened, marks until it is left.

Owns: copies of the sizes and unique-ids, the marks, and the lines of LIST and UIDL. 100,000 messages are 1.6 MB and no
Python object; a listing of them is made in pieces, as it goes out.
Never does: replies, or the removal of anything.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

cdef enum:
    CR = 13
    LF = 10
    SPACE = 32
    ZERO = 48
    LINE = 48                    # octets of a line at most: two numbers of 20 digits, space and CRLF

# Crockford's base 32: without I, L, O and U.
cdef const char *DIGITS = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"


cdef class Snapshot:
    """See the session's stub for what is taken; ``sizes`` and ``uids`` are buffers of unsigned 64 bit numbers."""

    def __cinit__(self, sizes, uids):
        cdef Py_ssize_t others
        cdef Py_ssize_t i
        self._sizes = copied(sizes, &self.length)
        self._uids = copied(uids, &others)
        if others != self.length:
            raise ValueError(f"{self.length} sizes, but {others} unique-ids")
        self.count = self.length
        for i in range(self.length):
            self.octets += self._sizes[i]

    def __dealloc__(self):
        free(self._sizes)
        free(self._uids)
        free(self._marks)

    cdef bint exists(self, Py_ssize_t index) noexcept:
        return 0 <= index < self.length and not (self._marks != NULL and self._marks[index])

    cdef uint64_t size(self, Py_ssize_t index) noexcept:
        return self._sizes[index]

    cdef bytes unique_id(self, Py_ssize_t index):
        cdef char text[UNIQUE_ID]
        put_unique_id(text, self._uids[index])
        return text[:UNIQUE_ID]

    cdef int mark(self, Py_ssize_t index) except -1:
        """``index`` exists."""
        if self._marks == NULL:
            self._marks = <unsigned char *> calloc(self.length, 1)
            if self._marks == NULL:
                raise MemoryError()
        self._marks[index] = 1
        self.count -= 1
        self.octets -= self._sizes[index]
        return 0

    cdef void unmark_all(self) noexcept:
        cdef Py_ssize_t i
        if self._marks == NULL:
            return
        for i in range(self.length):
            if self._marks[i]:
                self.octets += self._sizes[i]
        self.count = self.length
        free(self._marks)
        self._marks = NULL

    cdef list marked(self):
        """Their indexes, from 0, in order."""
        if self._marks == NULL:
            return []
        return [i for i in range(self.length) if self._marks[i]]

    cdef bytes scan_listing(self, Py_ssize_t *at, bint with_ids, Py_ssize_t room):
        """Lines of what exists from index ``at`` on, about ``room`` octets of them; ``at`` moves behind them."""
        cdef bytes lines = PyBytes_FromStringAndSize(NULL, room + LINE)
        cdef char *start = PyBytes_AS_STRING(lines)
        cdef char *to = start
        while at[0] < self.length and to - start < room:
            if self.exists(at[0]):
                to = put_number(to, at[0] + 1)
                to[0] = SPACE
                to = put_unique_id(to + 1, self._uids[at[0]]) if with_ids else put_number(to + 1, self._sizes[at[0]])
                to[0] = CR
                to[1] = LF
                to += 2
            at[0] += 1
        return start[:to - start]


cdef uint64_t *copied(object numbers, Py_ssize_t *length) except? NULL:
    """The numbers of a buffer, in memory of our own."""
    cdef Py_buffer view
    cdef uint64_t *copy = NULL
    PyObject_GetBuffer(numbers, &view, PyBUF_SIMPLE | PyBUF_FORMAT)
    try:
        if view.itemsize != sizeof(uint64_t):
            raise TypeError(f"numbers of {sizeof(uint64_t)} octets are wanted, not of {view.itemsize}")
        length[0] = view.len // <Py_ssize_t> sizeof(uint64_t)
        copy = <uint64_t *> malloc(view.len + 1)
        if copy == NULL:
            raise MemoryError()
        memcpy(copy, view.buf, view.len)
        return copy
    finally:
        PyBuffer_Release(&view)


cdef char *put_number(char *to, uint64_t number) noexcept nogil:
    cdef char digits[20]
    cdef int length = 0
    while True:
        digits[length] = ZERO + <char> (number % 10)
        number //= 10
        length += 1
        if number == 0:
            break
    while length:
        length -= 1
        to[0] = digits[length]
        to += 1
    return to


cdef char *put_unique_id(char *to, uint64_t uid) noexcept nogil:
    cdef int i
    for i in range(UNIQUE_ID):
        to[UNIQUE_ID - 1 - i] = DIGITS[uid & 31]
        uid >>= 5
    return to + UNIQUE_ID
