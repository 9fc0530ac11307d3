"""Activations, extracted features and Seg-Grad-CAM against computations by other means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import segwright
from segwright import cli
from segwright.contracts import Outputs, UserError
from segwright.evaluation.features import activations, extract, first_filters, strongest
from segwright.evaluation.gradcam import class_map
from segwright.evaluation.layers import find_layers
from segwright.models import Segmenter, build_architecture, save_segmenter
from tests.models.conftest import space

LEFT, TOP, RIGHT, BOTTOM = 24, 16, 40, 32


class Toy(nn.Module):
    """Two convolutions, an in-place ReLU, a classifier."""

    stride = 2
    unused: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.classify = nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Outputs:
        return Outputs(self.classify(self.relu(self.second(self.first(image).relu()))))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def scene(seed: int) -> NDArray[np.uint8]:
    """Noise around grey with one red box, [48, 64, 3]."""
    pixels = np.random.default_rng(seed).normal(128, 20, (48, 64, 3)).clip(0, 255).astype(np.uint8)
    pixels[TOP:BOTTOM, LEFT:RIGHT] = (220, 30, 30)
    return pixels


@pytest.fixture(scope="module")
def trained() -> Segmenter:
    """A toy that has learned to find the red box."""
    torch.manual_seed(0)
    model = Segmenter(Toy(), labels=space(2), model={"name": "toy"})
    image = torch.from_numpy(np.stack([scene(i) for i in range(4)])).permute(0, 3, 1, 2)
    truth = torch.zeros(4, 48, 64, dtype=torch.long)
    truth[:, TOP:BOTTOM, LEFT:RIGHT] = 1
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(image), truth).backward()
        optimizer.step()
    return model.eval()


def test_the_map_lights_the_object(trained: Segmenter) -> None:
    found = class_map(trained, scene(9), 1, find_layers(trained.architecture, ["relu"])[0])
    inside = np.zeros((48, 64), bool)
    inside[TOP:BOTTOM, LEFT:RIGHT] = True
    assert (found.ids_HW[inside] == 1).mean() > 0.9
    assert found.heat_HW.max() == 1
    assert found.heat_HW[inside].mean() > 5 * found.heat_HW[~inside].mean()


def test_the_map_is_the_formula_of_the_paper(trained: Segmenter) -> None:
    """Weights by finite differences of the summed scores, in float64: no autograd and no hooks."""
    box, rgb = (26, 18, 38, 30), scene(5)
    found = class_map(trained, rgb, 1, find_layers(trained.architecture, ["second"])[0], region=box)
    net = trained.architecture.double()
    normal = trained.normalise(torch.from_numpy(rgb).permute(2, 0, 1)[None]).double()
    with torch.no_grad():
        maps = net.second(net.first(normal).relu())  # type: ignore[operator]

        def score(values: Tensor) -> Tensor:
            small = net.classify(values.relu())  # type: ignore[operator]
            full = nn.functional.interpolate(small, size=(48, 64), mode="bilinear", align_corners=False)
            return full[0, 1, box[1] : box[3], box[0] : box[2]].sum()

        step, weights = 1e-6, []
        for channel in range(8):
            moved = maps.clone()
            moved[:, channel] += step
            weights.append((score(moved) - score(maps)) / step / maps[0, 0].numel())  # the mean of all derivatives
        raw = sum(w * m for w, m in zip(weights, maps[0], strict=True)).relu()  # type: ignore[union-attr, arg-type]
        grown = nn.functional.interpolate(raw[None, None], size=(48, 64), mode="bilinear", align_corners=False)[0, 0]
    trained.architecture.float()
    assert found.pixels == 144
    assert found.peak == pytest.approx(float(grown.max()), rel=1e-3)
    np.testing.assert_allclose(found.heat_HW, (grown / grown.max()).numpy(), atol=2e-3)


def test_maps_of_pictures_of_any_size_and_wrong_regions(trained: Segmenter) -> None:
    layer = find_layers(trained.architecture, ["first"])[0]
    assert class_map(trained, scene(1)[:31, :45], 0, layer).heat_HW.shape == (31, 45)
    with pytest.raises(UserError, match="region 0,0,65,10 is not inside the picture of 64×48"):
        class_map(trained, scene(1), 0, layer, region=(0, 0, 65, 10))


def test_activations_are_the_layers_own_even_before_in_place_layers(trained: Segmenter) -> None:
    rgb, net = scene(2), trained.architecture
    found = activations(trained, rgb, find_layers(net, ["second", "relu", "head input", "output"]))
    with torch.no_grad():
        normal = trained.normalise(torch.from_numpy(rgb).permute(2, 0, 1)[None])
        second = net.second(net.first(normal).relu())[0]  # type: ignore[operator]
    assert (found["second"] < 0).any()
    np.testing.assert_allclose(found["second"], second.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["relu"], second.relu().numpy(), atol=1e-5)
    assert np.array_equal(found["head input"], found["relu"])
    assert found["output"].shape == (2, 24, 32)


def test_a_network_as_feature_extractor(trained: Segmenter) -> None:
    """The head replaced by identity gives the same maps."""
    pictures = [scene(1), scene(2)[:30]]
    layer = find_layers(trained.architecture, ["head input"])[0]
    vectors = extract(trained, pictures, layer, pooled=True)
    maps = extract(trained, pictures, layer, pooled=False)
    head = trained.architecture.classify
    trained.architecture.classify = nn.Identity()
    with torch.no_grad():
        normal = trained.normalise(torch.from_numpy(pictures[0]).permute(2, 0, 1)[None])
        expected = trained.architecture(normal).logits_BKhw[0].numpy()
    trained.architecture.classify = head
    np.testing.assert_allclose(maps[0], expected, atol=1e-6)
    np.testing.assert_allclose(vectors[0], expected.reshape(8, -1).mean(1), atol=1e-5)
    assert maps[1].shape == (8, 15, 32)


def test_filters_and_the_strongest_channels(trained: Segmenter) -> None:
    name, filters = first_filters(trained.architecture)
    assert name == "first"
    assert np.array_equal(filters, trained.architecture.first.weight.detach().numpy())  # type: ignore[union-attr]
    maps = np.zeros((4, 2, 2), np.float32)
    maps[3, 0], maps[1, 0] = 5, 1
    assert strongest(maps, 2) == [1, 3]


def run(*words: Any) -> int:
    try:
        cli.main([str(w) for w in words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_commands_write_what_they_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(2):
        Image.fromarray(scene(number)).save(tmp_path / "photos" / f"{number}.png")
    photo, file = tmp_path / "photos" / "0.png", tmp_path / "m.safetensors"
    args = {"width": 8}
    model = {"name": "small_cnn", "args": args}
    save_segmenter(Segmenter(build_architecture("small_cnn", 2, args), labels=space(2), model=model), file)
    assert run("features", file, photo, "-o", tmp_path / "f", "--first-layer", "--channels", 3) == 0
    assert {"first-layer.png", "output.png"} <= {p.name for p in (tmp_path / "f").iterdir()}
    assert run("features", file, tmp_path / "photos", "-o", tmp_path / "v", "--extract", "pooled") == 0
    arrays = np.load(tmp_path / "v" / "features.npz")
    assert arrays["names"].tolist() == ["0.png", "1.png"]
    assert arrays["head input"].shape[0] == 2
    maps = segwright.features(file, photo, layers=["output"], out=tmp_path / "w", extract="maps")
    assert maps.shapes["output/0.png"][0] == 2
    assert run("gradcam", file, photo, "--class", "class 1", "--region", "4,4,20,20", "-o", tmp_path / "g.png") == 0
    assert Image.open(tmp_path / "g.png").width > 1200
    capsys.readouterr()
    for words, said in (
        (["gradcam", file, photo, "--class", "clas 1"], "Did you mean 'class 1'"),
        (["gradcam", file, photo, "--class", "class 1", "--region", "1,2,3"], "x0,y0,x1,y1"),
        (["features", file], "which picture"),
        (["features", file, photo, "--layer", "nothing"], "no layer 'nothing'"),
        (["features", file, photo, "--extract", "all"], "allowed are pooled"),
        (["features", file, tmp_path / "photos"], "holds 2 pictures"),
    ):
        assert run(*words) == 2
        assert said in capsys.readouterr().err.replace("\n", " ")
