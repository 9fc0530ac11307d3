"""FSDP: a transformer whose parameters lie in parts trains as the whole one does, and its checkpoint is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.distributed.tensor import DTensor

from segwright import api
from segwright.runs.checkpoint import load_checkpoint
from segwright.training.sharded import ShardedNetwork
from segwright.training.shared_step import SharedNetwork
from tests.models.tiny_transformers import FORMS
from tests.training.tiny import write_pictures, write_recipe

from .several import together

pytest.importorskip("transformers", reason="the transformers extra is not installed")

STILL = {"drop_path_rate": 0.0, "classifier_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}  # random numbers differ
QUIET = Console(quiet=True)
TINY = (
    "model.name=transformers",
    f"model.args={json.dumps(FORMS['segformer'] | {'config': FORMS['segformer']['config'] | STILL})}",
    *("augmentation.size=64", "training.epochs=2", "training.batch=6", "training.ema_decay=null"),
    *("training.memory_format=contiguous", "optimizer.name=adamw", "optimizer.lr=0.001", "training.clip_norm=1.0"),
)


def trained(recipe: Path, runs: Path, name: str, parallel: str) -> Any:
    """The counts, and the share of all parameters that this process held."""
    held: list[float] = []
    deployed = SharedNetwork.deployed if parallel == "ddp" else ShardedNetwork.deployed

    def noting(self: Any, learner: Any) -> Any:
        mine = [p.to_local() if isinstance(p, DTensor) else p for p in learner.segmenter.parameters()]
        held.append(sum(p.numel() for p in mine) / sum(p.numel() for p in learner.segmenter.parameters()))
        return deployed(self, learner)

    (SharedNetwork if parallel == "ddp" else ShardedNetwork).deployed = noting  # type: ignore[method-assign]
    result = api.train(recipe, (*TINY, f"training.parallel={parallel}"), runs=runs, name=name, console=QUIET)
    return result.evaluation.counts_NKK.tolist(), held[-1]


def gone_on(runs: Path, name: str, epochs: int) -> str:
    keys = [f"training.epochs={epochs}"]
    return str(api.resume(name, keys, force=True, runs=runs, console=QUIET).path)


@pytest.mark.slow
def test_parts_train_as_whole_copies_do_and_one_process_goes_on(tmp_path: Path) -> None:
    recipe, runs = write_recipe(tmp_path, write_pictures(tmp_path / "data")), tmp_path / "runs"
    whole = together(2, trained, recipe, runs, "ddp", "ddp")
    parts = together(2, trained, recipe, runs, "fsdp", "fsdp")
    assert parts[0][0] == parts[1][0]
    assert [held for _, held in whole] == [1, 1]
    assert all(held < 0.6 for _, held in parts)
    one, other = (load_checkpoint(runs / name / "checkpoints" / "last.safetensors") for name in ("ddp", "fsdp"))
    assert one.tensors.keys() == other.tensors.keys()
    for name, value in one.tensors.items():
        if value.is_floating_point():
            assert value.shape == other.tensors[name].shape
            torch.testing.assert_close(value, other.tensors[name], rtol=1e-3, atol=2e-4, msg=name)
    together(2, gone_on, runs, "fsdp", 3)
    (path,) = together(1, gone_on, runs, "fsdp", 4)
    last = load_checkpoint(Path(path) / "checkpoints" / "last.safetensors")
    assert last.state["counters"]["epoch"] == 4
