"""A worker at a log of several lines: what lines declare, and what a finished range teaches the planner."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, groupby
from pathlib import Path

import cv2
import numpy as np
import pytest
from typing_extensions import override

from pipelines.errors import RejectReason
from pipelines.frame import Frame, Geometry, Line
from pipelines.lines import DeclaredLine, ProductFrom
from pipelines.verdict import Outcome
from storage import partition_stats
from storage.audit import audit
from storage.batches import BatchKind, backlog, claim_next
from storage.database import reading, transaction
from storage.dead_letters import list_dead_letters
from storage.lines import StoredLines, save_line
from storage.logs import open_log
from storage.partition_stats import PartitionStat
from storage.pictures import PictureStore
from storage.schema import LogKind
from tests.fake_log import FakeLog
from tests.fake_models import FakeModels
from tests.plates import FAILING, add_product, settings_of, verdicts_of, write_plate
from workers.frame_log import Record
from workers.inspect_range import InspectDesk
from workers.planner import Planner
from workers.range_duration import RangeDuration
from workers.reading_ahead import ReadingAhead
from workers.reason_room import ReasonRoom
from workers.rebatching import CallSize
from workers.wiring import Stores, claimant, open_stores, plan_bounds

_SOON_S = 5.0
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(settings_of(tmp_path / "home"))
    add_product(opened)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def plate(tmp_path: Path) -> bytes:
    return write_plate(tmp_path / "plate.png", FAILING).read_bytes()


def declare(stores: Stores, line: Line, *products: ProductFrom) -> None:
    with transaction(stores.engine) as connection:
        save_line(connection, DeclaredLine(line=line, products=products))


def inspect_all(
    stores: Stores,
    log: FakeLog,
    *,
    duration: RangeDuration | None = None,
    most: int = 1000,
    models: FakeModels | None = None,
    pictures: PictureStore | None = None,
    call_size: CallSize | None = None,
) -> int:
    """Plan and inspect until nothing is left; the log's id."""
    with transaction(stores.engine) as connection:
        log_id = open_log(connection, kind=LogKind.FOLDER, name="frames.local", uuid=log.identity.id).id
    Planner(stores.engine, {log_id: log}, plan_bounds(stores.settings)).plan_once()
    desk = InspectDesk(
        claimant=claimant(stores, owner="worker", is_stopping=lambda: False),
        log=lambda _: log,
        reading_ahead=ReadingAhead(lines=StoredLines(stores.engine), most_bytes=1_000_000),
        models=models or FakeModels(),
        pictures=pictures or stores.pictures,
        call_size=call_size or CallSize(),
        attempt_limit=3,
        has_reason_room=ReasonRoom(engine=stores.engine, most=most, clock=count(step=10).__next__).is_open,
        duration=duration or RangeDuration(),
    )
    while desk.inspect_next():
        pass
    with reading(stores.engine) as connection:
        (found,) = audit(connection)
    assert found.is_clean
    assert found.pending == 0
    return log_id


def learnt(stores: Stores, log_id: int) -> PartitionStat | None:
    with reading(stores.engine) as connection:
        return partition_stats.read(connection).get((log_id, 0))


def test_a_frame_without_a_product_is_of_the_product_that_its_line_makes(
    stores: Stores, plate: bytes
) -> None:
    declare(stores, Line(id="line-1", product="plate"))
    log = FakeLog()
    log.append(*[plate] * 8)

    inspect_all(stores, log)

    assert {verdict.product for verdict in verdicts_of(stores)} == {"plate"}


def test_a_product_that_the_line_will_make_tomorrow_is_not_todays(stores: Stores, plate: bytes) -> None:
    declare(stores, Line(id="line-1"), ProductFrom(effective_from=TOMORROW, product="plate"))
    log = FakeLog()
    log.append(*[plate] * 8)

    inspect_all(stores, log)

    with reading(stores.engine) as connection:
        reasons = [letter.reason for letter in list_dead_letters(connection)]
    assert reasons == [RejectReason.UNKNOWN_PRODUCT] * 8


def test_a_frame_that_the_line_cannot_have_taken_is_a_dead_letter(stores: Stores) -> None:
    declare(stores, Line(id="line-1", product="plate", geometry=Geometry(width_px=64, height_px=48)))
    _, encoded = cv2.imencode(".png", np.zeros((10, 10), np.uint8))
    log = FakeLog()
    log.append(*[encoded.tobytes()] * 8)

    inspect_all(stores, log)

    with reading(stores.engine) as connection:
        assert {letter.reason for letter in list_dead_letters(connection)} == {RejectReason.GEOMETRY_MISMATCH}


