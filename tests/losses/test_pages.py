"""What docs/losses shows can be built, and its tables list each loss's arguments with their defaults."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml

from segwright.build import build_loss
from segwright.data.statistics import WEIGHTINGS
from segwright.labels import load_label_space
from segwright.losses import LOSSES, SegmentationLoss
from segwright.recipe import Loss, load_recipe
from segwright.training.weighting import rules, with_numbers

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "losses").glob("*.md"))
SHARED = {"smooth", "per_picture", "classes", "class_weights"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_example_builds(page: Path) -> None:
    space = load_label_space("camvid11")
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        loss = Loss.model_validate(yaml.safe_load(block)["loss"])
        args = with_numbers(loss.args, lambda rule: [1.0] * space.num_classes)
        assert list(rules(args)) == []
        recipe = load_recipe("camvid-cpu").recipe.model_copy(update={"loss": loss.model_copy(update={"args": args})})
        assert isinstance(build_loss(recipe, space), SegmentationLoss)


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem not in ("index", "queries")], ids=lambda p: p.stem)
def test_arguments_and_defaults_are_those_of_the_code(page: Path) -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    parameters = inspect.signature(LOSSES[page.stem]).parameters
    own = {name: p.default for name, p in parameters.items() if name != "num_classes"}
    told = {name: default for name, default in own.items() if name in shown or name not in SHARED}
    written = {n: "–" if d is inspect.Parameter.empty else yaml.safe_dump(d).split("\n")[0] for n, d in told.items()}
    if page.stem != "jaccard":  # which refers to dice
        assert {name: shown[name].strip() for name in written} == written
    assert set(shown) - set(WEIGHTINGS) <= set(own)


def test_the_index_lists_every_loss_and_what_it_takes() -> None:
    table = (PAGES[0].parent / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\(\w+\.md\) \| [^|]+ \| (\S*) *\| (\S*) *\|$", table, re.MULTILINE)
    assert [name for name, _, _ in listed] + ["combined"] == list(LOSSES)
    for name, sets, multilabel in listed:
        assert ((sets == "yes"), (multilabel == "yes")) == (LOSSES[name].takes_sets, LOSSES[name].takes_multilabel)  # type: ignore[attr-defined]
