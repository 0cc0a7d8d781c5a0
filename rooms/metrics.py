"""What Prometheus is told of this process.

Registered with prometheus-client's own registry, so that a site which exposes that has these among its metrics.
Everything is made when somebody asks; see `rooms.tally` for what is counted meanwhile.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rooms.tally import Distribution, tally
from rooms.vitals import Vitals
from vuer_rtc.protocol import session as effect
from vuer_rtc.protocol import wire
from vuer_rtc.protocol.codes import CloseCode

RECEIVED: dict[type, str] = {
    effect.Submit: "crdt",
    effect.SendState: "sync",
    effect.SendMissing: "sync",
    effect.SendStatus: "sync-check",
    effect.Heartbeat: "heartbeat",
    effect.ShowPresence: "presence",
    effect.Reset: "room-reset",
    effect.Reply: "refused",
}
SENT: dict[type, str] = {
    wire.Broadcast: "broadcast",
    wire.Ack: "ack",
    wire.Error: "error",
    wire.State: "state",
    wire.Welcome: "welcome",
    wire.Rights: "rights",
    wire.SyncStatus: "sync-status",
    wire.Presences: "presence",
}

VITALS = {
    "rooms": "Documents in memory.",
    "presences": "Clients shown as present in this process's rooms.",
    "waiting_messages": "Messages that wait for the journal.",
    "waiting_bytes": "Received bytes that wait for the journal or are being written.",
    "queued_bytes": "Bytes that sockets have not taken yet, all connections together.",
    "queued_bytes_of_slowest": "The same of the connection that is furthest behind.",
    "projection_messages_behind": "Messages that the Operation rows lack in the room that is furthest behind.",
}
"""Gauges, by the field of `Vitals`."""
SINCE_START = {
    "news_told": "Messages to other processes that the channel layer took.",
    "news_heard": "Messages of other processes.",
    "news_lost": "Messages to other processes that were dropped: the channel layer was away.",
    "signals_dropped": "Django signals nobody was told of: receivers were too slow.",
}
"""Counters, by the field of `Vitals`."""


APPLICATION_CODE_MIN = 3000
"""From here on two thousand close codes are a client's to choose: as labels they would be as many time series."""


class ServerCollector(Collector):
    """The metrics of the hub and of the process's tally."""

    def __init__(self) -> None:
        self.vitals: Callable[[], Vitals] | None = None
        """Of the hub; None: there is none yet, and nothing to tell."""

    def describe(self) -> list[Metric]:
        """Nothing at registration: there is no hub yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        if self.vitals is None:
            return
        vitals = self.vitals()
        for name, text in VITALS.items():
            yield GaugeMetricFamily(f"vuer_{name}", text, value=getattr(vitals, name))
        for name, text in SINCE_START.items():
            yield CounterMetricFamily(f"vuer_{name}", text, value=getattr(vitals, name))
        yield GaugeMetricFamily(
            "vuer_journal_stuck_seconds",
            "How long nothing has been written although messages wait.",
            value=vitals.stuck_s,
        )
        sessions = GaugeMetricFamily("vuer_sessions", "Open connections.", labels=["kind"])
        sessions.add_metric(["native"], vitals.native_sessions)
        sessions.add_metric(["published"], vitals.published_sessions)
        yield sessions
        yield from _counted()


def _counted() -> Iterator[Metric]:
    yield _labelled("messages_received", "Messages of clients.", "type", _named(tally.received, RECEIVED))
    yield _labelled("messages_sent", "Messages to clients.", "type", _named(tally.sent, SENT))
    yield _labelled("refusals", "Messages refused.", "code", tally.refused)
    closes = CounterMetricFamily(
        "vuer_closes", "Connections that ended, or were not let in.", labels=["code", "by"]
    )
    for labels, count in _closes().items():
        closes.add_metric(labels, count)
    yield closes
    yield _labelled("failures", "Failures that the log has more of.", "of", tally.failures)
    for name, text, value in (
        ("received_bytes", "Size of all frames of clients.", tally.received_bytes),
        ("sent_frames", "Frames that sockets took.", tally.sent_frames),
        ("sent_bytes", "Their size; of text frames, characters.", tally.sent_bytes),
        ("conflicts", "Batches that another writer was faster than.", tally.conflicts),
        ("snapshots", "Snapshots of live rooms written.", tally.snapshots),
    ):
        yield CounterMetricFamily(f"vuer_{name}", text, value=value)
    yield _histogram("ack_seconds", "From a message's arrival until it is acknowledged.", tally.ack_s)
    yield _histogram("commit_seconds", "Journal transactions, all rooms together.", tally.commit_s)
    yield _histogram("batch_messages", "Messages of one journal batch.", tally.batch_messages)
    yield _histogram("hydration_seconds", "Reading a document into memory.", tally.hydration_s)


def _named(counts: Mapping[type, int], names: Mapping[type, str]) -> dict[str, int]:
    found = dict.fromkeys(names.values(), 0)
    for kind, name in names.items():
        found[name] += counts.get(kind, 0)
    return found


def _closes() -> Counter[tuple[str, str]]:
    """By code and by whose that is."""
    found: Counter[tuple[str, str]] = Counter()
    for (code, closed_by), count in list(tally.closed.items()):
        is_made_up = closed_by == "client" and code >= APPLICATION_CODE_MIN
        found["other" if is_made_up else _close_name(code), closed_by or "nobody"] += count
    return found


def _close_name(code: int) -> str:
    """With its number: the standard's codes have no names of ours."""
    names = {known.value: known.reason for known in CloseCode}
    return f"{int(code)} {names[code]}" if code in names else str(int(code))


def _labelled(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"vuer_{name}", text, labels=[label])
    for key, count in list(counts.items()):
        family.add_metric([str(key)], count)
    return family


def _histogram(name: str, text: str, distribution: Distribution) -> Metric:
    counts = list(distribution.counts)
    buckets, below = [], 0
    for bound, count in zip((*distribution.bounds, float("inf")), counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), float(below)))
    return HistogramMetricFamily(f"vuer_{name}", text, buckets=buckets, sum_value=distribution.total)


_collector = ServerCollector()


def expose(vitals: Callable[[], Vitals]) -> None:
    """Afterwards whoever exposes this process's registry exposes these too, with the vitals of this hub."""
    if _collector.vitals is None:
        REGISTRY.register(_collector)
    _collector.vitals = vitals


__all__ = ["ServerCollector", "expose"]
