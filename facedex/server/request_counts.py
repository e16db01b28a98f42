"""What a server counts, as text for Prometheus."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


class RequestCounts:
    """Counts requests by method, route and status, and their seconds. The event loop's thread alone uses it."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. `route` is a pattern such as /v1/people/{person}, so that no name is counted."""
        self._requests[method, route, status] += 1
        self._seconds[route] += seconds
        self._buckets[route][sum(seconds > limit for limit in BUCKETS)] += 1

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """The counts and these gauges (help and value by name) in Prometheus' text format 0.0.4."""
        lines = _head("requests_total", "Requests by method, route and status.", "counter")
        for (method, route, status), number in sorted(self._requests.items()):
            lines.append(f'facedex_requests_total{{method="{method}",route="{route}",status="{status}"}} {number}')
        lines += _head("request_seconds", "Seconds until the answer.", "histogram")
        for route, buckets in sorted(self._buckets.items()):
            below = 0
            for limit, number in zip((*map(str, BUCKETS), "+Inf"), buckets, strict=True):
                below += number
                lines.append(f'facedex_request_seconds_bucket{{route="{route}",le="{limit}"}} {below}')
            lines.append(f'facedex_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}')
            lines.append(f'facedex_request_seconds_count{{route="{route}"}} {below}')
        for name, (meaning, value) in gauges.items():
            lines += [*_head(name, meaning, "gauge"), f"facedex_{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, meaning: str, kind: str) -> list[str]:
    return [f"# HELP facedex_{name} {meaning}", f"# TYPE facedex_{name} {kind}"]
