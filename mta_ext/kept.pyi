"""A message of ordinary size out of the store, in one piece."""

from collections.abc import Callable
from typing import Any

def read_kept(
    get: Callable[..., Any], items: object, contents: object, mailbox: int, uid: int, size: int
) -> bytes | None:
    """Head and content of a message whose size as sent is ``size`` octets; None: there is no such item. ``get(key,
    default, table)`` is that of an LMDB transaction without buffers; ``items`` and ``contents`` are its tables.
    Raises LookupError(number of the content, number of the piece) where a piece is missing or is too long."""
