"""A message of ordinary size out of the store, in one piece: what a RETR costs is mostly this.

Owns: the one walk over the item and the pieces of a message, with the keys and the record of ``mta.store.tables`` and
``mta.disk.pieces`` (a test compares them). Never does: open, begin or end a transaction, or say what is wrong in words.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "endian.h" nogil:
    uint32_t htobe32(uint32_t)
    uint64_t htobe64(uint64_t)
    uint64_t be64toh(uint64_t)

cdef enum:
    ITEM = 24                    # octets of an item's record; behind it lies the head
    PIECE = 4080                 # octets of a piece but the last
    LINE_END = 2                 # by which a size may exceed what is kept: content without a line end at its end


cpdef bytes read_kept(object get, object items, object contents, uint64_t mailbox, uint64_t uid, uint64_t size):
    """See the stub."""
    cdef uint64_t[2] item_key = [htobe64(mailbox), htobe64(uid)]
    cdef bytes item = get((<const char *> item_key)[:16], None, items)
    cdef bytes piece, whole
    cdef char[12] piece_key
    cdef uint64_t number
    cdef uint32_t at, name
    cdef Py_ssize_t head, kept, length
    if item is None:
        return None
    if PyBytes_GET_SIZE(item) < ITEM:
        raise LookupError(0, 0)
    memcpy(piece_key, PyBytes_AS_STRING(item), 8)
    memcpy(&number, piece_key, 8)
    kept = head = PyBytes_GET_SIZE(item) - ITEM
    if <uint64_t> head > size:
        raise LookupError(be64toh(number), 0)
    whole = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> size)
    memcpy(PyBytes_AS_STRING(whole), PyBytes_AS_STRING(item) + ITEM, head)
    at = 0
    while <uint64_t> kept < size:
        name = htobe32(at)
        memcpy(piece_key + 8, &name, 4)
        piece = get((<const char *> piece_key)[:12], None, contents)
        if piece is None:
            break
        length = PyBytes_GET_SIZE(piece)
        if <uint64_t> (kept + length) > size:
            raise LookupError(be64toh(number), at)
        memcpy(PyBytes_AS_STRING(whole) + kept, PyBytes_AS_STRING(piece), length)
        kept += length
        at += 1
        if length < PIECE:
            break
    if <uint64_t> (kept + LINE_END) < size:
        raise LookupError(be64toh(number), at)
    return whole if <uint64_t> kept == size else whole[:kept]
