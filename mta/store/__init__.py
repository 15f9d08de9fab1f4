"""Mailboxes: durable custody of delivered mail, behind one small protocol (``protocol``) with two backends.

``disk`` is LMDB with group commit, ``memory`` keeps everything in dictionaries. ``stopped`` reads the files while no
server runs, ``formats`` knows how other programs keep mailboxes.
"""
