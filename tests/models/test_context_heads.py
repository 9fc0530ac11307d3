"""DANet, CCNet, EncNet, EMANet, PSANet, GCN, RefineNet: public counts, and each idea against its plain definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet50, resnet101

from segwright.contracts import UserError
from segwright.models import MODELS, Segmenter
from segwright.models.experimental.ccnet import CrissCross
from segwright.models.experimental.danet import ChannelAttention, PositionAttention
from segwright.models.experimental.emanet import EMANet, ExpectationMaximisation
from segwright.models.experimental.encnet import SceneEncoding
from segwright.models.experimental.gcn import GCN, GlobalConvolution, double
from segwright.models.experimental.psanet import PointAttention, pairs
from segwright.models.experimental.refinenet import ChainedPooling, RefineNet, ResidualUnit
from tests.models.conftest import pictures, space, with_real_statistics
from tests.models.entries import ENTRIES

NETS = ["danet", "ccnet", "encnet", "emanet", "psanet", "gcn", "refinenet"]


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "args", "count"),
    [
        ("danet", {}, 49_846_574),
        ("ccnet", {}, 49_826_055),
        ("encnet", {}, 35_891_961),
        ("encnet", {"lateral": True}, 43_759_353),
        ("emanet", {"concat": True}, 42_349_958),
        ("psanet", {}, 59_138_694),
    ],
)
def test_parameters_are_those_of_mmsegmentation(name: str, args: dict[str, Any], count: int) -> None:
    """mmsegmentation 1.2.2, its *_r50-d8 models with the auxiliary head, counted there; logits there: equal to 1e-6."""
    with torch.device("meta"):
        assert parameters(MODELS[name](19, backbone="resnet50c", **args)) == count


def test_refinenet_has_the_layers_of_its_public_port() -> None:
    """DrSleep/refinenet-pytorch, layer by layer: 118 M for ResNet-101 and 21 classes."""

    def units(channels: int, count: int) -> int:
        return count * (2 * 9 * channels**2 + channels)

    def both(channels: int) -> int:
        return units(channels, 2) + 4 * 9 * channels**2 + units(channels, 3)

    decoder = 9 * 2048 * 512 + both(512) + 9 * 512 * 256
    decoder += sum(9 * stage * 256 + both(256) + 9 * 256**2 for stage in (1024, 512, 256))
    decoder += 2 * 9 * 256**2 + 9 * 256 * 21 + 21
    with torch.device("meta"):
        backbone = parameters(resnet101(weights=None)) - (2048 + 1) * 1000
        assert parameters(RefineNet(21, backbone="resnet101")) == backbone + decoder == 118_052_437


def test_gcn_is_a_resnet_and_what_the_paper_draws() -> None:
    """No public count: by the paper's figure, four large kernels, nine boundary refinements, five doublings."""
    k = 19
    large = sum(2 * (15 * c * k + k + 15 * k * k + k) for c in (256, 512, 1024, 2048))
    refine, up = 2 * (9 * k * k + k), 16 * k
    with torch.device("meta"):
        backbone = parameters(resnet50(weights=None)) - (2048 + 1) * 1000
        assert parameters(GCN(k)) == backbone + large + 9 * refine + 5 * up


@pytest.mark.parametrize("training", [False, True])
def test_attention_over_positions_in_parts_is_attention_over_all(training: bool) -> None:
    attention = PositionAttention(8, 4).train(training)
    nn.init.constant_(attention.weight, 0.7)
    x = torch.randn(2, 8, 5, 7, requires_grad=True)
    query, key, value = (part(x).flatten(2) for part in (attention.query, attention.key, attention.value))
    share = torch.einsum("bdp,bdq->bpq", query, key).softmax(dim=2)
    expected = x + 0.7 * torch.einsum("bpq,bcq->bcp", share, value).unflatten(2, (5, 7))
    found = attention(x)
    assert torch.allclose(found, expected, atol=1e-5)
    wanted = torch.autograd.grad(expected.square().sum(), [x, *attention.query.parameters()])
    for ours, theirs in zip(
        torch.autograd.grad(found.square().sum(), [x, *attention.query.parameters()]), wanted, strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-3)


