"""Frames of a make-believe product, and a home folder that can inspect them without weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.verdict import Outcome
from storage.database import reading, transaction
from storage.recipes import save_recipe, set_current
from storage.verdict_queries import StoredVerdict, VerdictFilter, iterate_verdicts
from tests.fake_models import FakeModels, fake_recipe
from workers.embedded import EmbeddedSystem
from workers.manifest_scan import Scan, scan
from workers.settings import Settings, load_settings
from workers.wiring import Stores

PASSING, FAILING, GREY = 130, 255, 175  # of a plate's spot; the fake recipe judges its distance from mid grey
MARK_AT = (0, 1)


def write_plate(file: Path, spot: int = PASSING, *, noise: int = 0) -> Path:
    """A grey plate with a spot; another ``noise`` makes other bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), _plate(spot, noise))
    return file


def plate_png(spot: int = PASSING, *, noise: int = 0, mark: int = 0) -> bytes:
    """The same as bytes; a ``mark`` in its first line is for models that look for one."""
    pixels = _plate(spot, noise)
    pixels[MARK_AT] = mark or pixels[MARK_AT]
    done, encoded = cv2.imencode(".png", pixels)
    assert done
    return encoded.tobytes()


def _plate(spot: int, noise: int) -> NDArray[np.uint8]:
    pixels = np.full((48, 64), 128, np.uint8)
    pixels[10:20, 10:20] = spot
    pixels[0, 0] += noise
    return pixels


def write_plates(folder: Path, count: int) -> Path:
    """Plates 000 onwards: every fifth fails."""
    for number in range(count):
        spot = FAILING if number % 5 == 0 else PASSING
        write_plate(folder / f"{number:03}.png", spot, noise=number % 20)
    return folder


def settings_of(home: Path, **values: object) -> Settings:
    """Settings for tests: small batches, no waiting."""
    quick: Mapping[str, object] = {
        "frames_per_batch": 8,
        "poll_s": 0.02,
        "backoff_s": 0.05,
        "give_up_after_s": 1.0,
    }
    return load_settings(flags={**quick, **values, "home": home}, environment={}).settings


def inspect_paths(
    settings: Settings, paths: Sequence[Path], models: FakeModels | None = None, *, product: str = "plate"
) -> Scan:
    """What `triad inspect` does, with models that need no weights."""
    with EmbeddedSystem(settings) as system:
        add_product(system.stores, product)
        found = scan(system.stores.log, paths, product=lambda _: product)
        system.run_until_done(models or FakeModels())
    return found


def add_product(stores: Stores, product: str = "plate", *, has_reason: bool = True) -> None:
    recipe = fake_recipe(product, has_reason=has_reason)
    with transaction(stores.engine) as connection:
        set_current(connection, product, save_recipe(connection, recipe))


def verdicts_of(stores: Stores) -> list[StoredVerdict]:
    with reading(stores.engine) as connection:
        return list(iterate_verdicts(connection, VerdictFilter()))


def outcomes_of(stores: Stores) -> dict[str, Outcome]:
    """By file name; only for folders in which no file was inspected twice."""
    verdicts = verdicts_of(stores)
    found = {Path(verdict.name or "").name: verdict.outcome for verdict in verdicts}
    assert len(found) == len(verdicts)
    return found
