"""FCN and SegNet: torchvision's VGG-16 inside, public parameter counts, up-sampling and un-pooling by other means."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import vgg
from torchvision.models.vgg import make_layers

from segwright.contracts import UserError
from segwright.models.fcn import FCN
from segwright.models.segnet import SegNet
from segwright.models.vgg import copy_in_order
from tests.models.conftest import with_real_statistics

PLAN: list[Any] = [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"]
"""VGG-16 (configuration D) in units of the first stage's channels."""


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def public_vgg(width: int, *, norm: bool) -> nn.Sequential:
    return make_layers([c if c == "M" else c * width for c in PLAN], batch_norm=norm)


@pytest.mark.parametrize("form", ["32s", "16s", "8s"])
def test_fcn_has_the_parameters_of_the_public_one(form: str) -> None:
    """wkentaro/pytorch-fcn: 134,489,759 for FCN-8s and 21 classes, its last, fixed up-sampling by 8 among them."""
    with torch.device("meta"):
        net, classifier = FCN(21, form=form), vgg.vgg16(weights=None)
    scores = 4096 * 21 + 21
    skips = {"32s": 0, "16s": 512 * 21 + 21 + 16 * 21 * 21, "8s": (512 + 256) * 21 + 42 + 2 * 16 * 21 * 21}[form]
    assert parameters(net) == parameters(classifier) - (4096 * 1000 + 1000) + scores + skips
    if form == "8s":
        assert parameters(net) + 16 * 16 * 21 * 21 == 134_489_759


def test_segnet_has_the_parameters_of_the_papers_table() -> None:
    """29.44 M, as tables of other papers print it; 26 convolutions of 3×3, all but the last with BatchNorm."""
    encoder = [c for c in PLAN if c != "M"]
    decoder = [8, 8, 8, 8, 8, 4, 4, 4, 2, 2, 1, 1]
    channels = [3, *(64 * c for c in encoder + decoder)]
    body = sum(9 * i * o + 3 * o for i, o in pairwise(channels))
    for classes in (1, 2, 11):
        with torch.device("meta"):
            assert parameters(SegNet(classes)) == body + 9 * 64 * classes + classes
    assert body + 9 * 64 * 2 + 2 == 29_444_162


@torch.no_grad()
def test_the_convolutions_are_torchvisions_vgg() -> None:
    image = torch.randn(2, 3, 64, 96)
    for net, part, norm in ((FCN(2, width=2), "vgg", False), (SegNet(2, width=2), "encoder", True)):
        public = public_vgg(2, norm=norm)
        with_real_statistics(public, image)
        stages = getattr(net.eval(), part)
        copy_in_order(stages, public.state_dict())
        x = image
        for stage in stages:
            x = F.max_pool2d(stage(x), 2)
        assert torch.allclose(x, public(image), atol=1e-5)


def test_imagenets_weights_of_timm_fit_in_order() -> None:
    """Names and shapes only: the tensors of the picture classifier's head are the ones left over."""
    with torch.device("meta"):
        fcn, segnet = FCN(2), SegNet(2)
        theirs = {name: timm.create_model(name).state_dict() for name in ("vgg16", "vgg16_bn")}
    for parts, state in ((nn.ModuleList([fcn.vgg, fcn.dense]), theirs["vgg16"]), (segnet.encoder, theirs["vgg16_bn"])):
        ours = parts.state_dict()
        taken = dict(list(state.items())[: len(ours)])
        assert [t.shape for t in ours.values()] == [t.shape for t in taken.values()]
        assert [n.rpartition(".")[2] for n in ours] == [n.rpartition(".")[2] for n in taken]
        left = {n.partition(".")[0] for n in state if n not in taken}
        assert left == ({"head"} if parts is not segnet.encoder else {"pre_logits", "head"})


def test_imagenets_weights_are_what_it_starts_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for timm's download: torchvision's layers of the same names, and a head that stays out."""
    public = nn.ModuleDict({"features": public_vgg(64, norm=True), "head": nn.Linear(2, 2)})
    monkeypatch.setattr("segwright.models.vgg.check_timm_weights", lambda name: None)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: {("vgg16_bn", True): public}[name, pretrained])
    found = SegNet(2, backbone_weights="imagenet").encoder.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(found, public["features"].state_dict().values(), strict=True))


@torch.no_grad()
def test_the_dense_layers_are_those_of_a_classifier_of_pictures() -> None:
    net = FCN(2, width=1).eval()
    fc6, fc7 = net.dense[0], net.dense[3]
    features = torch.randn(2, 8, 7, 7)
    dense = F.linear(features.flatten(1), fc6.weight.flatten(1), fc6.bias).clamp_min(0)
    dense = F.linear(dense, fc7.weight.flatten(1), fc7.bias).clamp_min(0)
    assert torch.allclose(net.dense(features)[:, :, 3, 3], dense, atol=1e-5)


@torch.no_grad()
def test_fcn_8s_starts_as_32s_up_sampled_bilinearly() -> None:
    fine, coarse = FCN(3, width=2, form="8s").eval(), FCN(3, width=2, form="32s").eval()
    shared = {n: t for n, t in fine.state_dict().items() if not n.startswith(("up.", "skips."))}
    coarse.load_state_dict(shared)
    image = torch.randn(1, 3, 192, 192)
    once = F.interpolate(coarse(image).logits_BKhw, scale_factor=2, mode="bilinear")
    twice = F.interpolate(once, scale_factor=2, mode="bilinear")
    found = fine(image).logits_BKhw
    assert found.shape == (1, 3, 24, 24)
    assert torch.allclose(found[..., 4:-4, 4:-4], twice[..., 4:-4, 4:-4], atol=1e-6)  # its borders mix with zeros


@torch.no_grad()
def test_segnet_puts_values_back_where_they_came_from() -> None:
    net = SegNet(3, width=2)
    image = torch.randn(2, 3, 64, 96)
    with_real_statistics(net, image)

    def unpooled(pooled: Tensor, x: Tensor, original: Tensor) -> Tensor:
        windows = original.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        first = F.one_hot(windows.argmax(-1), 4) * x.unsqueeze(-1)
        assert torch.equal(windows.amax(-1), pooled)
        return F.pixel_shuffle(first.movedim(-1, 2).flatten(1, 2), 2)

    x, levels = image, []
    for stage in net.encoder:
        full = stage(x)
        x = F.max_pool2d(full, 2)
        levels.append((full, x))
    for stage in net.decoder:
        full, pooled = levels.pop()
        x = stage(unpooled(pooled, x, full))
    assert torch.allclose(net(image).logits_BKhw, net.classify(x), atol=1e-5)


@pytest.mark.parametrize(
    ("build", "args", "message"),
    [
        (FCN, {"form": "4s"}, "allowed are 32s, 16s, 8s"),
        (FCN, {"width": 0}, "width is 0"),
        (FCN, {"width": 2, "backbone_weights": "imagenet"}, "for width 64, but width is 2"),
        (SegNet, {"width": 2, "backbone_weights": "mine"}, "allowed are imagenet, or null"),
        (SegNet, {"width": 0}, "allowed are 1 or more"),
    ],
)
def test_impossible_arguments_are_refused(build: Any, args: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(2, **args)


def test_weights_of_another_network_are_refused() -> None:
    net = SegNet(2, width=2)
    with pytest.raises(UserError, match="shape"):
        copy_in_order(net.encoder, SegNet(2, width=3).encoder.state_dict())
    with pytest.raises(UserError, match="another network"):
        copy_in_order(net.encoder, {})
