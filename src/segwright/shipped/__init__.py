"""Models that come with the package: small, in fp16, each with its card beside it; opened by name."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


class LicenceNotice(UserWarning):
    """Says under which licence the weights are that were just opened; not that anything is wrong."""


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """description: one line. licence: of the weights. free: may be used by anybody for anything."""

    description: str
    licence: str
    free: bool


SHIPPED = {
    "streets-small": Shipped(
        description="19 Cityscapes classes, trained on generated street scenes only",
        licence="MIT",
        free=True,
    ),
    "camvid-small": Shipped(
        description="11 CamVid classes, trained from scratch on CamVid's 367 training pictures",
        licence="CC BY-NC 4.0",
        free=False,
    ),
}


def is_shipped(weights: Path) -> bool:
    """Whether a file is one of the package, which nothing is written beside."""
    return weights.parent == FOLDER


def shipped_file(name: str) -> Path:
    """The weights of a shipped model; `.md` instead of `.safetensors` is its card. Raises KeyError for another name.

    Warns with a LicenceNotice where the licence forbids some uses.
    """
    model = SHIPPED[name]
    if not model.free:
        warnings.warn(
            f"{name}: weights under {model.licence}, as the data that taught it: research and personal use, no commercial use.",
            LicenceNotice,
            stacklevel=3,
        )
    return FOLDER / f"{name}.safetensors"
