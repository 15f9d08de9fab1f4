"""Content: DATA (RFC 5321 §4.1.1.4) and BDAT (RFC 3030), their octets, and what is said at the end.

Owns: where content begins and ends, and what becomes of a transaction whose content was refused. These hold:

* Content ends at CRLF.CRLF, or with the octets that BDAT LAST announced, and nowhere else. A bare CR or LF in it is
  refused after that end, and the connection closed; only BODY=BINARYMIME may hold them.
* After each refused content, chunk or DATA the transaction is gone, so that nothing of it is left for what comes next;
  only a DATA that was mistyped or came before any RCPT leaves it as it is.
* The octets of a refused chunk are counted and thrown away, whoever refused it and why: they are never commands. Where
  their number cannot be read or is beyond all reason, the connection is closed instead.

Never does: policy, or the spool.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr

from mta_ext.content cimport BARE_LINE_END, SOUND, Content, Flaw
from mta_ext.params cimport scan_size
from mta_ext.scan cimport same_word
from mta_ext.smtp_extensions cimport CHUNKING
from mta_ext.smtp_replies cimport (
    BAD_ARGUMENT,
    BAD_SEQUENCE,
    BINARY_NEEDS_BDAT,
    EHLO_FIRST,
    FLAW_REPLIES,
    GO_AHEAD,
    HELLO_FIRST,
    INTERNAL_ERROR,
    LHLO_FIRST,
    NO_RECIPIENTS,
    NO_RECIPIENTS_LMTP,
    NOT_IMPLEMENTED,
    OK,
    TOO_LARGE_REPLY,
)
from mta_ext.smtp_state cimport (
    CHUNK,
    CHUNKED,
    CONTENT,
    GREETED,
    HANDED,
    HANDSHAKE,
    MAIL,
    ON_CHUNK,
    ON_CONTENT,
    ON_DATA,
    RCPT,
    WASTE,
    SmtpState,
)

cdef enum:
    CR = 13
    LF = 10
    SPACE = 32
    HYPHEN = 45
    TWO = 50
    FOUR = 52
    ONE = 49
    WASTE_LIMIT = 1 << 30    # octets of one refused chunk that are read and thrown away


# -- DATA ------------------------------------------------------------------------------------------------------------

cdef int begin_data(SmtpState self, const char *text, Py_ssize_t length) except -1:
    if length:
        return refuse_data(self, BAD_ARGUMENT, False)
    if self._phase == MAIL:
        if not self._tried:
            return refuse_data(self, BAD_SEQUENCE, False)
        return refuse_data(self, NO_RECIPIENTS_LMTP if self._lmtp else NO_RECIPIENTS, True)
    if self._binary:
        return refuse_data(self, BINARY_NEEDS_BDAT, True)
    self._data_asked = True
    self._decision = ON_DATA
    return self._decide(self._on_data())


cdef int refuse_data(SmtpState self, bytes reply, bint gone) except -1:
    """``gone``: the transaction is.

    What is there already would have been content, from a client that did not wait to hear whether it may send it
    (RFC 2920 §3.1). It must not be read as commands, and nobody knows where it ends.
    """
    if self._unread:
        return self._out_of_step()
    if gone:
        self._reset()
    return 0 if self.closing else self._say(reply)


cdef int settle_data(SmtpState self, bytes reply, bint good) except -1:
    self._data_asked = False
    if not good:
        return refuse_data(self, reply, True)
    begin_content(self)
    self._set_phase(CONTENT)
    self._octets = True
    return self._say(GO_AHEAD if reply is None else reply)


cdef int begin_content(SmtpState self) except -1:
    if self._content is None:
        self._content = Content()
    self._content.begin(&self._limits, self._binary)
    return 0


# -- BDAT ------------------------------------------------------------------------------------------------------------

cdef int begin_bdat(SmtpState self, const char *text, Py_ssize_t length) except -1:
    """``size`` and perhaps ``LAST``; right behind the line stand so many octets, whatever is said to it."""
    cdef const char *space = <const char *> memchr(text, SPACE, length)
    cdef Py_ssize_t digits = space - text if space != NULL else length
    cdef long long size = scan_size(text, digits)
    cdef bint last = length - digits == 5 and same_word(text + digits, " last", 5)
    cdef Py_ssize_t most = self._limits.size if self._limits.size > WASTE_LIMIT else WASTE_LIMIT
    cdef bytes refusal = None
    if size < 0 or (digits < length and not last):
        self._say(BAD_ARGUMENT)
        return self._close()
    if size > most:
        self._say(TOO_LARGE_REPLY)
        return self._close()
    self._chunk = self._chunk_left = size
    refusal = refusal_of_chunk(self)
    if refusal is not None:
        return refuse_chunk(self, refusal)
    self._last_chunk = last
    if self._phase == CHUNKED:
        return begin_chunk(self)
    self._chunk_asked = True
    self._decision = ON_CHUNK
    return self._decide(self._on_data())


cdef bytes refusal_of_chunk(SmtpState self):
    """The reply to a BDAT that cannot be taken now, or None."""
    if not self._offers & CHUNKING:
        return NOT_IMPLEMENTED
    if self._phase == GREETED:
        return LHLO_FIRST if self._lmtp else HELLO_FIRST
    if not self.esmtp:
        return EHLO_FIRST
    if self._phase == MAIL and self._tried:
        return NO_RECIPIENTS_LMTP if self._lmtp else NO_RECIPIENTS
    return None if self._phase == RCPT or self._phase == CHUNKED else BAD_SEQUENCE


cdef int settle_chunk(SmtpState self, bytes reply, bint good) except -1:
    """The reply to a chunk comes behind its octets; a good one of on_data has nothing to say."""
    self._chunk_asked = False
    if not good:
        return refuse_chunk(self, reply)
    begin_content(self)
    return begin_chunk(self)


cdef int begin_chunk(SmtpState self) except -1:
    self._set_phase(CHUNK)
    self._octets = True
    return 0 if self._chunk_left else end_chunk(self)


cdef int refuse_chunk(SmtpState self, bytes reply) except -1:
    """The transaction is gone; ``reply`` is said behind the octets of the chunk. 421 waits for nothing."""
    cdef const char *octets = PyBytes_AS_STRING(reply)
    self._reset()
    if self.closing:
        return 0
    if self._chunk_left == 0 or (octets[0] == FOUR and octets[1] == TWO and octets[2] == ONE):
        return self._say(reply)
    self._behind_waste = self._phase
    self._waste_reply = reply
    self._set_phase(WASTE)
    self._octets = True
    return 0


cdef int end_chunk(SmtpState self) except -1:
    """All octets of the chunk are here: one reply."""
    cdef bytes reply = self._waste_reply
    cdef Flaw flaw
    self.progress += 1
    self._octets = False
    if self._phase == WASTE:
        self._waste_reply = None
        self._set_phase(self._behind_waste)
        return self._say(reply)
    if self._last_chunk:
        self._content.finish()
        return end_content(self)
    flaw = self._content.flaw()
    if flaw != SOUND or self._failed:
        return refuse_content(self, FLAW_REPLIES[<int> flaw], flaw == BARE_LINE_END)
    self._set_phase(CHUNKED)
    return self._say(b"250 2.0.0 %d octets received\r\n" % self._chunk)


# -- Octets ----------------------------------------------------------------------------------------------------------

cdef Py_ssize_t take_octets(SmtpState self, const char *octets, Py_ssize_t length) except -1:
    """Octets consumed."""
    if self._phase == CONTENT:
        return take_content(self, octets, length)
    if self._phase == HANDSHAKE:
        # Something in the clear behind STARTTLS.
        self._close()
        return length
    return take_chunk(self, octets, length)


cdef Py_ssize_t take_content(SmtpState self, const char *octets, Py_ssize_t length) except -1:
    cdef Content content = self._content
    cdef Py_ssize_t consumed = content.take(octets, length)
    try:
        if content.ended():
            self.progress += 1
            self._octets = False
            end_content(self)
        elif content.has_piece():
            self._on_piece(content.take_piece())
    except Exception as error:
        self._trouble(error)
    return consumed


cdef Py_ssize_t take_chunk(SmtpState self, const char *octets, Py_ssize_t length) except -1:
    cdef Content content = self._content
    cdef bint kept = self._phase == CHUNK
    if length > self._chunk_left:
        length = self._chunk_left
    if kept:
        length = content.take_chunk(octets, length)
    self._chunk_left -= length
    try:
        if kept and not (self._last_chunk and self._chunk_left == 0) and content.has_piece():
            self._on_piece(content.take_piece())
    except Exception as error:
        self._trouble(error)
    try:
        if self._chunk_left == 0 and not self.closing:
            end_chunk(self)
    except Exception as error:
        self._trouble(error)
    return length


# -- The end ---------------------------------------------------------------------------------------------------------

cdef int end_content(SmtpState self) except -1:
    cdef Flaw flaw = self._content.flaw()
    if flaw != SOUND or self._failed:
        return refuse_content(self, FLAW_REPLIES[<int> flaw], flaw == BARE_LINE_END)
    self._set_phase(HANDED)
    self._decision = ON_CONTENT
    return self._decide(self._on_content(self._content))


cdef int refuse_content(SmtpState self, bytes reply, bint close) except -1:
    """LMTP: to each recipient, but for a chunk that is not the last one."""
    cdef Py_ssize_t replies = 1
    if self._lmtp and (self._phase == CONTENT or self._last_chunk):
        replies = self._recipients
    self._end_transaction()
    self._tell(self._on_refused_content)
    if self.closing:
        return 0
    self._say(reply * replies if replies != 1 else reply)
    return self._close() if close else 0


cdef int lose_content(SmtpState self) except -1:
    """A callback raised. The octets that are on their way are read to their end before anything can be said."""
    if self._phase == CONTENT or self._phase == CHUNK:
        self._failed = True
        self._content.throw_away()
        return 0
    if self._phase == HANDED:
        return say_of_content(self, INTERNAL_ERROR)
    if self._data_asked:
        self._data_asked = False
        return refuse_data(self, INTERNAL_ERROR, True)
    if self._chunk_asked:
        self._chunk_asked = False
        return refuse_chunk(self, INTERNAL_ERROR)
    self._reset()
    return self._say(INTERNAL_ERROR)


cdef int say_of_content(SmtpState self, bytes reply) except -1:
    """One reply of ours to the end of content; LMTP: to each recipient. It counts as one mistake at most."""
    cdef Py_ssize_t recipients = self._recipients
    self._end_transaction()
    return self._say(reply * recipients if self._lmtp else reply)


cdef int settle_content(SmtpState self, bytes reply, bint good) except -1:
    if self._lmtp and reply is not None:
        return settle_each(self, reply)
    if good:
        self._errors = 0
    return say_of_content(self, OK if reply is None else reply)


cdef int settle_each(SmtpState self, bytes replies) except -1:
    """LMTP: a reply to each accepted recipient. A 421 behind others speaks for all that are left."""
    cdef Replies seen = read_replies(PyBytes_AS_STRING(replies), PyBytes_GET_SIZE(replies))
    if not seen.sound or seen.count > self._recipients or (seen.count < self._recipients and not seen.last_word):
        raise ValueError(f"{replies!r} is not a reply to each of {self._recipients} recipients")
    self._end_transaction()
    if seen.accepted:
        self._errors = 0
    self._say(replies)
    return self._close() if seen.last_word else 0


cdef Replies read_replies(const char *octets, Py_ssize_t length) noexcept nogil:
    """Counts replies that stand one behind the other; those of several lines have a hyphen behind the code."""
    cdef Replies seen = Replies(0, 0, False, length > 0)
    cdef const char *line = octets
    cdef const char *end
    while length > 0:
        end = <const char *> memchr(line, LF, length)
        if end == NULL or end - line < 4 or end[-1] != CR or seen.last_word:
            seen.sound = False
            return seen
        if line[3] != HYPHEN:
            seen.count += 1
            seen.accepted += line[0] == TWO
            seen.last_word = line[0] == FOUR and line[1] == TWO and line[2] == ONE
        length -= end + 1 - line
        line = end + 1
    return seen
