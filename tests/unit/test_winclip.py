"""The text-prompted expert on a tiny random CLIP: its parts held against the library and the paper."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPModel, CLIPTokenizer

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.backbone import Backbone
from pipelines.localize.clip_windows import windows
from pipelines.localize.prompt_ensemble import DEFECTIVE_STATES, NORMAL_STATES, prompts, thing_named
from pipelines.localize.winclip import Winclip, WinclipSettings
from tests.backbones import save_clip, save_clip_vision
from tests.surfaces import grain


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone(save_clip(tmp_path_factory.mktemp("clip") / "model"))


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        ("a photo of a ceramic tile", "ceramic tile"),
        ("A picture of the  printed film.", "printed film"),
        ("photo of some cloth", "cloth"),
        ("brushed metal", "brushed metal"),
        ("a photograph frame", "photograph frame"),
        ("a photo of ", ""),
    ],
)
def test_the_thing_is_read_out_of_what_a_person_says(text: str, thing: str) -> None:
    assert thing_named(text) == thing


def test_every_state_is_said_in_every_way() -> None:
    normal, defective = prompts("tile")
    assert len(normal) / len(NORMAL_STATES) == len(defective) / len(DEFECTIVE_STATES) >= 20
    assert "a photo of a flawless tile." in normal
    assert "a blurry photo of the tile with damage." in defective
    assert len(set(normal + defective)) == len(normal + defective)
    assert all("tile" in sentence for sentence in normal + defective)


def test_the_meaning_of_sentences_is_the_mean_of_the_librarys_vectors(backbone: Backbone) -> None:
    sentences = ["a photo of a tile.", "tile with damage"]
    stock = CLIPModel.from_pretrained(backbone.folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(backbone.folder)
    with torch.inference_mode():
        vectors = [
            stock.get_text_features(**tokenizer([one], return_tensors="pt")).pooler_output[0]
            for one in sentences
        ]
    mean = torch.stack([one / one.norm() for one in vectors]).mean(0)
    found = backbone.clip().meaning(sentences)
    np.testing.assert_allclose(found.numpy(), (mean / mean.norm()).numpy(), atol=1e-5)


def test_the_picture_as_a_whole_is_what_the_library_sees(backbone: Backbone) -> None:
    picture = grain(0, 64, 64)  # the model's own size: nothing is resized
    stock = CLIPModel.from_pretrained(backbone.folder).eval()
    x = backbone.normalised(torch.from_numpy(picture.rgb()).permute(2, 0, 1)[None])
    with torch.inference_mode():
        expected = stock.get_image_features(pixel_values=x).pooler_output
        tokens, rows, columns = backbone.clip().embedded(picture)
        found = backbone.clip().seen(tokens)
    assert (rows, columns) == (4, 4)
    np.testing.assert_allclose(found.numpy(), (expected / expected.norm()).numpy(), atol=1e-5)


def test_windows_cover_every_patch() -> None:
    found = windows(3, 4, 2)
    assert found.shape == (6, 4)
    assert found[0].tolist() == [0, 1, 4, 5]
    assert found[-1].tolist() == [6, 7, 10, 11]


def test_a_patch_gets_the_harmonic_mean_of_the_windows_that_cover_it(backbone: Backbone) -> None:
    """Written out: for each patch, over windows, then over sizes and the whole picture."""
    model = backbone.clip()
    expert = Winclip.fit("tile", model=model)
    picture = grain(3, 64, 64)
    tokens, rows, columns = model.embedded(picture)

    def defective(sequence: torch.Tensor) -> float:
        cosines = (model.seen(sequence) @ expert.meanings.T)[0] / 0.07
        return float(torch.softmax(cosines, 0)[1])

    expected = np.zeros((rows, columns))
    overall = defective(tokens)
    with torch.inference_mode():
        for row in range(rows):
            for column in range(columns):
                inverses = [1 / overall]
                for side in (2, 3):
                    covering = [
                        1 / defective(torch.cat([tokens[:, :1], tokens[:, 1:][:, places]], 1))
                        for places in windows(rows, columns, side)
                        if row * columns + column in places
                    ]
                    inverses.append(float(np.mean(covering)))
                expected[row, column] = 1 / np.mean(inverses)
    (found,) = expert.localize([picture])
    middles = found.scores.reshape(rows, 16, columns, 16)[:, 7:9, :, 7:9].mean((1, 3))
    inner = np.s_[1:-1, 1:-1]
    np.testing.assert_allclose(middles[inner], expected[inner], rtol=0.05)
    assert found.scores.min() > 0
    assert found.scores.max() < 1


def test_a_picture_too_narrow_for_a_window_is_looked_at_without_it(backbone: Backbone) -> None:
    expert = Winclip.fit("tile", model=backbone.clip(), settings=WinclipSettings(windows=(2, 99)))
    (found,) = expert.localize([grain(0, 40, 200)])
    assert found.scores.shape == (40, 200)


def test_another_text_is_another_digest(backbone: Backbone) -> None:
    tile, board = (Winclip.fit(text, model=backbone.clip()) for text in ("a photo of a tile", "board"))
    assert tile.digest != board.digest
    assert tile.digest == Winclip.fit("tile", model=backbone.clip()).digest


def test_a_text_that_names_nothing_is_refused(backbone: Backbone) -> None:
    with pytest.raises(InputRefused, match="names nothing"):
        Winclip.fit("a photo of", model=backbone.clip())


def test_a_model_without_its_text_half_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="sentences take a whole CLIP model"):
        Backbone(save_clip_vision(tmp_path / "half")).clip()


def test_a_model_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    model = Backbone(save_clip(tmp_path / "model", has_tokenizer=False)).clip()
    with pytest.raises(InputRefused, match="has no tokenizer"):
        Winclip.fit("tile", model=model)


def test_colour_and_depth_do_not_matter(backbone: Backbone) -> None:
    expert = Winclip.fit("tile", model=backbone.clip())
    shallow = grain(9)
    deep = Picture(pixels=shallow.pixels.astype(np.uint16) * 257, bit_depth=16)
    first, second = expert.localize([shallow, deep])
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)
