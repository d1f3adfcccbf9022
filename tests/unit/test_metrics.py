"""Facts become numbers: which are counted, under which labels, and that documents say the same."""

import inspect
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from pipelines.errors import RejectReason, StageUnavailable
from pipelines.golden import GoldenResult
from pipelines.verdict import Outcome
from storage.batches import BatchKind, Claim, Expired
from storage.dead_letters import DeadLetterRow
from storage.verdicts import VerdictRow
from tests.exposition import fresh_metrics, samples
from workers.counting import Counting
from workers.line_labels import MOST_LINES
from workers.metrics import GATE_BUCKETS, LedgerMetrics, Metrics
from workers.watch import Explained, Inspected, Stage, Watch, Watches

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
DEPLOY = DOCUMENT.parents[1] / "deploy" / "prometheus"
LATE = {  # of label sets that only the plant can give
    *("triad_lost_frames_total", "triad_last_verdict_timestamp_seconds", "triad_seconds_to_retention"),
    "triad_planning_stopped",
    *("triad_golden_checks_total", "triad_golden_last_check_timestamp_seconds"),
}
ALLOWED_LABELS = {
    *("line", "station", "stage", "model", "verdict", "reason", "code"),  # of our conventions
    *("topic", "partition", "outcome", "kind", "state", "what"),
    *("version", "revision", "python", "digest"),  # of the two infos
}

CLAIM = Claim(
    owner="worker",
    batch_id=7,
    run_id=0,
    log_id=1,
    partition=0,
    kind=BatchKind.INSPECT,
    first_offset=8,
    end_offset=12,
    offsets=(),
    fence=1,
    attempts=1,
    priority=0,
    planned_at=NOON,
    recipe_set_id=1,
    verdict_batch_id=7,
)
REASON_CLAIM = replace(CLAIM, kind=BatchKind.REASON, offsets=(8, 9))


def a_verdict(line: str = "line-1", outcome: Outcome = Outcome.PASS, **times: datetime) -> VerdictRow:
    return VerdictRow(
        offset=8,
        line=line,
        product="tile",
        event_source="camera",
        event_id="1",
        sha256="0" * 64,
        outcome=outcome,
        score=0.1,
        p_value=0.5,
        regions=(),
        recipe="r",
        **times,  # type: ignore[arg-type]
    )


def a_dead_letter(reason: RejectReason = RejectReason.TRUNCATED, line: str | None = None) -> DeadLetterRow:
    return DeadLetterRow(offset=9, reason=reason, detail="", line=line)


def definitions(of: Metrics | LedgerMetrics) -> list[MetricWrapperBase]:
    return [each for each in vars(of).values() if isinstance(each, MetricWrapperBase)]


def test_every_known_label_set_is_there_from_the_start_as_zero() -> None:
    found = samples(fresh_metrics(lines=["line-1"]).registry)

    for reason in RejectReason:
        assert found[f'triad_dead_letters_total{{reason="{reason}"}}'] == 0
        assert found[f'triad_frames_rejected_total{{reason="{reason}"}}'] == 0
    for stage in Stage:
        assert found[f'triad_stage_duration_seconds_count{{stage="{stage}"}}'] == 0
    for explained in Explained:
        assert found[f'triad_explanations_total{{outcome="{explained}"}}'] == 0
    for line in ("line-1", "other"):
        assert found[f'triad_frames_received_total{{line="{line}"}}'] == 0
        for outcome in Outcome:
            assert found[f'triad_verdicts_total{{line="{line}",verdict="{outcome}"}}'] == 0
    for kind in BatchKind:
        assert found[f'triad_hand_backs_total{{kind="{kind}"}}'] == 0
    for what in ("returned", "split", "exhausted"):
        assert found[f'triad_leases_expired_total{{what="{what}"}}'] == 0


def test_a_line_without_a_verdict_has_no_last_one() -> None:
    assert not [name for name in samples(fresh_metrics(lines=["a"]).registry) if "last_verdict" in name]


def test_this_build_is_told() -> None:
    (info,) = [name for name in samples(fresh_metrics().registry) if name.startswith("triad_build_info")]
    assert 'revision="abc123"' in info


