"""Our re-writes beside the public networks of the same architecture: forward and backward, alternating in one process.

python -m benchmarks.networks [--pairs 15] [--size 256x256] [--batch 2] [--threads 1] [--device cpu]

A pair is one forward and backward of each at full output size. Peers: torchvision's DeepLabV3; the DeepLabV3+ of
segmentation_models_pytorch, whose separable convolutions have no normalisation between their two parts (the paper's and
ours have, so ours computes a little more); and a U-Net written down as its paper draws it, in plain PyTorch.
Writes benchmarks/results/networks.json: ratios of times, ours over theirs, with 95 % intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation import deeplabv3_resnet50

from benchmarks.recording import RESULTS
from benchmarks.rounds import alternate, ratio
from segwright.files import write_json
from segwright.inference.running import FORMATS
from segwright.models import build_architecture
from segwright.runs.environment import environment

CLASSES = 19
MODES = (("fp32", "contiguous"), ("fp32", "channels_last"), ("bf16", "channels_last"))


class PlainUNet(nn.Module):
    """U-Net as one writes it down: double convolutions with BatchNorm, max-pooling, 2×2 transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        self.down = nn.ModuleList(self._double(i, o) for i, o in zip((3, *widths), widths, strict=False))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, skip, 2, stride=2) for deep, skip in pairs)
        self.join = nn.ModuleList(self._double(2 * skip, skip) for _, skip in pairs)
        self.head = nn.Conv2d(64, CLASSES, 1)

    @staticmethod
    def _double(source: int, target: int) -> nn.Sequential:
        first = (nn.Conv2d(source, target, 3, padding=1), nn.BatchNorm2d(target), nn.ReLU(inplace=True))
        second = (nn.Conv2d(target, target, 3, padding=1), nn.BatchNorm2d(target), nn.ReLU(inplace=True))
        return nn.Sequential(*first, *second)

    def forward(self, image: Tensor) -> Tensor:
        x, skips = self.down[0](image), []
        for block in self.down[1:]:
            skips.append(x)
            x = block(F.max_pool2d(x, 2))
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([skips.pop(), up(x)], dim=1))
        scores: Tensor = self.head(x)
        return scores


def contenders() -> dict[str, tuple[nn.Module, nn.Module, Callable[..., Tensor]]]:
    """Name -> (ours, theirs, how theirs gives full-size logits)."""
    torchvisions = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES)
    smps = smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=CLASSES)
    return {
        "unet": (build_architecture("unet", CLASSES, {}), PlainUNet(), lambda net, x: net(x)),
        "deeplab_v3": (build_architecture("deeplab_v3", CLASSES, {}), torchvisions, lambda net, x: net(x)["out"]),
        "deeplab_v3_plus": (build_architecture("deeplab_v3_plus", CLASSES, {}), smps, lambda net, x: net(x)),
    }


def ours(net: nn.Module, image: Tensor) -> Tensor:
    logits = net(image).logits_BKhw
    return F.interpolate(logits, image.shape[2:], mode="bilinear") if logits.shape[2:] != image.shape[2:] else logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "networks.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    height, width = map(int, arguments.size.split("x"))
    image = torch.randn(arguments.batch, 3, height, width, device=arguments.device)
    found = {}
    for name, (own, theirs, call) in contenders().items():
        for precision, layout in MODES:

            def step(forward: Callable[[Tensor], Tensor], precision: str = precision, layout: str = layout) -> None:
                x = image.contiguous(memory_format=FORMATS[layout])
                with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "bf16"):
                    loss = forward(x).float().square().mean()
                loss.backward()
                if image.is_cuda:
                    torch.cuda.synchronize()

            nets = [net.to(image.device, memory_format=FORMATS[layout]).train() for net in (own, theirs)]  # type: ignore[call-overload]
            calls = {"ours": partial(step, partial(ours, nets[0])), "theirs": partial(step, partial(call, nets[1]))}
            alternate(calls, 2)
            seconds = alternate(calls, arguments.pairs)
            found[f"{name} {precision} {layout}"] = {
                "ours_over_theirs": ratio(seconds["ours"], seconds["theirs"]),
                "theirs_ms": round(1000 * sorted(seconds["theirs"])[arguments.pairs // 2], 1),
            }
            print(f"{name} {precision} {layout}: {found[f'{name} {precision} {layout}']}", flush=True)
    write_json(
        arguments.out,
        {
            "what": "forward and backward of one batch, time of ours over the public network's, paired",
            "batch": [arguments.batch, 3, height, width],
            "pairs": arguments.pairs,
            "threads": arguments.threads,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "ratios": found,
        },
    )


if __name__ == "__main__":
    main()
