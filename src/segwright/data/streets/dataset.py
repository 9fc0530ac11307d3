"""Names, seeds and splits of the street scenes, and the data set that renders them on demand."""

from __future__ import annotations

from collections.abc import Sequence

from segwright.contracts import Sample, UserError
from segwright.data.streets.city import CITIES, SPLITS
from segwright.data.streets.ids import TRAIN_ID
from segwright.data.streets.scene import check_size, render_scene

FRAME = 19
"""Every scene is one frame; Cityscapes labels the one with this number of each snippet, and so do the names here."""

MOST = 10**6
"""Scenes of one split: a name has six digits for the sequence."""


def _cities(split: str) -> tuple[str, ...]:
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r} of the street scenes; allowed are {', '.join(SPLITS)}.")
    return SPLITS[split]


def check_count(split: str, count: int) -> None:
    """Refuse an unknown split or an impossible number of scenes with a UserError."""
    _cities(split)
    if not 0 <= count <= MOST:
        raise UserError(f"{count} street scenes were asked for in split {split!r}; allowed are 0..{MOST}.")


def scene_city(split: str, index: int) -> str:
    """The city of a scene: the cities of the split take turns, so a shorter set is the beginning of a longer one."""
    cities = _cities(split)
    return cities[index % len(cities)]


def scene_seed(dataset_seed: int, split: str, index: int) -> int:
    """Seed of a scene for `render_scene`. Two different (dataset_seed, split, index) never share one.

    The remainder by the number of cities is the city, and each city belongs to one split: splits cannot overlap.
    Raises UserError for an unknown split, a negative dataset_seed, or an index outside 0..MOST - 1.
    """
    city = CITIES.index(scene_city(split, index))
    if dataset_seed < 0 or not 0 <= index < MOST:
        raise UserError(f"Scene {index} of data set seed {dataset_seed}: allowed are 0..{MOST - 1} and seeds from 0.")
    return (dataset_seed * MOST + index) * len(CITIES) + city


def scene_name(split: str, index: int) -> str:
    """Name in Cityscapes form, say aldermoor_000012_000019."""
    return f"{scene_city(split, index)}_{index:06d}_{FRAME:06d}"


class Streets:
    """The first `count` scenes of a split, rendered whenever they are read: a `contracts.Dataset`.

    size: (height, width) in pixels. Samples hold `rgb` uint8 [H, W, 3], train ids uint8 [H, W] with 255 for what
    Cityscapes ignores, and instance ids int32 [H, W]. Raises UserError for a bad split, count, size or seed.
    """

    def __init__(self, split: str, *, count: int, size: tuple[int, int], seed: int = 0) -> None:
        check_count(split, count)
        check_size(*size)
        if seed < 0:
            raise UserError(f"The seed of the street scenes is {seed}; it must be 0 or more.")
        self.split, self.size, self.seed = split, size, seed
        self._names = tuple(scene_name(split, index) for index in range(count))
        self._groups = tuple(scene_city(split, index) for index in range(count))

    @property
    def names(self) -> Sequence[str]:
        return self._names

    @property
    def groups(self) -> Sequence[str]:
        """The city of each scene."""
        return self._groups

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        scene = render_scene(scene_seed(self.seed, self.split, index), *self.size)
        return Sample(
            name=self._names[index],
            planes={"rgb": scene.image},
            labels=TRAIN_ID[scene.label_ids],
            instances=scene.instance_ids,
        )
