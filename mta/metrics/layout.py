"""Which number lies where: every slot of a row, and the metric that it belongs to.

Owns: the slot constants for the hot path (``counters.add(RECEIVED)``) and ``METRICS``, the table for exposition.
A new number gets a slot at the end of its kind here and a line in the table; a test counts both.
Never does: touch memory. Labels are bounded by construction: a label value is a slot.
"""

from typing import Final, NamedTuple

from mta_ext.counters import define_bounds

# Counters: only grow.
RECEIVED: Final = 0
DELIVERED: Final = 1
DEFERRED: Final = 2
FAILED: Final = 3
EXPIRED: Final = 4
REJECTED: Final = 5
REPORTS: Final = 6
ACCEPTED_IN: Final = 7
OPENED_OUT: Final = 8
OCTETS_IN: Final = 9
OCTETS_OUT: Final = 10
DNS_HIT: Final = 11
DNS_MISS: Final = 12
DNS_STALE: Final = 13
DNS_NEGATIVE: Final = 14
DNS_COALESCED: Final = 15
DNS_REFRESH: Final = 16
DNS_ERROR: Final = 17
LOG_LOST: Final = 18
STORE_DELIVERIES: Final = 19
STORE_REMOVALS: Final = 20
LDAP_SEARCHES: Final = 21

# Gauges: go up and down, belong to the living process, and leave with it.
CONNECTIONS_IN: Final = 22
CONNECTIONS_OUT: Final = 23
QUEUE_SCHEDULED: Final = 24
QUEUE_READY: Final = 25
QUEUE_INFLIGHT: Final = 26
QUEUE_HELD: Final = 27
QUEUE_OLDEST_MS: Final = 28
LEDGER_DRIFT: Final = 29
SPOOL_FREE: Final = 30
STORE_MESSAGES: Final = 31
STORE_OCTETS: Final = 32
STORE_DRIFT: Final = 33

#: Upper bounds in seconds: a fast disk commits in 0.1 ms, a sick one takes seconds.
COMMIT_SECONDS_BOUNDS: Final = (
    0.0002, 0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
COMMIT_MESSAGES_BOUNDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
#: From arrival to the remote's 250: milliseconds when all is well, days at worst.
DELIVERY_SECONDS_BOUNDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0,
)  # fmt: skip

# Histograms: buckets, one more for the rest, sum, count.
COMMIT_SECONDS: Final = 34
COMMIT_MESSAGES: Final = COMMIT_SECONDS + len(COMMIT_SECONDS_BOUNDS) + 3
DELIVERY_SECONDS: Final = COMMIT_MESSAGES + len(COMMIT_MESSAGES_BOUNDS) + 3

#: Why a client was refused something; each is a slot from REFUSED_FIRST on.
REFUSAL_REASONS: Final = (
    "connections", "connection_rate", "message_rate", "recipient_rate", "failure_rate", "error_rate", "stress", "early",
    "dnsbl", "hook",
)  # fmt: skip
REFUSED_FIRST: Final = DELIVERY_SECONDS + len(DELIVERY_SECONDS_BOUNDS) + 3
TARPITTED: Final = REFUSED_FIRST + len(REFUSAL_REASONS)
HOOK_FAILURES: Final = TARPITTED + 1
STRESS: Final = HOOK_FAILURES + 1
SLOTS: Final = STRESS + 1
REFUSED: Final = {reason: REFUSED_FIRST + index for index, reason in enumerate(REFUSAL_REASONS)}

# Handles for ``counters.observe(COMMIT_SECONDS, COMMIT_SECONDS_HANDLE, value)``; the same in every process.
COMMIT_SECONDS_HANDLE: Final = define_bounds(COMMIT_SECONDS_BOUNDS)
COMMIT_MESSAGES_HANDLE: Final = define_bounds(COMMIT_MESSAGES_BOUNDS)
DELIVERY_SECONDS_HANDLE: Final = define_bounds(DELIVERY_SECONDS_BOUNDS)


class Metric(NamedTuple):
    """One metric family. ``slots``: label value → slot, or "" → slot without a label. The value is slot × ``scale``.

    ``kind``: counter, gauge (rows are added), greatest (a gauge: the greatest row counts) or histogram.
    """

    name: str
    kind: str
    help: str
    slots: dict[str, int]
    label: str = ""
    scale: float = 1.0
    bounds: tuple[float, ...] = ()


