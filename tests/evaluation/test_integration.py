"""With the real Segmenter and real data: validation, evaluation and prediction see the same class ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix
from torch.nn import functional as F

from segwright.contracts import IGNORE, Dataset, Sample
from segwright.data import DATASETS
from segwright.evaluation.evaluate import evaluate
from segwright.evaluation.hardest import largest_region, showcase, worst_mistakes
from segwright.inference.folders import predict_paths
from segwright.inference.measure import measure
from segwright.inference.predictor import Predictor
from segwright.labels import load_label_space
from segwright.metrics.scores import scores
from segwright.models import MODELS, Segmenter
from tests.inference.fakes import Pictures, random_sample, space_of


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Pictures this small gain nothing from more threads, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fast_scnn(num_classes: int = 5) -> Segmenter:
    torch.manual_seed(0)
    space = space_of([f"class {k}" for k in range(num_classes)])
    model = Segmenter(MODELS["fast_scnn"](num_classes), labels=space, model={"name": "fast_scnn", "args": {}})
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # average: settles at once
    with torch.no_grad():  # settle the BatchNorm statistics, so that predictions are not all of one class
        for _ in range(4):
            model.train().outputs(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    return model.eval()


def test_counts_are_those_of_the_segmenters_logits() -> None:
    model = fast_scnn()
    sizes = [(65, 97), (64, 64), (40, 130)]
    pictures = Pictures([random_sample(f"p{i}", *s, num_classes=5, seed=i) for i, s in enumerate(sizes)])
    plain = measure(model, pictures, device="cpu")
    with_loss = measure(
        model, pictures, device="cpu", loss=lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=IGNORE)
    )
    losses = []
    predictor = Predictor(model, device="cpu")
    for i, sample in enumerate(pictures.samples):
        assert sample.labels is not None
        with torch.inference_mode():
            logits = model(torch.from_numpy(sample.rgb.copy()).permute(2, 0, 1)[None])
        truth = torch.from_numpy(sample.labels).long()[None]
        losses.append(F.cross_entropy(logits, truth, ignore_index=IGNORE).item())
        ids = logits.argmax(1)[0].numpy()
        valid = sample.labels != IGNORE
        expected = confusion_matrix(sample.labels[valid], ids[valid], labels=range(5))
        assert len(np.unique(ids)) > 1
        assert np.array_equal(with_loss.counts_NKK[i], expected)
        assert np.array_equal(plain.counts_NKK[i], expected)
        assert np.array_equal(predictor.predict(sample.rgb), ids)
    assert with_loss.loss == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize(("precision", "memory_format"), [("bf16", "contiguous"), ("fp32", "channels_last")])
def test_other_modes_change_few_pixels(precision: str, memory_format: str) -> None:
    rgb = random_sample("p", 96, 160, seed=3).rgb
    expected = Predictor(fast_scnn(), device="cpu").predict(rgb)
    found = Predictor(fast_scnn(), device="cpu", precision=precision, memory_format=memory_format).predict(rgb)
    assert (found == expected).mean() > (0.99 if precision == "fp32" else 0.9)


class First:
    """The first pictures of a data set."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        self.dataset = dataset
        self.names = dataset.names[:count]
        self.groups = dataset.groups[:count]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[index]


def test_camvid_from_evaluation_to_mistakes_and_overlays(camvid: Path, tmp_path: Path) -> None:
    space = load_label_space("camvid11")
    model = fast_scnn(11)
    model.labels = space
    pictures = First(DATASETS["camvid"](camvid, "val", space), 3)
    result = evaluate(model, pictures, run="r", checkpoint="best", split="val")
    assert (result.counts_NKK.sum((1, 2)) + result.ignored_N == 480 * 360).all()
    assert result.miou == scores(result.counts_KK).macro_iou
    assert set(result.groups) == {"0016E5"}
    worst = showcase(result, best=1, median=0, worst=1).worst[0]
    mistake = worst_mistakes(result, count=1)[0]
    sample = pictures[mistake.pictures[0].index]
    assert sample.labels is not None
    ids = Predictor(model, device="cpu").predict(sample.rgb)
    wrong = (sample.labels == mistake.truth) & (ids == mistake.predicted)
    assert wrong.sum() == mistake.pictures[0].pixels
    box = largest_region(sample.labels, ids, mistake.truth, mistake.predicted)
    assert box is not None
    assert wrong[box.top : box.bottom, box.left : box.right].any()
    source = next(p for p in (camvid / "val").rglob("*.png") if p.stem in worst.name)
    [written] = predict_paths(Predictor(model, device="cpu"), source, tmp_path)
    with Image.open(written.outputs["ids"]) as image:
        assert image.size == (480, 360)
