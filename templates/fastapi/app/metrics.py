"""What Prometheus scrapes: rate, errors and duration per route; pool, queue and cache.

One process per container, so the default registry is the whole truth about this replica.
"""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

__all__ = ["CONTENT_TYPE_LATEST", "generate_latest"]

# A series more for each counter, which nothing here asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # theirs to annotate

REQUESTS = Counter("http_requests_total", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "http_request_duration_seconds",
    "Time from the request's head to the end of its answer.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
REQUESTS_IN_FLIGHT = Gauge("http_requests_in_flight", "Requests being worked on.")
REQUESTS_SHED = Counter("http_requests_shed_total", "Requests refused because of overload.")

CACHE_REQUESTS = Counter(
    "cache_requests_total",
    "Look-ups by outcome: hit, negative_hit, miss, bypass (the store does not answer).",
    ["outcome"],
)
CACHE_LOADS = Counter("cache_loads_total", "Reads of the database on behalf of the cache.")

DB_CONNECTIONS = Gauge("db_pool_connections", "Open database connections by state.", ["state"])
DB_UP = Gauge("db_up", "1 if the database answered last time.")

OUTBOX_OPEN = Gauge("outbox_open_messages", "Messages not yet handed on.")
OUTBOX_DEAD = Gauge("outbox_dead_messages", "Messages given up.")
OUTBOX_OLDEST_SECONDS = Gauge("outbox_oldest_message_seconds", "Age of the oldest open message.")
OUTBOX_PUBLISHED = Counter("outbox_published_total", "Messages that the broker has confirmed.")

BROKER_UP = Gauge("broker_up", "1 while connected to the broker.")
EMAILS_SENT = Counter("emails_sent_total", "E-mails sent by this worker.")
EMAILS_DUPLICATE = Counter("emails_duplicate_total", "Redeliveries that changed nothing.")
EMAILS_FAILED = Counter("emails_failed_total", "Attempts that failed.")
