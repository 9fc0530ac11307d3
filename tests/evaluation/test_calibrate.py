"""Calibrate: a hidden temperature is found, judged on other pictures, kept only where it helps, and saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segwright.contracts import IGNORE, DataError, Outputs, Sample, UserError
from segwright.evaluation.calibrate import calibrate
from segwright.models.segmenter import Segmenter
from segwright.models.weights import load_segmenter, read_saved, save_segmenter
from tests.inference.fakes import Pictures, random_rgb, space_of

NAMES = ("road", "car", "sky")


class Mixture(nn.Module):
    """Scores that are a fixed mixture of the colours of each pixel."""

    stride = 1
    unused = ()

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, len(NAMES), 1)
        nn.init.orthogonal_(self.mix.weight, gain=2.5)

    def forward(self, image: Tensor) -> Outputs:
        return Outputs(self.mix(image))


def model() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(Mixture(), labels=space_of(NAMES), model={"name": "mixture", "args": {}}).eval()


@torch.no_grad()
def pictures(temperature: float, count: int = 6, *, by_class: tuple[float, ...] = ()) -> Pictures:
    """Pictures whose labels are drawn with the model's probabilities at a temperature, or at that of its best class."""
    samples = []
    for index in range(count):
        rgb = random_rgb(40, 50, index)
        logits = model()(torch.from_numpy(rgb).permute(2, 0, 1)[None])[0].permute(1, 2, 0).double()
        scale = torch.tensor(by_class)[logits.argmax(-1, keepdim=True)] if by_class else temperature
        drawn = torch.multinomial((logits / scale).softmax(-1).reshape(-1, 3), 1, generator=_seeded(index))
        labels = drawn.reshape(40, 50).numpy().astype(np.uint8)
        labels[:3] = IGNORE
        samples.append(Sample(name=f"{'ab'[index % 2]}{index}", planes={"rgb": rgb}, labels=labels))
    return Pictures(samples)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("temperature", [0.4, 3.0])
def test_a_hidden_temperature_is_found_and_lowers_both_errors(temperature: float) -> None:
    segmenter, data = model(), pictures(temperature)
    image = torch.from_numpy(random_rgb(20, 30, 9)).permute(2, 0, 1)[None]
    with torch.no_grad():
        scores, ids, training = segmenter(image), segmenter.ids(image), segmenter.outputs(image.float()).logits_BKhw
        found = calibrate(segmenter, data, split="val")
        assert torch.allclose(segmenter(image), scores / found.temperatures[0])
        assert torch.equal(segmenter.ids(image), ids)
        assert torch.equal(segmenter(image).argmax(1), ids.long())
        assert torch.equal(segmenter.outputs(image.float()).logits_BKhw, training)
    assert found.temperatures[0] == pytest.approx(temperature, rel=0.05)
    assert found.kept
    assert found.nll_change.verdict == found.ece_change.verdict == "worse"  # which is lower: that of an error
    assert found.nll[1] < found.nll[0]
    assert found.ece[1] < 0.02 < found.ece[0]
    assert found.pictures == (3, 3)  # one of the two groups fits, the other judges
    assert found.nll_change.value == pytest.approx(found.nll[1] - found.nll[0])
    again = calibrate(model(), data, split="val")
    assert again.to_dict() == found.to_dict()
    json.dumps(found.to_dict(), allow_nan=False)


def test_each_predicted_class_can_have_its_own() -> None:
    data = pictures(1.0, 8, by_class=(0.5, 1.0, 4.0))
    segmenter = model()
    found = calibrate(segmenter, data, split="val", classwise=True)
    assert found.temperatures == pytest.approx((0.5, 1.0, 4.0), rel=0.1)
    assert found.shared == ()
    image = torch.from_numpy(random_rgb(20, 30, 9)).permute(2, 0, 1)[None]
    with torch.no_grad():
        assert torch.equal(segmenter(image).argmax(1), segmenter.ids(image).long())
    few = Pictures([Sample(name=s.name, planes=s.planes, labels=_mostly_void(s)) for s in data.samples])
    scarce = calibrate(model(), few, split="val", classwise=True)
    assert scarce.shared == NAMES
    assert len(set(scarce.temperatures)) == 1


