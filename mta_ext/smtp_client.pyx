"""The SMTP and LMTP client session (RFC 5321, 2920, 1870, 6152, 2033, 3030, 3207, 4954), sans-IO.

Two cursors over the plans of at most two transactions. Sending: with PIPELINING all commands of a transaction leave
at once and it stops after DATA, else a command leaves when the last one has its reply. Receiving: each reply belongs
to the first entry of a ring of expected replies, and to the front transaction. When DATA has its 354 and the content
is put out, the sending cursor is free for the next transaction, whose commands leave with the end of this content.
A content that goes as a chunk (BDAT) leaves when the recipients have their replies, and the next transaction follows
its reply: after a refused chunk only RSET is safe.

Owns: what each reply means for the transaction it belongs to, and what may be put out when.
Never does: sockets, time, or deciding what becomes of a recipient.
"""

import binascii

from mta_ext.reply cimport REPLY_MORE, REPLY_WRONG, Reply, ReplyReader
from mta_ext.session cimport LineSession
from mta_ext.transaction cimport CHUNK_FROM, PIECE, SMALL, Transaction, parameters_length

cdef tuple _STAGES = ("IDLE", "GREETING", "EHLO", "EHLO", "MAIL", "MAIL", "RCPT", "DATA", "DOT", "DOT", "QUIT",
                      "STARTTLS", "AUTH")


