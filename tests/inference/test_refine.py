"""CRF refinement of a model's answers: predicted, scored in other classes, kept beside the model, tuned and judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segwright.contracts import IGNORE, DataError, Outputs, Sample, UserError
from segwright.evaluation.evaluate import evaluate
from segwright.evaluation.tune_crf import draw_settings, tune_crf
from segwright.inference.predictor import Predictor
from segwright.inference.refine import Refined, crf_file, load_crf, save_crf, with_crf
from segwright.models.crf import CrfSettings, refine
from segwright.models.segmenter import Segmenter
from tests.inference.fakes import Pictures, space_of

NAMES = ("road", "car")


class Speckled(nn.Module):
    """Two classes by brightness, under noise that the picture does not show (`noise`), or none of it."""

    stride = 1
    unused = ()

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Outputs:
        bright = image.mean(1, keepdim=True) * self.scale
        rough = torch.randn(bright.shape, generator=torch.Generator().manual_seed(0))
        return Outputs(torch.cat([-bright, bright], 1) + self.noise * torch.cat([rough, -rough], 1))


def model(noise: float = 1.5) -> Segmenter:
    return Segmenter(Speckled(noise), labels=space_of(NAMES), model={"name": "speckled", "args": {}}).eval()


def pictures(count: int = 6) -> Pictures:
    samples = []
    for index in range(count):
        labels = np.zeros((40, 48), np.uint8)
        labels[8 + index : 30, 10 : 36 + index] = 1
        rng = np.random.default_rng(index)
        rgb = np.where(labels[..., None] == 1, 190, 60) + rng.integers(-3, 4, (40, 48, 3))
        labels[:2] = IGNORE
        samples.append(Sample(name=f"{'ab'[index % 2]}{index}", planes={"rgb": rgb.astype(np.uint8)}, labels=labels))
    return Pictures(samples)


def test_a_refined_model_predicts_what_the_crf_makes_of_its_scores() -> None:
    data, settings = pictures(1), CrfSettings(iterations=3)
    refined, rgb = Refined(model(), settings).eval(), data[0].rgb
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    with torch.no_grad():
        wanted = refine(model()(image)[0], image[0], settings)
        assert torch.allclose(refined(image)[0].softmax(0), wanted, atol=1e-6)
    ids = Predictor(refined, device="cpu").predict(rgb)
    assert np.array_equal(ids, wanted.argmax(0).numpy())
    right = [(found == data[0].labels)[2:].mean() for found in (Predictor(model(), device="cpu").predict(rgb), ids)]
    assert right[0] < 0.9
    assert right[1] > 0.99
    assert (refined.ids(image, among=[1]) == 1).all()
    with pytest.raises(UserError, match="cannot be trained"):
        refined.outputs(image)


def test_an_evaluation_scores_the_refined_answers() -> None:
    alone, refined = (
        evaluate(one, pictures(), run="r", checkpoint="c", split="val", measures=("calibration",))
        for one in (model(), Refined(model(), CrfSettings()))
    )
    assert refined.miou > alone.miou + 0.2
    assert "calibration" in refined.measures


def test_parameters_are_kept_beside_the_model_and_can_be_changed(tmp_path: Path) -> None:
    file = crf_file(tmp_path / "model.safetensors", None)
    assert file.name == "model.crf.json"
    usual, told = with_crf(model(), file)
    assert usual.settings == CrfSettings()
    assert "usual parameters" in told
    kept = CrfSettings(sigma_rgb=7.5, compatibility=((0.0, 1.0), (2.0, 0.0)))
    save_crf(file, kept, {})
    assert load_crf(file) == kept
    changed, told = with_crf(model(), file, {"iterations": 2})
    assert changed.settings == CrfSettings(sigma_rgb=7.5, compatibility=kept.compatibility, iterations=2)
    assert str(file) in told
    assert "changed: iterations" in told
    with pytest.raises(UserError, match="Did you mean 'sigma_xy'"):
        with_crf(model(), file, {"sigma_x": 3})
    for damage in ("{", "[]", '{"format": "other"}', '{"format": "segwright crf 1", "settings": {"sigma_xy": "wide"}}'):
        file.write_text(damage)
        with pytest.raises(DataError, match="tune-crf"):
            load_crf(file)


def test_tuning_judges_on_the_other_half_and_says_whether_it_helps() -> None:
    found = tune_crf(model(), pictures(), split="val", tries=3)
    assert found.pictures == (3, 3)
    assert found.helps
    assert found.miou[1] - found.miou[0] == pytest.approx(found.change.value)
    assert found.change.low > 0
    assert found.chosen_miou[1] > found.chosen_miou[0]
    assert found.settings in draw_settings(3, 0)
    json.dumps(found.to_dict(), allow_nan=False)
    perfect = tune_crf(model(noise=0.0), pictures(), split="val", tries=2, pictures=2)
    assert not perfect.helps
    assert perfect.pictures == (2, 2)
    assert perfect.miou[0] == 1.0


def test_what_cannot_be_tuned_is_refused() -> None:
    with pytest.raises(UserError, match="two are needed"):
        tune_crf(model(), pictures(1), split="val")
    with pytest.raises(UserError, match="whole numbers from 1"):
        tune_crf(model(), pictures(), split="val", tries=0)
    void = pictures(2)
    void[0].labels[:] = IGNORE  # type: ignore[index]
    with pytest.raises(DataError, match="no labelled pixel"):
        tune_crf(model(), void, split="val", tries=1)
