"""Every metric there is: name, kind, unit, labels, buckets. `docs/metrics.md` lists them for people (tested).

Label values come from closed lists, apart from lines (see `line_labels`), topics and partitions, which are
the plant's. Whatever a frame's own words are (parts, lots, file names) never becomes a label.
"""

from collections.abc import Iterable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pipelines.errors import RejectReason
from pipelines.golden import GoldenResult
from pipelines.verdict import Outcome
from storage.schema import BatchKind
from workers.build import Build
from workers.line_labels import OTHER, LineLabels
from workers.watch import Explained, Stage

PREFIX = "triad"

# Seconds. A question about a deadline can only be asked at a boundary: set yours to one of these.
GATE_BUCKETS = (0.002, 0.005, 0.008, 0.01, 0.015, 0.025, 0.05, 0.1, 0.2, 0.5, 1)
EXPLANATION_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
WORK_BUCKETS = tuple(
    sorted({*GATE_BUCKETS, *EXPLANATION_BUCKETS})
)  # from one decoding to a large model's call

EXPIRED_INTO = ("returned", "split", "exhausted")
UNKNOWN_TOPIC = "unknown"


class Metrics:
    """The metrics of one process, on its own registry. Known label sets are there from the start, as 0."""

    def __init__(self, registry: CollectorRegistry, *, build: Build, lines: Iterable[str] = ()) -> None:
        self.registry = registry
        self._labels = LineLabels()
        self._topics: dict[int, str] = {}
        counter = partial(Counter, namespace=PREFIX, registry=registry)
        gauge = partial(Gauge, namespace=PREFIX, registry=registry)
        histogram = partial(Histogram, namespace=PREFIX, registry=registry)

        # Frames of the live stream; a replay's are counted in replayed_frames alone.
        self.frames_received = counter(
            "frames_received_total", "Frames read from the log that have their row.", ["line"]
        )
        self.frames_rejected = counter(
            "frames_rejected_total", "Frames that are unusable in themselves.", ["reason"]
        )
        self.frames_in_flight = gauge("frames_in_flight", "Frames of the ranges this process holds now.")
        self.verdicts = counter("verdicts_total", "Fast verdicts.", ["line", "verdict"])
        self.verdict_latency = histogram(
            "verdict_latency_seconds",
            "From exposure, by the camera's clock, to the fast verdict.",
            ["line"],
            buckets=GATE_BUCKETS,
        )
        self.verdict_deadline_missed = counter(
            "verdict_deadline_missed_total", "Fast verdicts given after the reject gate's deadline.", ["line"]
        )
        self.last_verdict_timestamp = gauge(
            "last_verdict_timestamp_seconds", "When a line last got a fast verdict.", ["line"]
        )
        self.clock_skew = gauge(
            "clock_skew_seconds",
            "From a producer's clock at recording to ours at reading, least of the latest range; "
            "below zero the producer is ahead.",
            ["line"],
        )
        self.duplicates = counter("duplicates_total", "Verdicts on an event that had a verdict already.")
        self.dead_letters = counter("dead_letters_total", "Frames that nobody inspected.", ["reason"])
        self.lost_frames = counter(
            "lost_frames_total", "Offsets whose records were removed before we read them.", ["topic"]
        )
        self.replayed_frames = counter("replayed_frames_total", "Frames of replays that have their row.")

        self.stage_duration = histogram(
            "stage_duration_seconds", "One piece of work of a stage.", ["stage"], buckets=WORK_BUCKETS
        )
        self.queue_wait = histogram(
            "queue_wait_seconds", "From a range's planning to its claim.", ["stage"], buckets=WORK_BUCKETS
        )
        self.explanations = counter(
            "explanations_total", "Frames that asked for a rationale, by what came of it.", ["outcome"]
        )
        self.explanation_duration = histogram(
            "explanation_duration_seconds",
            "A frame's share of the work on its reason batch.",
            buckets=EXPLANATION_BUCKETS,
        )
        self.hand_backs = counter("hand_backs_total", "Batches handed back unfinished.", ["kind"])
        self.claims_lost = counter("claims_lost_total", "Claims that another took over.", ["kind"])
        self.leases_expired = counter(
            "leases_expired_total", "Batches taken back from workers that died or hung.", ["what"]
        )
        self.stage_unavailable = counter(
            "stage_unavailable_total", "Times that a model, store or service did not answer."
        )
        self.messages_published = counter("messages_published_total", "Messages published and marked.")

        self.build_info = gauge("build_info", "Which build this is.", ["version", "revision", "python"])
        self.model_info = gauge("model_info", "Models loaded here.", ["model", "version", "digest"])

        self.build_info.labels(build.version, build.revision, build.python).set(1)
        self._export_zeros()
        for line in lines:
            self.know_line(line)

    def know_line(self, line: str) -> None:
        """A declared line has its own label from the start, while there is room."""
        self._zero_line(self._labels.of(line))

    def know_topic(self, log_id: int, topic: str) -> None:
        """What the ledger's log is called; asked again, nothing changes."""
        self._topics[log_id] = topic
        self.lost_frames.labels(topic)

    def topic(self, log_id: int) -> str:
        return self._topics.get(log_id, UNKNOWN_TOPIC)

    def line(self, line: str) -> str:
        """The label of a line whose frame has a verdict."""
        if not self._labels.knows(line):
            self.know_line(line)
        return self._labels.if_known(line)

    def line_if_known(self, key: str | None) -> str:
        """The label of a dead letter's key, which may be any text."""
        return self._labels.if_known(key)

    def _export_zeros(self) -> None:
        """A series that appears with its first event hides that event from `rate` and `increase`."""
        for reason in RejectReason:
            self.frames_rejected.labels(reason)
            self.dead_letters.labels(reason)
        for stage in Stage:
            self.stage_duration.labels(stage)
        for explained in Explained:
            self.explanations.labels(explained)
        for what in EXPIRED_INTO:
            self.leases_expired.labels(what)
        for kind in BatchKind:
            self.queue_wait.labels(kind)
            self.hand_backs.labels(kind)
            self.claims_lost.labels(kind)
        self.lost_frames.labels(UNKNOWN_TOPIC)
        self._zero_line(OTHER)

    def _zero_line(self, label: str) -> None:
        self.frames_received.labels(label)
        self.verdict_deadline_missed.labels(label)
        self.verdict_latency.labels(label)
        for outcome in Outcome:
            self.verdicts.labels(label, outcome)