def test_a_finished_range_teaches_its_bytes_and_its_lines_priority(stores: Stores, plate: bytes) -> None:
    declare(stores, Line(id="line-1", product="plate", priority=7))
    log = FakeLog()
    log.append(*[plate] * 6, b"", b"")  # dead letters are of the log's bytes too

    log_id = inspect_all(stores, log)

    found = learnt(stores, log_id)
    assert found == PartitionStat(bytes_per_offset=len(plate) * 6 / 8, line_priority=7, dead_share=2 / 1000)


def test_a_range_of_losses_alone_teaches_nothing(stores: Stores, plate: bytes) -> None:
    log = FakeLog()
    log.append(*[plate] * 8)
    for offset in range(8):
        log.remove(offset)

    assert learnt(stores, inspect_all(stores, log)) is None


def test_rationales_of_a_higher_line_go_first(stores: Stores, plate: bytes) -> None:
    declare(stores, Line(id="line-1", product="plate", priority=7))
    log = FakeLog()
    log.append(*[plate] * 8)
    inspect_all(stores, log)
    log.append(*[plate] * 8)
    inspect_all(stores, log)

    with transaction(stores.engine) as connection:
        claim = claim_next(connection, kind=BatchKind.REASON, owner="w", lease=timedelta(minutes=1))
    assert claim is not None
    assert (claim.priority, claim.first_offset) == (7, 8), "the second range knew the line"


class GateLog(FakeLog):
    """Every frame's verdict is wanted within two seconds."""

    def _record(self, partition: int, offset: int, payload: bytes) -> Record:
        record = super()._record(partition, offset, payload)
        assert record.envelope is not None
        due = datetime.now(UTC) + timedelta(seconds=2)
        return replace(record, envelope=replace(record.envelope, expires_at=due))


def ranges_done(stores: Stores) -> list[int]:
    """How many frames each finished range had, in the order of their offsets."""
    ids = [each.id.split("-")[0] for each in sorted(verdicts_of(stores), key=lambda each: each.offset)]
    return [len(list(group)) for _, group in groupby(ids)]


def test_a_range_that_would_miss_its_deadlines_is_cut_until_it_does_not(stores: Stores, plate: bytes) -> None:
    declare(stores, Line(id="line-1", product="plate"))
    log = GateLog()
    log.append(*[plate] * 8)

    inspect_all(stores, log, duration=RangeDuration(seconds_per_frame=0.6))

    assert ranges_done(stores) == [2, 2, 2, 2]


def test_a_range_in_no_hurry_is_not_cut(stores: Stores, plate: bytes) -> None:
    declare(stores, Line(id="line-1", product="plate"))
    log = FakeLog()
    log.append(*[plate] * 8)

    inspect_all(stores, log, duration=RangeDuration(seconds_per_frame=60.0))

    assert ranges_done(stores) == [8]


def test_when_too_many_wait_for_a_rationale_verdicts_go_on_without_and_say_so(
    stores: Stores, plate: bytes
) -> None:
    declare(stores, Line(id="line-1", product="plate"))
    log = FakeLog()
    log.append(*[plate] * 40)  # all fail, and would be explained

    inspect_all(stores, log, most=2)

    verdicts = verdicts_of(stores)
    with reading(stores.engine) as connection:
        waiting = backlog(connection)[BatchKind.REASON]
    assert len(verdicts) == 40
    assert {each.fast_outcome for each in verdicts} == {Outcome.FAIL}
    assert waiting.planned == 3
    assert sum(each.note == "no rationale: too many frames wait for one" for each in verdicts) == 16


class OneSlowPicture(PictureStore):
    """Keeps nothing of the first call until the model is at the second one."""

    def __init__(self, folder: Path, is_next_call: threading.Event) -> None:
        super().__init__(folder)
        self._is_next_call = is_next_call
        self.waited: list[bool] = []

    @override
    def put(self, content: bytes, suffix: str) -> str:
        self.waited.append(self._is_next_call.wait(_SOON_S))
        return super().put(content, suffix)


def test_evidence_is_kept_while_the_model_is_at_the_next_call(
    stores: Stores, plate: bytes, tmp_path: Path
) -> None:
    called: list[int] = []
    is_second = threading.Event()

    def before(frames: Sequence[Frame]) -> None:
        called.append(len(frames))
        if len(called) == 2:
            is_second.set()

    declare(stores, Line(id="line-1", product="plate"))
    pictures = OneSlowPicture(tmp_path / "pictures", is_second)
    log = FakeLog()
    log.append(*[plate] * 8)

    inspect_all(
        stores,
        log,
        models=FakeModels(before_inspect=before),
        pictures=pictures,
        call_size=CallSize(frames=4),
    )

    assert called == [4, 4]
    assert all(pictures.waited)
    assert [verdict.offset for verdict in sorted(verdicts_of(stores), key=lambda v: v.offset)] == [*range(8)]
