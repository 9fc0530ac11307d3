"""A few pictures of CamVid as a data set of their own: recipe keys for a training that has short epochs."""

from __future__ import annotations

from pathlib import Path


def camvid_names(root: Path, split: str) -> tuple[str, ...]:
    """The names of CamVid's pictures in a split."""
    from segwright.data import CamVid
    from segwright.labels import load_label_space

    return tuple(CamVid(root, split, load_label_space("camvid11")).names)


def few_pictures(root: Path, count: int, folder: Path) -> list[str]:
    """Recipe keys: train on the first `count` pictures of train, validate on one of val. folder: for the split file."""
    from segwright.data.splits import SplitFile, write_splits

    train, val = camvid_names(root, "train"), camvid_names(root, "val")
    parts = {"few": train[:count], "one": val[:1]}
    splits = SplitFile(
        seed=0, method="random", data="camvid", source_splits=("train", "val"), splits=parts,
        unused=(*train[count:], *val[1:]),
    )  # fmt: skip
    write_splits(folder / "few.json", splits)
    return [f"data.root={root}", f"data.split_file={folder / 'few.json'}", "data.train=few", "data.val=one"]
