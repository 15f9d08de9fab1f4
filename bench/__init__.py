"""Measures Hermes end to end beside its peers, and the cores one by one: ``python -m bench`` from a checkout.

``plan``, ``figures``, ``table`` and ``report`` are pure but for a file; ``process``, ``machine``, ``rounds`` and
``measure`` run and count; ``peers``, ``exim``, ``haraka``, ``hermes``, ``dovecot`` and ``mailhosts`` start what is
measured; ``relay``, ``local``, ``pop3`` and ``idle`` are the comparisons; ``probe_source``, ``probe_sink`` and
``probe_pop3`` are programs. Nothing in ``mta`` imports this package.
"""
