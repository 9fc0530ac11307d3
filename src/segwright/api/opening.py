"""A data set on disk as the data verbs take it: a folder, its name, its label space, settings of its reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.contracts import UserError

if TYPE_CHECKING:
    from segwright.data.pairs import PairedFiles
    from segwright.labels import LabelSpace


@dataclass(frozen=True, kw_only=True)
class OnDisk:
    """A data set on disk. name: of its reader; args: further arguments of the reader; splits: those it has."""

    name: str
    root: Path
    space: LabelSpace
    reader: type[PairedFiles]
    args: Mapping[str, Any]
    splits: tuple[str, ...]

    def open(self, split: str) -> PairedFiles:
        """One split. Raises UserError for a split that is not there, DataError for what is wrong with its files."""
        return self.reader(self.root, split, self.space, **self.args)


def open_data(
    root: str | Path, *, data: str | None = None, labels: LabelSpace | str | None = None, overrides: Sequence[str] = ()
) -> OnDisk:
    """Recognise a data set and find its label space.

    data: its name, recognised by the folders when None. labels: a label space, its name or a .yaml file; None means
    ROOT/labels.yaml, else the usual space of the data set, else one made from the masks of folders. overrides:
    `data.args.KEY=VALUE` texts for the reader.
    Raises UserError for a missing folder, an unknown layout, name, space or argument.
    """
    from segwright.build import check_args
    from segwright.data.check.examine import find_source
    from segwright.data.inspect import inspect_folder
    from segwright.recipe.loading import apply_override

    content: dict[str, Any] = {"data": {"args": {}}}
    for override in overrides:
        key = apply_override(content, override)
        if not key.startswith("data.args."):
            raise UserError(
                f"'{override}': only data.args.KEY=VALUE goes here, the reader's settings; {key} is a recipe's."
            )
    args = content["data"]["args"]
    source = find_source(Path(root), name=data, labels=labels)
    check_args(source.reader, args, "data.args", given=("root", "split", "labels"))
    splits = source.reader.splits(source.root, **args)
    space = source.space
    if space is None and source.name != "paired_folders":
        raise UserError(
            f"{root}: data set '{source.name}' has no usual label space: name one with --labels SPACE, or put a "
            "labels.yaml beside the data."
        )
    space = space or inspect_folder(source.root).labels
    return OnDisk(name=source.name, root=source.root, space=space, reader=source.reader, args=args, splits=splits)
