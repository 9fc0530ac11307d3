"""Who takes which picture, in training and in scoring: each of them once, whatever the number of processes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwright.contracts import IGNORE, Batch, Sample, UserError
from segwright.data.augment import Augmentation
from segwright.data.loading import TrainLoader, share_of
from segwright.inference.sharding import Shard
from segwright.recipe import load_recipe
from segwright.runs import launch
from segwright.runs.folder import Run
from segwright.training.distributed import Team, check_shared
from tests.training.tiny import write_pictures, write_recipe


class Plain:
    """Pictures whose colour is their number."""

    def __init__(self, count: int) -> None:
        self.names = [f"{i:02d}" for i in range(count)]
        self.groups = self.names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        return Sample(
            name=self.names[index],
            planes={"rgb": np.full((8, 8, 3), index, np.uint8)},
            labels=np.full((8, 8), index % 3, np.uint8),
        )


def batches(count: int, batch: int, rank: int, ranks: int) -> list[Batch]:
    with TrainLoader(Plain(count), Augmentation(size=(8, 8)), batch=batch, seed=1, rank=rank, ranks=ranks) as loader:
        return list(loader.epoch(2))


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 8))
def test_every_sample_of_a_batch_belongs_to_one_process(length: int, ranks: int, each: int) -> None:
    batch = ranks * each
    indices = list(range(100, 100 + min(length, batch)))
    shares = [share_of(indices, rank, ranks, batch) for rank in range(ranks)]
    assert [i for share in shares for i in share] == indices
    if each >= 2 and len(indices) >= 2:
        assert all(len(share) != 1 for share in shares)
    if len(indices) == batch:
        assert {len(share) for share in shares} == {each}


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("count", [8, 10, 11])
def test_processes_see_the_batches_of_one_process(ranks: int, count: int) -> None:
    whole = batches(count, 8, 0, 1)
    parts = [batches(count, 8, rank, ranks) for rank in range(ranks)]
    for place, batch in enumerate(whole):
        shares = [part[place] for part in parts]
        assert tuple(name for share in shares for name in share.names) == batch.names
        used = [share for share in shares if share.names]
        assert np.array_equal(np.concatenate([share.image for share in used]), batch.image)
        assert np.array_equal(np.concatenate([share.labels for share in used]), batch.labels)
        for idle in (share for share in shares if not share.names):
            assert bool((idle.labels == IGNORE).all())
            assert len(idle.image) == 2
            assert float(idle.weights.sum()) == 0
    seen = Counter(name for part in parts for share in part for name in share.names)
    assert set(seen.values()) == {1}


@given(st.integers(0, 50), st.integers(1, 7))
def test_scoring_has_no_padded_duplicates(total: int, count: int) -> None:
    rows = sorted(row for index in range(count) for row in Shard(index, count).rows(total))
    assert rows == list(range(total))


def test_what_several_processes_cannot_do_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data"))

    def check(*overrides: str, count: int = 3) -> None:
        check_shared(load_recipe(recipe, overrides).recipe, Team(0, count))

    check(count=1)
    check(count=2)
    with pytest.raises(UserError, match=r"batch is 4, .* 3 processes .* nearest that can is 3"):
        check()
    with pytest.raises(UserError, match="halve_on_oom"):
        check("training.halve_on_oom=true", "training.batch=6")
    with pytest.raises(UserError, match="training.device=cuda each takes its own"):
        check("training.device=cuda:1", "training.batch=6")


def test_the_environment_says_who_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert launch.place() == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="RANK, MASTER_ADDR, MASTER_PORT is not set"):
        launch.place()
    for name, value in (("RANK", "2"), ("MASTER_ADDR", "here"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    assert launch.place() == (2, 4)
    monkeypatch.setenv("RANK", "two")
    with pytest.raises(UserError, match="RANK is 'two'"):
        launch.place()


def test_processes_is_left_out_of_what_each_process_runs() -> None:
    command = ["train", "a.yaml", "--processes", "2", "--name", "x", "--processes=3"]
    assert launch.without_option(command, "--processes") == ["train", "a.yaml", "--name", "x"]


def test_a_second_attempt_finds_its_own_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    for name, ours, saved in (("a", False, True), ("b", True, True), ("c", True, False)):
        run = Run(tmp_path / name)
        (run.path / "checkpoints").mkdir(parents=True)
        (run.path / "environment.json").write_text(json.dumps({"launch": launch.launch_name() if ours else None}))
        if saved:
            run.last.write_bytes(b"")
    assert launch.run_before(tmp_path, None) is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert launch.run_before(tmp_path, "a") is None
    assert launch.run_before(tmp_path, "c") is None
    assert not (tmp_path / "c").exists()
    assert launch.run_before(tmp_path, None) == Run(tmp_path / "b")
