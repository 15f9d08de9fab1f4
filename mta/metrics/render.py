"""The table as Prometheus text. Runs in the attendant, once a scrape; prometheus_client is imported only then.

Owns: summing rows and turning slots into samples. Never does: count anything itself.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from mta.metrics.layout import EXTRA, METRICS, Metric
from mta.metrics.table import MetricsTable

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

#: What an HTTP answer with this text must be labelled as.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(NamedTuple):
    """A number without a slot, named in ``layout.EXTRA``: ``Sample("mta_worker_up", {"worker": "worker-0"}, 1)``."""

    name: str
    labels: dict[str, str]
    value: float


def totals(table: MetricsTable) -> list[int]:
    """One number per slot over all rows: the sum, or the greatest where a sum would mean nothing."""
    columns = list(zip(*table.snapshots(), strict=True))
    numbers = [sum(column) for column in columns]
    for metric in METRICS:
        if metric.kind == "greatest":
            for slot in metric.slots.values():
                numbers[slot] = max(columns[slot])
    return numbers


def render(table: MetricsTable, extra: Iterable[Sample] = ()) -> bytes:
    """The text of ``/metrics``. Attendant's thread; about a millisecond."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    numbers, samples = totals(table), list(extra)

    class Rows(Collector):
        def collect(self) -> Iterator["Family"]:
            for metric in METRICS:
                yield _family(metric, numbers)
            yield from _extra_families(samples)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Rows())
    return generate_latest(registry)


def _family(metric: Metric, numbers: list[int]) -> "Family":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = [metric.label] if metric.label else []
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels)
        for label, first in metric.slots.items():
            buckets, total = _cumulative(metric.bounds, numbers, first)
            histogram.add_metric([label] if labels else [], buckets, total)
        return histogram
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=labels)
    for label, slot in metric.slots.items():
        family.add_metric([label] if labels else [], numbers[slot] * metric.scale)
    return family


def _cumulative(bounds: tuple[float, ...], numbers: list[int], first: int) -> tuple[list[tuple[str, float]], float]:
    """(upper bound, how many up to it) for each bucket, and the sum of all values."""
    buckets: list[tuple[str, float]] = []
    seen = 0
    for i, bound in enumerate((*bounds, float("inf"))):
        seen += numbers[first + i]
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), seen))
    return buckets, numbers[first + len(bounds) + 1] / 1e6


def _extra_families(samples: list[Sample]) -> Iterator["Family"]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for sample in samples:
        if sample.name not in families:
            make = CounterMetricFamily if sample.name.endswith("_total") else GaugeMetricFamily
            families[sample.name] = make(sample.name, EXTRA[sample.name].help, labels=list(sample.labels))
        families[sample.name].add_metric(list(sample.labels.values()), sample.value)
    yield from families.values()