METRICS: Final = (
    Metric("mta_messages_received_total", "counter", "Messages accepted, after their commit.", {"": RECEIVED}),
    Metric("mta_recipients_delivered_total", "counter", "Recipients whose next hop said 250.", {"": DELIVERED}),
    Metric("mta_recipients_deferred_total", "counter", "Attempts that ended in a retry.", {"": DEFERRED}),
    Metric("mta_recipients_failed_total", "counter", "Recipients that were refused for good.", {"": FAILED}),
    Metric("mta_recipients_expired_total", "counter", "Recipients given up after the last retry.", {"": EXPIRED}),
    Metric("mta_recipients_rejected_total", "counter", "Recipients that we refused to take.", {"": REJECTED}),
    Metric("mta_reports_generated_total", "counter", "Delivery reports (DSN) that we wrote.", {"": REPORTS}),
    Metric(
        "mta_connections_opened_total",
        "counter",
        "Connections since the start.",
        {"in": ACCEPTED_IN, "out": OPENED_OUT},
        "direction",
    ),
    Metric(
        "mta_content_bytes_total", "counter", "Octets of content.", {"in": OCTETS_IN, "out": OCTETS_OUT}, "direction"
    ),
    Metric(
        "mta_dns_cache_total",
        "counter",
        "Look-ups by how they were answered.",
        {
            "hit": DNS_HIT,
            "miss": DNS_MISS,
            "stale": DNS_STALE,
            "negative": DNS_NEGATIVE,
            "coalesced": DNS_COALESCED,
            "refresh": DNS_REFRESH,
            "error": DNS_ERROR,
        },
        "result",
    ),
    Metric("mta_log_lost_total", "counter", "Event records that could not be written.", {"": LOG_LOST}),
    Metric("mta_store_deliveries_total", "counter", "Copies put into mailboxes.", {"": STORE_DELIVERIES}),
    Metric("mta_store_removals_total", "counter", "Messages removed from mailboxes.", {"": STORE_REMOVALS}),
    Metric("mta_ldap_searches_total", "counter", "Searches of the address book.", {"": LDAP_SEARCHES}),
    Metric(
        "mta_connections", "gauge", "Open connections.", {"in": CONNECTIONS_IN, "out": CONNECTIONS_OUT}, "direction"
    ),
    Metric(
        "mta_queue_recipients",
        "gauge",
        "Recipients in the queue.",
        {"scheduled": QUEUE_SCHEDULED, "ready": QUEUE_READY, "inflight": QUEUE_INFLIGHT, "held": QUEUE_HELD},
        "state",
    ),
    Metric("mta_queue_oldest_seconds", "greatest", "Age of the oldest message.", {"": QUEUE_OLDEST_MS}, scale=0.001),
    Metric("mta_ledger_drift", "gauge", "Recipients the ledger cannot account for; 0.", {"": LEDGER_DRIFT}),
    Metric("mta_spool_free_bytes", "gauge", "Octets the spools may still take.", {"": SPOOL_FREE}),
    Metric("mta_store_messages", "gauge", "Messages in all mailboxes.", {"": STORE_MESSAGES}),
    Metric("mta_store_bytes", "gauge", "Octets in all mailboxes, as POP3 sends them.", {"": STORE_OCTETS}),
    Metric("mta_store_drift", "gauge", "Messages the store's books cannot account for; 0.", {"": STORE_DRIFT}),
    Metric(
        "mta_spool_commit_seconds",
        "histogram",
        "Time of a commit, sync included.",
        {"": COMMIT_SECONDS},
        bounds=COMMIT_SECONDS_BOUNDS,
    ),
    Metric(
        "mta_spool_commit_messages",
        "histogram",
        "Messages in a commit.",
        {"": COMMIT_MESSAGES},
        bounds=COMMIT_MESSAGES_BOUNDS,
    ),
    Metric(
        "mta_delivery_seconds",
        "histogram",
        "Time from arrival to delivery.",
        {"": DELIVERY_SECONDS},
        bounds=DELIVERY_SECONDS_BOUNDS,
    ),
    Metric("mta_rejections_total", "counter", "What policy refused, by its reason.", REFUSED, "reason"),
    Metric("mta_tarpitted_total", "counter", "Error replies that were held back.", {"": TARPITTED}),
    Metric("mta_hook_failures_total", "counter", "Hooks that raised, or took too long.", {"": HOOK_FAILURES}),
    Metric("mta_stress", "gauge", "Workers under stress.", {"": STRESS}),
)

#: Numbers that the attendant knows without a slot; it passes them to ``render`` as samples.
WORKER_UP: Final = "mta_worker_up"
SERVICE_UP: Final = "mta_service_up"
SERVICE_RESTARTS: Final = "mta_service_restarts_total"
PROBE_FAILURES: Final = "mta_probe_failures_total"
CANARY_SECONDS: Final = "mta_canary_seconds"
CANARY_SENT: Final = "mta_canary_sent_total"
CANARY_FAILURES: Final = "mta_canary_failures_total"
BUILD_INFO: Final = "mta_build_info"


class Extra(NamedTuple):
    """``labels`` by name. What ends in ``_total`` is a counter, the others are gauges."""

    help: str
    labels: tuple[str, ...]


EXTRA: Final = {
    WORKER_UP: Extra("1 while the worker answers.", ("worker",)),
    SERVICE_UP: Extra("1 while the service answers.", ("service",)),
    SERVICE_RESTARTS: Extra("Times that the service was started anew.", ("service",)),
    PROBE_FAILURES: Extra("Probes that the service has failed.", ("service",)),
    CANARY_SECONDS: Extra("Time of the last canary from its end of content to the mailbox.", ("listener",)),
    CANARY_SENT: Extra("Canaries sent.", ("listener",)),
    CANARY_FAILURES: Extra("Canaries that did not come to their mailbox.", ("listener",)),
    BUILD_INFO: Extra("1; the labels tell the version.", ("version",)),
}
