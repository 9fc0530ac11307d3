"""What must not depend on how work is cut up: scores on batch size, order and number of pictures; logits on the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segwright.contracts import IGNORE, Sample
from segwright.inference.measure import measure
from segwright.labels import load_label_space
from segwright.metrics.confusion import confusion
from segwright.metrics.scores import scores
from segwright.models import Segmenter, build_architecture

CLASSES = 11


@dataclass
class Pictures:
    """Labelled pictures of several sizes, in a given order."""

    order: list[int]

    @property
    def names(self) -> list[str]:
        return [f"p{i}" for i in self.order]

    @property
    def groups(self) -> list[str]:
        return self.names

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(self.order[index])
        height, width = int(rng.integers(20, 50)), int(rng.integers(20, 50))
        labels = rng.integers(0, CLASSES + 1, (height, width)).astype(np.uint8)
        labels[labels == CLASSES] = IGNORE
        rgb = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        return Sample(name=self.names[index], planes={"rgb": rgb}, labels=labels)


def model(name: str = "unet", **args: object) -> Segmenter:
    torch.manual_seed(0)
    given = args or {"width": 4, "depth": 1}
    architecture = build_architecture(name, CLASSES, given, where="test", fresh=True)
    return Segmenter(architecture, labels=load_label_space("camvid11"), model={"name": name, "args": given}).eval()


@pytest.mark.parametrize("count", [1, 7, 10])
def test_scores_are_those_of_any_order(count: int) -> None:
    segmenter, found = model(), []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(count).tolist()
        result = measure(segmenter, Pictures(order), device="cpu")
        assert result.counts_NKK.dtype == np.int64
        found.append(result.counts_NKK.sum(0))
        by_name = dict(zip(order, result.counts_NKK, strict=True))
        assert all((by_name[i] == measure(segmenter, Pictures([i]), device="cpu").counts_NKK[0]).all() for i in order)
    assert all((counts == found[0]).all() for counts in found)
    assert len({scores(counts).iou.tobytes() for counts in found}) == 1


@pytest.mark.parametrize("count", [1, 7, 10])
def test_counts_are_those_of_any_batch_size(count: int) -> None:
    """And of any sharing over workers or ranks, as long as each picture goes to one: integers are summed."""
    rng = np.random.default_rng(count)
    labels = torch.from_numpy(rng.integers(0, CLASSES, (count, 30, 41)).astype(np.uint8))
    labels[rng.random(labels.shape) < 0.1] = IGNORE
    ids = torch.from_numpy(rng.integers(0, CLASSES, (count, 30, 41)).astype(np.uint8))
    whole = confusion(labels, ids, CLASSES)
    for size in (1, 2, 3, 4, 8):
        parts = zip(labels.split(size), ids.split(size), strict=True)
        assert torch.equal(sum((confusion(a, b, CLASSES) for a, b in parts), torch.zeros_like(whole)), whole)
    for ranks in (1, 2, 4):
        shares = [confusion(labels[r::ranks], ids[r::ranks], CLASSES) for r in range(ranks)]
        assert torch.equal(torch.stack(shares).sum(0), whole)


def smooth_pictures(count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Pictures with regions, so that few pixels lie on the border between two classes: uint8 [count, 3, H, W]."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((count, 3, height // 8, width // 8)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (fine * 255).to(torch.uint8).numpy()


@pytest.mark.parametrize(
    ("name", "args"),
    [("unet", {"width": 8, "depth": 3}), ("fast_scnn", {"width": 0.5}), ("bisenet_v2", {"width": 0.5})],
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_picture_is_predicted_alike_alone_and_in_a_batch(
    name: str, args: dict[str, object], memory_format: torch.memory_format
) -> None:
    segmenter = model(name, **args)
    image = torch.from_numpy(smooth_pictures(8, 96, 128))
    with torch.no_grad():
        segmenter.train().outputs(image)  # statistics of these pictures
        segmenter = segmenter.eval().to(memory_format=memory_format)
        together = segmenter(image)
        alone = torch.cat([segmenter(one[None]) for one in image])
    assert (together - alone).abs().max() <= 1e-4
    assert (together.argmax(1) == alone.argmax(1)).float().mean() >= 0.9999
