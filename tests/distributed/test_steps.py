"""One optimiser step of two processes against the same step of one: gradients, batch statistics, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segwright.contracts import IGNORE, Batch, Outputs
from segwright.data.loading import share_of
from segwright.labels import LabelSpace
from segwright.losses import LOSSES, SegmentationLoss
from segwright.models import Segmenter
from segwright.recipe import Recipe, load_recipe
from segwright.training.distributed import AgreedStop, team
from segwright.training.interrupt import StopRequest
from segwright.training.schedule import build_schedule
from segwright.training.shared_step import SharedNetwork, SharedStep
from segwright.training.state import Counters, Learner
from segwright.training.step import Step
from segwright.training.synced_norm import synced

from .several import together

SIZE = 8


class Net(nn.Module):
    stride = 1
    unused = frozenset({"spare"})

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm == "batch" else nn.GroupNorm(2, 4)
        self.last = nn.Conv2d(4, 3, 1)
        self.spare = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Outputs:
        return Outputs(self.last(self.norm(self.first(image)).relu()))


def learner_of(norm: str) -> Learner:
    torch.manual_seed(0)
    classes = [{"name": name, "values": [i]} for i, name in enumerate("abc")]
    space = LabelSpace.from_dict({"name": "three", "classes": classes})
    segmenter = Segmenter(Net(norm), labels=space, model={"name": "net", "args": {}})
    return Learner(
        segmenter=segmenter,
        optimizer=torch.optim.SGD(segmenter.parameters(), lr=0.1),
        average=None,
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        counters=Counters(),
        schedule=build_schedule(recipe_for(1).schedule, 1),
    )


def whole_batches(lengths: list[int]) -> list[Batch]:
    """Pictures with very different numbers of labelled pixels."""
    generator = torch.Generator().manual_seed(4)
    found = []
    for index, length in enumerate(lengths):
        image = torch.randint(0, 256, (length, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, 3, (length, SIZE, SIZE), generator=generator)
        for place in range(length):
            labels[place, : (7 * place + 3) % SIZE] = IGNORE
        labels[0, :, 2:] = IGNORE
        names = tuple(f"{index}.{place}" for place in range(length))
        weights = torch.linspace(0.5, 2, length)
        found.append(Batch(image=image, labels=labels, names=names, weights=weights, index=index))
    return found


def part(batch: Batch, rank: int, ranks: int, full: int) -> Batch:
    rows = share_of(range(len(batch.names)), rank, ranks, full)
    void = not rows
    rows = rows or [0, 1]
    labels = batch.labels[rows]
    return Batch(
        image=batch.image[rows],
        labels=torch.full_like(labels, IGNORE) if void else labels,
        names=() if void else tuple(batch.names[i] for i in rows),
        weights=batch.weights[rows] * (not void),
        index=batch.index,
    )


def recipe_for(accumulation: int) -> Recipe:
    keys = (
        "data.root=/nowhere",
        "training.device=cpu",
        "training.precision=fp32",
        f"training.accumulation={accumulation}",
    )
    return load_recipe("camvid-cpu", [*keys, "training.clip_norm=null", "training.ema_decay=null"]).recipe


def loss_of(name: str) -> SegmentationLoss:
    weights: Any = {"class_weights": [0.2, 1.0, 5.0]} if name in ("cross_entropy", "focal") else {}
    return LOSSES[name](3, **weights)


def result(learner: Learner, step: Step, refused: Any) -> dict[str, Any]:
    state = {name: value.clone() for name, value in learner.segmenter.state_dict().items()}
    return {"state": state, "loss": learner.counters.loss_sum, "refused": None if refused is None else refused.names}


def alone(norm: str, loss: str, lengths: list[int], spoil: bool = False) -> dict[str, Any]:
    learner = learner_of(norm)
    step = Step(recipe_for(len(lengths)), learner, loss_of(loss), lambda text: None)
    step.begin()
    for batch in whole_batches(lengths):
        if spoil:
            batch.weights[0] = float("nan")
        step.add(batch, share=1 / len(lengths))
    return result(learner, step, step.end())


def shared(norm: str, loss: str, lengths: list[int], full: int, spoil: bool = False) -> dict[str, Any]:
    with team() as here:
        learner = learner_of(norm)
        if norm == "batch":
            synced(learner.segmenter)
        network = SharedNetwork(learner.segmenter, here)
        stop = AgreedStop(StopRequest(), here)
        step = SharedStep(
            recipe_for(len(lengths)),
            learner,
            loss_of(loss),
            lambda text: None,
            network=network,
            team=here,
            request=stop,
            batches=len(lengths),
        )
        step.begin()
        for batch in whole_batches(lengths):
            if spoil:
                batch.weights[0] = float("nan")
            step.add(part(batch, here.index, here.count, full), share=1 / len(lengths))
        return result(learner, step, step.end())


def assert_close(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    assert one["state"].keys() == other["state"].keys()
    for name, value in one["state"].items():
        torch.testing.assert_close(value, other["state"][name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("lengths", [[6], [6, 5], [2]], ids=["one batch", "two batches", "an idle process"])
def test_two_processes_take_the_step_of_one(loss: str, lengths: list[int]) -> None:
    expected = alone("group", loss, lengths)
    for found in together(2, shared, "group", loss, lengths, 6):
        assert_close(found, expected, 1e-6)
        assert found["loss"] == pytest.approx(expected["loss"], abs=1e-6)


@pytest.mark.parametrize("lengths", [[6], [2]], ids=["full", "an idle process"])
def test_with_synchronised_batch_normalisation_too(lengths: list[int]) -> None:
    expected = alone("batch", "cross_entropy", lengths)
    for found in together(2, shared, "batch", "cross_entropy", lengths, 6):
        assert_close(found, expected, 2e-6)


def test_a_loss_that_is_not_finite_in_one_process_stops_the_step_of_all() -> None:
    before = {n: v.clone() for n, v in learner_of("batch").segmenter.state_dict().items()}
    for found in together(2, shared, "batch", "cross_entropy", [6], 6, True):
        assert found["refused"] == tuple(f"0.{i}" for i in range(6))
        assert all(torch.equal(found["state"][n], v) for n, v in before.items())
