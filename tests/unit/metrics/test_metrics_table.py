"""The table and its exposition: what the contract names is there, and a death makes no counter go back."""

import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mta.errors import DataError
from mta.metrics import MetricsTable, Sample, layout, render
from mta.metrics.layout import METRICS, SLOTS

CONTRACT = {
    "mta_messages_received_total", "mta_recipients_delivered_total", "mta_recipients_deferred_total",
    "mta_recipients_failed_total", "mta_queue_recipients", "mta_queue_oldest_seconds", "mta_connections",
    "mta_spool_commit_seconds_bucket", "mta_spool_commit_messages_bucket", "mta_delivery_seconds_bucket",
    "mta_dns_cache_total", "mta_ledger_drift", "mta_worker_up",
}  # fmt: skip


@pytest.fixture
def table():
    made = MetricsTable.create(3)
    yield made
    made.close()


def samples(table, extra=()):
    text = render(table, extra).decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_slot_belongs_to_exactly_one_metric():
    taken = []
    for metric in METRICS:
        for first in metric.slots.values():
            taken += range(first, first + (len(metric.bounds) + 3 if metric.kind == "histogram" else 1))
    assert sorted(taken) == list(range(SLOTS))


def test_every_name_of_the_contract_is_exposed_before_anything_happened(table):
    exposed = {key[0] for key in samples(table, [Sample("mta_worker_up", {"worker": "worker-0"}, 1)])}
    assert exposed >= CONTRACT


def test_rows_are_added_and_the_oldest_message_is_the_greatest(table):
    for index in range(3):
        row = table.row(index)
        row.add(layout.RECEIVED, 10)
        row.add(layout.CONNECTIONS_IN, index)
        row.set(layout.QUEUE_OLDEST_MS, 1500 * index)
        row.observe(layout.DELIVERY_SECONDS, layout.DELIVERY_SECONDS_HANDLE, 0.3)
    seen = samples(table)
    assert seen["mta_messages_received_total",] == 30
    assert seen["mta_connections", "in"] == 3
    assert seen["mta_queue_oldest_seconds",] == 3.0
    assert seen["mta_delivery_seconds_count",] == 3
    assert seen["mta_delivery_seconds_sum",] == pytest.approx(0.9)
    assert seen["mta_delivery_seconds_bucket", "0.25"] == 0
    assert seen["mta_delivery_seconds_bucket", "0.5"] == 3
    assert seen["mta_delivery_seconds_bucket", "+Inf"] == 3


def test_a_dead_worker_leaves_its_counters_and_takes_its_gauges(table):
    row = table.row(1)
    row.add(layout.DELIVERED, 5)
    row.set(layout.QUEUE_READY, 9)
    row.observe(layout.COMMIT_SECONDS, layout.COMMIT_SECONDS_HANDLE, 0.001)
    before = samples(table)
    table.retire(1)
    after = samples(table)
    assert before["mta_queue_recipients", "ready"] == 9
    assert after["mta_queue_recipients", "ready"] == 0
    for key, value in before.items():
        if key[0].endswith(("_total", "_bucket", "_count", "_sum")):
            assert after[key] == value
    row.add(layout.DELIVERED)
    table.retire(1)
    assert samples(table)["mta_recipients_delivered_total",] == 6


def test_workers_are_told_apart_by_a_label(table):
    seen = samples(table, [Sample("mta_worker_up", {"worker": name}, up) for name, up in (("a", 1), ("b", 0))])
    assert seen["mta_worker_up", "a"] == 1
    assert seen["mta_worker_up", "b"] == 0


def test_a_child_counts_in_the_table_it_inherited(table):
    code = (
        "from mta.metrics import MetricsTable, layout\n"
        f"MetricsTable.attach({table.fd}).row(2).add(layout.RECEIVED, 3)\n"
        "import sys\n"
        "sys.exit('prometheus_client' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], pass_fds=[table.fd], check=True)
    assert samples(table)["mta_messages_received_total",] == 3


def test_a_descriptor_of_something_else_is_refused(tmp_path):
    file = tmp_path / "other"
    for octets in (b"", b"x" * 4096):
        file.write_bytes(octets)
        with file.open("r+b") as other, pytest.raises(DataError, match="no metrics table of this version"):
            MetricsTable.attach(other.fileno())


def test_a_row_outside_the_table_is_refused(table):
    for index in (-1, 3):
        with pytest.raises(IndexError):
            table.row(index)


def test_closing_twice_does_no_harm(table):
    table.close()
    table.close()
    assert table.fd == -1
