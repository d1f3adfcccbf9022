"""Calls of one recipe, bounded by frames and by pixels, and no frame forgotten."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.frame import Envelope, Frame, Picture
from workers.admission import Admitted
from workers.frame_log import Record
from workers.rebatching import CallSize, calls


def admitted(offset: int, *, side: int = 1, recipe: str = "a") -> Admitted:
    envelope = Envelope(id=str(offset), source="camera", line="line")
    picture = Picture(pixels=np.zeros((1, side), np.uint8))
    return Admitted(
        record=Record(offset=offset, name=str(offset), key="line", envelope=envelope, payload=b"x"),
        frame=Frame(envelope=envelope, picture=picture, product=recipe, sha256="0"),
        recipe=recipe,
    )


def test_a_call_is_given_out_when_it_is_full() -> None:
    found = calls(iter([admitted(number) for number in range(5)]), CallSize(frames=2, pixels=1000))

    assert [[each.record.offset for each in call] for call in found] == [[0, 1], [2, 3], [4]]


def test_a_frame_larger_than_a_call_goes_alone() -> None:
    frames = [admitted(0, side=10), admitted(1, side=500), admitted(2, side=10)]

    found = list(calls(frames, CallSize(frames=16, pixels=100)))

    assert [[each.record.offset for each in call] for call in found] == [[0], [1], [2]]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60)), max_size=60),
    st.integers(1, 7),
    st.integers(1, 100),
)
def test_every_frame_is_in_one_call_of_its_recipe_and_no_call_is_too_large(
    frames: list[tuple[str, int]], most_frames: int, most_pixels: int
) -> None:
    given_frames = [admitted(at, side=side, recipe=recipe) for at, (recipe, side) in enumerate(frames)]

    found = list(calls(given_frames, CallSize(frames=most_frames, pixels=most_pixels)))

    assert sorted(each.record.offset for call in found for each in call) == list(range(len(frames)))
    for call in found:
        assert len({each.recipe for each in call}) == 1
        assert len(call) <= most_frames
        assert len(call) == 1 or sum(each.frame.picture.width_px for each in call) <= most_pixels
        offsets = [each.record.offset for each in call]
        assert offsets == sorted(offsets)
