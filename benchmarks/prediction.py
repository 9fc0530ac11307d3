"""Predicting a folder of pictures: reading PNG, Fast-SCNN, writing class ids as PNG, beside a plain loop, by turns.

The plain loop reads and writes with Pillow and runs PyTorch in fp32, one picture after the other. Both write the same ids.
`segwright.predict` also opens the weights file each time, which the plain loop has in memory.
The limit is the network alone on pictures that are in memory. Weights are random, scenes are generated.

python -m benchmarks.prediction [--rounds 7] [--pictures 12]   writes benchmarks/results/prediction.json
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from benchmarks.recording import options_of, record
from benchmarks.rounds import alternate, ratio
from segwright import predict
from segwright.data.streets.dataset import Streets
from segwright.labels import load_label_space
from segwright.models import Segmenter, build_architecture
from segwright.models.weights import save_segmenter

SIZE = (512, 1024)


def as_batch(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def measure(folder: Path, rounds: int, pictures: int) -> dict[str, Any]:
    space = load_label_space("cityscapes19")
    torch.manual_seed(0)
    net = build_architecture("fast_scnn", space.num_classes, {}, where="bench")
    segmenter = Segmenter(net, labels=space, model={"name": "fast_scnn", "args": {}}).eval()
    scenes = Streets("val", count=pictures, size=SIZE)
    source, theirs = folder / "pictures", folder / "plain"
    for each in (source, theirs):
        each.mkdir()
    for index in range(pictures):
        Image.fromarray(scenes[index].rgb).save(source / f"{index:03d}.png")
    files = sorted(source.iterdir())
    ready = [as_batch(Image.open(file).convert("RGB")) for file in files]
    weights = folder / "fast_scnn.safetensors"
    save_segmenter(segmenter, weights)
    quiet = Console(quiet=True)

    def ours(write: tuple[str, ...]) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:  # a fresh folder each time: nothing is there already
            predict([weights], source, Path(out), write=write, device="cpu", console=quiet)

    def plain() -> None:
        with torch.inference_mode():
            for file in files:
                logits = segmenter(as_batch(Image.open(file).convert("RGB")))
                Image.fromarray(logits.argmax(1)[0].to(torch.uint8).numpy()).save(theirs / file.name)

    def bare() -> None:
        with torch.inference_mode():
            for image in ready:
                segmenter.architecture(segmenter.normalise(image))

    plain()
    predict([weights], source, folder / "check", write=("ids",), device="cpu", console=quiet)
    for file in files:
        one, other = (np.array(Image.open(p)) for p in (theirs / file.name, folder / "check" / f"{file.stem}_ids.png"))
        if not np.array_equal(one, other):
            raise SystemExit(f"{file.name}: the plain loop finds other ids: nothing to compare")
    calls = {
        "segwright": lambda: ours(("ids",)),
        "plain loop": plain,
        "segwright, with overlays and colour masks": lambda: ours(("ids", "overlay", "color")),
        "limit: the network alone": bare,
    }
    seconds = alternate(calls, rounds)
    return {
        "pictures_per_second": {name: round(pictures / statistics.median(s), 2) for name, s in seconds.items()},
        "times_faster_than_plain_loop": ratio(seconds["plain loop"], seconds["segwright"]),
        "share_of_the_network_alone": ratio(seconds["limit: the network alone"], seconds["segwright"]),
    }


def main() -> None:
    options = options_of(__doc__, "prediction", rounds=7, pictures=12).parse_args()
    with tempfile.TemporaryDirectory(prefix="segwright-prediction-") as folder:
        found = measure(Path(folder), options.rounds, options.pictures)
    what = f"a folder of {options.pictures} PNG of {SIZE[0]}×{SIZE[1]} to class ids as PNG, Fast-SCNN"
    record(options.out, what, {"rounds": options.rounds, **found})
    print(found)


if __name__ == "__main__":
    main()
