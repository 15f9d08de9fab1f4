"""Octets: scanners, dots and sans-IO sessions in Cython. Layer 0: imports nothing of mta, knows no socket and no clock."""
