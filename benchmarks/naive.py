"""The way that comes to mind first: a Celery task per frame with its bytes in it, an INSERT per verdict.

Run by benchmarks/distributed.py as `celery -A benchmarks.naive worker`; NAIVE_* variables say with what.
"""

import base64
import os
from datetime import UTC, datetime
from typing import Any

from celery import Celery, signals
from sqlalchemy import Engine, text
from sqlalchemy.engine import create_engine

from benchmarks.stand_in import PRODUCT, Cost, StandInExpert, stand_in_recipe
from pipelines.decoding import decode_picture, payload_sha256
from pipelines.frame import Envelope, Frame, Geometry

QUEUE = "naive"
TASK = "naive.inspect"
_TABLE = """CREATE TABLE IF NOT EXISTS naive_verdict (
    id bigserial PRIMARY KEY, line text, event_id text, sha256 text, outcome text, score float, p_value float,
    began_at timestamptz, decided_at timestamptz DEFAULT clock_timestamp())"""
_INSERT = """INSERT INTO naive_verdict (line, event_id, sha256, outcome, score, p_value, began_at)
    VALUES (:line, :event_id, :sha256, :outcome, :score, :p_value, :began_at)"""


def make_app(broker_url: str) -> Celery:
    made = Celery("naive", broker=broker_url, set_as_current=False)
    made.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue=QUEUE,
        worker_hijack_root_logger=False,
    )
    return made


def message_of(payload: bytes, *, line: str, event_id: str) -> dict[str, str]:
    return {"payload": base64.b64encode(payload).decode(), "line": line, "event_id": event_id}


def make_table(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(_TABLE))


app = make_app(os.environ.get("NAIVE_BROKER_URL", "memory://"))
_EXPERT = StandInExpert(recipe=stand_in_recipe(), cost=Cost.read(os.environ.get("NAIVE_COST", "0:0")))
_opened: list[Engine] = []


@signals.worker_init.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def _open(**_: Any) -> None:
    url = os.environ["NAIVE_DATABASE_URL"]
    engine = create_engine(url)
    make_table(engine)
    _opened.append(engine)


@app.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
def inspect(payload: str, line: str, event_id: str) -> None:
    began_at = datetime.now(UTC)
    content = base64.b64decode(payload)
    frame = Frame(
        envelope=Envelope(id=event_id, source="naive", line=line),
        picture=decode_picture(content, geometry=Geometry()),
        product=PRODUCT,
        sha256=payload_sha256(content),
    )
    (inspection,) = _EXPERT.inspect([frame])
    verdict = inspection.verdict
    (engine,) = _opened
    with engine.begin() as connection:
        connection.execute(
            text(_INSERT),
            {
                "line": line,
                "event_id": event_id,
                "sha256": frame.sha256,
                "outcome": verdict.outcome.value,
                "score": verdict.score,
                "p_value": verdict.p_value,
                "began_at": began_at,
            },
        )
