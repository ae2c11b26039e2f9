"""The numbers of a server as Prometheus reads them. Imported when it first does."""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from backchat import __version__
from backchat.counts import WRITE_SECONDS, Counts, Gauges

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(counts: Counts, gauges: Gauges) -> bytes:
    """All numbers, in Prometheus' text format."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Numbers(counts, gauges))
    return generate_latest(registry)


class _Numbers(Collector):
    def __init__(self, counts: Counts, gauges: Gauges) -> None:
        self._counts = counts
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        counts, now = self._counts, self._gauges
        yield InfoMetricFamily("backchat", "Which server this is", value={"version": __version__})
        yield GaugeMetricFamily("backchat_connections", "Connections attached to a session", now.connections)
        yield GaugeMetricFamily("backchat_watchers", "Connections that watch the list of sessions", now.watchers)
        yield GaugeMetricFamily("backchat_sessions_in_memory", "Sessions in memory", now.sessions)
        yield GaugeMetricFamily("backchat_sessions_idle", "Those of them that nobody uses", now.idle_sessions)
        yield GaugeMetricFamily("backchat_runs_live", "Replies being generated, or waiting for their turn", now.runs)
        yield GaugeMetricFamily("backchat_users", "Users who have a token", now.users)
        yield _by("backchat_database_bytes", "Size of the database's files", "file", _sizes(now.database))
        yield CounterMetricFamily(
            "backchat_connections_opened", "Connections that attached to a session", counts.connections
        )
        yield CounterMetricFamily("backchat_watchers_opened", "Connections that watched the list", counts.watchers)
        yield CounterMetricFamily("backchat_frames_received", "Text frames of sessions' clients", counts.frames)
        yield CounterMetricFamily("backchat_slow_clients", "Connections closed as too slow", counts.slow)
        yield _counted("backchat_requests", "Requests that were answered", "command", counts.requests)
        yield _counted("backchat_errors", "Requests that were refused", "code", counts.errors)
        yield _counted("backchat_runs", "Replies that ended", "reason", counts.runs)
        yield CounterMetricFamily("backchat_commits", "Commits that are durable", counts.commits)
        yield CounterMetricFamily("backchat_commits_failed", "Commits that failed", counts.failed_commits)
        reached = accumulate(counts.writes)
        yield HistogramMetricFamily(
            "backchat_write_seconds",
            "Time for a batch of commits to become durable",
            [(str(bound), number) for bound, number in zip((*WRITE_SECONDS, "+Inf"), reached, strict=True)],
            counts.write_seconds,
        )


def _counted(name: str, help_text: str, label: str, numbers: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for value, number in sorted(numbers.items()):
        family.add_metric([value], number)
    return family


def _by(name: str, help_text: str, label: str, numbers: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for value, number in sorted(numbers.items()):
        family.add_metric([value], number)
    return family


def _sizes(database: Path) -> dict[str, int]:
    files = {"database": database, "wal": database.with_name(f"{database.name}-wal")}
    return {name: file.stat().st_size for name, file in files.items() if file.exists()}
