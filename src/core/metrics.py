"""What the service counts, for Prometheus: requests, errors, the queue, the models, and how fast audio is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core.replica import WorkerStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_FACTORS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
Watched = Callable[[], Sequence[WorkerStatus]]
"""Tells how some workers are."""
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}


class Metrics:
    """The numbers of one service. Labels never hold what a client chose freely: routes are templates, not paths."""

    def __init__(self) -> None:
        # Process-wide, and what Prometheus itself advises: a second series per counter says nothing anybody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        self._watched: list[Watched] = []
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "voice_stack_requests", "Requests answered.", ("route", "method", "status"), registry=registry
        )
        self._in_progress = Gauge("voice_stack_requests_in_progress", "Requests being answered.", registry=registry)
        self._errors = Counter("voice_stack_errors", "Errors sent, by code.", ("code",), registry=registry)
        self._audio = Counter("voice_stack_audio_seconds", "Audio read or made.", ("model",), registry=registry)
        self._duration = self._histogram("request_seconds", "From the request to its last byte.", "route")
        self._first_byte = self._histogram(
            "first_byte_seconds", "From the request to the first byte of the body.", "route"
        )
        self._wait = self._histogram("queue_wait_seconds", "From a call to its start: for slot and model.", "model")
        self._factor = self._histogram("real_time_factor", "Seconds of work per second of audio.", "model", _FACTORS)

    def _histogram(self, name: str, text: str, label: str, buckets: Sequence[float] = _SECONDS) -> Histogram:
        return Histogram(f"voice_stack_{name}", text, (label,), buckets=buckets, registry=self._registry)

    def watch(self, workers: Watched) -> None:
        """Tell of these workers too whenever the numbers are read."""
        if not self._watched:
            # One for all: Prometheus reads each family once.
            self._registry.register(_Workers(self._watched))
        self._watched.append(workers)

    def begin_request(self) -> None:
        """Count a request that is being answered."""
        self._in_progress.inc()

    def end_request(self, route: str, method: str, status: int, *, seconds: float, first_byte: float | None) -> None:
        """Count a request that is over."""
        self._in_progress.dec()
        known = method if method in _METHODS else "other"
        self._requests.labels(route, known, str(status)).inc()
        self._duration.labels(route).observe(seconds)
        if first_byte is not None:
            self._first_byte.labels(route).observe(first_byte)

    def count_error(self, code: str) -> None:
        """Count an error a client was told of, by its code."""
        self._errors.labels(code).inc()

    def observe_wait(self, seconds: float, *, model: str) -> None:
        """Count how long a call waited for its slot and its model."""
        self._wait.labels(model).observe(seconds)

    def observe_audio(self, seconds: float, took: float, *, model: str) -> None:
        """Count seconds of audio that were read or made, and the seconds that took."""
        if seconds > 0:
            self._audio.labels(model).inc(seconds)
            self._factor.labels(model).observe(took / seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _Workers(Collector):
    """Reads the workers when the numbers are asked for."""

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._watched = watched

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        found = [status for workers in self._watched for status in workers()]
        values: dict[str, tuple[str, Callable[[WorkerStatus], float]]] = {
            "model_loaded": ("1 where the model is loaded.", lambda worker: worker.state == "ready"),
            "model_failed": ("1 where the model's worker is down.", lambda worker: worker.state == "failed"),
            "calls_running": ("Calls that the model is working on.", lambda worker: worker.calls),
            "queue_depth": ("Calls that wait for the model.", lambda worker: worker.waiting),
            "worker_restarts": ("Times the worker came back.", lambda worker: worker.restarts),
            "worker_rss_bytes": ("Memory of the worker.", lambda worker: worker.rss_bytes or 0),
        }
        for name, (help_text, value) in values.items():
            family = GaugeMetricFamily(f"voice_stack_{name}", help_text, labels=["model"])
            for worker in found:
                family.add_metric([worker.id], float(value(worker)))
            yield family
