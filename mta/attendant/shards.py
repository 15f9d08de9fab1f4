"""Which worker owns which shard of the spool. Pure.

Owns: the assignment. Never does: look at the disk. Worker n owns shard n; shards of workers that are no more (the
number was lowered) are handed to those that are left, so that no queued message waits for a worker that never comes.
"""

from collections.abc import Iterable


def assign(workers: int, existing: Iterable[int]) -> list[list[int]]:
    """Shards per worker, its own first. ``existing``: shards that have a directory."""
    owned = [[number] for number in range(workers)]
    orphans = sorted(shard for shard in set(existing) if shard >= workers)
    for turn, shard in enumerate(orphans):
        owned[turn % workers].append(shard)
    return owned