class LedgerMetrics:
    """The ledger as a whole, as a planner sees it; `ledger_metrics` sets these.

    Only a process that keeps them right may export them: from another, zeros would say that nothing waits.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, namespace=PREFIX, registry=registry)
        self.batches = gauge("batches", "Batches that are not done.", ["kind", "state"])
        self.backlog_age = gauge("backlog_age_seconds", "Age of the oldest batch not done.", ["kind"])
        self.planned_ranges = gauge("planned_ranges", "Offset ranges planned and not done.")
        self.planned_bytes = gauge("planned_bytes", "What those hold, estimated.")
        self.oldest_unprocessed_timestamp = gauge(
            "oldest_unprocessed_timestamp_seconds",
            "Since when the oldest live frame waits, planned or only seen in the log; now, where none does.",
        )
        self.consumer_lag = gauge(
            "consumer_lag_messages", "Offsets between watermark and log end.", ["topic", "partition"]
        )
        self.seconds_to_retention = gauge(
            "seconds_to_retention",
            "Until the log deletes the oldest offset that is not done.",
            ["topic", "partition"],
        )
        self.planning_stopped = gauge(
            "planning_stopped",
            "1 where a partition is not planned, because its last frames are dead letters.",
            ["topic", "partition"],
        )
        self.unpublished_messages = gauge("unpublished_messages", "Messages that wait in the outbox.")
        self.golden_checks = Counter(
            "golden_checks_total",
            "Frames of golden parts, by what came of them.",
            ["line", "outcome"],
            namespace=PREFIX,
            registry=registry,
        )
        self.golden_last_check_timestamp = gauge(
            "golden_last_check_timestamp_seconds",
            "When a golden part of a line was last judged; none where planners send none.",
            ["line"],
        )
        self._golden_lines = LineLabels()

    def know_golden_line(self, line: str) -> None:
        """A line with golden parts has its labels from the start, while there is room."""
        label = self._golden_lines.of(line)
        for result in GoldenResult:
            self.golden_checks.labels(label, result)

    def golden_check(self, line: str, result: GoldenResult) -> None:
        """A golden frame was judged, by this process."""
        self.know_golden_line(line)
        self.golden_checks.labels(self._golden_lines.if_known(line), result).inc()

    def golden_last_checks(self, times: Mapping[str, float]) -> None:
        """Of these lines and no others, in seconds since 1970; beyond the known lines, the oldest of them."""
        by_label: dict[str, float] = {}
        for line, at in times.items():
            label = self._golden_lines.of(line)
            by_label[label] = min(at, by_label.get(label, at))
        for label, at in by_label.items():
            self.golden_last_check_timestamp.labels(label).set(at)
        for metric in self.golden_last_check_timestamp.collect():
            for label in {sample.labels["line"] for sample in metric.samples} - by_label.keys():
                self.golden_last_check_timestamp.remove(label)
