"""Octets: scanners, dots and sans-IO sessions in Cython. Layer 0: imports nothing of mta, no socket, no clock."""
