"""Depthwise convolutions with a dilation, forward and backward: tap by tap beside torch's own kernel, on a processor.

The layers are those of DeepLabV3+ on MobileNetV2 at a picture of 352×480, batch 4, and one of Fast-SCNN. Beside the time
stands how far the weights' gradient is from the one in float64, as a share of its length.

python -m benchmarks.dilated [--rounds 15]   writes benchmarks/results/dilated.json
"""

from __future__ import annotations

import os
import statistics
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")

from benchmarks.recording import options_of, record
from benchmarks.rounds import alternate, ratio

if TYPE_CHECKING:
    from torch import Tensor, nn

LAYERS = {
    "960 channels, dilation 2, 22×30": (960, 2, 22, 30),
    "1280 channels, dilation 12, 22×30": (1280, 12, 22, 30),
    "1280 channels, dilation 24, 22×30": (1280, 24, 22, 30),
    "1280 channels, dilation 36, 22×30": (1280, 36, 22, 30),
    "128 channels, dilation 4, 44×60": (128, 4, 44, 60),
}
BATCH = 4


def compare(channels: int, dilation: int, height: int, width: int, kind: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of a forward and backward pass, ours and torch's, and the errors of the weights' gradient."""
    import torch
    from torch import nn

    from segwright.models.dilated import DilatedConv2d

    torch.manual_seed(0)
    size = {"padding": dilation, "dilation": dilation, "groups": channels, "bias": False}
    ours, theirs, exact = (
        make(channels, channels, 3, **size).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
        for make in (DilatedConv2d, nn.Conv2d, nn.Conv2d)
    )
    theirs.load_state_dict(ours.state_dict())
    exact.load_state_dict(ours.state_dict())
    image, gradient = (
        torch.randn(BATCH, channels, height, width).contiguous(memory_format=torch.channels_last) for _ in range(2)
    )
    image.requires_grad_()

    def call(layer: nn.Module) -> Tensor:
        layer.weight.grad = image.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
            found = layer(image)
        found.backward(gradient.to(found.dtype))
        of_weight: Tensor = layer.weight.grad
        return of_weight.double()

    exact.double()(image.detach().double()).backward(gradient.double())
    wanted: Any = exact.weight.grad
    errors = {
        who: float((call(one) - wanted).norm() / wanted.norm()) for who, one in (("ours", ours), ("torch", theirs))
    }
    seconds = alternate({"ours": lambda: call(ours), "torch": lambda: call(theirs)}, rounds)
    return {
        "ms": {who: round(1000 * statistics.median(found), 2) for who, found in seconds.items()},
        "times_faster": ratio(seconds["torch"], seconds["ours"]),
        "gradient_error": {
            who: float(f"{error:.1e}") if error < 1e6 else "over a million, or NaN" for who, error in errors.items()
        },
    }


def main() -> None:
    options = options_of(__doc__, "dilated", rounds=15).parse_args()
    from segwright.training.memory import keep_freed

    keep_freed("cpu")  # as a training does, for both
    layers: dict[str, Any] = {}
    for name, layer in LAYERS.items():
        for kind in ("fp32", "bf16"):
            layers[f"{name}, {kind}"] = compare(*layer, kind, options.rounds)
            print(f"{name}, {kind}: {layers[f'{name}, {kind}']}", flush=True)
    what = f"dilated depthwise 3×3 convolutions, batch {BATCH}, channels last, forward and backward, beside torch.nn.Conv2d"
    record(options.out, what, {"rounds": options.rounds, "layers": layers})


if __name__ == "__main__":
    main()