@torch.no_grad()
def test_channels_look_at_those_that_differ_most() -> None:
    attention = ChannelAttention()
    nn.init.ones_(attention.weight)
    x = torch.randn(2, 6, 4, 5)
    expected = x.clone()
    for picture in range(2):
        for channel in range(6):
            likeness = torch.stack([(x[picture, channel] * x[picture, other]).sum() for other in range(6)])
            share = (likeness.max() - likeness).softmax(dim=0)
            expected[picture, channel] += (share.view(6, 1, 1) * x[picture]).sum(0)
    assert torch.allclose(attention(x), expected, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(attention(x), expected, atol=1e-5)


@torch.no_grad()
def test_a_position_sees_its_row_and_column_once() -> None:
    attention = CrissCross(8, 4)
    nn.init.constant_(attention.weight, 0.7)
    x = torch.randn(2, 8, 4, 5)
    query, key, value = attention.query(x), attention.key(x), attention.value(x)
    expected = x.clone()
    for i in range(4):
        for j in range(5):
            cross = [(i, u) for u in range(5)] + [(v, j) for v in range(4) if v != i]
            keys, values = (torch.stack([t[:, :, v, u] for v, u in cross], dim=2) for t in (key, value))
            share = torch.einsum("bd,bdn->bn", query[:, :, i, j], keys).softmax(dim=1)
            expected[:, :, i, j] += 0.7 * torch.einsum("bn,bcn->bc", share, values)
    assert torch.allclose(attention(x), expected, atol=1e-5)


@pytest.mark.parametrize(("recurrence", "reaches"), [(1, 4 + 5 - 1), (2, 4 * 5)])
def test_two_rounds_of_criss_cross_reach_every_position(recurrence: int, reaches: int) -> None:
    attention = CrissCross(8, 4)
    nn.init.ones_(attention.weight)
    x = torch.randn(1, 8, 4, 5, requires_grad=True)
    y = x
    for _ in range(recurrence):
        y = attention(y)
    (gradient,) = torch.autograd.grad(y[0, :, 1, 2].sum(), x)
    assert int((gradient.abs().sum(1) > 0).sum()) == reaches


@torch.no_grad()
def test_a_scene_is_its_residuals_to_the_code_words() -> None:
    encoding = SceneEncoding(6, 3)
    x = 10 + torch.randn(2, 6, 4, 5)
    with_real_statistics(encoding, x)
    points = encoding.project(x).flatten(2).mT
    residuals = points.unsqueeze(2) - encoding.words_NC
    share = (encoding.scale_N * residuals.square().sum(3)).softmax(dim=2)
    expected = encoding.norm((share.unsqueeze(3) * residuals).sum(1)).relu().mean(1)
    assert torch.allclose(encoding(x), expected, atol=1e-5)


@torch.no_grad()
def test_features_are_rebuilt_from_means_of_their_shares() -> None:
    unit = ExpectationMaximisation(6, 3, steps=2, momentum=0.25)
    x = torch.randn(2, 6, 4, 5)
    with_real_statistics(unit, x)
    start = F.normalize(unit.bases_CN, dim=0)
    unit.bases_CN.copy_(start)
    points, ends, rebuilt = unit.enter(x).flatten(2).mT, [], []
    for picture in range(2):
        bases = start.clone()
        for _ in range(2):
            share = (points[picture] @ bases).softmax(dim=1)
            means = [(share[:, n : n + 1] * points[picture]).sum(0) / share[:, n].sum() for n in range(3)]
            bases = torch.stack([mean / mean.norm() for mean in means], dim=1)
        ends.append(bases)
        rebuilt.append((share @ bases.T).T.unflatten(1, (4, 5)))
    expected = (x + unit.leave(torch.stack(rebuilt).relu())).relu()
    assert torch.allclose(unit(x), expected, atol=1e-5)
    assert torch.equal(unit.bases_CN, start)
    unit.train()(x)
    mean = (ends[0] + ends[1]) / 2
    assert torch.allclose(unit.bases_CN, 0.75 * start + 0.25 * mean / mean.norm(dim=0), atol=1e-5)


def test_the_form_of_mmsegmentation_also_reads_the_backbones_features() -> None:
    net = EMANet(3, backbone="resnet10t", channels=16, bases=4, concat=True)
    logits = net(torch.randn(2, 3, 64, 96)).logits_BKhw
    logits.sum().backward()
    assert net.fuse is not None
    assert net.fuse[0].weight.grad is not None
    assert logits.shape == (2, 3, 8, 12)


@torch.no_grad()
def test_a_mask_of_the_right_size_gives_each_pair_its_offsets_weight() -> None:
    """As the operators of the authors' code and of mmsegmentation do it."""
    mask = torch.randn(2, 5, 7, 3, 4)
    found = pairs(mask)
    for y, x, v, u in torch.cartesian_prod(*(torch.arange(n) for n in (3, 4, 3, 4))).tolist():
        assert torch.allclose(found[:, v, u, y, x], mask[:, v - y + 2, u - x + 3, y, x], atol=1e-6)


@torch.no_grad()
def test_a_mask_of_another_size_is_interpolated() -> None:
    mask = torch.randn(1, 5, 7, 4, 6)
    fitting = F.interpolate(mask.permute(0, 3, 4, 1, 2).flatten(0, 2).unsqueeze(1), (7, 11), mode="bilinear",
                            align_corners=True)  # fmt: skip
    fitting = fitting.squeeze(1).unflatten(0, (1, 4, 6)).permute(0, 3, 4, 1, 2)
    assert torch.allclose(pairs(mask), pairs(fitting), atol=1e-6)
    assert torch.allclose(pairs(mask[..., :1, :1]), mask[:, 2:3, 3:4, :1, :1], atol=1e-6)


@pytest.mark.parametrize("collects", [True, False])
@torch.no_grad()
def test_points_collect_and_distribute(collects: bool) -> None:
    """Collecting, the weights of a target's sources sum to 1; distributing, what a source is taken by."""
    branch = PointAttention(6, 4, (5, 5), collects=collects).eval()
    x = torch.randn(1, 6, 6, 6)
    reduced = F.avg_pool2d(branch.reduce(x), 2)
    mask = branch.predict(reduced).unflatten(1, (5, 5))[0]
    expected = torch.zeros(4, 3, 3)
    spots = torch.cartesian_prod(torch.arange(3), torch.arange(3)).tolist()
    for y, x_ in spots:
        others = [(v, u, mask[v - y + 2, u - x_ + 2, y, x_]) for v, u in spots]
        if collects:
            share = torch.stack([w for *_, w in others]).softmax(dim=0)
            expected[:, y, x_] = sum(s * reduced[0, :, v, u] for s, (v, u, _) in zip(share, others, strict=True))
        else:
            received = torch.stack([mask[y - v + 2, x_ - u + 2, v, u] for v, u in spots]).softmax(dim=0)
            expected[:, y, x_] = sum(s * reduced[0, :, v, u] for s, (v, u) in zip(received, spots, strict=True))
    assert torch.allclose(branch(x)[0], expected, atol=1e-5)


@torch.no_grad()
def test_two_lines_make_a_large_kernel() -> None:
    """Without biases between them, the sum of both orders is one k×k convolution; within the picture's border."""
    layer = GlobalConvolution(3, 2, 5)
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            nn.init.zeros_(parameter)
    orders = (layer.tall_first, layer.wide_first)
    tall, wide = ([weight for weight in order.parameters() if weight.ndim == 4] for order in orders)
    kernel = torch.einsum("omx,mcy->ocyx", tall[1].squeeze(2), tall[0].squeeze(3))
    kernel = kernel + torch.einsum("omy,mcx->ocyx", wide[1].squeeze(3), wide[0].squeeze(2))
    x = torch.randn(2, 3, 9, 8)
    assert torch.allclose(layer(x), F.conv2d(x, kernel, padding=2), atol=1e-5)


@torch.no_grad()
def test_doubling_starts_as_bilinear_resizing() -> None:
    x = torch.randn(2, 3, 5, 6)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear")
    assert torch.allclose(double(3)(x)[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-6)


@torch.no_grad()
def test_refinenets_blocks_are_those_of_the_paper() -> None:
    x = torch.randn(2, 4, 9, 8)
    unit, pool = ResidualUnit(4), ChainedPooling(4)
    inner = F.conv2d(x.relu(), unit.first.weight, unit.first.bias, padding=1)
    assert torch.allclose(unit(x), x + F.conv2d(inner.relu(), unit.second.weight, padding=1), atol=1e-6)
    expected = link = x.relu()
    for weight in pool.parameters():
        link = F.conv2d(F.max_pool2d(link, 5, 1, 2), weight, padding=1)
        expected = expected + link
    assert torch.allclose(pool(x), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("danet", [(8, 12), (8, 12), (8, 12)]),
        ("ccnet", [(8, 12)]),
        ("encnet", [(1, 1), (8, 12)]),
        ("emanet", [(8, 12)]),
        ("psanet", [(8, 12)]),
    ],
)
def test_auxiliary_heads_speak_in_training_only(name: str, shapes: list[tuple[int, int]]) -> None:
    image = torch.randn(2, 3, 64, 96)
    net = MODELS[name](3, **ENTRIES[name])
    assert [tuple(a.shape) for a in net.train()(image).auxiliary] == [(2, 3, *shape) for shape in shapes]
    assert net.eval()(image).auxiliary == ()
    assert MODELS[name](3, auxiliary=False, **ENTRIES[name]).train()(image).auxiliary == ()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@torch.no_grad()
def test_they_take_any_output_stride_and_backbone(name: str, output_stride: int) -> None:
    own = {"gcn": 1, "refinenet": 4}.get(name, output_stride)
    for backbone in ("resnet10t", "mobilenetv2_035"):
        net = MODELS[name](3, **ENTRIES[name] | {"backbone": backbone, "output_stride": output_stride}).eval()
        shape = net(torch.randn(1, 3, 96, 64)).logits_BKhw.shape
        assert shape == (1, 3, 96 // own, 64 // own)


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("danet", {"keys": 0}, "danet: keys is 0; allowed are whole numbers from 1"),
        ("danet", {"output_stride": 4}, "output_stride is 4; allowed are 8, 16 and 32"),
        ("ccnet", {"recurrence": 0}, "ccnet: recurrence is 0"),
        ("encnet", {"codes": 0}, "encnet: codes is 0"),
        ("emanet", {"momentum": 0.0}, "emanet: momentum is 0.0; allowed are numbers above 0 and at most 1"),
        ("psanet", {"mask": (8, 9)}, "psanet: mask is [8, 9]; it takes odd rows and columns, such as [97, 97]"),
        ("gcn", {"kernel": 4}, "gcn: kernel is 4; allowed are odd numbers from 1"),
        ("gcn", {"backbone": "test_vit"}, "gcn: the backbone 'test_vit' has features at the strides 16"),
        ("refinenet", {"dropout": 1.0}, "refinenet: dropout is 1.0"),
    ],
)
def test_wrong_arguments_are_refused_by_name(name: str, args: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        MODELS[name](3, **args)
    assert words in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_they_export_with_dynamic_sizes(name: str) -> None:
    model = Segmenter(MODELS[name](4, **ENTRIES[name]), labels=space(4), model={"name": name})
    with_real_statistics(model, pictures(2, 65, 97))
    for part in model.modules():
        if isinstance(part, PositionAttention | ChannelAttention | CrissCross):
            nn.init.constant_(part.weight, 0.5)
    auto = torch.export.Dim.AUTO
    sizes = ({0: auto, 2: auto, 3: auto},)
    exported = torch.export.export(model, (pictures(2, 65, 97),), dynamic_shapes=sizes).module(check_guards=False)
    for batch, height, width in ((1, 65, 97), (3, 64, 128), (1, 90, 41)):
        image = pictures(batch, height, width)
        assert (exported(image) - model(image)).abs().max() <= 1e-4
