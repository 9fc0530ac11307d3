"""From scores to class ids at full size: Segmenter.ids beside what most scripts do, `interpolate` and then `argmax(1)`.

Both start from the same scores at a network's own stride, which a stand-in for the network has ready, and from the same
normalised picture. The limit is the machine's: writing and reading the planes once at the speed of a copy. `measure`, the
loop that validates, runs beside a plain loop over the same pictures with Fast-SCNN (generated scenes, decoded already).

python -m benchmarks.validation [--rounds 15]   writes benchmarks/results/validation.json
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.limits import copy_bytes_per_second
from benchmarks.recording import options_of, record
from benchmarks.rounds import alternate, ratio
from segwright.contracts import Outputs, Sample
from segwright.data.streets import Streets
from segwright.inference.measure import measure
from segwright.labels import load_label_space
from segwright.models import Segmenter, build_architecture

CASES = {
    "1024×2048, 19 classes, stride 4": ("cityscapes19", (1024, 2048), 4),
    "1024×2048, 19 classes, stride 8": ("cityscapes19", (1024, 2048), 8),
    "360×480, 11 classes, stride 8": ("camvid11", (360, 480), 8),
}
"""Title -> label space, size of the picture, stride of the scores."""


class Ready(nn.Module):
    """Stands for a network: gives scores that it has already."""

    def __init__(self, logits_BKhw: Tensor, stride: int) -> None:
        super().__init__()
        self.logits, self.stride = logits_BKhw, stride

    def forward(self, image_BCHW: Tensor) -> Outputs:
        return Outputs(self.logits)


def tail(space_name: str, size: tuple[int, int], stride: int, rounds: int) -> dict[str, Any]:
    """Milliseconds from a picture with ready scores to class ids."""
    space = load_label_space(space_name)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, space.num_classes, *(-(-side // stride // 8) for side in size), generator=generator)
    logits = F.interpolate(coarse, [side // stride for side in size], mode="bilinear").contiguous()
    picture = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=generator)
    segmenter = Segmenter(Ready(logits, stride), labels=space, model={"name": "ready", "args": {}}).eval()

    def plain(choose: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.inference_mode():
            segmenter.normalise(picture)
            return choose(F.interpolate(logits, size, mode="bilinear"))

    calls: dict[str, Callable[[], Tensor]] = {
        "segwright": lambda: segmenter.ids(picture),
        "interpolate + argmax(1)": lambda: plain(lambda full: full.argmax(1)),
        "interpolate + max(1).indices": lambda: plain(lambda full: full.max(1).indices),
    }
    expected = calls["segwright"]().long()
    for name, call in calls.items():
        if not torch.equal(call().long(), expected):
            raise SystemExit(f"{name} finds other ids: nothing to compare")
    seconds = alternate(calls, rounds)
    planes = 4 * space.num_classes * size[0] * size[1]
    return {
        "median_ms": {name: round(1000 * statistics.median(times), 2) for name, times in seconds.items()},
        "limit_ms": round(1000 * planes / copy_bytes_per_second(), 2),
        "interpolate + argmax(1) / segwright": ratio(seconds["interpolate + argmax(1)"], seconds["segwright"]),
        "interpolate + max(1).indices / segwright": ratio(
            seconds["interpolate + max(1).indices"], seconds["segwright"]
        ),
    }


class Drawn:
    """A few scenes, drawn once and kept."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        scenes = Streets("val", count=count, size=size)
        self.names, self.groups = scenes.names, scenes.groups
        self.samples = [scenes[i] for i in range(count)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def whole(rounds: int, pictures: int = 8, size: tuple[int, int] = (360, 480)) -> dict[str, Any]:
    """Seconds of validating a few pictures: ours beside a plain loop in fp32, one picture at a time, counted by NumPy."""
    space = load_label_space("cityscapes19")
    torch.manual_seed(0)
    model = {"name": "fast_scnn", "args": {}}
    segmenter = Segmenter(
        build_architecture("fast_scnn", space.num_classes, {}, where="bench"), labels=space, model=model
    ).eval()
    scenes, classes = Drawn(pictures, size), space.num_classes

    def ours() -> Any:
        return measure(segmenter, scenes, device="cpu").counts_NKK.sum(0)

    def plain() -> Any:
        counts = np.zeros((classes, classes), np.int64)
        for sample in scenes.samples:
            assert sample.labels is not None
            with torch.inference_mode():
                image = torch.from_numpy(sample.rgb.copy()).permute(2, 0, 1)[None]
                found = segmenter(image).argmax(1)[0].numpy()
            known = sample.labels != 255
            index = classes * sample.labels[known].astype(np.int64) + found[known]
            counts += np.bincount(index, minlength=classes**2).reshape(classes, classes)
        return counts

    if not np.array_equal(ours(), plain()):
        raise SystemExit("the plain loop counts something else: nothing to compare")
    seconds = alternate({"segwright": ours, "plain loop": plain}, rounds)
    return {
        "pictures_per_second": {name: round(pictures / statistics.median(s), 2) for name, s in seconds.items()},
        "plain loop / segwright": ratio(seconds["plain loop"], seconds["segwright"]),
    }


def main() -> None:
    options = options_of(__doc__, "validation", rounds=15).parse_args()
    tails = {title: tail(*case, options.rounds) for title, case in CASES.items()}
    found = {"rounds": options.rounds, "tails": tails, "fast_scnn_360x480": whole(max(3, options.rounds // 2))}
    record(options.out, "scores to class ids at full size; a whole validation", found)
    print(found)


if __name__ == "__main__":
    main()
