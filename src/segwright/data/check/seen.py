"""A pair of files with the splits that list it and what a look at it found."""

from __future__ import annotations

from dataclasses import dataclass

from segwright.data.check.looking import Look
from segwright.data.pairs import Pair


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """pair: as listed first. look: what its files hold.

    splits: those that list it and must not share pictures; without one of them, all that list it.
    """

    pair: Pair
    splits: tuple[str, ...]
    look: Look

    @property
    def split(self) -> str:
        return ", ".join(self.splits)
