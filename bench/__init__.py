"""Measures a relay end to end beside its peers, and the cores one by one: ``python -m bench relay`` from a checkout.

``plan``, ``figures`` and ``table`` are pure; ``process``, ``machine`` and ``measure`` run and count; ``peers``,
``exim``, ``haraka`` and ``hermes`` start what is measured; ``probe_source`` and ``probe_sink`` are programs.
Nothing in ``mta`` imports this package.
"""
