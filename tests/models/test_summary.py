"""Layer tables against torch's own counter and the library's parameter counts."""

from __future__ import annotations

from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segwright.contracts import UserError
from segwright.models import MODELS, Segmenter, build_architecture
from segwright.models.facts import all_facts, model_facts
from segwright.models.fast_scnn import FastSCNN
from segwright.models.summary import OUTSIDE, summarise
from segwright.models.unet import UNet
from tests.models.conftest import space


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("unet", {"width": 4, "depth": 2}),
        ("fast_scnn", {"width": 0.25}),
        ("smp", {"architecture": "Segformer", "encoder": "mit_b0"}),
        ("smp", {"architecture": "FPN", "encoder": "resnet18"}),
    ],
)
def test_operations_are_those_of_a_real_forward_pass(name: str, args: dict[str, Any]) -> None:
    net = build_architecture(name, 3, args).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 64, 96))
    found = summarise(net, (64, 96))
    assert found.flops == counter.get_total_flops()
    assert found.flops == 2 * found.macs
    by_torch = {k.removeprefix(f"{type(net).__name__}."): sum(v.values()) for k, v in counter.get_flop_counts().items()}
    for row in found.rows:
        if row.name != OUTSIDE and row.macs:
            assert row.flops == by_torch[row.name], row
    outside = [r for r in found.rows if r.name == OUTSIDE]
    assert bool(outside) == (name == "fast_scnn" or "mit_b0" in args.values())


def test_parameters_are_counted_once_each() -> None:
    net = build_architecture("smp", 19, {"architecture": "Unet", "encoder": "resnet18"})
    original = smp.Unet("resnet18", encoder_weights=None, classes=19)
    assert summarise(net, (64, 64)).parameters == sum(p.numel() for p in original.parameters())


def test_parameters_outside_layers_and_layers_called_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Parameter(torch.zeros(1, 3, 1, 1))
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, image: Tensor) -> Tensor:
            return self.conv(self.conv(image + self.position))

    whole, conv = summarise(Twice(), (4, 5)).rows
    assert (whole.type, whole.parameters, whole.output_shape) == ("Twice", 3, (1, 3, 4, 5))
    assert (conv.parameters, conv.macs) == (12, 2 * 4 * 5 * 9)


def test_a_convolution_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
    )
    conv, relu, up = summarise(net, (10, 12)).rows
    assert (conv.output_shape, conv.parameters, conv.macs) == ((1, 8, 5, 6), 3 * 8 * 9 + 8, 5 * 6 * 8 * 27)
    assert (relu.type, relu.parameters, relu.macs) == ("ReLU", 0, 0)
    assert (up.output_shape, up.parameters, up.macs) == ((1, 4, 10, 12), 8 * 2 * 4 + 4, 5 * 6 * 8 * 2 * 4)


def test_memory_by_hand() -> None:
    """Two convolutions, a ReLU in place between them: training keeps the picture and what the ReLU leaves."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 2, 1), nn.Identity())
    found = summarise(net, (10, 12))
    assert [r.values for r in found.rows] == [8 * 120, 0, 2 * 120, 0]
    assert found.rows[0].bytes("bf16") == 2 * 8 * 120
    assert found.kept_values == 3 * 120 + 8 * 120
    assert found.to_dict()["training_bytes"] == {"fp32": 4 * 1320, "bf16": 2 * 1320}
    assert [r.name for r in found.sorted("memory", 2)] == ["0", "2"]
    with pytest.raises(UserError, match="allowed are parameters, macs, memory"):
        found.sorted("size")


def test_kept_memory_is_what_a_real_pass_saves() -> None:
    """Independent of tensors without memory: distinct addresses of what autograd saves in a real pass."""
    net = FastSCNN(4, width=0.25).eval()
    own = {p.data_ptr() for p in [*net.parameters(), *net.buffers()]}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept_alive = net(torch.zeros(1, 3, 128, 192))
    assert kept_alive.logits_BKhw.requires_grad
    # without memory, BatchNorm saves two numbers a channel that a real one in evaluation mode does not
    assert summarise(net, (128, 192)).kept_values == pytest.approx(sum(saved.values()), rel=0.02)


def test_looking_changes_nothing() -> None:
    net = FastSCNN(4, width=0.25)
    net.context.eval()
    state = {n: t.clone() for n, t in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    summarise(net, (1024, 2048))
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(t, state[n]) for n, t in net.state_dict().items())
    assert not any(m._forward_hooks for m in net.modules())


def test_a_segmenter_of_any_size_and_a_table_to_print() -> None:
    model = Segmenter(UNet(4, width=2, depth=2), labels=space(4), model={"name": "unet"})
    found = summarise(model, (33, 50))
    assert found.rows[-1].output_shape == (1, 4, 36, 52)
    console = Console(width=120, record=True, file=None, quiet=True)
    console.print(found.table())
    with pytest.raises(UserError, match="33×50; this architecture takes multiples of 4: the nearest is 32×48"):
        summarise(model.architecture, (33, 50))


def test_layers_that_are_never_called_are_listed_without_a_shape() -> None:
    rows = summarise(build_architecture("smp", 2, {"architecture": "PSPNet", "encoder": "resnet18"}), (64, 64)).rows
    idle = [r for r in rows if r.name.startswith("net.encoder.layer4") and r.parameters]
    assert idle
    assert all(r.output_shape == () and r.macs == 0 for r in idle)


def test_facts_of_every_model() -> None:
    facts = {f.name: f for f in all_facts(1)}
    assert set(facts) == set(MODELS)
    assert (facts["unet"].parameters, facts["unet"].stride) == (31_043_521, 16)
    assert (model_facts("fast_scnn").parameters, model_facts("fast_scnn").stride) == (1_137_763, 32)
    assert facts["smp"].parameters is None  # it depends on the architecture and the encoder
    assert all(f.description and f.paper and f.licence for f in facts.values())
    with pytest.raises(UserError, match="no architecture 'unte'. Did you mean 'unet'?"):
        model_facts("unte")
