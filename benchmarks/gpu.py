"""Training steps on a GPU beside what its memory and arithmetic allow: 512×1024, bf16, channels_last, 19 classes.

The bound is a model, not a measurement: the operations of a step (six for each multiply-accumulate of a forward pass) at the
speed of a measured matrix product, plus the bytes that its layers read and write at the speed of a measured copy. Each
convolution passes over its input and output three times, a BatchNorm over its own six times, an activation four, the loss
over full-size scores ten; functional calls, such as resizing, are not counted. Steps are forward, cross entropy, backward
and fused AdamW on tensors that are on the device, compiled and not.

The epoch on a GPU has its own: python -m benchmarks.epoch --device cuda --out benchmarks/results/epoch_gpu.json, and
python -m benchmarks.loop --out benchmarks/results/loop_gpu.json training.device=cuda

python -m benchmarks.gpu [--rounds 15] [--batch 8] [--nets NAME ...] [--device cuda]   writes benchmarks/results/gpu.json
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.recording import options_of, record, skip
from benchmarks.rounds import ratio
from segwright.models import build_architecture

CLASSES, STEPS = 19, 10
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "DeepLabV3+, ResNet-50": ("smp", {"architecture": "DeepLabV3Plus", "encoder": "resnet50"}),
    "U-Net, ResNet-18": ("smp", {"architecture": "Unet", "encoder": "resnet18"}),
    "Fast-SCNN": ("fast_scnn", {}),
}


class Limits:
    """What the device does at best: bytes moved and operations done a second. Measured once, medians of nine."""

    def __init__(self, device: str) -> None:
        large = device.startswith("cuda")
        source = torch.zeros(1 << (28 if large else 22), device=device)
        target = torch.empty_like(source)
        side = 8192 if large else 512
        one = torch.randn(side, side, device=device, dtype=torch.bfloat16)
        self.bytes_per_second = 2 * 4 * source.numel() / median_seconds(lambda: target.copy_(source), device)
        self.operations_per_second = 2 * side**3 / median_seconds(lambda: one @ one, device)


def median_seconds(call: Callable[[], Any], device: str, rounds: int = 9) -> float:
    times = [timed(call, device) for _ in range(rounds + 3)]
    return sorted(times[3:])[rounds // 2]


def timed(call: Callable[[], Any], device: str) -> float:
    """Seconds until the device is done."""
    wait: Callable[[], None] = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    began = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - began


def cost(net: nn.Module, size: tuple[int, int]) -> tuple[float, float]:
    """Operations and bytes of a training step, for one picture, in bf16."""
    macs, values = [0.0], [0.0]

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or not inputs or not isinstance(inputs[0], Tensor):
            return
        taken, given = inputs[0].numel(), output.numel()
        if isinstance(layer, nn.Conv2d):
            macs[0] += given * layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
            values[0] += 3 * (taken + given)
        elif isinstance(layer, nn.BatchNorm2d):
            values[0] += 6 * taken
        elif isinstance(layer, nn.ReLU | nn.ReLU6 | nn.SiLU | nn.GELU | nn.Hardswish):
            values[0] += 4 * taken
        elif isinstance(layer, nn.MaxPool2d | nn.Upsample):
            values[0] += 2 * (taken + given)

    leaves = [module for module in net.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    with torch.no_grad():
        net(torch.zeros(2, 3, *size, device="meta"))
    for hook in hooks:
        hook.remove()
    of_loss = 10 * CLASSES * size[0] * size[1]
    return 6 * macs[0] / 2, 2 * (values[0] / 2 + of_loss)


def build(name: str) -> nn.Module:
    model, args = NETS[name]
    return build_architecture(model, CLASSES, dict(args)).train()


def stepper(name: str, size: tuple[int, int], batch: int, device: str, compiled: bool) -> Callable[[], None]:
    """A call that does STEPS training steps."""
    torch.manual_seed(0)
    net = build(name).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    image = torch.randn(batch, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (batch, *size), device=device)
    forward = torch.compile(net) if compiled else net

    def steps() -> None:
        for _ in range(STEPS):
            with torch.autocast(device.split(":")[0], torch.bfloat16):
                logits = forward(image).logits_BKhw
                loss = F.cross_entropy(F.interpolate(logits, size, mode="bilinear"), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return steps


def measure(
    name: str, size: tuple[int, int], batch: int, device: str, rounds: int, limits: Limits, compiled: tuple[bool, ...]
) -> dict[str, Any]:
    """Pictures a second, and their share of the modelled bound."""
    operations, moved = cost(build(name).to("meta"), size)
    bound = 1 / (operations / limits.operations_per_second + moved / limits.bytes_per_second)
    found: dict[str, Any] = {"bound": round(bound, 1), "gflop": round(operations / 1e9, 1), "gb": round(moved / 1e9, 2)}
    for way in compiled:
        steps = stepper(name, size, batch, device, way)
        steps()
        rates = [STEPS * batch / timed(steps, device) for _ in range(rounds)]
        title = "compiled" if way else "eager"
        found[title] = round(sorted(rates)[rounds // 2], 1)
        found[f"{title} over bound"] = ratio(rates, [bound] * rounds)
    return found


def main() -> None:
    parser = options_of(__doc__, "gpu", rounds=15, batch=8)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--eager", action="store_true", help="leave torch.compile out")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        skip("this machine has no CUDA device that torch can use")
    height, width = map(int, options.size.split("x"))
    limits = Limits(options.device)
    ways = (False,) if options.eager else (False, True)
    nets = {}
    for name in options.nets:
        nets[name] = measure(name, (height, width), options.batch, options.device, options.rounds, limits, ways)
        print(name, nets[name], flush=True)
    facts = {
        "rounds": options.rounds, "device": options.device, "size": options.size, "batch": options.batch,
        "copy_gb_per_second": round(limits.bytes_per_second / 1e9, 1),
        "product_tflops": round(limits.operations_per_second / 1e12, 2), "nets": nets,
    }  # fmt: skip
    record(options.out, "training steps beside a modelled bound, pictures a second", facts)


if __name__ == "__main__":
    main()
