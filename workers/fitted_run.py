"""Measuring a product that is fitted for the purpose, on so many normal frames, and then forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pipelines.decoding import payload_sha256
from pipelines.errors import InputRefused
from pipelines.inspection import Inspector
from workers.labelled_run import run_labelled
from workers.product_input import read_normals

if TYPE_CHECKING:
    from pipelines.learn.datasets import MvtecProduct
    from pipelines.localize.expert_kind import Networks
    from workers.labelled_run import LabelledRun

Progress = Callable[[str, int, int], None]
ALL = "all"


def normal_counts(text: str) -> tuple[int | None, ...]:
    """``1,4,all`` as numbers; None is all there are.

    Raises:
        InputRefused: Something else stands there.
    """
    counts: list[int | None] = []
    for word in text.split(","):
        number = None if word.strip() == ALL else word.strip()
        if number is not None and not (number.isascii() and number.isdigit() and int(number)):
            raise InputRefused(f"--normals {text!r}: write numbers of frames, such as 1,4,16,{ALL}")
        counts.append(None if number is None else int(number))
    return tuple(dict.fromkeys(counts))


def runs_by_normals(
    product: MvtecProduct,
    counts: Sequence[int | None],
    *,
    networks: Networks,
    expert: str | None = None,
    limit: int | None,
    progress: Progress,
) -> list[LabelledRun]:
    """One run for each count: fitted as `triad products add` would, on the first so many of its normals.

    ``expert`` None takes the one that fits what is given. The order of normals is that of their files'
    SHA-256. So fewer are always among more, and a name that was counted up tells nothing about which come
    first.

    Raises:
        InputRefused: There are not so many normal frames, or none to measure on.
    """
    from pipelines.learn.expert_choice import Asked
    from pipelines.learn.fit import bare_recipe, fit_product

    frames, unreadable = read_normals(product.train, progress=progress, most=len(product.train))
    frames.sort(key=lambda frame: payload_sha256(frame.payload))
    runs: list[LabelledRun] = []
    for count in counts:
        if count is not None and count > len(frames):
            raise InputRefused(
                f"--normals {count}: {product.name} has {len(frames)} normal frames to learn from"
            )
        chosen = frames[:count]
        title = f"{product.name}, {len(chosen)} normals"
        fitted = fit_product(
            [frame.picture for frame in chosen],
            networks=networks,
            false_reject_rate=None,
            asked=Asked(expert=expert),
            progress=partial(_titled, progress, title),
        )
        inspector = Inspector(recipe=bare_recipe(product.name, fitted), localizer=fitted.memory)
        run = run_labelled(product, inspector, limit=limit, progress=partial(progress, title))
        runs.append(replace(run, rejected=(*unreadable, *run.rejected)))
    return runs


def _titled(progress: Progress, title: str, what: str, done: int, of: int) -> None:
    progress(f"{title}: {what}", done, of)
