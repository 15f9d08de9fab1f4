# Prebuilt replies, set when the module is imported.

cdef bytes OK
cdef bytes MAIL_OK
cdef bytes RCPT_OK
cdef bytes GO_AHEAD
cdef bytes BYE
cdef bytes CANNOT_VERIFY
cdef bytes HELP
cdef bytes TOO_MANY_ERRORS
cdef bytes INTERNAL_ERROR
cdef bytes TOO_MANY_RECIPIENTS
cdef bytes UNKNOWN_COMMAND
cdef bytes LINE_TOO_LONG_REPLY
cdef bytes BAD_OCTET
cdef bytes BAD_FORWARD_PATH
cdef bytes BAD_REVERSE_PATH
cdef bytes BAD_ARGUMENT
cdef bytes NOT_IMPLEMENTED
cdef bytes BAD_SEQUENCE
cdef bytes HELLO_FIRST
cdef bytes BARE_REPLY
cdef bytes TOO_LARGE_REPLY
cdef bytes TOO_EARLY
cdef bytes NO_RECIPIENTS
cdef bytes UNKNOWN_PARAMETER
cdef tuple FLAW_REPLIES