def _mostly_void(sample: Sample) -> np.ndarray:
    labels = sample.labels.copy()  # type: ignore[union-attr]
    labels[4:] = IGNORE
    return labels


def test_thresholds_keep_the_wished_risk() -> None:
    data = pictures(1.0)
    found = calibrate(model(), data, split="val", risks=(0.05, 0.2, 1e-9))
    for wished in (0.05, 0.2):
        point = found.answers[wished]
        assert point is not None
        assert point.risk <= wished
    assert found.answers[0.2].coverage > found.answers[0.05].coverage > 0  # type: ignore[union-attr]


def test_what_does_not_help_is_not_kept() -> None:
    """Labels that are drawn against the scores in the half that judges: no temperature of the other half suits them."""
    data = pictures(0.3)
    flipped = [
        Sample(
            name=s.name,
            planes=s.planes,
            labels=np.where(s.labels == IGNORE, IGNORE, (s.labels + 1) % 3).astype(np.uint8),
        )  # type: ignore[operator]
        for s in data.samples[:3]
    ]
    one_group = [
        Sample(name=f"a{i}", planes=s.planes, labels=s.labels) for i, s in enumerate([*data.samples[3:], *flipped])
    ]
    segmenter = model()
    segmenter.set_temperature([7.0])
    found = calibrate(segmenter, Pictures(one_group), split="val")
    assert not found.kept
    assert segmenter.temperature is None
    assert "of one group" in found.nll_change.conditions


def test_refusals() -> None:
    with pytest.raises(UserError, match="'val' has 1 picture"):
        calibrate(model(), pictures(1, 1), split="val")
    with pytest.raises(UserError, match="risk is 5; allowed are shares"):
        calibrate(model(), pictures(1, 2), split="val", risks=(5,))
    broken = model()
    nn.init.constant_(broken.architecture.mix.bias, torch.nan)  # type: ignore[arg-type, union-attr]
    with pytest.raises(DataError, match="a0: the model's scores are not all finite"):
        calibrate(broken, pictures(1, 2), split="val")
    void = Pictures(
        [Sample(name=n, planes={"rgb": random_rgb(4, 4, 0)}, labels=np.full((4, 4), 255, np.uint8)) for n in "ab"]
    )
    with pytest.raises(DataError, match="no labelled pixel"):
        calibrate(model(), void, split="val")
    for values in ([0.0], [1.0, 2.0], [float("nan")], []):
        with pytest.raises(UserError, match="allowed are 1 or 3 finite numbers above 0"):
            model().set_temperature(values)


@pytest.mark.parametrize("temperature", [None, [2.5], [0.5, 1.0, 2.0]])
def test_the_model_file_keeps_it_and_older_files_have_none(tmp_path: Path, temperature: list[float] | None) -> None:
    from segwright.models.registry import build_architecture

    net = build_architecture("small_cnn", 3, {}, where="test", fresh=True)
    saved = Segmenter(
        net, labels=space_of(NAMES), model={"name": "small_cnn", "args": {}}, temperature=temperature
    ).eval()
    save_segmenter(saved, tmp_path / "model.safetensors")
    assert ("temperature" in read_saved(tmp_path / "model.safetensors")[0]) == (temperature is not None)
    loaded = load_segmenter(tmp_path / "model.safetensors")
    assert (loaded.temperature is None) if temperature is None else (loaded.temperature.tolist() == temperature)  # type: ignore[union-attr]
    image = torch.from_numpy(random_rgb(40, 56, 0)).permute(2, 0, 1)[None]
    with torch.no_grad():
        assert torch.equal(loaded(image), saved(image))
