"""Augmenting pictures that are in memory: the same operations by Segwright, Albumentations and torchvision, one thread each.

Random resized crop, flip, brightness, contrast, saturation and hue of 360×480 scenes, to normalised float32 [3, 360, 480]
and int64 labels. Reading takes no part. The limit is the last step alone: uint8 to normalised float32.

python -m benchmarks.augmentation [--rounds 15] [--pictures 24]   writes benchmarks/results/augmentation.json
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import cv2
import numpy as np
import torch

from benchmarks.epoch import AUGMENTATION
from benchmarks.plain_stack import JITTER
from benchmarks.recording import options_of, record, skip
from benchmarks.rounds import alternate, ratio
from segwright.contracts import Sample
from segwright.data.augment import Augmentation, standard
from segwright.data.streets import Streets
from segwright.models.segmenter import IMAGENET_MEAN, IMAGENET_STD

SIZE = (360, 480)
MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))


def normalised(image_HWC: Any) -> torch.Tensor:
    scale = 1 / (255 * STD)
    return torch.addcmul(-255 * MEAN * scale, torch.from_numpy(image_HWC).permute(2, 0, 1).float(), scale)


def level_of(size: tuple[int, int]) -> Augmentation:
    """Our level with the operations of the peers."""
    return standard(size, **{k: tuple(v) if isinstance(v, list) else v for k, v in AUGMENTATION.items()})  # type: ignore[arg-type]


def segwright() -> Callable[[Sample, int], Any]:
    level = level_of(SIZE)

    def call(sample: Sample, seed: int) -> Any:
        image, labels = level(sample, np.random.default_rng(seed))
        return normalised(image), torch.from_numpy(labels).long()

    return call


def albumentations() -> Callable[[Sample, int], Any]:
    try:
        import albumentations as A
    except ModuleNotFoundError:
        skip("the peer needs Albumentations: install the extra, segwright[albumentations]")
    pipeline = A.Compose(
        [
            A.RandomResizedCrop(size=SIZE, scale=(0.5, 1.0), ratio=(1.2, 1.5)),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(*JITTER, p=1.0),
            A.Normalize(),
        ]
    )

    def call(sample: Sample, seed: int) -> Any:
        found = pipeline(image=sample.rgb, mask=sample.labels)
        image = np.ascontiguousarray(found["image"].transpose(2, 0, 1))
        return torch.from_numpy(image), torch.from_numpy(found["mask"]).long()

    return call


def torchvision() -> Callable[[Sample, int], Any]:
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    pipeline = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, scale=(0.5, 1.0), ratio=(1.2, 1.5), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(*JITTER),
            v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )

    def call(sample: Sample, seed: int) -> Any:
        image = tv_tensors.Image(torch.from_numpy(sample.rgb.copy()).permute(2, 0, 1))
        found, labels = pipeline(image, tv_tensors.Mask(torch.from_numpy(np.array(sample.labels))[None]))
        return found.as_subclass(torch.Tensor), labels[0].as_subclass(torch.Tensor).long()

    return call


def measure(rounds: int, pictures: int) -> dict[str, Any]:
    scenes = Streets("train", count=pictures, size=SIZE)
    samples = [scenes[i] for i in range(pictures)]
    ways = {"segwright": segwright(), "Albumentations": albumentations(), "torchvision v2": torchvision()}
    ways["limit: normalise only"] = lambda sample, seed: (normalised(sample.rgb.copy()), None)

    def over(way: Callable[[Sample, int], Any]) -> Callable[[], None]:
        def call() -> None:
            for seed, sample in enumerate(samples):
                image = way(sample, seed)[0]
                if image.shape != (3, *SIZE) or image.dtype != torch.float32:
                    raise SystemExit(f"{image.dtype} {list(image.shape)} is not what is compared")

        return call

    calls = {title: over(way) for title, way in ways.items()}
    alternate(calls, 1)
    seconds = alternate(calls, rounds)
    return {
        "pictures_per_second": {title: round(pictures / statistics.median(s), 1) for title, s in seconds.items()},
        **{
            f"times_faster_than_{title}": ratio(seconds[title], seconds["segwright"])
            for title in ("Albumentations", "torchvision v2")
        },
    }


def main() -> None:
    options = options_of(__doc__, "augmentation", rounds=15, pictures=24).parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found = measure(options.rounds, options.pictures)
    what = f"augmenting scenes of {SIZE[0]}×{SIZE[1]} that are in memory, one thread"
    record(options.out, what, {"rounds": options.rounds, **found})
    print(found)


if __name__ == "__main__":
    main()
