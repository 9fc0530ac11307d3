"""Hostile videos (FAULTS B6): what can be decoded is kept and counted, or a refusal says why; and nothing hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("av")

from segwright.contracts import SegwrightError
from segwright.inference.predictor import Predictor
from segwright.inference.video.places import find_place
from segwright.inference.video.segmenting import Look, segment
from tests.inference.fakes import RedSegmenter
from tests.inference.videos import FAULTS, Fault, read_video

SLOW = ("8k",)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, id=f.name, marks=[pytest.mark.slow] if f.name in SLOW else []) for f in FAULTS],
)
def test_hostile_videos(fault: Fault, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.mp4"
    folder.mkdir()
    source = fault.make(folder)
    predictors = {"red": Predictor(RedSegmenter(), device="cpu")}  # type: ignore[arg-type]
    if fault.exit_code is not None:
        with pytest.raises(SegwrightError) as refused:
            segment(predictors, find_place(source), out)
        assert refused.value.exit_code == fault.exit_code
        assert all(part in str(refused.value) for part in fault.says), str(refused.value)
        assert [p.name for p in tmp_path.iterdir()] == ["in"]
        return
    found = segment(predictors, find_place(source), out, look=Look(legend=False))
    assert found.written >= fault.kept, found
    assert len(read_video(out)[0]) == found.written
    assert (found.problem is not None) == fault.problem, found.problem
    told = " ".join([found.problem or "", *found.notes])
    assert all(part in told for part in fault.says), told
    if fault.size is not None:
        assert (found.info.height, found.info.width) == fault.size
        assert found.size == tuple(side + side % 2 for side in fault.size)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out.mp4"]
