"""The adapter of torchvision: the same nets as the library's, weights from its cache, and clear refusals."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torchvision.models import get_model_weights, segmentation

from segwright.contracts import UserError
from segwright.models import Segmenter, build_architecture
from segwright.models.external.torchvision_nets import ARCHITECTURES, TorchvisionNet
from tests.models.conftest import pictures, space

LRASPP = "lraspp_mobilenet_v3_large"
DEEPLAB = "deeplabv3_mobilenet_v3_large"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_those_that_torchvision_states(name: str) -> None:
    with torch.device("meta"):
        net = TorchvisionNet(21, architecture=name, auxiliary=name != LRASPP)
    stated = get_model_weights(name).COCO_WITH_VOC_LABELS_V1.meta["num_params"]
    assert sum(p.numel() for p in net.parameters()) == stated
    assert net.unused == ()


@pytest.mark.parametrize(("name", "factor"), [(LRASPP, 8), (DEEPLAB, 16)])
@torch.no_grad()
def test_it_is_the_library_s_net_without_its_last_enlargement(name: str, factor: int) -> None:
    theirs = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=4).eval()
    ours = TorchvisionNet(4, architecture=name).eval()
    ours.net.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 3, 64, 96)
    logits = ours(image).logits_BKhw
    assert logits.shape == (1, 4, 64 // factor, 96 // factor)
    full = F.interpolate(logits, size=(64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(full, theirs(image)["out"], atol=1e-5, rtol=0)


def test_the_auxiliary_head_speaks_in_training_only() -> None:
    net = TorchvisionNet(4, architecture=DEEPLAB, auxiliary=True)
    image = torch.randn(2, 3, 64, 64)
    assert [a.shape[:2] for a in net(image).auxiliary] == [(2, 4)]
    assert net.eval()(image).auxiliary == ()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"architecture": "deeplabv3_resnet5"}, "Did you mean 'deeplabv3_resnet50'?|There are: deeplabv3_resnet50,"),
        ({"architecture": LRASPP, "auxiliary": True}, "has no auxiliary head"),
        ({"weights": "imagnet"}, "has no weights 'imagnet'. Did you mean 'imagenet'?|IMAGENET1K_V2|null"),
        ({"architecture": LRASPP, "weights": "IMAGENET1K_V9"}, "has no weights 'IMAGENET1K_V9'"),
    ],
)
def test_refusals_name_what_was_meant(args: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        TorchvisionNet(3, **args)
    assert all(part in str(caught.value) for part in words.split("|"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch.hub, and no network."""

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_weights_out_of_reach_say_which_file_goes_where(cache: Path) -> None:
    with pytest.raises(UserError) as caught:
        TorchvisionNet(3, weights="coco")
    file = cache / "deeplabv3_resnet50_coco-cd0a2569.pth"
    assert all(part in str(caught.value) for part in (str(file), "no route", "TORCH_HOME", "weights: null"))
    build_architecture("torchvision", 3, {"architecture": LRASPP, "weights": "coco"}, fresh=False)  # asks nobody


@pytest.mark.parametrize("classes", [21, 4])
@torch.no_grad()
def test_weights_of_the_whole_net_come_without_rows_for_other_classes(classes: int, cache: Path) -> None:
    theirs = segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21).eval()
    torch.save(theirs.state_dict(), cache / "lraspp_mobilenet_v3_large-d234d4ea.pth")
    ours = TorchvisionNet(classes, architecture=LRASPP, weights="coco").eval()
    image = torch.randn(1, 3, 64, 64)
    state = ours.net.state_dict()
    same = {name for name, tensor in theirs.state_dict().items() if torch.equal(tensor, state[name])}
    rows = {n for n in state if n.startswith(("classifier.low_classifier", "classifier.high_classifier"))}
    if classes == 21:
        full = F.interpolate(ours(image).logits_BKhw, size=(64, 64), mode="bilinear")
        torch.testing.assert_close(full, theirs(image)["out"], atol=1e-5, rtol=0)
    else:
        assert set(state) - same == rows


@pytest.mark.parametrize("name", [LRASPP, DEEPLAB])
def test_imagenet_s_weights_fill_the_backbone(name: str, cache: Path) -> None:
    theirs = torchvision.models.mobilenet_v3_large(weights=None).state_dict()
    torch.save(theirs, cache / "mobilenet_v3_large-8738ca79.pth")
    ours = TorchvisionNet(4, architecture=name, weights="imagenet").net.backbone.state_dict()
    assert all(torch.equal(tensor, theirs[f"features.{key}"]) for key, tensor in ours.items())


def test_a_file_of_another_net_is_refused_with_a_table(cache: Path) -> None:
    theirs = torchvision.models.mobilenet_v3_small(weights=None).state_dict()
    torch.save(theirs, cache / "mobilenet_v3_large-8738ca79.pth")
    with pytest.raises(UserError, match="does not fit"):
        TorchvisionNet(4, architecture=LRASPP, weights="imagenet")


@pytest.mark.parametrize("name", [LRASPP, DEEPLAB])
@torch.no_grad()
def test_it_exports_with_dynamic_sizes(name: str) -> None:
    model = {"name": "torchvision", "args": {"architecture": name}}
    segmenter = Segmenter(TorchvisionNet(3, architecture=name), labels=space(3), model=model).eval()
    auto = torch.export.Dim.AUTO
    example, other = pictures(1, 101, 109), pictures(1, 129, 97)
    exported = torch.export.export(segmenter, (example,), dynamic_shapes=({2: auto, 3: auto},))
    for image in (example, other):
        found = exported.module(check_guards=False)(image)
        torch.testing.assert_close(found, segmenter(image), atol=1e-5, rtol=1e-5)