def test_a_batch_counts_its_frames_by_what_became_of_them() -> None:
    metrics = fresh_metrics(lines=["line-1"])
    metrics.know_topic(1, "frames.north")
    done = Inspected(
        decided_at=NOON,
        verdicts=[a_verdict(), a_verdict(outcome=Outcome.FAIL)],
        dead_letters=[a_dead_letter(line="line-1"), a_dead_letter(RejectReason.KILLS_INSPECTOR, "line-1")],
        repeats=1,
        lost=3,
    )

    Counting(metrics).batch_inspected(CLAIM, done)

    found = samples(metrics.registry)
    assert found['triad_frames_received_total{line="line-1"}'] == 4
    assert found['triad_verdicts_total{line="line-1",verdict="fail"}'] == 1
    assert found['triad_dead_letters_total{reason="truncated"}'] == 1
    assert found['triad_dead_letters_total{reason="kills_inspector"}'] == 1
    assert found['triad_frames_rejected_total{reason="truncated"}'] == 1
    assert found['triad_frames_rejected_total{reason="kills_inspector"}'] == 0
    assert found['triad_lost_frames_total{topic="frames.north"}'] == 3
    assert found["triad_duplicates_total"] == 1
    assert found['triad_last_verdict_timestamp_seconds{line="line-1"}'] == NOON.timestamp()


def test_latency_is_from_exposure_and_a_camera_ahead_of_us_makes_no_negative_one() -> None:
    metrics = fresh_metrics()
    late = a_verdict(captured_at=NOON - timedelta(milliseconds=30))
    ahead = a_verdict(captured_at=NOON + timedelta(hours=1))

    Counting(metrics).batch_inspected(CLAIM, Inspected(decided_at=NOON, verdicts=[late, ahead, a_verdict()]))

    found = samples(metrics.registry)
    assert found['triad_verdict_latency_seconds_count{line="line-1"}'] == 2
    assert found['triad_verdict_latency_seconds_sum{line="line-1"}'] == pytest.approx(0.03)
    assert found['triad_verdict_latency_seconds_bucket{le="0.025",line="line-1"}'] == 1
    assert found['triad_verdict_latency_seconds_bucket{le="0.05",line="line-1"}'] == 2


def test_the_gate_path_has_the_boundaries_of_our_conventions() -> None:
    assert GATE_BUCKETS == (0.002, 0.005, 0.008, 0.01, 0.015, 0.025, 0.05, 0.1, 0.2, 0.5, 1)


@pytest.mark.parametrize(("late_ms", "missed"), [(-1, 0), (0, 0), (1, 1)])
def test_a_deadline_is_missed_when_the_verdict_comes_after_it(late_ms: int, missed: int) -> None:
    metrics = fresh_metrics()
    row = a_verdict(expires_at=NOON - timedelta(milliseconds=late_ms))

    Counting(metrics).batch_inspected(CLAIM, Inspected(decided_at=NOON, verdicts=[row]))

    assert samples(metrics.registry)['triad_verdict_deadline_missed_total{line="line-1"}'] == missed


def test_skew_is_of_the_frame_that_waited_least_and_negative_when_the_producer_is_ahead() -> None:
    metrics = fresh_metrics()
    rows = [a_verdict(recorded_at=NOON + timedelta(seconds=ahead), received_at=NOON) for ahead in (-5, 2, 1)]

    Counting(metrics).batch_inspected(CLAIM, Inspected(decided_at=NOON, verdicts=rows))

    assert samples(metrics.registry)['triad_clock_skew_seconds{line="line-1"}'] == -2


def test_a_replay_raises_no_figure_of_the_live_stream() -> None:
    metrics = fresh_metrics(lines=["line-1"])
    before = samples(metrics.registry)
    row = a_verdict(captured_at=NOON - timedelta(days=9), expires_at=NOON - timedelta(days=9))
    done = Inspected(decided_at=NOON, verdicts=[row], dead_letters=[a_dead_letter()], repeats=1, lost=5)

    Counting(metrics).batch_inspected(replace(CLAIM, run_id=4), done)

    after = samples(metrics.registry)
    assert {name for name in after if after[name] != before[name]} == {"triad_replayed_frames_total"}
    assert after["triad_replayed_frames_total"] == 2


def test_a_golden_part_is_received_and_raises_no_figure_of_production() -> None:
    metrics = fresh_metrics(lines=["line-1"])
    before = samples(metrics.registry)
    late = a_verdict(captured_at=NOON - timedelta(days=9), expires_at=NOON, recorded_at=NOON)
    golden = replace(late, golden_part="line-1/ab", is_simulated=True)

    Counting(metrics).batch_inspected(CLAIM, Inspected(decided_at=NOON, verdicts=[golden]))

    after = samples(metrics.registry)
    received = 'triad_frames_received_total{line="line-1"}'
    assert {name for name in after if after[name] != before.get(name)} == {received}


