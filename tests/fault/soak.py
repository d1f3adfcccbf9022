"""Faults of every kind at random, one after another, under load; then the contract is held up to it.

    make soak ARGS="--frames 50000 --faults 200 --seed 7"

Prints what was done, how all frames ended, and the audit; exits with 1 where the contract does not hold.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import make_url

from pipelines.errors import StageUnavailable
from storage.audit import audit
from storage.database import reading
from tests.fault.cutting import CuttingProxy, cutting_proxy
from tests.fault.distributed import LEASE_S, Kept, System, fresh_system, picture
from tests.fault.proof import Counts
from tests.fault.services import Services, services
from tests.fault.triad_with_fakes import KILLS, RAISES
from tests.frames_in_kafka import Frames
from workers.tasks import make_app, ring

_MOST_PARTITIONS = 6
_CUT_EVERY = 25
_MOST_WAITING = 800  # frames: where more wait, a topic that is made again loses most of the run unseen
_CATCH_UP_S = 120.0


@dataclass(slots=True, kw_only=True)
class Soak:
    """One run; the same seed does the same things to the same kinds of processes in the same order."""

    system: System
    proxy: CuttingProxy
    random: random.Random
    done: Counter[str] = field(default_factory=Counter)
    asleep: list[tuple[float, Kept]] = field(default_factory=list)  # until when, monotonic

    @property
    def faults(self) -> dict[str, tuple[int, Callable[[], None]]]:
        """By name, with how often they come in proportion to each other."""
        services = self.system.services
        return {
            "kill one": (30, self._kill_one),
            "kill several": (8, self._kill_several),
            "pause": (15, self._pause),
            "ask to end": (15, self._ask_to_end),
            "flush redis": (6, services.redis.flush),
            "restart redis": (4, self._restart_redis),
            "ring often": (6, self._ring_often),
            "cut connections": (8, self._cut_connections),
            "restart postgres": (4, lambda: services.postgres.restart("fast")),
            "crash postgres": (4, lambda: services.postgres.restart("immediate")),
            "restart kafka": (2, lambda: self._restart_kafka(services.kafka.stop)),
            "crash kafka": (2, lambda: self._restart_kafka(services.kafka.kill)),
            "poison that raises": (4, lambda: self._send(RAISES)),
            "poison that kills": (3, lambda: self._send(KILLS)),
            "transactions": (5, self._transactions),
            "delete records": (4, self._delete_records),
            "make the topic again": (1, self.system.make_topic_again),
            "add a partition": (2, self._add_partition),
        }

    def begin(self) -> None:
        """Two of each that plans and one that publishes; inspectors of several kinds."""
        through = make_url(self.system.database_url).set(host="127.0.0.1", port=self.proxy.port, query={})
        cut = through.render_as_string(hide_password=False)
        for _ in range(2):
            self.system.keep("planner")
        self.system.keep("publisher")
        self.system.keep("reason")
        self.system.keep("inspect", "poison,taking:0.01")
        self.system.keep("inspect", "poison,clock:600")
        self.system.keep("inspect", "poison,taking:0.02", database_url=cut)
        self.system.wait_started()
        self.proxy.one_in = _CUT_EVERY

    def run(self, frames: int, faults: int) -> None:
        for number in range(faults):
            count = frames * (number + 1) // faults - frames * number // faults
            self._let_catch_up()
            self._produce(count)
            self._tend(self.random.uniform(0, 0.3))
            table = self.faults
            (name,) = self.random.choices(list(table), [weight for weight, _ in table.values()])
            self.done[name] += 1
            table[name][1]()
            self._tend(0)

    def end(self, *, within_s: float) -> Counts:
        """Everything is done, and as the contract has it; raises ``AssertionError`` where it is not."""
        self._tend(LEASE_S * 2)
        self.system.drain(within_s=within_s)
        return self.system.assert_contract()

    def _tend(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for wakes_at, kept in self.asleep:
                if wakes_at <= now:
                    kept.program.go_on()
            self.asleep = [each for each in self.asleep if each[0] > now]
            self.system.tend()
            if now >= until:
                return
            time.sleep(0.02)

    def _let_catch_up(self) -> None:
        until = time.monotonic() + _CATCH_UP_S
        while True:
            with suppress(StageUnavailable):
                if self.system.waiting() <= _MOST_WAITING:
                    return
            assert time.monotonic() < until, f"too much waits for {_CATCH_UP_S} s\n{self.system.state()}"
            self._tend(0.2)

    def _some(self, role: str | None = None) -> Kept:
        return self.random.choice([each for each in self.system.kept if role in (None, each.role)])

    def _partition(self) -> int:
        return self.random.randrange(len(self.system.asked.partitions()))

    def _produce(self, count: int) -> None:
        frames = [picture(self.random.random() < 0.2, self.random.randrange(20)) for _ in range(count)]
        self.system.send(frames, self.random.randrange(2))

    def _send(self, mark: int) -> None:
        self.system.send(
            [picture(False, 0), picture(False, 0, mark), picture(False, 1)], self.random.randrange(2)
        )

    def _kill_one(self) -> None:
        self._some().program.kill()

    def _ask_to_end(self) -> None:
        self._some().program.ask_to_end()

    def _kill_several(self) -> None:
        for _ in range(3):
            self._some().program.kill()

    def _pause(self) -> None:
        kept = self._some()
        kept.program.pause()
        self.asleep.append((time.monotonic() + self.random.uniform(0.1, 2 * LEASE_S), kept))

    def _restart_redis(self) -> None:
        self.system.services.redis.kill()
        self._tend(self.random.uniform(0, 0.5))
        self.system.services.redis.start()

    def _restart_kafka(self, end: Callable[[], None]) -> None:
        end()
        self.system.services.kafka.start()
        self.system.topic_id()

    def _cut_connections(self) -> None:
        self.system.services.postgres.cut_connections(make_url(self.system.database_url).database or "")

    def _ring_often(self) -> None:
        app = make_app(self.system.services.redis.url, {})
        queues = ["inspect", "reason"] * 20
        self.random.shuffle(queues)

        def ring_them() -> None:
            for queue in queues:
                ring(app, queue)

        threads = [threading.Thread(target=ring_them) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        app.close()

    def _transactions(self) -> None:
        identity = f"{self.system.topic}-{self.done['transactions']}"
        partition = self._partition()
        with Frames(self.system.services.kafka, self.system.topic, transactional_id=identity) as frames:
            frames.producer.init_transactions()
            for is_aborted in (False, True):
                frames.producer.begin_transaction()
                self.system.send_by(frames, [picture(False, 0)] * 3, partition, is_aborted=is_aborted)
                if is_aborted:
                    frames.producer.abort_transaction()
                else:
                    frames.producer.commit_transaction()

    def _delete_records(self) -> None:
        """Up to somewhere around what is done: a little more, or less."""
        partition = self._partition()
        start, end = self.system.asked.start(partition), self.system.asked.end(partition)
        around = self.system.watermark(partition) + self.random.randint(-20, 40)
        if start < min(around, end):
            self.system.delete_records(min(around, end), partition)

    def _add_partition(self) -> None:
        now = len(self.system.asked.partitions())
        if now < _MOST_PARTITIONS:
            with self.system.services.kafka.admin() as admin:
                admin.create_partitions({self.system.topic: now + 1})


@contextmanager
def soaking(services: Services, folder: Path, *, name: str, seed: int) -> Iterator[Soak]:
    """With all processes at work."""
    with (
        cutting_proxy(services.postgres.socket) as proxy,
        fresh_system(services, folder, name=name, attempt_limit=2) as system,
    ):
        soak = Soak(system=system, proxy=proxy, random=random.Random(seed))
        soak.begin()
        yield soak


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="triadline-soak-") as folder,
        services() as running,
        soaking(running, Path(folder), name=f"soak, seed {asked.seed}", seed=asked.seed) as soak,
    ):
        try:
            soak.run(asked.frames, asked.faults)
            soak.end(within_s=300)
        except AssertionError as violation:
            tell(f"THE CONTRACT DOES NOT HOLD: {violation}")
            return 1
        finally:
            tell(f"faults: {dict(soak.done)}")
            tell(f"replaced: {soak.system.deaths} processes; {soak.proxy.lost_answers} commits unanswered")
            tell(f"after {time.monotonic() - began:.0f} s")
        with reading(soak.system.stores.engine) as connection:
            for each in audit(connection):
                tell(f"audit: {each}")
    return 0


def tell(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
