# The header section on plain C state: fed in any pieces, each octet looked at once.

cdef enum:
    NAME_ROOM = 24           # a field's name and colon as far as they are looked at

cdef enum Field:
    RECEIVED = 1
    DATE = 2
    MESSAGE_ID = 4
    FROM = 8

ctypedef struct Headers:
    bint done                # the empty line was seen
    Py_ssize_t size          # octets so far, the empty line included
    int hops
    int seen                 # Field flags
    Py_ssize_t message_id    # where the first Message-ID field begins, when it was seen
    char name[NAME_ROOM]     # begin of a line that came in pieces
    Py_ssize_t line          # octets of the unfinished line

# To behind the field that begins here: folded lines begin with white space.
cdef const char *behind_field(const char *at, const char *end) noexcept nogil
cdef void feed_headers(Headers *headers, const char *octets, Py_ssize_t length) noexcept nogil
