"""Steadying against loops over single pixels; timelines and rates against sums over all frames at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from segwright.contracts import IGNORE, Outputs, UserError
from segwright.inference.predictor import Predictor
from segwright.inference.video import timeline
from segwright.inference.video.steady import Hysteresis, RunningMean, Track, _best
from segwright.inference.video.timeline import Timeline
from segwright.labels import LabelClass, LabelSpace
from segwright.metrics.stability import stability
from segwright.models import Segmenter

Ids = NDArray[np.uint8]


class Brightest(nn.Module):
    """Scores are the channels: class k where channel k is brightest."""

    stride, unused = 1, frozenset[str]()

    def forward(self, image_BCHW: Tensor) -> Outputs:
        return Outputs(2 * image_BCHW)


def sequences(count: int = 12, classes: int = 3, seed: int = 0, size: tuple[int, int] = (5, 7)) -> list[Ids]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, classes, size).astype(np.uint8) for _ in range(count)]


@given(st.integers(1, 5), st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_a_class_shows_after_so_many_frames_in_a_row(frames: int, seen: list[int]) -> None:
    shown, wanted = seen[0], []
    for place, _ in enumerate(seen):
        last = seen[max(0, place + 1 - frames) : place + 1]
        if len(last) == frames and len(set(last)) == 1:
            shown = last[0]
        wanted.append(shown)
    lasting = Hysteresis(frames)
    assert [int(lasting.add(np.full((1, 1), k, np.uint8))[0, 0]) for k in seen] == wanted


def test_pixels_wait_each_for_themselves_and_runs_of_any_length_count() -> None:
    maps = [*sequences(20, 2), *[np.ones((5, 7), np.uint8)] * 300]
    lasting, single = Hysteresis(3), [[Hysteresis(3) for _ in range(7)] for _ in range(5)]
    for ids in maps:
        shown = lasting.add(ids)
        alone = [[single[y][x].add(ids[y : y + 1, x : x + 1])[0, 0] for x in range(7)] for y in range(5)]
        np.testing.assert_array_equal(shown, alone)
    assert (shown == 1).all()


def test_the_running_mean_is_the_weighted_sum_of_all_frames() -> None:
    rng = np.random.default_rng(1)
    frames = [rng.dirichlet(np.ones(4), (3, 5)).astype(np.float32).transpose(2, 0, 1) for _ in range(6)]
    mean = RunningMean(0.6)
    for frame in frames:
        found = mean.add(frame.copy())
    weights = [0.6**5] + [0.4 * 0.6 ** (5 - t) for t in range(1, 6)]
    np.testing.assert_allclose(found, sum(w * f for w, f in zip(weights, frames, strict=True)), atol=1e-6)
    np.testing.assert_array_equal(_best(found), found.argmax(0))


def test_a_track_is_the_mean_and_then_the_wait() -> None:
    space = LabelSpace(
        name="made",
        title="Made",
        classes=tuple(LabelClass(name=f"c{k}", values=(k,), color=(k, 9, 90)) for k in range(3)),
    )
    model = Segmenter(Brightest(), labels=space, model={"name": "brightest", "args": {}})
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (24, 32, 3)).astype(np.uint8) for _ in range(8)]
    predictor = Predictor(model, device="cpu")
    track = Track(predictor, smooth=0.5, hysteresis=2)
    shown = [track.add(picture) for picture in pictures]
    own, steadied, mean, lasting = [], [], None, Hysteresis(2)
    for picture in pictures:
        with torch.inference_mode():
            probs = model(torch.from_numpy(picture).permute(2, 0, 1)[None]).softmax(1)[0]
        own.append(probs.argmax(0).numpy().astype(np.uint8))
        mean = probs if mean is None else 0.5 * mean + 0.5 * probs
        steadied.append(lasting.add(mean.argmax(0).numpy().astype(np.uint8)))
    for found, wanted in zip(shown, steadied, strict=True):
        assert (found == wanted).mean() > 0.998  # two classes may be equally likely but for the last digit
    assert track.before.flicker_rate == pytest.approx(stability(own).flicker_rate, abs=0.002)
    assert track.after is not None
    assert track.after == stability(shown)
    assert track.after.flicker_rate < 0.5 * track.before.flicker_rate
    plain = Track(predictor)
    for picture in pictures:
        plain.add(picture)
    assert (plain.before, plain.after) == (stability(own), None)


@pytest.mark.parametrize(
    ("smooth", "hysteresis", "says"), [(1.0, 1, "--smooth 1"), (-0.1, 1, "0 .off. to"), (0, 0, "--hysteresis 0")]
)
def test_values_out_of_range_are_refused(smooth: float, hysteresis: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Track(None, smooth=smooth, hysteresis=hysteresis)  # type: ignore[arg-type]


@pytest.mark.parametrize("frames", [1, 7, 8, 9, 100])
def test_a_timeline_stays_short_and_loses_nothing(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST", 8)
    maps = sequences(frames, 4, seed=frames)
    for ids in maps:
        ids[0, 0] = IGNORE
    line = Timeline(4)
    for place, ids in enumerate(maps):
        line.add(ids, place / 10)
    counts = np.stack([np.bincount(ids.ravel(), minlength=256)[:4] for ids in maps])
    np.testing.assert_allclose(line.mean(), counts.sum(0) / counts.sum())
    found = line.shares()
    assert len(found.times_T) <= 8
    each = 1
    while -(-frames // each) > 8:
        each *= 2
    for point, time in enumerate(found.times_T):
        part = slice(point * each, (point + 1) * each)
        assert time == pytest.approx(np.mean([k / 10 for k in range(frames)][part]))
        np.testing.assert_allclose(found.shares_TK[point], counts[part].sum(0) / counts[part].sum())


def test_a_timeline_without_frames_is_empty() -> None:
    line = Timeline(3)
    assert line.shares().shares_TK.shape == (0, 3)
    assert line.mean().tolist() == [0, 0, 0]
