"""Durable custody of accepted messages, behind one small protocol (``protocol``) with three backends.

``disk`` is LMDB with group commit, ``memory`` keeps everything in dictionaries, ``null`` keeps nothing.
``shard`` owns the files, ``stopped`` reads them while no server runs, ``fill`` makes a spool to test with.
"""
