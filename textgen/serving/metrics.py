"""What Prometheus reads."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from textgen.serving.scheduler import Scheduler

FIRST = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)  # seconds
WHOLE = (0.01, 0.05, 0.25, 1.0, 5.0, 20.0, 60.0, 120.0)


class Metrics:
    """Counts of one server."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._registry = CollectorRegistry()
        of: dict[str, Any] = {"namespace": "textgen", "registry": self._registry}
        self.requests = Counter("requests", "Requests answered", ["path", "status"], **of)
        self.seconds = Histogram(
            "request_seconds", "Time of a request for texts", buckets=WHOLE, **of
        )
        self.first = Histogram(
            "first_character_seconds", "Time to a text's first character", buckets=FIRST, **of
        )
        written = Gauge("characters", "Characters written since the start", **of)
        written.set_function(lambda: scheduler.written)
        places = Gauge("open_texts", "Texts that hold a place", **of)
        places.set_function(lambda: scheduler.open)
        waiting = Gauge("waiting_texts", "Texts that wait for a place", **of)
        waiting.set_function(lambda: scheduler.waiting)

    def page(self) -> bytes:
        """All of it in the text format."""
        return generate_latest(self._registry)
