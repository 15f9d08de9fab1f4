"""Metrics: slots in shared memory that cost a few nanoseconds, and their exposition once a scrape.

``layout`` names the slots (``from mta.metrics.layout import RECEIVED``), ``table`` owns the memory, ``render`` writes
the text. Importing this package imports no Prometheus code.
"""

from mta.metrics.render import CONTENT_TYPE, Sample, render
from mta.metrics.table import MetricsTable

__all__ = ["CONTENT_TYPE", "MetricsTable", "Sample", "render"]
