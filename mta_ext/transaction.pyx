"""One transaction of the SMTP client: what goes out for it and which replies its recipients got.

Owns: the commands with their syntax checks, the pull of content with its transparency dots and its end, the replies
by recipient. Never does: deciding what a reply means for the transaction, or when something may go out
(``smtp_client`` does).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memchr, memcpy

from mta_ext.reply cimport KeptReplies, Reply, ReplyReader
from mta_ext.stuffing cimport LINE_START, copy_stuffed, dots_needed, line_after


cdef bint _is_path(const char *octets, Py_ssize_t length, bint utf8) noexcept nogil:
    """Whether it can stand between < and > without ending the path or the command early; ``utf8``: SMTPUTF8."""
    cdef bint quoted = False
    cdef bint escaped = False
    cdef Py_ssize_t at
    cdef unsigned char octet
    for at in range(length):
        octet = octets[at]
        if octet < 32 or octet > 126:
            if octet < 128 or not utf8:
                return False
        if escaped:
            escaped = False
        elif quoted and octet == 92:                          # a backslash
            escaped = True
        elif octet == 34:                                     # a quotation mark
            quoted = not quoted
        elif not quoted and octet in (32, 60, 62):            # space, < and >
            return False
    return not quoted


cdef inline char *_put(char *to, const char *octets, Py_ssize_t length) noexcept nogil:
    memcpy(to, octets, length)
    return to + length


cdef Py_ssize_t _path_length(str path, bint utf8) except -1:
    cdef Py_ssize_t length
    cdef const char *octets = PyUnicode_AsUTF8AndSize(path, &length)
    if not _is_path(octets, length, utf8):
        raise ValueError(f"{path!r} is no path: it holds a control, an 8-bit character or an unquoted <, > or space")
    return length


cdef Py_ssize_t _octets(str text) except -1:
    cdef Py_ssize_t length
    PyUnicode_AsUTF8AndSize(text, &length)
    return length


cdef Py_ssize_t parameters_length(str parameters, bint utf8) except -1:
    """Of words, a space ahead of each."""
    cdef Py_ssize_t length
    cdef Py_ssize_t at
    cdef const char *octets = PyUnicode_AsUTF8AndSize(parameters, &length)
    cdef unsigned char octet
    for at in range(length):
        octet = octets[at]
        if octet < 32 or octet == 127 or (octet > 127 and not utf8):
            raise ValueError(f"{parameters!r} are no parameters: they hold a control or an 8-bit character")
    return length


cdef char *_put_path(char *to, str path) except NULL:
    cdef Py_ssize_t length
    cdef const char *octets = PyUnicode_AsUTF8AndSize(path, &length)
    return _put(to, octets, length)


cdef char *_put_end(char *to, str parameters) except NULL:
    """What follows a path: its end, parameters if there are any, the end of the line."""
    to = _put(to, b">", 1)
    if parameters:
        to = _put_path(to, parameters)
    return _put(to, b"\r\n", 2)


@cython.final
@cython.freelist(64)
cdef class Transaction:
    """Filled by ``plan`` and ``give_content`` before anything is put out."""

    # --- commands ---

    cdef int plan(self, str reverse_path, object recipients, str parameters, object each, bint utf8,
                  bint reset) except -1:
        """``parameters`` of MAIL, checked already; ``each``: those of each RCPT, or None; ``reset``: RSET goes first.
        ValueError: a bad path or parameter."""
        cdef Py_ssize_t length = 14 + _path_length(reverse_path, utf8) + _octets(parameters)
        cdef tuple paths = tuple(recipients)    # read twice, so it must be the same twice
        cdef tuple own = tuple([f" {words}" if words else "" for words in each]) if each is not None else None
        cdef str path
        cdef char *to
        cdef int n
        length += (0 if self.bdat else 6) + (6 if reset else 0)
        for path in paths:
            length += 12 + _path_length(path, utf8)
        self.recipients = len(paths)
        if self.recipients == 0:
            raise ValueError("a transaction needs a recipient")
        if own is not None:
            if len(own) != len(paths):
                raise ValueError("each recipient needs its parameters")
            for path in own:
                length += parameters_length(path, utf8)
        self._plan = PyBytes_FromStringAndSize(NULL, length)
        to = PyBytes_AS_STRING(self._plan)
        if reset:
            to = _put(to, b"RSET\r\n", 6)
        to = _put_path(_put(to, b"MAIL FROM:<", 11), reverse_path)
        to = _put_end(to, parameters)
        for n in range(self.recipients):
            to = _put_path(_put(to, b"RCPT TO:<", 9), <str> paths[n])
            to = _put_end(to, <str> own[n]) if own is not None else _put(to, b">\r\n", 3)
        if not self.bdat:
            _put(to, b"DATA\r\n", 6)
        return 0

    cdef bytes all_commands(self):
        self._sent = PyBytes_GET_SIZE(self._plan)
        return self._plan

    cdef bytes next_command(self):
        """The next line of the plan; None when all are out."""
        cdef const char *line = PyBytes_AS_STRING(self._plan) + self._sent
        cdef Py_ssize_t left = PyBytes_GET_SIZE(self._plan) - self._sent
        cdef const char *end = <const char *> memchr(line, 10, left) if left else NULL
        if end == NULL:
            return None
        self._sent += end - line + 1
        return line[:end - line + 1]

    # --- content ---

    cdef int give_content(self, object content, bint dotted) except -1:
        """Octets, or an iterator of octets that is asked for more only when they are wanted."""
        self._dotted = dotted
        self._line = LINE_START
        if isinstance(content, bytes):
            self._chunk = content
        else:
            self._source = iter(content)
        return 0

    cdef bint is_small(self):
        return not self.bdat and self._source is None and PyBytes_GET_SIZE(self._chunk) < SMALL

    cdef bytes piece(self):
        """The next octets of content as they go out; None at its end. Raises what the source raises."""
        cdef Py_ssize_t length
        cdef const char *octets
        cdef bytes piece
        while self._chunk is None or self._chunk_at >= PyBytes_GET_SIZE(self._chunk):
            self._chunk = next(self._source, None) if self._source is not None else None
            self._chunk_at = 0
            if self._chunk is None:
                if self.bdat:
                    self._count(-self.size)
                return None
        octets = PyBytes_AS_STRING(self._chunk) + self._chunk_at
        length = PyBytes_GET_SIZE(self._chunk) - self._chunk_at
        if self._dotted and not self.bdat and length > PIECE:
            length = PIECE
        piece = self._chunk
        if self.bdat:
            self._count(length)
        elif self._dotted:
            piece = PyBytes_FromStringAndSize(NULL, length + dots_needed(octets, length, self._line))
            copy_stuffed(PyBytes_AS_STRING(piece), octets, length, self._line)
        self._line = line_after(octets, length, self._line)
        self._chunk_at += length
        return piece

    cdef int _count(self, Py_ssize_t octets) except -1:
        """A chunk has as many octets as its command said, or the remote would take content for commands; negative:
        the content has ended here."""
        if octets > self.size or (octets < 0 and self.size):
            raise ValueError(f"its size is not what it was: {self.size} octets were left")
        self.size -= octets if octets > 0 else 0
        return 0

    cdef bytes end(self):
        """What ends the content: only a dot line, behind a line end of our own when the content has none."""
        self._chunk = None
        self._source = None
        if self.bdat:
            return b""
        return b".\r\n" if self._line == LINE_START else b"\r\n.\r\n"

    # --- replies by recipient ---

    cdef int on_recipient(self, ReplyReader reader, bint keep_all) except -1:
        """The next RCPT has its reply. Objects are made from the first refusal on, or when all are wanted."""
        cdef bint positive = reader.code < 400
        cdef Reply reply
        self.answered += 1
        self.accepted += positive
        if positive and self.replies is None and not keep_all:
            if self.answered < self.recipients:    # a refusal may follow, then this one is asked for as well
                if self._kept is None:
                    self._kept = KeptReplies()
                self._kept.keep(reader)
            return 0
        if self.replies is None:
            self.replies = self._kept.replies() if self._kept is not None else []
            self._kept = None
        reply = reader.reply()
        self.replies.append(reply)
        if not positive and self.first_refusal is None:
            self.first_refusal = reply
        return 0

    cdef bint on_delivered(self, Reply reply) except -1:
        """LMTP: the next accepted recipient has its reply to the end of content. True: it was the last one."""
        while not (<Reply> self.replies[self._settled]).code < 400:
            self._settled += 1
        self.replies[self._settled] = reply
        self._settled += 1
        self.accepted -= 1
        return self.accepted == 0

    cdef bint half_settled(self) noexcept:
        """LMTP: some recipients have their reply to the end of content, others not."""
        return self._settled > 0

    cdef int fill_up(self, Reply reply) except -1:
        """LMTP: ``reply`` speaks for all who have none yet."""
        while not self.on_delivered(reply):
            pass
        return 0

    cdef Reply last_reply(self):
        """LMTP: to the end of content, once there is one."""
        return <Reply> self.replies[self._settled - 1]
