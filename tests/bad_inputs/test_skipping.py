"""`data.skip_bad`: what cannot be read is left out and listed, and a data set that is mostly bad is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from segwright.contracts import DataError, UserError
from segwright.data import PairedFolders
from segwright.data.skipping import open_skipping, without_bad

from ..data.files import FOUR, mask, photo, save, write_pairs


def folder(root: Path, names: str = "abcdef") -> Path:
    return write_pairs(root, list(names))


def test_a_healthy_data_set_is_itself(tmp_path: Path) -> None:
    dataset = PairedFolders(folder(tmp_path), "all", FOUR)
    assert without_bad(dataset) == (dataset, ())


def test_bad_samples_are_left_out_and_listed(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "images" / "b.png").write_bytes(b"")
    save(tmp_path / "masks" / "d.png", mask(values=[0, 9]))
    save(tmp_path / "masks" / "e.png", mask(8, 8))
    dataset = PairedFolders(tmp_path, "all", FOUR)
    done: list[tuple[int, int]] = []
    kept, skipped = without_bad(dataset, lambda *at: done.append(at))
    assert done == [(i, 6) for i in range(1, 7)]
    assert list(kept.names) == ["a", "c", "f"]
    assert list(kept.groups) == ["a", "c", "f"]
    assert [kept[i].name for i in range(len(kept))] == ["a", "c", "f"]
    assert [s.name for s in skipped] == ["b", "d", "e"]
    assert all(str(tmp_path) in s.reason for s in skipped)


def test_files_without_partner_are_left_out_and_listed(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "masks" / "a.png").unlink()
    save(tmp_path / "images" / "C.png", photo())
    with pytest.raises(DataError):
        PairedFolders(tmp_path, "all", FOUR)
    dataset, skipped = open_skipping(PairedFolders, tmp_path, "all", FOUR)
    assert dataset.names == ("b", "c", "d", "e", "f")
    assert {s.name for s in skipped} == {""}
    assert any("a.png: the picture has no mask" in s.reason for s in skipped)
    assert isinstance(dataset, PairedFolders)
    assert without_bad(dataset) == (dataset, ())


def test_half_may_go_and_no_more(tmp_path: Path) -> None:
    folder(tmp_path)
    for name in "abc":
        (tmp_path / "images" / f"{name}.png").write_bytes(b"")
    dataset = PairedFolders(tmp_path, "all", FOUR)
    assert len(without_bad(dataset)[0]) == 3
    (tmp_path / "images" / "d.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"4 of 6 .*at most half.*data check(?s:.*a\.png.*and 1 more)"):
        without_bad(dataset)
    for name in "abcd":
        (tmp_path / "masks" / f"{name}.png").unlink()
    with pytest.raises(UserError, match="4 of 6"):
        open_skipping(PairedFolders, tmp_path, "all", FOUR)


def test_other_mistakes_stay_mistakes(tmp_path: Path) -> None:
    folder(tmp_path)
    with pytest.raises(UserError, match="unknown split"):
        open_skipping(PairedFolders, tmp_path, "tset", FOUR)
    with pytest.raises(UserError, match="val_fraction"):
        open_skipping(PairedFolders, tmp_path, "val", FOUR, val_fraction=2)
