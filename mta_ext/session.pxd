# The line engine that every protocol shares: octets in, lines out to the protocol, replies out to the shell.

cdef class LineSession:
    # Input: what was fed and not parsed yet. Empty in the normal case: whole reads are parsed in place.
    cdef char *_tail
    cdef Py_ssize_t _tail_start      # octets at its begin that are parsed already
    cdef Py_ssize_t _tail_length     # octets behind them
    cdef Py_ssize_t _tail_room
    cdef Py_ssize_t _searched        # octets of the tail already known to hold no LF
    cdef Py_ssize_t _line_limit      # octets, line end included
    cdef list _behind                # fed from inside a callback: comes behind what is being parsed
    cdef bint _skipping              # an overlong line is being thrown away up to its LF
    cdef bint _octets                # True: input is content and goes to _on_octets, not to _on_line
    cdef bint _parsing
    cdef Py_ssize_t _unread          # octets that are there behind the line or the decision that is being dealt with

    # Output: joined by take_output into one write
    cdef list _output
    cdef Py_ssize_t _said            # its octets, as far as a protocol counts them
    cdef Py_ssize_t _said_limit      # above it parsing waits for take_output and go_on

    # What the shell reads
    cdef readonly bint pending       # a decision is outstanding: input is kept, not parsed
    cdef readonly bint choked        # input is kept because output above the limit was waiting
    cdef readonly bint closing       # write what is left, then close
    cdef readonly bint wants_tls
    cdef readonly unsigned long long progress   # grows with every command or phase: restarts the shell's deadline

    # Hooks that a protocol fills in
    cdef int _on_line(self, const char *line, Py_ssize_t length) except -1
    cdef int _on_overlong(self) except -1
    cdef Py_ssize_t _on_octets(self, const char *octets, Py_ssize_t length) except -1

    cdef int _parse(self, const char *octets, Py_ssize_t length, Py_ssize_t *consumed) except -1
    cdef Py_ssize_t _parse_line(self, const char *octets, Py_ssize_t length, Py_ssize_t *consumed) except -1
    cdef int _resume(self) except -1
    cdef int _keep(self, const char *octets, Py_ssize_t length) except -1
    cdef int _keep_behind(self) except -1
    cdef void _drop(self, Py_ssize_t consumed) noexcept
    cpdef object feed(self, bytes data)
    cpdef bytes take_output(self)
    cpdef bint go_on(self) except -1
