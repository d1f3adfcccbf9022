"""Running the naive way: messages wait in Redis, then one Celery solo worker works them off."""

from collections.abc import Sequence

from sqlalchemy import text

from benchmarks.naive import QUEUE, TASK, make_app, make_table, message_of
from benchmarks.rig import Services, start_program, wait_until
from benchmarks.stand_in import Cost
from tests.databases import fresh_postgres

LINES = 8


def naive_frames_per_s(on: Services, cost: Cost, drawn: Sequence[bytes], *, name: str) -> float:
    """From the first task's beginning to the last row: sending, starting and connecting do not count."""
    broker_url = f"{on.redis_url}/1"
    app = make_app(broker_url)
    with app.connection_for_write() as connection:
        for number, payload in enumerate(drawn):
            body = message_of(payload, line=f"line-{number % LINES + 1}", event_id=f"{name}-{number}")
            app.send_task(TASK, kwargs=body, queue=QUEUE, connection=connection, ignore_result=True)
    with fresh_postgres(on.postgres_url) as engine:
        make_table(engine)
        url = engine.url.render_as_string(hide_password=False)
        variables = {"NAIVE_BROKER_URL": broker_url, "NAIVE_DATABASE_URL": url, "NAIVE_COST": str(cost)}
        command = ("-m", "celery", "-A", "benchmarks.naive", "worker", "-P", "solo", "-Q", QUEUE)
        worker = start_program(f"naive-{name}", command, variables, folder=on.folder)

        def is_done() -> bool:
            with engine.connect() as connection:
                rows = connection.execute(text("SELECT count(*) FROM naive_verdict")).scalar_one()
            return int(rows) == len(drawn)

        try:
            wait_until(is_done, 60 + len(drawn) * (0.2 + 2 * cost.seconds(1)), worker)
            with engine.connect() as connection:
                asked = text("SELECT extract(epoch FROM max(decided_at) - min(began_at)) FROM naive_verdict")
                seconds = float(connection.execute(asked).scalar_one())
        finally:
            worker.end()
    return len(drawn) / seconds
