"""What a server session does with decisions, whatever its protocol: asks one at a time, takes the answer now or later.

Owns: the outstanding decision, what callbacks raise, the count of the peer's mistakes, and how a session ends. A
protocol (``smtp_server``, ``pop3_server``) sets ``_decision``, calls its callback, gives what that returned to
``_decide``, and finds the verdict in ``_on_verdict``. These hold whatever a peer or a handler does:

* At most one decision is outstanding, and input waits for it.
* What a callback raises is reported, becomes trouble of the protocol, and never reaches the shell.
* After the close nothing is parsed, asked or answered.

Never does: phases, commands or replies.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetObject, PyErr_WriteUnraisable

from mta_ext.session cimport LineSession

from mta_ext.session import PENDING, _Pending

Verdict = bytes | None | _Pending


cdef class DecidingSession(LineSession):
    """See the stub."""

    # -- Hooks --

    cdef int _on_verdict(self, int decision, bytes verdict) except -1:
        """The decision is made: ``verdict`` is a whole reply, or None for the protocol's own."""
        raise AssertionError("a protocol fills this in")

    cdef int _on_trouble(self) except -1:
        """A callback raised, or decided nonsense. It was reported; the decision is forgotten."""
        raise AssertionError("a protocol fills this in")

    cdef int _wind_up(self) except -1:
        """The session closes: what was open ends. The decision is still known."""
        raise AssertionError("a protocol fills this in")

    cdef int _secured(self) except -1:
        """TLS is on; what was said before it is worth nothing."""
        raise AssertionError("a protocol that sets wants_tls fills this in")

    cdef void _unbind(self) noexcept:
        """Handler and session refer to each other; without this each connection would wait for the collector."""
        self._on_error = None

    cdef int _put(self, bytes reply) except -1:
        """A reply goes out as it is; a protocol may word it differently."""
        self._output.append(reply)
        return 0

    # -- What the shell reads --

    @property
    def admitted(self):
        return True

    @property
    def mistakes(self):
        return self._errors

    @property
    def in_content(self):
        return False

    @property
    def content_octets(self):
        return 0

    # -- What the shell and the handler say --

    def answer(self, bytes reply):
        if self.closing:
            return
        if not self.pending:
            if self._decision == 0 or self._answered:
                raise RuntimeError("no decision is outstanding")
            self._answered = True
            self._early = reply
            return
        self.pending = False
        self._parsing = True     # what callbacks feed meanwhile waits until the reply is out
        self._unread = self._tail_length
        try:
            self._settle(reply)
        except Exception as error:
            self._trouble(error)
        finally:
            self._parsing = False
        self._resume()

    def shut(self, bytes reply not None):
        if not self.closing:
            self._put(reply)
            self._close()

    def eof(self):
        if not self.closing:
            self._close()
        self._output.clear()
        if not self._parsing:
            self._unbind()

    def tls_started(self):
        if self.closing:
            return
        if not self.wants_tls:
            raise RuntimeError("nobody asked for TLS")
        self.wants_tls = False
        self._secured()

    # -- Decisions --

    cdef int _decide(self, object verdict) except -1:
        """What a callback returned: settled now, or kept for ``answer``."""
        if self.closing:
            return 0
        if verdict is PENDING:
            if not self._answered:
                self.pending = True
                return 0
            verdict = self._early
        return self._settle(verdict)

    cdef int _settle(self, bytes verdict) except -1:
        cdef int decision = self._decision
        if verdict is not None and PyBytes_GET_SIZE(verdict) < 4:
            raise ValueError(f"{verdict!r} is no reply")
        self._forget_decision()
        self.progress += 1
        return self._on_verdict(decision, verdict)

    cdef void _forget_decision(self) noexcept:
        self._decision = 0
        self._answered = False
        self._early = None

    # -- Trouble and the end --

    cdef int _trouble(self, object error) except -1:
        """A callback raised: reported, and told to the protocol as long as there is something to say."""
        self._forget_decision()
        self._report(error)
        return 0 if self.closing else self._on_trouble()

    cdef int _report(self, object error) except -1:
        if self._on_error is not None:
            try:
                self._on_error(error)
                return 0
            except Exception as another:
                error = another
        PyErr_SetObject(type(error), error)
        PyErr_WriteUnraisable(self)
        return 0

    cdef int _tell(self, object callback) except -1:
        """A callback that decides nothing: what it raises changes nothing either."""
        try:
            callback()
        except Exception as error:
            self._report(error)
        return 0

    cdef int _count_error(self, bytes last_word) except -1:
        """One more mistake of the peer; beyond the limit it hears ``last_word``."""
        self._errors += 1
        if self._errors > self._error_limit and not self.closing:
            self._put(last_word)
            self._close()
        return 0

    cdef int _close(self) except -1:
        """Nothing is parsed or asked from here on."""
        if self.closing:
            return 0
        self.closing = True
        self.pending = False
        self._wind_up()
        self._forget_decision()
        return self._resume()
