"""Packs: decoded pictures kept on disk for fast training, listed and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.opening import open_data
from segwright.api.showing import counting, new_console

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.data.pack import PackFacts
    from segwright.labels import LabelSpace


def pack_data(
    root: str | Path,
    overrides: Sequence[str] = (),
    *,
    data: str | None = None,
    labels: LabelSpace | str | None = None,
    splits: Sequence[str] = (),
    short_side: int | None = None,
    size: tuple[int, int] | None = None,
    folder: str | Path | None = None,
    verify: bool = False,
    console: Console | None = None,
) -> list[PackFacts]:
    """Decode splits into packs, or mend the packs that they have; returns what there is then, one item a split.

    overrides, data, labels: as for `data_statistics`. splits: all but `all` when empty.
    short_side: larger pictures shrink to this shorter side; size: (height, width) of every picture. folder: where packs
    are kept; trainings look only in the default one. verify: compare all checksums with packs that exist already.
    Raises UserError for a missing folder, unknown names and a disk that is full; DataError listing unreadable files.
    """
    from segwright.data.pack import Fit, facts_of, in_words, open_pack

    console = console or new_console()
    fit = Fit(short_side=short_side, size=size)
    found = open_data(root, data=data, labels=labels, overrides=overrides)
    packs = []
    for split in splits or [s for s in found.splits if s != "all"] or found.splits:
        with counting(console, f"packing {split}") as progress:
            pack = open_pack(
                found.open(split),
                of=in_words(found.name, split, found.root, found.args),
                fit=fit,
                folder=None if folder is None else Path(folder).absolute(),
                verify=verify,
                progress=progress,
                say=lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
            )
        packs.append(facts_of(pack.path))
    return packs


def list_packs(folder: str | Path | None = None) -> list[PackFacts]:
    """All packs in the folder that keeps them, damaged and unfinished ones too."""
    from segwright.data.pack import list_packs as found

    return found(None if folder is None else Path(folder))


def clear_packs(names: Sequence[str] = (), *, folder: str | Path | None = None) -> list[PackFacts]:
    """Delete packs by name, or all of them; returns what was deleted. Raises UserError for an unknown name.

    Nothing is lost but time: whoever needs a pack again builds it.
    """
    from segwright.data.pack import clear_packs as clear

    return clear(names, None if folder is None else Path(folder))
