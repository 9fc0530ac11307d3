"""A loader process that is killed ends the training with the names of the pictures it was reading; five times."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from rich.console import Console

from segwright import api
from segwright.contracts import Sample, SegwrightError
from segwright.data.pairs import PairedFiles
from segwright.data.processes import WorkerDied
from segwright.recipe import load_recipe
from segwright.runs.checkpoint import load_checkpoint
from segwright.training.prepare import start
from tests.training.test_training import assert_same_training
from tests.training.tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the killing data set reaches the workers by fork")
@pytest.mark.parametrize("picture", [0, 3, 5, 8, 9])
def test_a_killed_loader_process_is_named_after_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: int
) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data", train=10, val=2))
    settings = ["training.workers=2", "data.cache=none", "training.epochs=2"]
    main, read = os.getpid(), PairedFiles.__getitem__

    def fatal(self: PairedFiles, index: int) -> Sample:
        if os.getpid() != main and self.names[index] == f"train_{picture:02d}":
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is short
        return read(self, index)

    trainer = start(load_recipe(recipe, settings), runs=tmp_path / "runs", name="r", console=QUIET)
    with monkeypatch.context() as patch:
        patch.setattr(PairedFiles, "__getitem__", fatal)
        with pytest.raises(WorkerDied, match=rf"a loader process died .*train_{picture:02d}.*training\.workers=0"):
            trainer.fit()
    assert issubclass(WorkerDied, SegwrightError)  # the command line does not call it a defect of its own
    assert load_checkpoint(trainer.run.last).state["counters"]["epoch"] == 0
    resumed = api.resume("r", runs=tmp_path / "runs", console=QUIET)
    whole = api.train(recipe, settings, runs=tmp_path / "runs", name="whole", console=QUIET)
    assert_same_training(whole.path, resumed.path)
