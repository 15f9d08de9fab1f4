"""How a server session puts out what is too much for one write: messages and long listings, piece by piece.

Owns: which octets wait to be taken, and that nothing is parsed while something is being sent. A source is asked for
more only when the shell takes what is there, so a peer that does not read costs one CHUNK and one piece of the source.
Never does: knowing what is sent. The protocol (``pop3_server``) gives the pieces, and what ends them.
"""

from cpython.bytes cimport PyBytes_GET_SIZE

from mta_ext.deciding cimport DecidingSession
from mta_ext.session cimport LineSession


cdef class SendingSession(DecidingSession):
    """See the stub."""

    def __cinit__(self):
        self._reply_limit = self._said_limit = CHUNK

    cdef bytes _next_piece(self):
        """More of what is being sent; None when that was all, and its end is said. What it raises ends the session."""
        raise AssertionError("a protocol fills this in")

    cdef int _sent(self) except -1:
        """All is out, or the session closes: the protocol lets go of the source."""
        raise AssertionError("a protocol fills this in")

    cpdef bytes take_output(self):
        if self._sending and not self._output:
            self._pull()
        return LineSession.take_output(self)

    cpdef bint go_on(self) except -1:
        return True if self._sending else LineSession.go_on(self)

    def shut(self, bytes reply not None):
        if self._sending:
            self._close()            # a last word would stand in the middle of what is sent
        else:
            DecidingSession.shut(self, reply)

    cdef int _say(self, bytes reply) except -1:
        self._output.append(reply)
        self._said += PyBytes_GET_SIZE(reply)
        return 0

    cdef int _send(self, int what) except -1:
        """The head of the reply is said. Until all is out nothing is parsed."""
        self._sending = what
        self._said_limit = 0
        self.choked = True
        return self._pull()

    cdef int _pull(self) except -1:
        """Put out about a CHUNK of what is being sent."""
        cdef bytes piece
        if self._pulling:
            return 0
        self._pulling = True
        self.progress += 1
        try:
            while self._sending and self._said < CHUNK:
                piece = self._next_piece()
                if self._sending and piece is not None:
                    self._say(piece)
                elif self._sending:
                    self._end_sending()
        except Exception as error:
            self._report(error)
            self._close()
        finally:
            self._pulling = False
        return 0

    cdef int _end_sending(self) except -1:
        """Parsing goes on; of what is kept already, with ``go_on``."""
        self._sending = 0
        self._said_limit = self._reply_limit
        self.choked = self._tail_length > 0
        return self._sent()