def test_a_simulated_line_that_is_no_golden_part_has_its_figures() -> None:
    metrics = fresh_metrics(lines=["line-1"])
    row = replace(a_verdict(), is_simulated=True)

    Counting(metrics).batch_inspected(CLAIM, Inspected(decided_at=NOON, verdicts=[row]))

    assert samples(metrics.registry)['triad_verdicts_total{line="line-1",verdict="pass"}'] == 1


def test_golden_checks_of_a_hundred_and_first_line_are_of_no_line_by_name() -> None:
    metrics = LedgerMetrics(registry := CollectorRegistry())
    for number in range(MOST_LINES + 2):
        metrics.golden_check(f"line-{number}", GoldenResult.OK)
    metrics.golden_last_checks({"line-0": 7.0, "line-100": 5.0, "line-101": 3.0})

    found = samples(registry)
    assert found['triad_golden_checks_total{line="other",outcome="ok"}'] == 2
    assert found['triad_golden_last_check_timestamp_seconds{line="other"}'] == 3, "the oldest"
    metrics.golden_last_checks({})
    assert not [name for name in samples(registry) if "last_check" in name]


def test_after_a_hundred_lines_the_next_is_other_and_the_known_ones_keep_their_label() -> None:
    metrics = fresh_metrics()
    rows = [a_verdict(line=f"line-{number}") for number in range(MOST_LINES + 20)]

    for _ in range(2):
        Counting(metrics).batch_inspected(CLAIM, Inspected(decided_at=NOON, verdicts=rows))

    found = samples(metrics.registry)
    received = {
        name: value for name, value in found.items() if name.startswith("triad_frames_received_total")
    }
    assert len(received) == MOST_LINES + 1
    assert received['triad_frames_received_total{line="other"}'] == 40
    assert received['triad_frames_received_total{line="line-0"}'] == 2


def test_what_stands_in_a_dead_letters_key_takes_no_place_from_a_line() -> None:
    metrics = fresh_metrics()
    letters = [a_dead_letter(line=f"nonsense-{number}") for number in range(MOST_LINES)]
    counting = Counting(metrics)

    counting.batch_inspected(CLAIM, Inspected(decided_at=NOON, dead_letters=letters))
    counting.batch_inspected(CLAIM, Inspected(decided_at=NOON, verdicts=[a_verdict()]))

    found = samples(metrics.registry)
    assert found['triad_frames_received_total{line="other"}'] == MOST_LINES
    assert found['triad_frames_received_total{line="line-1"}'] == 1
    assert not [name for name in found if "nonsense" in name]


def test_frames_are_in_flight_from_claim_to_end_and_their_wait_is_known() -> None:
    metrics = fresh_metrics()
    counting = Counting(metrics)

    counting.batch_claimed(CLAIM, at=NOON + timedelta(seconds=3))
    counting.batch_claimed(REASON_CLAIM, at=NOON)
    during = samples(metrics.registry)
    counting.batch_left(CLAIM)
    counting.batch_left(REASON_CLAIM)

    assert during["triad_frames_in_flight"] == 4
    assert during['triad_queue_wait_seconds_sum{stage="inspect"}'] == 3
    assert samples(metrics.registry)["triad_frames_in_flight"] == 0


def test_an_explained_batch_counts_each_frame_and_shares_its_time_among_them() -> None:
    metrics = fresh_metrics()

    Counting(metrics).batch_explained(REASON_CLAIM, [Explained.STANDS, Explained.AMENDED], seconds=3.0)
    Counting(metrics).rationale_given_up(REASON_CLAIM)

    found = samples(metrics.registry)
    assert found['triad_explanations_total{outcome="amended"}'] == 1
    assert found['triad_explanations_total{outcome="given_up"}'] == 2
    assert found["triad_explanation_duration_seconds_count"] == 2
    assert found['triad_explanation_duration_seconds_bucket{le="2.5"}'] == 2


