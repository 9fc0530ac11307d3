"""Runs that differ in nothing but the seed are repeats of one setting."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segwright.metrics.seeds import Spread, spread

NOT_OF_THE_SETTING = (
    *("name", "seed"),
    *("data.root", "data.split_file", "data.cache"),
    *("training.workers", "training.track", "training.memory_format"),
)
"""Keys that change no more than the random numbers do, or say where the same pictures lie."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One recipe, and the runs that trained it.

    name: of the recipe, or of the run where two settings have the same recipe name. runs, seeds: one of each a training.
    miou: of the runs, 0..1.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    miou: Spread

    @property
    def same_seed(self) -> bool:
        """Two of the runs had the same seed: their difference shows less than the noise between seeds."""
        return len(set(self.seeds)) < len(self.seeds)


def find_settings(
    runs: Sequence[str], recipes: Sequence[Mapping[str, Any]], data: Sequence[Mapping[str, Any]], miou: Sequence[float]
) -> tuple[Setting, ...]:
    """The settings in the order of their first run.

    recipes: as plain data, {} where there is none (then the run is a setting of its own). data: what data.json holds;
    another training set is another setting. miou: of each run.
    """
    members: dict[str, list[int]] = {}
    for place, (run, recipe, facts) in enumerate(zip(runs, recipes, data, strict=True)):
        members.setdefault(_key(run, recipe, facts), []).append(place)
    titles = [str(recipes[places[0]].get("name", runs[places[0]])) for places in members.values()]
    return tuple(
        Setting(
            name=title if titles.count(title) == 1 else runs[places[0]],
            runs=tuple(runs[i] for i in places),
            seeds=tuple(recipes[i].get("seed") for i in places),
            miou=spread([miou[i] for i in places]),
        )
        for title, places in zip(titles, members.values(), strict=True)
    )


def _key(run: str, recipe: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    if not recipe:
        return f"run {run}"
    trained_on = facts.get("splits", {}).get("train", {}).get("sha256")
    return json.dumps([_without(recipe, NOT_OF_THE_SETTING), trained_on], sort_keys=True)


def _without(content: Mapping[str, Any], keys: Sequence[str], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without(value, keys, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in content.items()
        if f"{prefix}{key}" not in keys
    }
