"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from segwright.contracts import UserError

PATHS = ("/", "/live", "/ready", "/model", "/metrics", "/docs", "/openapi.json", "/page.css", "/page.js")
WORK = ("/predict", "/batch")
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Counters:
    """All metrics of one server, in a registry of its own. Raises UserError where prometheus-client is missing."""

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as error:
            raise missing("prometheus-client", error) from error
        self.registry = CollectorRegistry()
        self._requests = Counter("segwright_requests", "Answered requests.", ["path", "status"], registry=self.registry)
        self._seconds = Histogram(
            "segwright_request_seconds", "From head to answer.", ["path"], buckets=SECONDS, registry=self.registry
        )
        self._computing = Histogram(
            "segwright_compute_seconds", "Computing, a picture.", buckets=SECONDS, registry=self.registry
        )
        self._batches = Histogram(
            "segwright_batch_size",
            "Pictures that were computed together, a picture.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self._gauge = Gauge

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A number that is asked for when the metrics are read."""
        self._gauge(f"segwright_{name}", text, registry=self.registry).set_function(value)

    def request(self, path: str, status: int, seconds: float) -> None:
        """status: 0 where the client left before the answer. Unknown paths count together."""
        known = path if path in PATHS else work_of(path) or "other"
        self._requests.labels(known, str(status) if status else "gone").inc()
        self._seconds.labels(known).observe(seconds)

    def answered(self, batch: int, seconds: float) -> None:
        self._batches.observe(batch)
        self._computing.observe(seconds)

    def text(self) -> tuple[bytes, str]:
        """The metrics, and their media type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST


def work_of(path: str) -> str | None:
    """/predict or /batch, of which the path is a form; None for other paths."""
    first = path[: path.find("/", 1)] if path.find("/", 1) > 0 else path
    return first if first in WORK else None


def missing(package: str, error: ImportError) -> UserError:
    return UserError(f"the package {package} cannot be imported ({error}). Install it: pip install 'segwright[serve]'")
