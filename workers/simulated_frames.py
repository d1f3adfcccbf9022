"""Frames of simulated lines as files would hold them, and what the simulator knows about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

from workers.frame_producer import OutgoingFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.learn.simulator import SimulatedFrame

DEFECT_SHARE = 0.25


def as_png(frame: SimulatedFrame) -> bytes:
    import cv2

    pixels = frame.pixels if frame.pixels.ndim == 2 else cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR)
    is_done, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert is_done
    return encoded.tobytes()


def truth_of(frame: SimulatedFrame) -> dict[str, object]:
    """Whether it is defective; defect and process step are of the first mark."""
    first = frame.marks[0] if frame.marks else None
    return {
        "is_defective": first is not None,
        "defect": first.defect if first else None,
        "process_step": first.step if first else None,
    }


def simulate(
    *, lines: int, frames_per_line: int, drawn: int, progress: Callable[[int, int], None]
) -> Iterator[OutgoingFrame]:
    """Frames of lines ``line-1``… in turn, ``frames_per_line`` of each; the products take turns, too.

    At most ``drawn`` pictures are drawn beforehand, about the same number of each product, and come again and
    again: drawing takes longer than sending.
    """
    products = _draw(lines=lines, frames_per_line=frames_per_line, drawn=drawn, progress=progress)
    return _in_turn(products, lines=lines, frames_per_line=frames_per_line)


def _in_turn(
    products: Mapping[str, Sequence[tuple[bytes, Mapping[str, object]]]], *, lines: int, frames_per_line: int
) -> Iterator[OutgoingFrame]:
    names = list(products)
    for number in range(frames_per_line):
        for line in range(lines):
            name = names[line % len(names)]
            # Lines of one product begin at different pictures.
            pictures = products[name]
            payload, truth = pictures[(number + line // len(names)) % len(pictures)]
            yield OutgoingFrame(
                name=f"simulated {name} {truth['seed']}",
                line=f"line-{line + 1}",
                payload=payload,
                known={"product": name, "content_type": "image/png", "is_simulated": True},
                truth=truth,
            )


def _draw(
    *, lines: int, frames_per_line: int, drawn: int, progress: Callable[[int, int], None]
) -> Mapping[str, list[tuple[bytes, dict[str, object]]]]:
    from pipelines.learn.simulator import DEMO_SEED, mixed_run, simulated_lines

    chosen = dict(islice(simulated_lines().items(), lines))
    each = max(1, min(drawn // len(chosen), frames_per_line))
    products: dict[str, list[tuple[bytes, dict[str, object]]]] = {}
    for name, line in chosen.items():
        products[name] = []
        for frame in mixed_run(line, first_seed=DEMO_SEED, frames=each, defect_share=DEFECT_SHARE):
            truth = {"product": name, "seed": frame.seed, **truth_of(frame)}
            marks = [asdict(mark) for mark in frame.marks]
            products[name].append((as_png(frame), {**truth, "marks": marks}))
            progress(sum(map(len, products.values())), each * len(chosen))
    return products
