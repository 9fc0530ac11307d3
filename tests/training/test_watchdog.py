"""The first-epoch watchdog: each cause provoked, said once, and silence on good trainings."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from segwright import api
from segwright.build import build_segmenter, build_space
from segwright.contracts import IGNORE, Batch, SegwrightError
from segwright.models import Segmenter
from segwright.recipe import Recipe, load_recipe
from segwright.training.prepare import start
from segwright.training.watchdog import Watchdog, dead_parts

from .tiny import write_pictures, write_recipe


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, write_pictures(tmp_path / "data", train=12))


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file).recipe


@pytest.fixture
def segmenter(recipe: Recipe) -> Segmenter:
    torch.manual_seed(0)
    return build_segmenter(recipe, build_space(recipe.data.labels)).train()


def dog(recipe: Recipe, segmenter: Segmenter, said: list[str], **more: Any) -> Watchdog:
    return Watchdog(recipe, segmenter, **{"steps": 30, "fresh": True, "ln_k": True, "say": said.append} | more)


def batch(pictures: int = 4, *, label: int | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (pictures, 32, 32), generator=generator)
    image = torch.randint(0, 256, (pictures, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Batch(
        image=image,
        labels=labels if label is None else torch.full_like(labels, label),
        names=tuple(map(str, range(pictures))),
        weights=torch.ones(pictures),
    )


def losses(watchdog: Watchdog, values: list[float]) -> None:
    for value in values:
        watchdog.after(value, learned=True)
    watchdog.end_epoch(wait=0.0, seconds=60.0)


FALLING = [1.1 - 0.02 * n for n in range(30)]


def test_a_good_course_is_silent(recipe: Recipe, segmenter: Segmenter) -> None:
    said: list[str] = []
    watchdog = dog(recipe, segmenter, said)
    watchdog._step = 10  # the gradients have been looked at
    losses(watchdog, FALLING)
    assert said == []


def course(recipe: Recipe, segmenter: Segmenter, values: list[float], **more: Any) -> list[str]:
    said: list[str] = []
    watchdog = dog(recipe, segmenter, said, **more)
    watchdog._step = 10
    losses(watchdog, values)
    return said


def test_a_loss_that_rises_is_said_once(recipe: Recipe, segmenter: Segmenter) -> None:
    (text,) = course(recipe, segmenter, [1.0] * 8 + [3.0] * 22)
    assert "rose from 1.00 to" in text
    assert "optimizer.lr=0.01" in text


def test_a_loss_that_stays_is_said(recipe: Recipe, segmenter: Segmenter) -> None:
    (text,) = course(recipe, segmenter, [1.1, 1.08, 1.12] * 10)
    assert "did not fall" in text
    assert course(recipe, segmenter, [1.1] * 30, fresh=False) == []  # weights of another model
    assert course(recipe, segmenter, [0.2] * 30) == []  # good already
    assert course(recipe, segmenter, [1.1] * 12) == []  # too few to judge


def test_long_waits_are_said(recipe: Recipe, segmenter: Segmenter) -> None:
    for wait, seconds, count in ((0.4, 60.0, 1), (0.2, 60.0, 0), (0.9, 1.0, 0)):
        said: list[str] = []
        dog(recipe, segmenter, said).end_epoch(wait=wait, seconds=seconds)
        assert len(said) == count


def test_batches_without_labels_are_said(recipe: Recipe, segmenter: Segmenter) -> None:
    said: list[str] = []
    watchdog = dog(recipe, segmenter, said)
    for _ in range(4):
        watchdog.before(batch(label=IGNORE))
        watchdog.after(float("nan"), learned=False)
    (text,) = said
    assert "all of them are ignored" in text


def test_a_small_batch_is_said_where_batches_are_normalised(recipe: Recipe, segmenter: Segmenter) -> None:
    for pictures, count in ((1, 1), (2, 1), (3, 0)):
        said: list[str] = []
        dog(recipe, segmenter, said).before(batch(pictures))
        assert len(said) == count
    assert "too few for good statistics" in course_text(recipe, segmenter, batch(2))
    for parameter in segmenter.parameters():
        parameter.requires_grad_(False)
    assert course_text(recipe, segmenter, batch(2)) == ""


def course_text(recipe: Recipe, segmenter: Segmenter, first: Batch) -> str:
    said: list[str] = []
    dog(recipe, segmenter, said).before(first)
    return " ".join(said)


def test_input_that_is_not_normalised_is_said(recipe: Recipe, segmenter: Segmenter) -> None:
    zeros_and_ones = batch()
    zeros_and_ones.image = zeros_and_ones.image % 2
    assert "deviation of 0.00" in course_text(recipe, segmenter, zeros_and_ones)
    assert course_text(recipe, segmenter, batch()) == ""
    plain = Segmenter(
        segmenter.architecture, labels=segmenter.labels, model=segmenter.model, mean=(0, 0, 0), std=(1, 1, 1)
    )
    assert course_text(recipe, plain, batch()) == ""  # 0..1 is a choice
    wrong = Segmenter(
        segmenter.architecture, labels=segmenter.labels, model=segmenter.model, mean=(0.5,) * 3, std=(0.004,) * 3
    )
    assert "model.mean and model.std" in course_text(recipe, wrong, batch())


def gradients(segmenter: Segmenter, recipe: Recipe, dead: str | None, steps: int = 8) -> list[str]:
    """What is said when the parameters whose names begin with `dead` get gradients of 0."""
    said: list[str] = []
    watchdog = dog(recipe, segmenter, said)
    for _ in range(steps):
        one = batch()
        watchdog.before(one)
        segmenter.zero_grad()
        torch.nn.functional.cross_entropy(segmenter.outputs(one.image).logits_BKhw, one.labels).backward()
        for name, parameter in segmenter.named_parameters():
            if dead is not None and name.startswith(f"architecture.{dead}") and parameter.grad is not None:
                parameter.grad.zero_()
        watchdog.after(1.0, learned=True)
    return said


def test_a_part_without_gradient_is_said(recipe: Recipe, segmenter: Segmenter) -> None:
    top = next(iter(segmenter.named_parameters()))[0].split(".")[1]
    (text,) = gradients(segmenter, recipe, top)
    assert f"nothing reaches {top}" in text
    assert gradients(segmenter, recipe, None) == []
    assert gradients(segmenter, recipe, top, steps=4) == []  # looked at once only: it may be a start from zeros


def test_dead_parts_are_the_largest_ones() -> None:
    names = [
        f"architecture.{n}" for n in ("body.a.weight", "body.a.bias", "body.b.weight", "head.x.weight", "head.y.weight")
    ]
    whole = {n for n in names if ".head." in n}
    assert dead_parts(names, whole) == ["head"]
    assert dead_parts(names, {"architecture.body.b.weight"}) == ["body.b"]
    assert dead_parts(names, {"architecture.body.a.bias"}) == []


def predictions(recipe: Recipe, segmenter: Segmenter, truth: int | None) -> list[str]:
    said: list[str] = []
    watchdog = dog(recipe, segmenter, said)
    for value in FALLING:
        one = batch(label=truth)
        watchdog.before(one)
        with torch.no_grad():
            segmenter.outputs(one.image)
        watchdog._dead = None  # there is no backward pass here
        watchdog.after(value, learned=True)
    watchdog.end_epoch(wait=0.0, seconds=60.0)
    return said


def test_one_class_everywhere_is_said(recipe: Recipe, segmenter: Segmenter) -> None:
    last = [m for m in segmenter.modules() if isinstance(m, torch.nn.Conv2d) and m.out_channels == 3][-1]
    assert last.bias is not None
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.0, 100.0, 0.0]))
    said = [text for text in predictions(recipe, segmenter, None) if "nothing reaches" not in text]
    assert len(said) == 1
    assert "100% of the pixels are predicted as 'red'" in said[0]
    assert [t for t in predictions(recipe, segmenter, 1) if "predicted as" in t] == []  # so is the truth
    assert not segmenter.architecture._forward_hooks


def test_asleep_it_does_nothing(recipe: Recipe, segmenter: Segmenter) -> None:
    said: list[str] = []
    watchdog = dog(recipe, segmenter, said)
    watchdog.awake = False
    watchdog.before(batch(1))
    losses(watchdog, [1.0] * 8 + [9.0] * 22)
    assert said == []


class Enough(SegwrightError):
    """Ends a training after its first epoch."""


def first_epoch(source: str | Path, folder: Path, *overrides: str) -> str:
    """What a training prints until its first epoch is over."""

    def stop(row: Mapping[str, Any]) -> None:
        raise Enough(str(row["epoch"]))

    text = io.StringIO()
    trainer = start(load_recipe(source, overrides), runs=folder, name="r", console=Console(file=text, width=300))
    trainer.watch = stop
    with pytest.raises(Enough):
        trainer.fit()
    return text.getvalue()


def test_a_training_warns_and_goes_on(recipe_file: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "data" / "train" / "images").iterdir():
        Image.fromarray(np.asarray(Image.open(file)) % 2).save(file)
    out = io.StringIO()
    keys = ["training.batch=2", "training.epochs=2", "training.accumulation=1", "augmentation.name=none"]
    api.train(recipe_file, keys, runs=tmp_path / "runs", console=Console(file=out, width=300))
    assert out.getvalue().count("watch out: what the network gets") == 1
    assert out.getvalue().count("watch out: batch normalisation sees 2 pictures") == 1


def test_a_good_training_is_silent(recipe_file: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", train=100)
    keys = ["training.accumulation=1", "training.ema_decay=null", "training.precision=fp32"]
    assert "watch out" not in first_epoch(recipe_file, tmp_path / "runs", *keys)


def test_a_loss_that_explodes_is_noticed_in_a_training(recipe_file: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", train=100)
    keys = ["training.accumulation=1", "optimizer.name=sgd", "lr=9.0", "schedule.warmup=0.0", "loss.args={}"]
    assert "watch out" in first_epoch(recipe_file, tmp_path / "runs", *keys)


@pytest.mark.slow
def test_the_demo_is_silent(tmp_path: Path) -> None:
    keys = ["training.precision=fp32", "training.memory_format=channels_last", "training.val_every=24"]
    assert "watch out" not in first_epoch("streets-demo", tmp_path, *keys)
