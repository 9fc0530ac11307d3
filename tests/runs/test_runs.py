"""Run folders and checkpoints: atomic, findable, honest about damage."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from segwright import files
from segwright.contracts import DataError, UserError
from segwright.runs import create_run, find_run, model_file
from segwright.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def checkpoint(value: float) -> Checkpoint:
    return Checkpoint({"model.w": torch.full((1000,), value), "rng.cpu": torch.get_rng_state()}, {"step": int(value)})


def test_names_are_made_up_kept_and_found(tmp_path: Path) -> None:
    first = create_run(tmp_path, name=None, label="camvid-cpu", recipe_text="name: x\n")
    second = create_run(tmp_path, name="mine", label="camvid-cpu", recipe_text="name: x\n")
    assert first.name.startswith("camvid-cpu_")
    assert find_run("mine", runs=tmp_path).path == second.path
    assert find_run(tmp_path / "latest").path.resolve() == second.path.resolve()
    with pytest.raises(UserError, match="exists already.*--resume"):
        create_run(tmp_path, name="mine", label="x", recipe_text="")
    with pytest.raises(UserError, match="Did you mean 'mine'"):
        find_run("mime", runs=tmp_path)
    with pytest.raises(UserError, match="no validated model yet"):
        model_file("mine", runs=tmp_path)


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written under.*--runs"):
        create_run(tmp_path / "file" / "runs", name=None, label="x", recipe_text="")


def test_metrics_after_the_checkpoint_are_dropped_and_half_lines_ignored(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="a", label="x", recipe_text="")
    length = run.append_metrics({"epoch": 1})
    run.append_metrics({"epoch": 2}, {"epoch": 3})
    with run.metrics_file.open("a") as file:
        file.write('{"epoch": 4')
    assert [r["epoch"] for r in run.metrics()] == [1, 2, 3]
    run.truncate_metrics(length)
    assert [r["epoch"] for r in run.metrics()] == [1]


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    saved = checkpoint(3)
    save_checkpoint(saved, path)
    loaded = load_checkpoint(path)
    assert loaded.state == saved.state
    assert all(torch.equal(loaded.tensors[k], v) for k, v in saved.tensors.items())


@pytest.mark.parametrize("keep", [0, 1, 7, 100, 3000, 4000])
def test_a_truncated_checkpoint_is_called_damaged(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(checkpoint(1), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="damaged"):
        load_checkpoint(path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (canary,)

    torch.save(Hostile(), tmp_path / "last.safetensors")
    with pytest.raises(DataError):
        load_checkpoint(tmp_path / "last.safetensors")
    assert not canary.exists()


@pytest.mark.parametrize("failing", ["fsync", "save"])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(checkpoint(1), path)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if failing == "fsync":
        monkeypatch.setattr(files.os, "fsync", full)
    else:
        monkeypatch.setattr("segwright.runs.checkpoint.save_file", full)
    with pytest.raises(UserError, match="No space left.*previous one is unharmed") as caught:
        save_checkpoint(checkpoint(2), path)
    assert len(str(caught.value).splitlines()) <= 3
    assert load_checkpoint(path).state == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]