def test_what_goes_wrong_is_counted() -> None:
    metrics = fresh_metrics()
    counting = Counting(metrics)

    counting.handed_back(CLAIM, None)
    counting.claim_lost(REASON_CLAIM)
    counting.stage_unavailable(StageUnavailable("away"))
    counting.leases_expired(Expired(returned=(1,), split=(2, 3), exhausted=(CLAIM,)))

    found = samples(metrics.registry)
    assert found['triad_hand_backs_total{kind="inspect"}'] == 1
    assert found['triad_claims_lost_total{kind="reason"}'] == 1
    assert found["triad_stage_unavailable_total"] == 1
    assert found['triad_leases_expired_total{what="split"}'] == 2


def test_a_stage_that_fails_has_spent_its_time_too() -> None:
    metrics = fresh_metrics()

    with pytest.raises(StageUnavailable), Counting(metrics).stage(Stage.LOCALIZE):
        raise StageUnavailable("no device")

    assert samples(metrics.registry)['triad_stage_duration_seconds_count{stage="localize"}'] == 1


def test_models_and_messages_are_told() -> None:
    metrics = fresh_metrics()
    Counting(metrics).model_loaded("triad", version="tiny", digest="d" * 64)
    Counting(metrics).published(5)

    found = samples(metrics.registry)
    assert found[f'triad_model_info{{digest="{"d" * 64}",model="triad",version="tiny"}}'] == 1
    assert found["triad_messages_published_total"] == 5


def test_no_metric_has_a_label_beyond_the_allowed_ones() -> None:
    for each in [*definitions(fresh_metrics()), *definitions(LedgerMetrics(CollectorRegistry()))]:
        assert set(each._labelnames) <= ALLOWED_LABELS, each._name


def test_the_document_lists_every_metric_and_no_other() -> None:
    coded = [
        (
            each._name + ("_total" if each._type == "counter" else ""),
            each._type,
            ", ".join(f"`{name}`" for name in each._labelnames),
            each._documentation,
        )
        for each in [*definitions(fresh_metrics()), *definitions(LedgerMetrics(CollectorRegistry()))]
    ]
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(triad_\w+)` \| (counter|gauge|histogram) \| ?(.*?) ?\| (.*) \|$", text, flags=re.M
    )
    assert rows == coded


def test_the_document_names_no_metric_that_is_not_there() -> None:
    known = {
        each._name + ("_total" if each._type == "counter" else "")
        for each in [*definitions(fresh_metrics()), *definitions(LedgerMetrics(CollectorRegistry()))]
    }
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in re.findall(r"\btriad_\w+", text) if name not in known] == []


def test_every_alert_asks_for_metrics_that_there_are_and_says_what_to_do() -> None:
    known = set(samples(fresh_metrics(lines=["a"]).registry)) | set(samples(planned_registry()))
    names = {name.split("{", maxsplit=1)[0] for name in known} | LATE
    alerts = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    tested = (DEPLOY / "alerts_test.yaml").read_text(encoding="utf-8")
    assert len(rules) >= 6
    for rule in rules:
        assert set(re.findall(r"\btriad_\w+", rule["expr"])) <= names, rule["alert"]
        assert rule["annotations"]["runbook"] == f"docs/metrics.md#{rule['alert'].lower()}"
        assert f"### {rule['alert']}\n" in DOCUMENT.read_text(encoding="utf-8")
        assert f"alertname: {rule['alert']}\n" in tested


def planned_registry() -> CollectorRegistry:
    LedgerMetrics(registry := CollectorRegistry())
    return registry


def test_making_metrics_touches_no_global_registry() -> None:
    from prometheus_client import REGISTRY

    fresh_metrics()
    fresh_metrics()  # a second set beside the first is no clash

    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("triad")]


def test_several_watchers_are_each_told_every_fact() -> None:
    facts = [name for name, _ in inspect.getmembers(Watch, inspect.isfunction) if not name.startswith("_")]
    assert len(facts) > 10
    assert [name for name in facts if name not in vars(Watches)] == []

    first, second = fresh_metrics(), fresh_metrics()
    both = Watches(Counting(first), Watch(), Counting(second))
    both.batch_claimed(CLAIM, at=NOON)
    with both.stage(Stage.READ):
        pass
    both.published(2)

    for metrics in (first, second):
        found = samples(metrics.registry)
        assert found["triad_frames_in_flight"] == 4
        assert found['triad_stage_duration_seconds_count{stage="read"}'] == 1
        assert found["triad_messages_published_total"] == 2
