"""The measuring loop: right counts, one picture at a time, the model left as it was."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch.nn import functional as F

from segwright.contracts import IGNORE, DataError, UserError
from segwright.evaluation.measures import MEASURES
from segwright.inference.ahead import read_ahead
from segwright.inference.measure import measure
from segwright.models import Segmenter, build_architecture
from tests.inference.fakes import Pictures, RedSegmenter, random_sample, space_of, three_pictures


def test_counts_each_picture_at_its_own_size() -> None:
    pictures, model = three_pictures(), RedSegmenter()
    steps: list[tuple[int, int]] = []
    result = measure(model, pictures, device="cpu", progress=lambda *step: steps.append(step))
    for sample, counts_KK, ignored in zip(pictures.samples, result.counts_NKK, result.ignored_N, strict=True):
        valid = sample.labels != IGNORE
        expected = confusion_matrix(sample.labels[valid], (sample.rgb[..., 0] % 3)[valid], labels=range(3))
        assert np.array_equal(counts_KK, expected)
        assert ignored == (~valid).sum()
    assert result.counts_NKK.dtype == np.int64
    assert result.loss is None
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert [t.shape[2:] for t in model.seen] == [(8, 12), (5, 7), (16, 4)]


def test_loss_is_the_mean_over_pictures_with_labels() -> None:
    pictures, model = three_pictures(), RedSegmenter()
    void = random_sample("void", 6, 6, void=1.0)
    with_void = Pictures([*pictures.samples, void])
    plain = measure(model, with_void, device="cpu")
    result = measure(
        model, with_void, device="cpu", loss=lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=IGNORE)
    )
    assert np.array_equal(plain.counts_NKK, result.counts_NKK)
    expected = []
    for sample in pictures.samples:
        logits = F.one_hot(torch.from_numpy(sample.rgb[..., 0] % 3).long(), 3).movedim(-1, 0)[None].float() * 4
        labels = torch.from_numpy(sample.labels).long()[None]
        expected.append(F.cross_entropy(logits, labels, ignore_index=IGNORE).item())
    assert result.loss == pytest.approx(np.mean(expected), rel=1e-6)
    assert model.most_alive == 1  # never the logits of two pictures


def test_modes_are_restored_even_after_an_error() -> None:
    model = RedSegmenter().train()
    model.frozen.eval()
    measure(model, three_pictures(), device="cpu")
    assert (model.training, model.norm.training, model.frozen.training) == (True, True, False)
    broken = three_pictures()
    broken.samples[1] = replace(broken.samples[1], labels=None)
    with pytest.raises(DataError, match="a2 has no mask"):
        measure(model, broken, device="cpu")
    assert (model.training, model.norm.training, model.frozen.training) == (True, True, False)
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_the_next_sample_is_read_while_the_model_runs() -> None:
    second_read = threading.Event()
    pictures, model = three_pictures(), RedSegmenter()
    pictures.before = lambda index: second_read.set() if index == 1 else None

    def wait() -> None:
        assert second_read.wait(30), "sample 1 was not read while sample 0 was being predicted"

    model.before = wait
    measure(model, pictures, device="cpu")


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    measure(RedSegmenter(), three_pictures(), device="cpu")
    pictures = three_pictures()
    labels = pictures.samples[2].labels
    assert labels is not None
    labels[0, 0] = 77
    with pytest.raises(DataError, match=r"b1: the labels hold the class ids 77 \(1 px\)"):
        measure(RedSegmenter(), pictures, device="cpu")
    assert threading.active_count() == before


def test_precision_and_memory_format_reach_the_model() -> None:
    model = RedSegmenter()
    measure(model, three_pictures(), device="cpu", precision="bf16", memory_format="channels_last")
    assert all(model.autocast)
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in model.seen)
    model = RedSegmenter()
    measure(model, three_pictures(), device="cpu")
    assert not any(model.autocast)
    assert all(t.is_contiguous() for t in model.seen)
    with pytest.raises(UserError, match="precision is 'int8'; allowed are fp32, bf16, fp16"):
        measure(model, three_pictures(), device="cpu", precision="int8")
    with pytest.raises(UserError, match="memory_format is 'nhwc'"):
        measure(model, three_pictures(), device="cpu", memory_format="nhwc")


def test_empty_data_set_gives_no_pictures() -> None:
    result = measure(RedSegmenter(), Pictures([]), device="cpu")
    assert result.counts_NKK.shape == (0, 3, 3)
    assert result.loss is None


def test_wrong_samples_are_named() -> None:
    pictures = three_pictures()
    pictures.samples[0] = replace(pictures.samples[0], labels=np.zeros((12, 8), np.uint8))
    with pytest.raises(DataError, match=r"a1: the mask is \[12, 8\], the picture \[8, 12\]"):
        measure(RedSegmenter(), pictures, device="cpu")
    pictures = three_pictures()

    def fail(index: int) -> None:
        if index == 2:
            raise ZeroDivisionError("a bug of the data set")

    pictures.before = fail
    with pytest.raises(ZeroDivisionError) as caught:
        measure(RedSegmenter(), pictures, device="cpu")
    assert caught.value.__notes__ == ["while reading sample 2 (b1)"]


def test_multi_label_spaces_are_refused() -> None:
    model = RedSegmenter()
    model.labels = replace(space_of(("a", "b", "c")), exclusive=False)
    with pytest.raises(UserError, match="multi-label"):
        measure(model, three_pictures(), device="cpu")


def test_read_only_pictures_cause_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    pictures = three_pictures()
    for sample in pictures.samples:
        sample.rgb.setflags(write=False)
        assert sample.labels is not None
        sample.labels.setflags(write=False)
    measure(RedSegmenter(), pictures, device="cpu")
    assert [str(w.message) for w in recwarn] == []


def test_read_ahead_keeps_order_and_raises_where_the_item_would_come() -> None:
    def read(index: int) -> int:
        if index == 3:
            raise KeyError(index)
        return index

    assert list(read_ahead(lambda i: i * i, 5)) == [0, 1, 4, 9, 16]
    assert list(read_ahead(read, 0)) == []
    items = read_ahead(read, 6)
    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(items)


@pytest.mark.parametrize("measures", [(), ("calibration",)])
def test_scores_that_are_no_numbers_are_refused(measures: tuple[str, ...]) -> None:
    space = space_of(["red", "green", "blue"])
    network = build_architecture("small_cnn", 3, {})
    model = Segmenter(network, labels=space, model={"name": "small_cnn", "args": {}})
    with torch.no_grad():
        next(network.parameters()).fill_(math.nan)
    with pytest.raises(DataError, match=r"no numbers \(NaN\)"):
        measure(model, three_pictures(), device="cpu", measures=[MEASURES[name](space) for name in measures])