cdef class SmtpClientSession(LineSession):
    """See the .pyi for the contract."""

    def __cinit__(self, object handler, str ehlo_name not None, *, bint lmtp=False, str starttls not None="none",
                  bint secure=False, object login=None, int reply_line=4096, int reply_lines=128):
        self._on_ready = handler.on_ready
        self._on_room = handler.on_room
        self._on_outcome = handler.on_outcome
        self._on_trouble = handler.on_trouble
        if not ehlo_name or not ehlo_name.isascii() or not ehlo_name.isprintable() or " " in ehlo_name:
            raise ValueError(f"{ehlo_name!r} cannot be the name of an EHLO command")
        self._ehlo_name = ehlo_name.encode("ascii")
        self._lmtp = lmtp
        if starttls not in ("none", "opportunistic", "required"):
            raise ValueError(f"starttls is none, opportunistic or required, not {starttls!r}")
        self._starttls = starttls != "none" and not secure
        self._tls_needed = starttls == "required"
        self.secure = secure
        self._login = login
        self._line_limit = reply_line
        self._reader = ReplyReader(reply_lines)
        self.extensions = {}
        self._expect(GREETING, 1)

    # --- what the shell reads ---

    @property
    def size_limit(self):
        cdef str size = self.extensions.get("SIZE", "")
        return int(size) if size.isdecimal() and len(size) <= 20 else 0

    @property
    def room(self):
        return self._has_room()

    @property
    def outstanding(self):
        return (self._front is not None) + (self._next is not None)

    @property
    def stage(self):
        return self._stage()

    @property
    def has_output(self):
        return not self._taking and (len(self._output) > 0 or self._content is not None)

    # --- what the shell does ---

    def deliver(self, object token, str reverse_path not None, object recipients, object content, *,
                Py_ssize_t size, bint dotted, bint eight_bit=False, str parameters not None="",
                object recipient_parameters=None, bint binary=False, bint smtputf8=False):
        cdef Transaction tx
        cdef str said = ""
        if not self._has_room():
            raise RuntimeError("the session has no room for a transaction now: deliver from on_ready or on_room")
        if binary and not (self._chunking_offered and "BINARYMIME" in self.extensions):
            raise ValueError("the remote takes no binary content")
        if self._size_offered:
            said = f" SIZE={size}"
        if binary:
            said += " BODY=BINARYMIME"
        elif eight_bit and self._eight_bit_offered:
            said += " BODY=8BITMIME"
        if smtputf8:
            said += " SMTPUTF8"
        if parameters:
            parameters_length(parameters, smtputf8)
            said += " " + parameters
        tx = Transaction.__new__(Transaction)
        tx.token = token
        tx.bdat = binary or (self._chunking_offered and size >= CHUNK_FROM)
        tx.size = size
        tx.plan(reverse_path, recipients, said, recipient_parameters, smtputf8, self._open)
        tx.give_content(content, dotted)
        if self._front is None:
            self._front = tx
        else:
            self._next = tx
        self._sending = tx
        if not self._pipelining:
            self._advance()
            return
        self._output.append(tx.all_commands())
        if self._open:
            self._expect(RSET, 1)
        self._expect(MAIL, 1)
        self._expect(RCPT, tx.recipients)
        if not tx.bdat:
            self._expect(DATA, 1)

    def tls_started(self):
        if not self.wants_tls:
            raise RuntimeError("nobody has asked for TLS")
        self.wants_tls = self.pending = False
        self.secure = True
        self.extensions = {}          # what was said in the clear is nothing to go by (RFC 3207 §4.2)
        self.progress += 1
        self._introduce()

    def quit(self):
        if self.closing or self._quit_asked:
            return
        self._quit_asked = True
        if self._awaited() == GREETING or self.wants_tls:
            self._shut()
        elif self._ready:
            self._put_quit()

    def eof(self):
        if not self.closing:
            self._trouble(self._stage(), None, f"the connection was lost {self._while()}")

    def timed_out(self):
        if not self.closing:
            self._trouble(self._stage(), None, f"the deadline passed {self._while()}")

    cpdef object feed(self, bytes data):
        """Take what the remote sent. Never raises for anything that a remote can send."""
        LineSession.feed(self, data)
        if self._skipping and not self.closing:
            self._on_overlong()       # the end of this line may never come
        if self.wants_tls and self._tail_length:
            self._trouble("STARTTLS", None, "octets in the clear came behind the reply to STARTTLS")

    cpdef bytes take_output(self):
        cdef bytes output
        if self._taking:              # on_room called from here may lead a shell back to here
            return b""
        self._taking = True
        try:
            if self._content is not None:
                self._pull()
        finally:
            self._taking = False
        output = LineSession.take_output(self)
        if self._ending is not None:
            self._ending.dot_out = True
            self._ending = None
        return output

    # --- expected replies ---

    cdef Kind _awaited(self) noexcept nogil:
        return self._ring[self._first].kind if self._kinds else NOTHING

    cdef void _expect(self, Kind kind, int count) noexcept nogil:
        cdef Expected *entry = &self._ring[(self._first + self._kinds) % RING]
        entry.kind = kind
        entry.count = count
        self._kinds += 1

    cdef void _tick_off(self) noexcept nogil:
        self._ring[self._first].count -= 1
        if self._ring[self._first].count == 0:
            self._first = (self._first + 1) % RING
            self._kinds -= 1

    cdef str _stage(self):
        if self.wants_tls:
            return "STARTTLS"
        if self._awaited() == DOT and not self._front.dot_out:
            return "CONTENT"
        return <str> _STAGES[self._awaited()]

    cdef str _while(self):
        cdef str stage = self._stage()
        if stage == "IDLE":
            return "while the session was idle"
        if stage == "CONTENT":
            return "while content was being sent"
        return f"before the reply to {'the end of content' if stage == 'DOT' else stage} came"

    # --- received ---

    cdef int _on_line(self, const char *line, Py_ssize_t length) except -1:
        cdef int state = self._reader.add(line, length)
        if state == REPLY_WRONG:
            return self._trouble(self._stage(), None, self._reader.complaint(line, length))
        if self._awaited() == EHLO and self._reader.code < 300 and self._reader.lines > 1:
            self._note_extension(line, length)
        if state == REPLY_MORE:
            return 0
        self.progress += 1
        return self._on_reply()

    cdef int _on_overlong(self) except -1:
        return self._trouble(self._stage(), None, f"a line of the reply is longer than {self._line_limit} octets")

    cdef int _on_reply(self) except -1:
        """A whole reply: is it one that can stand here?"""
        cdef Kind kind = self._awaited()
        cdef int code = self._reader.code
        if kind == QUIT:
            return self._shut()
        if code == 421:
            return self._on_421(kind)
        if kind == NOTHING:
            return self._on_odd_reply(kind, "a reply came though no command was sent")
        if kind == DOT and not self._front.dot_out:
            return self._on_odd_reply(kind, "a reply came before the content was sent whole")
        if code < 400 and (code >= 300) != (kind == DATA) and kind != AUTH:
            return self._on_odd_reply(kind, f"this is no reply to {self._stage()}")
        self._tick_off()
        return self._dispatch(kind)

    cdef int _dispatch(self, Kind kind) except -1:
        if kind == MAIL:
            return self._on_mail()
        if kind == RCPT:
            return self._on_rcpt()
        if kind == DATA:
            return self._on_swallowed_data() if self._swallowing else self._on_data()
        if kind == DOT:
            return self._on_dot()
        if kind == LONE_DOT:
            return self._settle()     # whatever it says: nobody was accepted
        if kind == RSET:
            if self._reader.code >= 400:
                return self._trouble("MAIL", self._reader.reply(), "the remote refused RSET")
            self._open = False
            return self._advance()
        if kind == GREETING:
            return self._on_greeting()
        if kind == STARTTLS:
            return self._on_starttls()
        if kind == AUTH:
            return self._on_login()
        return self._on_hello(kind)

    cdef int _on_greeting(self) except -1:
        if self._reader.code >= 400:              # it waits for QUIT (RFC 5321 §3.1)
            return self._part("GREETING", self._reader.reply(), "the remote refused the connection")
        return self._introduce()

    cdef int _introduce(self) except -1:
        self._output.append((b"LHLO " if self._lmtp else b"EHLO ") + self._ehlo_name + b"\r\n")
        self._expect(EHLO, 1)
        return 0

    cdef int _on_hello(self, Kind kind) except -1:
        if self._reader.code >= 500 and kind == EHLO and not self._lmtp:
            self._output.append(b"HELO " + self._ehlo_name + b"\r\n")
            self._expect(HELO, 1)
            return 0
        if self._reader.code >= 400:
            return self._part("EHLO", self._reader.reply(), "the remote refused EHLO and HELO" if kind == HELO else
                              f"the remote refused {'LHLO' if self._lmtp else 'EHLO'}")
        if not self._starttls or self.secure or self._quit_asked:
            return self._introduced()
        if "STARTTLS" in self.extensions:
            self._output.append(b"STARTTLS\r\n")
            self._expect(STARTTLS, 1)
            return 0
        if self._tls_needed:
            return self._part("STARTTLS", None, "the remote does not offer STARTTLS")
        return self._introduced()

    cdef int _on_starttls(self) except -1:
        if self._reader.code >= 400:
            if self._tls_needed:
                return self._part("STARTTLS", self._reader.reply(), "the remote refused STARTTLS")
            return self._introduced()
        self.wants_tls = self.pending = True      # what comes from now on is not for us, up to tls_started
        return 0

    cdef int _introduced(self) except -1:
        """The remote is known, and as safe as it gets."""
        if self._login is not None and self._exchange is None and not self._quit_asked:
            return self._begin_login()
        self._pipelining = "PIPELINING" in self.extensions
        self._size_offered = "SIZE" in self.extensions
        self._eight_bit_offered = "8BITMIME" in self.extensions
        self._chunking_offered = "CHUNKING" in self.extensions
        self._ready = True
        if self._quit_asked:
            return self._put_quit()
        self._on_ready()
        return 0

    cdef int _begin_login(self) except -1:
        cdef object exchange = self._login(self.extensions.get("AUTH", ""))
        cdef bytes command
        cdef object first
        if exchange is None:
            offered = self.extensions.get("AUTH", "")
            reason = f"of what the remote offers for AUTH we may use nothing: {offered or 'no mechanism'}"
            return self._part("AUTH", None, reason)
        self._exchange = exchange
        command = b"AUTH " + (<str> exchange.name).encode("ascii")
        first = exchange.step(None)
        if first is not None:                     # an empty one is written "=" (RFC 4954 §4)
            command += b" " + (binascii.b2a_base64(first, newline=False) or b"=")
        self._output.append(command + b"\r\n")
        self._expect(AUTH, 1)
        return 0

    cdef int _on_login(self) except -1:
        """The next challenge, or what the login came to."""
        cdef Reply reply = self._reader.reply()
        cdef object response = None
        if reply.code >= 400:
            return self._part("AUTH", reply, "the remote refused the login")
        if reply.code < 300:
            if not self._exchange.finished:
                return self._part("AUTH", None, "the remote let us in without a proof that it knows us")
            return self._introduced()
        try:
            response = self._exchange.step(binascii.a2b_base64(reply.text, strict_mode=True))
        except ValueError:                        # no base64, or what no challenge of this mechanism can be
            response = None
        if response is None:
            return self._part("AUTH", None, "the challenge of the remote is not one that we can answer", b"*\r\n")
        self._output.append(binascii.b2a_base64(response, newline=False) + b"\r\n")
        self._expect(AUTH, 1)
        return 0

    cdef int _part(self, str stage, Reply reply, str reason, bytes last=b"QUIT\r\n") except -1:
        """The session cannot come about; a last word, and nobody waits for its answer."""
        self._trouble(stage, reply, reason)
        self._output.append(last)
        return 0

    cdef int _note_extension(self, const char *line, Py_ssize_t length) except -1:
        cdef str text = line[4:length].decode("ascii", "replace") if length > 4 else ""
        cdef list words = text.split(None, 1)
        if words:
            self.extensions[words[0].upper()] = words[1].strip() if len(words) > 1 else ""
        return 0

    cdef int _on_mail(self) except -1:
        if self._reader.code < 400:
            self._open = True
            return self._advance()
        self._swallowing = self._pipelining       # RCPT and DATA are on their way and will be answered
        return self._outcome("MAIL", self._reader.reply(), None)

    cdef int _on_rcpt(self) except -1:
        cdef Transaction tx = self._front
        if self._swallowing:
            if self._kinds:
                return 0
            self._swallowing = False              # no DATA follows when the content would have been a chunk
            return self._settle()
        tx.on_recipient(self._reader, self._lmtp)
        if tx.answered < tx.recipients or (tx.accepted and not tx.bdat):
            return self._advance()
        if tx.accepted:
            return self._start_content()
        self._swallowing = self._pipelining and not tx.bdat    # DATA is on its way
        return self._outcome("RCPT", tx.first_refusal, tx.replies)

    cdef int _on_data(self) except -1:
        cdef Transaction tx = self._front
        if self._reader.code < 400:
            return self._start_content()
        return self._outcome("DATA", self._reader.reply(), None if tx.accepted == tx.recipients else tx.replies)

    cdef int _on_swallowed_data(self) except -1:
        """DATA of a refused transaction. A server that wants content nevertheless gets none (RFC 2920 §3.1)."""
        if self._reader.code < 400:
            if self._lmtp:                        # it answers for each recipient, and thinks there is one: how many?
                return self._trouble("DATA", None, "the remote wants content though it accepted no recipient")
            self._open = False
            self._output.append(b".\r\n")
            self._expect(LONE_DOT, 1)
        self._swallowing = False
        return self._settle()

    cdef int _on_dot(self) except -1:
        cdef Transaction tx = self._front
        cdef Reply reply = self._reader.reply()
        if self._lmtp and not tx.on_delivered(reply):
            return 0
        self._open = tx.bdat and reply.code >= 400
        return self._outcome("DOT", reply, tx.replies)

    cdef int _outcome(self, str stage, Reply reply, list recipients) except -1:
        """The front transaction has ended; the one behind it takes its place before the handler hears of it."""
        cdef Transaction tx = self._front
        self._front = self._next
        self._next = None
        if self._sending is tx:
            self._sending = None
        self._on_outcome(tx.token, stage, reply, recipients)
        return self._settle()

    # --- trouble ---

    cdef int _on_odd_reply(self, Kind kind, str reason) except -1:
        """A reply that cannot stand here. A refusal while content is going out is an answer; all else is nonsense."""
        cdef Reply reply = self._reader.reply()
        if kind == DOT and reply.code >= 400:
            return self._trouble("CONTENT", reply, "the remote refused the content before its end")
        return self._trouble(self._stage(), None, f"{reason}: {ascii(str(reply)[:80])}")

    cdef int _on_421(self, Kind kind) except -1:
        """The remote closes. With the reply to its end of content a transaction is no longer uncertain."""
        cdef Reply reply = self._reader.reply()
        cdef str stage = self._stage()
        cdef Transaction tx = self._front
        if kind == DOT and tx.dot_out:
            if self._lmtp and tx.half_settled():
                # Some recipients are delivered: their outcome must not get lost, and this speaks for the others.
                tx.fill_up(reply)
                self._half_outcome(reply)
            else:
                tx.dot_out = False
        return self._trouble(stage, reply, "the remote closes the session")

    cdef int _half_outcome(self, Reply reply) except -1:
        """LMTP: the front transaction ends here though replies are awaited still, which are nobody's any more."""
        cdef Transaction tx = self._front
        self._ring[self._first].kind = LONE_DOT
        self._front = self._next
        self._next = None
        self._on_outcome(tx.token, "DOT", reply, tx.replies)
        return 0

    cdef int _trouble(self, str stage, Reply reply, str reason) except -1:
        cdef list transactions = []
        cdef Transaction tx = self._front
        cdef Reply last
        if tx is not None and tx.dot_out and self._lmtp and tx.half_settled():
            # What some recipients were told stands: only the others are uncertain.
            last = tx.last_reply()
            tx.fill_up(Reply(0, None, reason))
            self._half_outcome(last)
        for tx in (self._front, self._next):
            if tx is not None:
                transactions.append((tx.token, bool(tx.dot_out)))
        self._shut()
        if transactions or not self._quit_asked:
            self._on_trouble(stage, reply, reason, transactions)
        return 0

    cdef int _shut(self) except -1:
        """Nothing more goes out or comes in: a content that was begun must not look as if it had ended."""
        self.closing = True
        self.wants_tls = self.pending = False
        self._output.clear()
        self._kinds = 0
        self._swallowing = False
        self._front = self._next = self._sending = self._content = self._ending = None
        return 0

    # --- sent ---

    cdef bint _has_room(self) noexcept:
        """The sending cursor is free, and allowed to run ahead unless nothing is awaited."""
        return (self._ready and not self.closing and not self._quit_asked and not self._swallowing
                and self._sending is None and (self._pipelining or self._kinds == 0))

    cdef int _settle(self) except -1:
        """The sending cursor may have become free."""
        if self._quit_asked and not self.closing:
            return self._put_quit()
        if self._has_room():
            self._on_room()
        return 0

    cdef int _advance(self) except -1:
        """Lock-step: put out the next command of the plan. With PIPELINING all are out."""
        cdef bytes line
        if self._sending is None or self._pipelining:
            return 0
        line = self._sending.next_command()
        if line is None:
            return 0
        self._output.append(line)
        if line[0] == 77:                         # M
            self._expect(MAIL, 1)
        elif line[0] == 68:                       # D
            self._expect(DATA, 1)
        elif line[1] == 67:                       # RC
            self._expect(RCPT, 1)
        else:
            self._expect(RSET, 1)
        return 0

    cdef int _start_content(self) except -1:
        cdef Transaction tx = self._front
        cdef bytes piece
        self._open = False                        # the end of content ends it, whatever the reply
        self._expect(DOT, tx.accepted if self._lmtp else 1)
        self._content = tx
        if tx.bdat:
            self._output.append(b"BDAT %d LAST\r\n" % tx.size)
        if not tx.is_small():
            return 0
        piece = tx.piece()
        if piece is not None:
            self._output.append(piece)
        return self._end_content()

    cdef int _pull(self) except -1:
        """Move about a piece of content into the output, and its end if that is reached."""
        cdef Transaction tx = self._content
        cdef Py_ssize_t left = PIECE
        cdef bytes piece
        self.progress += 1
        while left > 0:
            try:
                piece = tx.piece()
            except Exception as error:
                # Without its end the remote discards what it has; the message stays with us.
                reason = f"the content could not be read: {type(error).__name__}: {error}"
                return self._trouble("CONTENT", None, reason)
            if piece is None:
                return self._end_content()
            self._output.append(piece)
            if len(piece) >= SMALL:               # large pieces go out as they are, uncopied
                return 0
            left -= len(piece)
        return 0

    cdef int _end_content(self) except -1:
        cdef Transaction tx = self._content
        self._ending = tx
        self._content = None
        if tx.bdat:
            return 0
        self._output.append(tx.end())
        self._sending = None
        return self._settle()

    cdef int _put_quit(self) except -1:
        """QUIT, once the sending cursor is free. With PIPELINING it leaves with the last end of content."""
        if self._quit_put or self._sending is not None or self._swallowing:
            return 0
        if self._pipelining or self._kinds == 0:
            self._quit_put = True
            self._output.append(b"QUIT\r\n")
            self._expect(QUIT, 1)
        return 0
