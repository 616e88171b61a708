"""What Prometheus reads at /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


class Metrics:
    """The counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        name, registry = "pubmedbert", self._registry
        self.requests = Counter(
            "requests", "Requests answered, by task and HTTP status.", ["task", "status"], name, registry=registry
        )
        self.seconds = Histogram(
            *("request_seconds", "Seconds from headers to answer.", ["task"], name),
            registry=registry,
            buckets=_SECONDS,
        )
        self.rejected = Counter("rejected", "Requests refused, by reason.", ["reason"], name, registry=registry)
        self.queue = Gauge("queue_texts", "Texts that wait for a model.", ["model"], name, registry=registry)
        self.batch = Histogram(
            *("batch_tokens", "Word pieces in a batch.", ["model"], name), registry=registry, buckets=_TOKENS
        )
        self.restarts = Counter(
            "process_restarts", "Times the process of a model had to be replaced.", ["model"], name, registry=registry
        )

    def text(self) -> bytes:
        """All values in Prometheus' text form."""
        return generate_latest(self._registry)
