"""How often a training step asks for a value on the host: on a GPU, each time all that was given to it has to be done first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from segwright.api.showing import new_console
from segwright.contracts import IGNORE
from segwright.recipe import load_recipe
from segwright.training.prepare import start
from segwright.training.probe import random_batch
from segwright.training.step import Step
from tests.training.tiny import write_pictures, write_recipe

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2"}


class Asked(TorchDispatchMode):
    """Counts the operations whose result depends on values of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        self.found.update({name} & WAITS)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("loss", ["cross_entropy", "dice"])
def test_forward_and_backward_ask_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    """The weights of the samples, which stay on the processor, are all that is looked at before `end` reads its one row."""
    recipe = load_recipe(
        str(write_recipe(tmp_path, write_pictures(tmp_path / "data"))), [f"loss.name={loss}", "loss.args={}"]
    )
    trainer = start(recipe, runs=tmp_path, name="run", console=new_console())
    step = Step(trainer.recipe, trainer.learner, trainer.loss, lambda text: None)
    batch = replace(random_batch(4, (32, 32), 3, device="cpu"), known_labelled=True)
    monkeypatch.setattr(trainer.learner.optimizer, "step", lambda: None)  # on a GPU it is fused, and asks for nothing
    trainer.learner.segmenter.train()
    with Asked() as asked:
        step.begin()
        step.add(batch, share=1.0)
        refused = step.end()
    assert refused is None
    assert asked.found == {"_local_scalar_dense": 1}
    assert step.loss_value > 0


def test_whether_a_batch_has_labels_is_looked_up_before_it_goes_to_a_device() -> None:
    batch = random_batch(2, (8, 8), 3, device="cpu")
    for labels, labelled in ((batch.labels, True), (torch.full_like(batch.labels, IGNORE), False)):
        moved = replace(batch, labels=labels).to("meta")
        assert moved.labels.is_meta
        assert moved.labelled is labelled
        assert not moved.weights.is_meta
