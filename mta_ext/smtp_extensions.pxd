# What a session offers: one bit a name, and the lines of EHLO.

cimport cython

cdef enum Offer:
    PIPELINING = 1 << 0
    SIZE = 1 << 1
    EIGHTBITMIME = 1 << 2
    SMTPUTF8 = 1 << 3
    CHUNKING = 1 << 4
    BINARYMIME = 1 << 5
    DSN = 1 << 6
    ENHANCEDSTATUSCODES = 1 << 7
    STARTTLS = 1 << 8
    AUTH = 1 << 9
    REQUIRETLS = 1 << 10
    LIMITS = 1 << 11
    MT_PRIORITY = 1 << 12
    DELIVERBY = 1 << 13
    FUTURERELEASE = 1 << 14
    ETRN = 1 << 15
    VRFY = 1 << 16
    EXPN = 1 << 17
    HELP = 1 << 18
    XCLIENT = 1 << 19
    XFORWARD = 1 << 20


@cython.final
cdef class Offers:
    # What was configured
    cdef readonly tuple names
    cdef readonly tuple mechanisms
    cdef readonly bint plaintext_login
    cdef readonly object size
    cdef readonly object recipients
    cdef readonly object messages
    cdef readonly object max_hold
    cdef readonly str max_hold_until
    cdef readonly long long min_by

    cdef long now(self, bint secure) except -1
    cdef bytes lines(self, bint secure)
    cdef list allowed_mechanisms(self, bint secure)
