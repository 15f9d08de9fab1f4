"""Counters and histograms in shared memory: a row per process, one 64-bit slot per number, one writer per row."""

class Counters:
    """A view of one row. ``buffer`` is a writable, shared mmap; ``offset`` octets to the row, ``slots`` in it."""

    def __init__(self, buffer: object, offset: int, slots: int) -> None: ...
    def add(self, slot: int, amount: int = 1) -> None:
        """Adds; slots out of range raise IndexError. About 30 ns; loop thread of the row's owner only."""
    def set(self, slot: int, value: int) -> None: ...
    def get(self, slot: int) -> int: ...
    def observe(self, first: int, bounds: int, value: float) -> None:
        """Histogram registered under handle ``bounds`` (see ``define_bounds``): the bucket slot after ``first`` is
        increased, then the sum in microseconds and the count, which lie behind the buckets."""
    def clear(self) -> None: ...
    def snapshot(self) -> list[int]: ...

def define_bounds(bounds: tuple[float, ...]) -> int:
    """Registers upper bounds of a histogram's buckets and gives a handle for ``observe``."""
