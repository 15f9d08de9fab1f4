"""How content lies on disk: in pieces of one page each, under a number and the number of the piece.

Owns: the length of a piece and of a chunk, and the keys. Never does: IO. Spool and store keep content alike.
"""

from struct import Struct

#: Octets of a piece. LMDB puts a long value on pages of its own, behind a header of 16 octets: this is the most that
#: takes one page (of 4096), so no allocation has to search its free list for neighbouring pages.
PIECE = 4080
#: Pieces in one chunk of content: 65,280 octets.
PIECES_PER_CHUNK = 16

#: Pieces at the begin of a content that are kept free for its front, where that is to grow until the content has come.
FRONT_PIECES = 8

#: (number of the content, number of the piece) → key; big-endian, so that pieces lie in order.
piece_key = Struct(">QI").pack
id_key = Struct(">Q").pack


def pieces_of(octets: int) -> int:
    """How many pieces content of this length has."""
    return -(-octets // PIECE)
