"""The soak of `make soak`, short: thirty faults of every kind at random."""

from pathlib import Path

import pytest

from tests.fault.services import Services
from tests.fault.soak import soaking

FRAMES, FAULTS, SEED = 1500, 30, 5


@pytest.mark.slow
def test_random_faults_under_load_leave_every_frame_with_one_end(
    broken_services: Services, tmp_path: Path
) -> None:
    with soaking(broken_services, tmp_path, name="short soak", seed=SEED) as soak:
        soak.run(FRAMES, FAULTS)
        found = soak.end(within_s=60)

        print(f"{dict(soak.done)}; {soak.system.deaths} processes replaced")  # noqa: T201
        assert sum(soak.done.values()) == FAULTS
        assert found.verdict > 0
