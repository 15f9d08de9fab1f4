"""How fast clients do something, and how many connections they have, over all workers: two tables in shared memory.

Owns: the reckoning of a rate and the way a place in a table is found, kept and given to another client. Never does:
wait, read a clock, or know what is counted: a client and a kind of deed are a key, a hash that the caller makes with a
secret of this server, so that no client can choose with whom it collides.

``Rates`` keeps one moment for each key: when the client will owe nothing (the theoretical arrival time of GCRA). Each
deed moves it on by an interval; too far ahead of now, and the deed is refused and costs nothing. A moment that has
passed says nothing any more, so its place is free for others without loss. Only where all eight places of a set are
taken by clients who owe, the one who owes least is forgotten.

``Presence`` is a row per client and a column per worker. A row whose counts are all 0 may become another client's.

Both tables are used without a lock. Two workers at the very same moment may count two clients in one place, or one
deed too few; neither ever waits, and no count is left over: what was entered in a row is left in that row.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t

cimport cython

from mta_ext.atomics cimport mta_read, mta_swap, mta_write
from mta_ext.columns cimport Columns

cdef enum:
    WAYS = 8             # places of a set: two cache lines
    WINDOW = 16          # rows that are looked at for one client
    ATTEMPTS = 8         # compare-and-swaps that may fail, before a deed goes uncounted


def rates_size(Py_ssize_t sets):
    """Octets of a table of so many sets, eight clients each."""
    return sets * WAYS * 16


@cython.final
cdef class Rates:
    """See the stub."""

    def __cinit__(self, object buffer, Py_ssize_t offset, Py_ssize_t sets):
        PyObject_GetBuffer(buffer, &self._view, PyBUF_WRITABLE)
        if offset < 0 or offset % 8 or sets < 1 or offset + rates_size(sets) > self._view.len:
            raise ValueError(f"{sets} sets at {offset} do not lie in {self._view.len} octets")
        self._slots = <uint64_t *> (<char *> self._view.buf + offset)
        self._sets = sets

    def __dealloc__(self):
        PyBuffer_Release(&self._view)

    cdef uint64_t *_place(self, uint64_t key, int64_t now, bint claim) noexcept nogil:
        """The key's place; with ``claim`` the first free one becomes it, or that of who owes least. Else NULL."""
        cdef uint64_t *first = self._slots + <Py_ssize_t> (key % <uint64_t> self._sets) * WAYS * 2
        cdef uint64_t *least = NULL
        cdef uint64_t *place
        cdef uint64_t held
        cdef int way
        for way in range(WAYS):
            place = first + 2 * way
            held = mta_read(place)
            if held == key:
                return place
            if least == NULL or place[1] < least[1]:
                least = place
        if not claim:
            return NULL
        held = mta_read(least)
        if mta_swap(least, held, key):
            mta_write(least + 1, <uint64_t> now)
            return least
        return NULL

    def spend(self, uint64_t key, int64_t now, int64_t interval, int64_t burst, int64_t amount=1):
        """See the stub."""
        cdef uint64_t *place
        cdef uint64_t old
        cdef int64_t due
        cdef int _attempt
        for _attempt in range(ATTEMPTS):
            place = self._place(key or 1, now, True)
            if place == NULL:
                continue
            old = mta_read(place + 1)
            due = max(<int64_t> old, now) + interval * amount
            if due > now + interval * burst:
                return False
            if mta_swap(place + 1, old, <uint64_t> due):
                return True
        return True

    def owes(self, uint64_t key, int64_t now, int64_t interval):
        """See the stub."""
        cdef uint64_t *place = self._place(key or 1, now, False)
        cdef int64_t due = now if place == NULL else <int64_t> mta_read(place + 1)
        return 0 if due <= now else -(-(due - now) // interval)


@cython.final
cdef class Presence(Columns):
    """See the stub."""

    cdef Py_ssize_t _row(self, uint64_t key) noexcept nogil:
        """The client's row, or one that nobody uses any more and now is its; -1: there is none near."""
        cdef Py_ssize_t start = <Py_ssize_t> (key % <uint64_t> self._rows)
        cdef Py_ssize_t step, row
        cdef uint64_t held
        for step in range(WINDOW):
            row = (start + step) % self._rows
            if mta_read(&self._keys[row]) == key:
                return row
        for step in range(WINDOW):
            row = (start + step) % self._rows
            held = mta_read(&self._keys[row])
            if self._total(row) <= 0 and mta_swap(&self._keys[row], held, key):
                return row
        return -1

    def enter(self, uint64_t key, int64_t limit):
        """See the stub."""
        cdef Py_ssize_t row = self._row(key or 1)
        if row < 0:
            return UNCOUNTED
        return row if self._take(row, limit) else REFUSED


#: What ``Presence.enter`` gives instead of a row.
REFUSED = -1
UNCOUNTED = -2
