"""Damaged, missing and hostile checkpoints: every one is found, and a run falls back to the one before, loudly."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.contracts import DataError, UserError
from segwright.runs import Run
from segwright.runs.checkpoint import Checkpoint, load_checkpoint, load_newest, save_checkpoint
from tests.models.hostile_files import HOSTILE
from tests.training.tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)


def checkpoint(value: int) -> Checkpoint:
    tensors = {"model.w": torch.randn(40, 7), "model.n": torch.tensor(value), "rng.cpu": torch.get_rng_state()}
    return Checkpoint(tensors, {"counters": {"epoch": value, "step": 10 * value}})


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Path]:
    """A last checkpoint (epoch 2) and the one before (epoch 1)."""
    last, previous = tmp_path / "last.safetensors", tmp_path / "previous.safetensors"
    for value in (1, 2):
        save_checkpoint(checkpoint(value), last, previous=previous)
    return last, previous


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three epochs; tests work on copies."""
    folder = tmp_path_factory.mktemp("done")
    recipe = write_recipe(folder, write_pictures(folder / "data", train=10, val=2))
    return api.train(recipe, runs=folder / "runs", name="r", console=QUIET).path


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Run:
    shutil.copytree(done, tmp_path / "r")
    return Run(tmp_path / "r")


def told(tmp_path: Path) -> Console:
    return Console(record=True, width=500, file=(tmp_path / "log").open("w"))


def test_200_flipped_bytes_are_found(saved: tuple[Path, Path]) -> None:
    last, _ = saved
    good, rng = last.read_bytes(), random.Random(0)
    places = [*range(16), len(good) - 1, *rng.sample(range(16, len(good) - 1), 183)]
    assert len(places) == 200
    for place in places:
        bad = bytearray(good)
        bad[place] ^= rng.randrange(1, 256)
        last.write_bytes(bad)
        with pytest.raises(DataError, match="is damaged|is not a training checkpoint"):
            load_checkpoint(last)


def test_every_byte_of_the_header_counts(saved: tuple[Path, Path]) -> None:
    """Spaces that pad it and the letters of its own checksum included."""
    last, _ = saved
    good = last.read_bytes()
    for place in range(8 + int.from_bytes(good[:8], "little")):
        bad = bytearray(good)
        bad[place] ^= 0x20  # a space, a letter of the other case
        last.write_bytes(bad)
        with pytest.raises(DataError):
            load_checkpoint(last)


def test_50_truncations_are_found_and_fall_back_loudly(saved: tuple[Path, Path]) -> None:
    last, previous = saved
    good, rng = last.read_bytes(), random.Random(1)
    for length in [0, 1, 7, 8, len(good) - 1, *rng.sample(range(9, len(good) - 1), 45)]:
        last.write_bytes(good[:length])
        found, warning = load_newest(last, previous)
        assert found.state["counters"]["epoch"] == 1
        for part in (str(last), "damaged", f"Using {previous} instead", "epoch 1, step 10"):
            assert part in warning


def test_a_changed_tensor_is_named(saved: tuple[Path, Path]) -> None:
    last, _ = saved
    content = last.read_bytes()
    place = content.index(load_checkpoint(last).tensors["model.w"].numpy().tobytes())
    last.write_bytes(content[: place + 5] + bytes([content[place + 5] ^ 1]) + content[place + 6 :])
    with pytest.raises(DataError, match=r"last.safetensors is damaged: 'model\.w' does not match its sha256"):
        load_checkpoint(last)


def test_two_damaged_checkpoints_say_what_is_left(saved: tuple[Path, Path]) -> None:
    for path in saved:
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"last.*damaged.*previous.*damaged.*model\.weights=.*best\.safetensors"):
        load_newest(*saved)


@pytest.mark.parametrize("make", HOSTILE[:10], ids=lambda make: make.__name__)
def test_a_pickle_in_place_of_a_checkpoint_runs_nothing(
    make: Callable[[Path, Path], None], saved: tuple[Path, Path], tmp_path: Path
) -> None:
    last, previous = saved
    last.unlink()
    with warnings.catch_warnings(action="ignore"):
        make(last, tmp_path / "canary")
    _, warning = load_newest(last, previous)
    assert f"{last} is damaged" in warning
    assert not (tmp_path / "canary").exists()


def test_a_run_with_a_damaged_checkpoint_goes_on_from_the_one_before(run: Run, tmp_path: Path) -> None:
    whole = load_checkpoint(run.last)
    run.last.write_bytes(run.last.read_bytes()[:-1])
    console = told(tmp_path)
    api.resume(run.path, console=console)
    text = console.export_text()
    assert f"{run.last} is damaged" in text
    assert f"Using {run.previous} instead: epoch 2, step 4" in text
    again = load_checkpoint(run.last)
    assert [k for k in whole.tensors if not torch.equal(whole.tensors[k], again.tensors[k])] == []
    assert [r["epoch"] for r in run.metrics() if r["kind"] == "train"] == [1, 2, 3]
    assert load_checkpoint(run.previous).state["counters"]["epoch"] == 2  # the damaged one did not take its place
    assert (run.last.parent / "last.damaged").is_file()


def test_a_run_without_its_last_checkpoint_goes_on_from_the_one_before(run: Run, tmp_path: Path) -> None:
    run.last.unlink()
    console = told(tmp_path)
    api.resume(run.path, console=console)
    assert f"Using {run.previous} instead" in console.export_text()


def test_a_run_without_any_checkpoint_says_so(run: Run) -> None:
    run.last.unlink()
    run.previous.unlink()
    with pytest.raises(UserError, match=r"there is no checkpoint .*last\.safetensors"):
        api.resume(run.path, console=QUIET)


def test_a_lost_best_model_is_said_and_the_next_takes_its_place(run: Run, tmp_path: Path) -> None:
    run.best.unlink()
    console = told(tmp_path)
    api.resume(run.path, ["training.epochs=4"], force=True, console=console)
    assert "the best model so far (mIoU" in console.export_text()
    assert run.best.is_file()
    assert [r["best"] for r in run.metrics() if r["kind"] == "val"][-1] is True


def test_a_finished_run_without_its_best_model_is_refused(run: Run) -> None:
    run.best.write_bytes(run.best.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"is lost: .*best\.safetensors.*put the file back"):
        api.resume(run.path, console=QUIET)
