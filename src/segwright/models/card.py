"""What to know before choosing an architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Facts of an architecture that its code does not tell.

    licence: of the code; weights carry their own.
    published: results that its authors or others report, each as "data set split mIoU (backbone or source)".
    experimental: second tier: built from the paper, trained here only to see that it learns.
    initial_weights: arguments that only choose the weights to start from; a loaded file replaces those.
    fixed: False where parameters and stride depend on arguments that have no natural default.
    """

    description: str
    paper: str
    licence: str
    published: tuple[str, ...] = ()
    experimental: bool = False
    initial_weights: tuple[str, ...] = ()
    fixed: bool = True


class Entry(NamedTuple):
    """One architecture of the registry: what builds it, and its card."""

    build: Callable[..., nn.Module]
    card: ModelCard
