"""What holds for every measure: rows are independent, add up over processes, and the result is plain data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segwright.contracts import IGNORE, UserError
from segwright.data.streets.dataset import Streets
from segwright.evaluation.measures import MEASURES, find_measures
from segwright.labels import LabelSpace, load_label_space
from segwright.metrics.measure import Measure, Scored

SIZE = (64, 96)
DOCS = Path(__file__).resolve().parents[2] / "docs"


def space_for(name: str) -> LabelSpace:
    """A shipped space that the measure fits."""
    return load_label_space("suim8" if name == "suim-paper" else "cityscapes19")


def scenes(space: LabelSpace, *, void: bool = False) -> list[Scored]:
    """Three street scenes whose predictions are the truth moved by two pixels, with labels that the space has."""
    found = []
    for index, sample in enumerate(Streets("val", count=3, size=SIZE)[i] for i in range(3)):
        assert sample.labels is not None
        labels = np.where(sample.labels == IGNORE, IGNORE, sample.labels % space.num_classes).astype(np.uint8)
        if void:
            labels = np.full_like(labels, IGNORE)
        ids = np.where(labels == IGNORE, 0, np.roll(labels, 2, axis=1)).astype(np.uint8)
        ids[ids == IGNORE] = 0
        logits = 3 * F.one_hot(torch.from_numpy(ids).long(), space.num_classes).movedim(-1, 0).float()
        found.append(
            Scored(
                index=index,
                name=sample.name,
                rgb=sample.rgb,
                labels=labels,
                ids=ids,
                instances=sample.instances,
                logits=logits,
            )
        )
    return found


def seen(measure: Measure, pictures: list[Scored], of: int = 3) -> dict[str, Any]:
    arrays = measure.begin(of)
    for picture in pictures:
        measure.see(picture, arrays)
    return arrays


@pytest.mark.parametrize("name", MEASURES)
def test_rows_are_independent_and_add_up(name: str) -> None:
    measure = MEASURES[name](space_for(name))
    assert measure.name == name
    pictures = scenes(measure.space)
    whole = seen(measure, pictures)
    assert all(v.dtype in (np.int64, np.float64) and len(v) == 3 for v in whole.values())
    parts = [seen(measure, part) for part in (pictures[::2], pictures[1::2])]
    backwards = seen(measure, pictures[::-1])
    for key, rows in whole.items():
        np.testing.assert_array_equal(rows, parts[0][key] + parts[1][key])
        np.testing.assert_array_equal(rows, backwards[key])
        assert not parts[0][key][1].any()


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("void", [False, True])
def test_results_are_plain_data_without_nan(name: str, void: bool) -> None:
    measure = MEASURES[name](space_for(name))
    result = measure.result(seen(measure, scenes(measure.space, void=void)), ["a", "a", "b"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_is_documented(name: str) -> None:
    pages = [DOCS / "metrics.md", *(DOCS / "metrics").glob("*.md"), *(DOCS / "guides").glob("*.md")]
    assert any(f"`{name}`" in page.read_text(encoding="utf-8") for page in pages)


def test_names_are_found_and_misspelt_ones_explained() -> None:
    assert find_measures(["all"]) == tuple(MEASURES)
    assert find_measures(["none"]) == ()
    assert find_measures(["sizes", "sizes", "errors"]) == ("sizes", "errors")
    with pytest.raises(UserError, match="Did you mean 'boundary'"):
        find_measures(["bounday"])
