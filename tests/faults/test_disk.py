"""Disks that are full, read-only or broken: found at the start, said in one message, and no older file is harmed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.contracts import UserError
from segwright.files import atomic_path
from segwright.labels import load_label_space
from segwright.models import build_architecture
from segwright.models.segmenter import Segmenter
from segwright.runs import Run, create_run
from segwright.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from segwright.runs.folder import check_place
from segwright.runs.saving import CheckpointWriter
from tests.training.tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
TRIALS = 20


def checkpoint(value: int, size: int = 5000) -> Checkpoint:
    return Checkpoint({"model.w": torch.full((size,), float(value))}, {"counters": {"epoch": value}})


def small_model() -> Segmenter:
    labels = load_label_space("camvid11")
    architecture = build_architecture("unet", 11, {"width": 4, "depth": 1}, where="test", fresh=True)
    return Segmenter(architecture, labels=labels, model={"name": "unet", "args": {"width": 4, "depth": 1}})


class Failing:
    """Lets the disk calls of a save through up to number `at`, which fails, as do all writes after it."""

    CALLS = ("open", "write", "fsync", "link", "replace", "folder")

    def __init__(self, patch: pytest.MonkeyPatch, code: int) -> None:
        self.code, self.at, self.seen = code, sys.maxsize, 0
        replace, link, fsync = os.replace, os.link, os.fsync
        real_open = Path.open
        patch.setattr(os, "fsync", lambda *a: (self.call(), fsync(*a))[1])
        patch.setattr(os, "link", lambda *a, **k: (self.call(), link(*a, **k))[1])
        patch.setattr(Path, "replace", lambda path, to: (self.call(), replace(path, to), Path(to))[2])

        def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            file = real_open(path, mode, *args, **kwargs)
            if set(mode) & set("wa+"):
                self.call()
                write = file.write

                class Watched:
                    def __enter__(self) -> Any:
                        return self

                    def __exit__(self, *_: object) -> None:
                        file.close()

                    def __getattr__(self, name: str) -> Any:
                        return getattr(file, name)

                watched = Watched()
                watched.write = lambda content: (self.call(), write(content))[1]  # type: ignore[attr-defined]
                return watched
            return file

        patch.setattr(Path, "open", opened)

    def call(self) -> None:
        self.seen += 1
        if self.seen > self.at:
            raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failure_of_any_write_leaves_the_checkpoints_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    last, previous = tmp_path / "last.safetensors", tmp_path / "previous.safetensors"
    for value in (1, 2):
        save_checkpoint(checkpoint(value), last, previous=previous)
    with monkeypatch.context() as patch:
        disk = Failing(patch, code)
        save_checkpoint(checkpoint(3), last, previous=previous)
        calls = disk.seen
    assert calls >= 8  # opens, writes, flushes, a link and two renames
    newest = 3
    for at in range(calls):
        with monkeypatch.context() as patch:
            disk = Failing(patch, code)
            disk.at = at
            with pytest.raises(UserError, match=os.strerror(code)) as caught:
                save_checkpoint(checkpoint(10 + at), last, previous=previous)
        message = str(caught.value)
        assert len(message.splitlines()) <= 3
        for part in (str(last), "MB", "are free", "previous one is unharmed"):
            assert part in message
        found = load_checkpoint(last).state["counters"]["epoch"]
        assert found in (newest, 10 + at)  # the new one only when it was renamed and the folder's own flush failed
        newest = found
        load_checkpoint(previous)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["last.safetensors", "previous.safetensors"]


def test_what_fails_in_the_background_is_raised_in_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(tmp_path, name="r", label="x", recipe_text="")
    writer = CheckpointWriter(run)
    writer.save(checkpoint(1))
    writer.wait()
    with monkeypatch.context() as patch:
        Failing(patch, errno.ENOSPC).at = 0
        writer.save(checkpoint(2))
        with pytest.raises(UserError, match="No space left"):
            writer.save(checkpoint(3))
        writer.save(checkpoint(4))
        with pytest.raises(UserError, match="No space left"), writer:
            pass  # nobody waits before the end
    assert load_checkpoint(run.last).state["counters"]["epoch"] == 1


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted by root only, where the system lets it")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(little_disk: Path) -> None:
    last, previous = little_disk / "last.safetensors", little_disk / "previous.safetensors"
    for value in (1, 2):
        save_checkpoint(checkpoint(value, 60_000), last, previous=previous)
    for trial in range(TRIALS):
        with pytest.raises(UserError, match=r"No space left on device\. It needs \d\.\d MB, 0\.\d MB are free"):
            save_checkpoint(checkpoint(3 + trial, 150_000 + 1000 * trial), last, previous=previous)
        assert load_checkpoint(last).state["counters"]["epoch"] == 2
        assert load_checkpoint(previous).state["counters"]["epoch"] == 1
        assert sorted(p.name for p in little_disk.iterdir()) == ["last.safetensors", "previous.safetensors"]


def test_a_disk_that_is_too_small_is_found_at_the_start(little_disk: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data"))
    wide = ["model.args={width: 32, depth: 2}"]
    with pytest.raises(UserError, match=r"has 1 MB free; the checkpoints of this training need about \d+ MB"):
        api.train(recipe, wide, runs=little_disk / "runs", console=QUIET)
    assert list(little_disk.iterdir()) == []


def test_a_full_disk_stops_a_training_with_its_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data", train=4, val=2))
    appended = Run.append_metrics

    def full(run: Run, *rows: dict[str, Any]) -> int:
        if rows[0]["epoch"] == 2:
            Failing(monkeypatch, errno.ENOSPC).at = 0
        return appended(run, *rows)

    monkeypatch.setattr(Run, "append_metrics", full)
    with pytest.raises(
        UserError, match=r"metrics\.jsonl could not be written: No space left.*checkpoints are unharmed"
    ):
        api.train(recipe, runs=tmp_path / "runs", name="r", console=QUIET)
    monkeypatch.undo()
    last = load_checkpoint(tmp_path / "runs" / "r" / "checkpoints" / "last.safetensors")
    assert last.state["counters"]["epoch"] in (
        0,
        1,
    )  # that of epoch 1 may not have been written when the disk filled up
    assert api.resume("r", runs=tmp_path / "runs", console=QUIET).path.is_dir()


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_disk_that_fails_is_found_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data", train=4, val=2))
    read: list[str] = []
    monkeypatch.setattr("segwright.training.prepare.Reading", lambda *a, **k: read.append("all pictures"))

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync" if call == "fsync" else "open", broken)
    with pytest.raises(UserError, match=r"nothing can be written under .*runs: Input/output error"):
        api.train(recipe, runs=tmp_path / "runs", console=QUIET)
    assert read == []
    assert not (tmp_path / "runs").exists()


def test_places_that_cannot_be_written_are_found_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="nothing can be written under .*Not a directory"):
        check_place(tmp_path / "file" / "runs")
    with pytest.raises(UserError, match="has 300 bytes; file systems allow 255"):
        check_place(tmp_path, names=["x" * 300])
    with pytest.raises(UserError, match="has 400 bytes"):
        check_place(tmp_path, names=["\N{CAT FACE}" * 100])
    with pytest.raises(UserError, match="File name too long"):
        check_place(tmp_path / ("d" * 300) / "runs")

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(UserError, match=r"nothing can be written under .*Read-only file system.*--runs DIR"):
        check_place(tmp_path / "not" / "there" / "yet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_long_names_in_any_script_get_short_temporary_ones(tmp_path: Path) -> None:
    path = tmp_path / ("\N{CAT FACE}" * 60 + ".json")  # 245 bytes
    with atomic_path(path) as temporary:
        temporary.write_text("x")
        assert len(os.fsencode(temporary.name)) < 255
    assert path.read_text() == "x"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_run_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir(mode=0o500)
    with pytest.raises(UserError, match="nothing can be written under .*Permission denied"):
        check_place(folder)


def test_the_best_model_is_written_before_the_checkpoint_that_speaks_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path, name="r", label="x", recipe_text="")
    order: list[str] = []
    monkeypatch.setattr("segwright.runs.saving.save_frozen", lambda *_: order.append("best"))
    monkeypatch.setattr("segwright.runs.saving.save_checkpoint", lambda *_, **__: order.append("last"))
    with CheckpointWriter(run) as writer:
        writer.keep_best(small_model())
        writer.save(checkpoint(1))
        writer.save(checkpoint(2))
    assert order == ["best", "last", "last"]
