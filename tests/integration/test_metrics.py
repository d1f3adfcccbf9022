"""What metrics say after real work, over real HTTP; and what promtool says of them and of the alerts."""

import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.errors import RejectReason, StageUnavailable
from pipelines.frame import Envelope, Frame
from storage.batches import BatchKind, claim_next
from storage.database import reading, transaction
from storage.verdicts import VerdictRow
from tests.contract.stream import run_out_of_lease
from tests.exposition import fresh_metrics, promtool, samples
from tests.fake_models import FakeModels
from tests.plates import add_product, settings_of, write_plate, write_plates
from tests.unit.test_metrics import ALLOWED_LABELS
from workers import inspect_range
from workers.build import this_build
from workers.claimant import Claimant
from workers.counting import Counting
from workers.evidence import verdict_row
from workers.exhaustion import take_back
from workers.health import HealthServer
from workers.ledger_metrics import LogEnd, observe_ledger
from workers.manifest_scan import scan
from workers.metrics import LedgerMetrics, Metrics
from workers.planner import Planner
from workers.publisher import FileSink, publish_waiting
from workers.watch import Watch
from workers.wiring import Stores, claimant, open_stores, plan_bounds, works

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(settings_of(tmp_path / "home"))
    add_product(opened)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def metrics(stores: Stores) -> Metrics:
    made = fresh_metrics()
    made.know_topic(stores.log.log.id, "folder")
    return made


def enter(stores: Stores, folder: Path, *, frames_per_batch: int = 8) -> None:
    scan(stores.log, [folder], product=lambda _: "plate")
    bounds = replace(plan_bounds(stores.settings), frames_per_batch=frames_per_batch, batch_wait_s=0.0)
    Planner(stores.engine, {stores.log.log.id: stores.log}, bounds).plan_once()


def worker(stores: Stores, watch: Watch) -> Claimant:
    return claimant(stores, owner="worker-1", is_stopping=lambda: False, watch=watch)


def work(stores: Stores, watch: Watch, models: FakeModels | None = None) -> None:
    """All that a worker does until nothing waits."""
    of_queue = works(stores, models or FakeModels(), worker(stores, watch), log=lambda _: stores.log)
    while any([of_queue["inspect"](), of_queue["reason"]()]):
        pass


def test_a_workers_figures_are_those_of_the_ledger_and_promtool_has_nothing_against_them(
    tmp_path: Path, stores: Stores, metrics: Metrics
) -> None:
    folder = write_plates(tmp_path / "plates", 20)
    (folder / "007.png").write_bytes(b"")
    (folder / "008.png").write_bytes((folder / "009.png").read_bytes()[:60])
    enter(stores, folder)
    (folder / "011.png").unlink()
    counting = Counting(metrics)
    ledger = LedgerMetrics(metrics.registry)

    work(stores, counting)
    publish_waiting(stores.engine, FileSink(stores.published), watch=counting)
    counting.model_loaded("triad", version="tiny", digest="d" * 64)
    with reading(stores.engine) as connection:
        end = LogEnd(
            log_id=stores.log.log.id,
            topic="folder",
            partition=0,
            start_offset=0,
            end_offset=20,
            seconds_to_retention=float("inf"),
        )
        observe_ledger(connection, ledger, [end], planned_bytes=0)

    version = asdict(this_build(revision="abc123")) | {"profile": "tiny"}
    with HealthServer(host="127.0.0.1", port=0, registry=metrics.registry, version=version) as server:
        url = f"http://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            exposition = answer.read()

    promtool("check", "metrics", given=exposition)
    for family in text_string_to_metric_families(exposition.decode()):
        for sample in family.samples:
            assert set(sample.labels) <= ALLOWED_LABELS | {"le"}, sample.name
    found = samples(metrics.registry)
    assert total(found, "triad_frames_received_total") == 19
    assert total(found, "triad_verdicts_total") == 17
    assert found['triad_dead_letters_total{reason="empty"}'] == 1
    assert found['triad_dead_letters_total{reason="truncated"}'] == 1
    assert found['triad_lost_frames_total{topic="folder"}'] == 1
    assert total(found, "triad_explanations_total") == 4
    assert found["triad_explanation_duration_seconds_count"] == 4
    assert found["triad_messages_published_total"] == 17 + 2 + 4 + 1  # the last one tells of the lost frame
    assert found["triad_unpublished_messages"] == 0
    assert found["triad_frames_in_flight"] == 0
    assert found['triad_consumer_lag_messages{partition="0",topic="folder"}'] == 0
    assert found['triad_queue_wait_seconds_count{stage="inspect"}'] == 3
    for stage in ("read", "decode", "localize", "evidence", "write", "reason"):
        assert found[f'triad_stage_duration_seconds_count{{stage="{stage}"}}'] > 0, stage


def total(found: dict[str, float], name: str) -> float:
    return sum(value for key, value in found.items() if key.split("{", maxsplit=1)[0] == name)


