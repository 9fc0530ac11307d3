"""The Cityscapes label ids that the street scenes are drawn with, their names, colours and train ids."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

UNLABELED: Final = 0
EGO_VEHICLE: Final = 1
RECTIFICATION_BORDER: Final = 2
OUT_OF_ROI: Final = 3
STATIC: Final = 4
DYNAMIC: Final = 5
GROUND: Final = 6
ROAD: Final = 7
SIDEWALK: Final = 8
PARKING: Final = 9
RAIL_TRACK: Final = 10
BUILDING: Final = 11
WALL: Final = 12
FENCE: Final = 13
GUARD_RAIL: Final = 14
BRIDGE: Final = 15
POLE: Final = 17
TRAFFIC_LIGHT: Final = 19
TRAFFIC_SIGN: Final = 20
VEGETATION: Final = 21
TERRAIN: Final = 22
SKY: Final = 23
PERSON: Final = 24
RIDER: Final = 25
CAR: Final = 26
TRUCK: Final = 27
BUS: Final = 28
TRAILER: Final = 30
TRAIN: Final = 31
MOTORCYCLE: Final = 32
BICYCLE: Final = 33

EVALUATED: Final[tuple[int, ...]] = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label id of train id 0, 1, … 18 (PROTOCOLS, section 1)."""

NAMES: Final[tuple[str, ...]] = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""Name of train id 0, 1, … 18."""

COUNTED: Final = frozenset({PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE})
"""Labels whose objects carry an instance number."""

COLOURS: Final[NDArray[np.uint8]] = np.array(
    [
        (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (111, 74, 0), (81, 0, 81), (128, 64, 128),
        (244, 35, 232), (250, 170, 160), (230, 150, 140), (70, 70, 70), (102, 102, 156), (190, 153, 153),
        (180, 165, 180), (150, 100, 100), (150, 120, 90), (153, 153, 153), (153, 153, 153), (250, 170, 30),
        (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
        (0, 0, 70), (0, 60, 100), (0, 0, 90), (0, 0, 110), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ],
    dtype=np.uint8,
)  # fmt: skip
"""RGB of each label id 0..33: uint8 [34, 3]."""


def _train_id_table() -> NDArray[np.uint8]:
    table = np.full(256, 255, np.uint8)
    table[list(EVALUATED)] = np.arange(len(EVALUATED), dtype=np.uint8)
    return table


TRAIN_ID: Final = _train_id_table()
"""Train id of every label id, 255 where Cityscapes ignores it: uint8 [256]."""
