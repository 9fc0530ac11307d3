"""What a training reads: its data sets opened, bad files left out where that was asked for, kept where the recipe says."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console

from segwright.build import build_augmentation, build_dataset, build_scored_set, build_training_set
from segwright.contracts import Dataset, UserError
from segwright.data.cache import MemoryCache, fits_in_memory
from segwright.data.loading import TrainLoader
from segwright.data.pack import packed
from segwright.data.pack.store import in_words
from segwright.data.skipping import Skipped
from segwright.inference.sharding import WHOLE, Shard
from segwright.labels import LabelSpace
from segwright.recipe import Data, Recipe, Source
from segwright.training.progress import Counting


class Reading:
    """The data of one run.

    loader: what is trained on, in the model's label space. validation: in the scored one.
    shard: this process of those that train together.
    skipped: split -> what `skip_bad` left out. notes: what the readers want the user to know.
    Raises UserError for an empty split and data that does not suit the recipe, DataError naming every bad file.
    """

    def __init__(
        self,
        recipe: Recipe,
        space: LabelSpace,
        scored: LabelSpace,
        *,
        stride: int,
        device: str,
        console: Console,
        shard: Shard = WHOLE,
    ) -> None:
        self.recipe, self.console, self.shard = recipe, console, shard
        self.cache = recipe.data.cache
        if self.cache == "device" and device == "cpu":
            self.cache = "memory"
            console.print(
                "data.cache=device: the device is the processor, so pictures are kept in memory (data.cache=memory)"
            )
        self.skipped: dict[str, list[Skipped]] = {}
        self.notes: list[str] = []
        mixture = build_training_set(recipe, space, self._opened)
        self.validation = self._kept(build_scored_set(recipe.data, recipe.data.val, scored, self._opened))
        self.loader = self._loader(mixture.dataset, mixture.membership_LK, stride, device)
        with Counting(console, "reading pictures") as progress:
            self.loader.preload(progress)

    def facts(self) -> dict[str, Any]:
        """Plain data for the run: what was left out, and the notes."""
        skipped = {split: [asdict(one) for one in left_out] for split, left_out in self.skipped.items()}
        return {"skipped": skipped, "notes": self.notes}

    def _opened(self, data: Data | Source, split: str, space: LabelSpace) -> Dataset:
        left_out: list[Skipped] = []
        with Counting(self.console, f"looking for bad files in {split}") as progress:
            dataset = build_dataset(data, split, space, skipped=left_out, progress=progress)
        if len(dataset) == 0:
            raise UserError(f"split '{split}' of {data.name} in {data.root} holds no pictures.")
        notes = [*getattr(dataset, "notes", ())]
        if left_out:
            self.skipped.setdefault(f"{data.name} {split}", []).extend(left_out)
            notes.append(f"{data.name} {split}: {len(left_out)} bad files left out (skip_bad); the report lists them")
        for note in notes:
            self._say(f"note: {note}")
        self.notes += notes
        if self.cache == "pack" or (self.cache == "device" and data.root is not None):
            parts = {"split_file": data.split_file} if isinstance(data, Data) and data.split_file else {}
            of = in_words(data.name, split, data.root, data.args | parts)
            with Counting(self.console, f"packing {split}") as progress:
                return packed(dataset, of=of, progress=progress, say=self._say)
        return dataset

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def _kept(self, dataset: Dataset) -> Dataset:
        keep = self.cache == "memory" or (self.cache == "auto" and fits_in_memory(dataset))
        return MemoryCache(dataset) if keep else dataset

    def _loader(self, dataset: Dataset, membership_LK: Any, stride: int, device: str) -> TrainLoader:
        recipe = self.recipe
        augmentation = build_augmentation(recipe, stride)
        shared = {"batch": recipe.training.batch_size, "seed": recipe.seed, "membership_LK": membership_LK}
        shared |= {"rank": self.shard.index, "ranks": self.shard.count}
        if self.cache == "device":
            from segwright.data.device import DeviceLoader

            return DeviceLoader(dataset, augmentation, device=device, **shared)
        return TrainLoader(
            dataset,
            augmentation,
            workers=recipe.training.workers,
            cache="none" if self.cache == "pack" else self.cache,
            pin=device.startswith("cuda"),
            **shared,
        )