def test_what_is_rolled_back_is_not_counted(
    tmp_path: Path, stores: Stores, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(stores, write_plates(tmp_path / "plates", 4))
    counting = Counting(metrics)

    def be_away(*_: object) -> None:
        raise StageUnavailable("database: gone before the commit")

    with monkeypatch.context() as patched:
        patched.setattr(inspect_range, "finish", be_away)
        assert works(stores, FakeModels(), worker(stores, counting), log=lambda _: stores.log)["inspect"]()

    found = samples(metrics.registry)
    assert total(found, "triad_frames_received_total") == total(found, "triad_verdicts_total") == 0
    assert found["triad_stage_unavailable_total"] == 1
    assert found['triad_hand_backs_total{kind="inspect"}'] == 1
    assert found["triad_frames_in_flight"] == 0
    assert found['triad_stage_duration_seconds_count{stage="write"}'] == 1


def test_a_hand_back_that_did_not_get_through_is_not_counted(
    tmp_path: Path, stores: Stores, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(stores, write_plates(tmp_path / "plates", 4))

    def be_away(*_: object, **__: object) -> None:
        raise StageUnavailable("database: gone")

    def break_device(frames: Sequence[Frame]) -> None:
        raise StageUnavailable("no device")

    monkeypatch.setattr("workers.claimant.hand_back", be_away)
    models = FakeModels(before_inspect=break_device)
    works(stores, models, worker(stores, Counting(metrics)), log=lambda _: stores.log)["inspect"]()

    found = samples(metrics.registry)
    assert found['triad_hand_backs_total{kind="inspect"}'] == 0
    assert found["triad_stage_unavailable_total"] == 2


def test_a_claim_that_another_took_over_is_counted_as_lost(
    tmp_path: Path, stores: Stores, metrics: Metrics
) -> None:
    enter(stores, write_plates(tmp_path / "plates", 2))
    counting = Counting(metrics)

    def lose(frames: Sequence[Frame]) -> None:
        take_all_back(stores, Watch(), everybody=True)

    works(stores, FakeModels(before_inspect=lose), worker(stores, counting), log=lambda _: stores.log)[
        "inspect"
    ]()

    found = samples(metrics.registry)
    assert found['triad_claims_lost_total{kind="inspect"}'] == 1
    assert total(found, "triad_verdicts_total") == 0


def test_a_hand_back_of_what_another_has_by_now_is_not_counted(
    tmp_path: Path, stores: Stores, metrics: Metrics
) -> None:
    enter(stores, write_plates(tmp_path / "plates", 2))

    def lose_and_fail(frames: Sequence[Frame]) -> None:
        take_all_back(stores, Watch(), everybody=True)
        raise StageUnavailable("no device")

    models = FakeModels(before_inspect=lose_and_fail)
    works(stores, models, worker(stores, Counting(metrics)), log=lambda _: stores.log)["inspect"]()

    assert samples(metrics.registry)['triad_hand_backs_total{kind="inspect"}'] == 0


def take_all_back(stores: Stores, watch: Watch, *, everybody: bool = False) -> None:
    take_back(
        stores.engine,
        attempt_limit=1,
        log=lambda log_id: stores.log,
        pictures=stores.pictures,
        gone=lambda owners: owners if everybody else (),
        watch=watch,
    )


def test_what_a_dead_worker_left_is_counted_when_it_is_taken_back(
    tmp_path: Path, stores: Stores, metrics: Metrics
) -> None:
    folder = tmp_path / "plates"
    for name in ("one", "two", "three"):
        write_plate(folder / f"{name}.png")
    enter(stores, folder, frames_per_batch=2)
    counting = Counting(metrics)
    for _ in range(2):  # a batch of two and a lone frame, both left behind
        with transaction(stores.engine) as connection:
            claim = claim_next(
                connection, kind=BatchKind.INSPECT, owner="gone", lease=worker(stores, Watch()).lease
            )
        assert claim is not None
        run_out_of_lease(stores.engine, claim)

    take_all_back(stores, counting)

    found = samples(metrics.registry)
    assert found['triad_leases_expired_total{what="split"}'] == 1
    assert found['triad_leases_expired_total{what="exhausted"}'] == 1
    assert found[f'triad_dead_letters_total{{reason="{RejectReason.KILLS_INSPECTOR}"}}'] == 1
    assert found[f'triad_frames_rejected_total{{reason="{RejectReason.KILLS_INSPECTOR}"}}'] == 0


def test_an_event_that_comes_twice_is_counted_as_a_duplicate(
    tmp_path: Path, stores: Stores, metrics: Metrics
) -> None:
    folder = tmp_path / "plates"
    write_plate(folder / "one.png")
    write_plate(folder / "two.png", noise=1)
    enter(stores, folder)

    def one_event(*given: Any, **named: Any) -> VerdictRow:
        # A folder log's own events differ.
        return replace(verdict_row(*given, **named), event_source="camera", event_id="1")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inspect_range, "verdict_row", one_event)
        work(stores, Counting(metrics))

    assert samples(metrics.registry)["triad_duplicates_total"] == 1


def test_a_frame_that_is_given_up_is_logged_with_its_trace(
    tmp_path: Path, stores: Stores, capsys: pytest.CaptureFixture[str]
) -> None:
    from workers.log_lines import log_to_stderr

    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    enter(stores, write_plate(tmp_path / "plates" / "one.png").parent)
    read = stores.log.read

    class TracedLog:
        identity = stores.log.identity

        def read(self, partition: int, first: int, end: int, *, most_bytes: int) -> object:
            got = read(partition, first, end, most_bytes=most_bytes)
            envelope = Envelope(id="1", source="camera", line="l", traceparent=f"00-{trace}-{span}-01")
            return replace(got, records=tuple(replace(each, envelope=envelope) for each in got.records))

    def break_always(frames: Sequence[Frame]) -> None:
        raise ZeroDivisionError("a bug of ours")

    last = replace(stores, settings=settings_of(stores.settings.home, attempt_limit=1), log=TracedLog())  # type: ignore[arg-type]
    log_to_stderr("warning", "json", "worker")
    try:
        work(last, Watch(), FakeModels(before_inspect=break_always))
        (line,) = [each for each in capsys.readouterr().err.splitlines() if "frame given up" in each]
    finally:
        log_to_stderr("warning")

    assert f'"trace_id":"{trace}"' in line
    assert '"batch":' in line


def test_the_alerts_are_sound_and_fire_when_they_should() -> None:
    promtool("check", "rules", RULES / "alerts.yaml")
    promtool("test", "rules", RULES / "alerts_test.yaml")
