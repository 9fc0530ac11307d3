"""Data sets told in another label space, and several of them in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from segwright.contracts import IGNORE, Sample, UserError
from segwright.data.mixing import Part, mix
from segwright.labels import LabelClass, LabelSpace
from segwright.labels.mapping import map_labels


def space(name: str, *classes: str, group: dict[str, str] | None = None) -> LabelSpace:
    items = tuple(
        LabelClass(name=c, values=(i,), color=(i, i, i), group=(group or {}).get(c, "")) for i, c in enumerate(classes)
    )
    return LabelSpace(name=name, title=name, classes=items)


class Listed:
    """A data set of given label maps."""

    def __init__(
        self, labels: Sequence[Sequence[int]], names: Sequence[str], groups: Sequence[str] | None = None
    ) -> None:
        self.labels, self.names, self.groups = labels, tuple(names), tuple(groups or names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        labels = np.array([self.labels[index]], np.uint8)
        return Sample(name=self.names[index], planes={"rgb": np.zeros((*labels.shape, 3), np.uint8)}, labels=labels)


FINE = space("fine", "road", "sidewalk", "car", group={"road": "flat", "sidewalk": "flat"})
COARSE = space("coarse", "flat", "car", "moon")


def test_a_coarse_label_becomes_a_set_of_classes_and_a_lost_one_is_ignored() -> None:
    coarse = Listed([[0, 1, 2, IGNORE]], ["a"])
    fine = Listed([[0, 1, 2, IGNORE]], ["b"])
    found = mix(
        [
            Part(title="fine", dataset=fine, map=map_labels(FINE, FINE)),
            Part(title="coarse", dataset=coarse, map=map_labels(COARSE, FINE)),
        ]
    )
    assert found.dataset.names == ("b", "a")
    assert found.dataset[0].labels is not None
    assert found.dataset[0].labels.tolist() == [[0, 1, 2, IGNORE]]
    assert found.dataset[1].labels is not None
    assert found.dataset[1].labels.tolist() == [[3, 2, IGNORE, IGNORE]]
    assert found.membership_LK is not None
    assert found.membership_LK.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]


def test_maps_without_coarse_classes_need_no_membership() -> None:
    found = mix([Part(title="fine", dataset=Listed([[0, 1, 2]], ["a"]), map=map_labels(FINE, COARSE))])
    assert found.membership_LK is None
    assert found.dataset[0].labels is not None
    assert found.dataset[0].labels.tolist() == [[0, 0, 1]]


def test_names_and_groups_that_two_parts_share_get_their_titles() -> None:
    one, two = Listed([[0]], ["x"], ["city"]), Listed([[0], [1]], ["x", "y"], ["town", "town"])
    same = map_labels(FINE, FINE)
    found = mix([Part(title="one", dataset=one, map=same), Part(title="two", dataset=two, map=same)]).dataset
    assert found.names == ("one/x", "two/x", "two/y")
    assert found.groups == ("city", "town", "town")
    assert [found[i].name for i in range(3)] == ["one/x", "two/x", "two/y"]
    with pytest.raises(IndexError):
        found[3]


def test_too_many_sets_are_refused() -> None:
    target = space("target", *(f"c{i}" for i in range(249)))
    sources = space("source", *(f"s{i}" for i in range(8)))
    told = map_labels(sources, target, {f"s{i}": [f"c{i}", f"c{i + 1}"] for i in range(8)})
    with pytest.raises(UserError, match="coarser space"):
        mix([Part(title="a", dataset=Listed([[0]], ["a"]), map=told)])
