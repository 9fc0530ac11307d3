"""Packs: equal to the files, shared by content, replaced when outdated, the same batches for every loader."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from segwright import cli
from segwright.contracts import Dataset, UserError
from segwright.data.augment import standard
from segwright.data.loading import TrainLoader
from segwright.data.pack import Fit, Pack, clear_packs, list_packs, open_pack, packs_folder
from segwright.data.splits import Joined, Subset
from segwright.labels import LabelClass, LabelSpace

from .files import FOUR, mask, save
from .packs import NAMES, Reads, built, files, same, without_estimate, write_twelve


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_twelve(tmp_path / "data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "packs"


# equal to the files


def test_a_pack_holds_what_the_files_hold(root: Path, folder: Path) -> None:
    data = files(root)
    object.__setattr__(data.pairs[2], "weight", 0.25)
    progress: list[tuple[int, int]] = []
    pack = built(data, folder, progress=lambda *at: progress.append(at))
    assert same(pack, data)
    assert list(pack.groups) == list(data.groups)
    assert (pack.labels, pack[2].weight) == (FOUR, 0.25)
    assert progress[-1] == (12, 12)
    assert pack.damaged() == []
    sample = pack[4]
    assert sample.labels is not None
    assert sample.rgb.flags.c_contiguous
    for pixels in (sample.rgb, sample.labels):
        with pytest.raises(ValueError, match="read-only"):
            pixels[0] = 0
    with pytest.raises(IndexError):
        pack[12]


def test_real_pictures_come_back_exactly(camvid: Path, folder: Path) -> None:
    from segwright.data import CamVid
    from segwright.labels import load_label_space

    data = CamVid(camvid, "val", load_label_space("camvid11"))
    data.pairs = data.pairs[:6]
    data.names, data.groups = data.names[:6], data.groups[:6]
    assert same(built(data, folder), data)


def test_a_part_of_a_data_set_has_its_own_pack(root: Path, folder: Path) -> None:
    part = Subset(files(root), [7, 2, 3])
    assert same(built(part, folder), part)
    assert same(Subset(built(files(root), folder), [7, 2, 3]), part)


def test_splits_that_were_joined_and_divided_again_have_one_too(root: Path, folder: Path) -> None:
    joined = Joined({"train": files(root, split="train"), "all": files(root)})  # every training picture twice
    part = Subset(joined, [0, 3, len(joined) - 1])
    assert same(built(part, folder), part)
    other = LabelSpace(name="other", title="other", classes=FOUR.classes, ignored=FOUR.ignored)
    with pytest.raises(UserError, match="different readers or label spaces"):
        built(Joined({"a": files(root), "b": files(root, other)}), folder)


def test_multi_label_masks_are_kept(root: Path, folder: Path) -> None:
    classes = tuple(LabelClass(name=f"c{k}", values=(k, 3), color=(k, 0, 0)) for k in range(3))
    data = files(root, LabelSpace(name="many", title="many", classes=classes, exclusive=False))
    pack = built(data, folder)
    assert same(pack, data)
    labels = pack[3].labels
    assert labels is not None
    assert (labels.dtype, labels.shape) == (np.bool_, (3, 12, 30))


def test_a_crop_is_a_slice(root: Path, folder: Path) -> None:
    data = files(root)
    pack = built(data, folder)
    image, labels = pack.crop(3, (2, 5, 7, 20))
    np.testing.assert_array_equal(image, data[3].rgb[2:9, 5:25])
    np.testing.assert_array_equal(labels, data[3].labels[2:9, 5:25])  # type: ignore[index]
    image[0] = 0  # a copy
    for window in ((-1, 0, 2, 2), (0, 0, 13, 2), (0, 29, 1, 2), (0, 0, 0, 1)):
        with pytest.raises(UserError, match=r"leaves picture 12×30"):
            pack.crop(3, window)


def test_resized_packs_hold_averages_and_existing_labels(root: Path, folder: Path) -> None:
    data = files(root)
    small = built(data, folder, fit=Fit(short_side=10))
    assert small[0].rgb.shape == (10, 17, 3)
    exact = built(data, folder, fit=Fit(size=(8, 32)))
    for i in range(12):
        one, stored = exact[i], data[i]
        assert stored.labels is not None
        height, width = stored.labels.shape
        np.testing.assert_array_equal(one.rgb, cv2.resize(stored.rgb, (32, 8), interpolation=cv2.INTER_AREA))
        rows, columns = (np.arange(8) * 2 + 1) * height // 16, (np.arange(32) * 2 + 1) * width // 64
        assert (one.labels == stored.labels[rows[:, None], columns]).mean() > 0.8  # type: ignore[union-attr]
        assert set(np.unique(one.labels)) <= set(np.unique(stored.labels))  # type: ignore[arg-type]
    assert len({small.path, exact.path, built(data, folder).path}) == 3  # side by side
    with pytest.raises(UserError, match="exclude each other"):
        Fit(short_side=3, size=(3, 3))
    with pytest.raises(UserError, match="at least 1"):
        Fit(short_side=0)


# keyed by content


def test_copies_share_a_pack_and_nothing_is_read_twice(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)
    first = built(files(root), folder)
    assert len(reads.taken()) == 12
    assert built(files(root), folder).path == first.path
    copy = shutil.copytree(root, root.with_name("copy"))
    assert built(files(copy), folder).path == first.path
    for path in copy.rglob("*.png"):
        os.utime(path)  # touched: hashed again, found equal
    assert built(files(copy), folder).path == first.path
    assert reads.taken() == []
    assert len(list_packs(folder)) == 1


def test_a_changed_mask_is_found_and_only_that_sample_is_decoded(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_estimate(monkeypatch)
    data = files(root)
    before = built(data, folder)
    changed = root / "masks" / f"{NAMES[5]}.png"
    times = changed.stat()
    save(changed, mask(seed=99))
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))  # a tool that keeps the old date does not hide it
    reads, said = Reads(monkeypatch), list[str]()
    after = built(data, folder, said)
    assert reads.taken() == [NAMES[5]]
    assert after.path != before.path
    assert same(after, data)
    assert [p.path for p in list_packs(folder)] == [after.path]
    assert "have changed" in said[0]
    assert before.path.name in said[0]


def test_names_weights_labels_and_reader_belong_to_the_key(root: Path, folder: Path) -> None:
    data = files(root)
    first = built(data, folder)
    other_space = LabelSpace(name="other", title="other", classes=FOUR.classes[:4][::-1], ignored=FOUR.ignored)
    turned = built(files(root, other_space), folder)
    assert turned.path != first.path
    assert same(turned, files(root, other_space))
    assert first.path.is_dir()  # another label space replaces nothing
    object.__setattr__(data.pairs[0], "weight", 2.0)
    weighted = built(data, folder)
    assert (weighted[0].weight, weighted.path != first.path) == (2.0, True)


def test_splits_take_over_each_others_samples(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_estimate(monkeypatch)
    open_pack(files(root), of="all", folder=folder, say=print)
    reads = Reads(monkeypatch)
    train = files(root, split="train")
    assert same(open_pack(train, of="train", folder=folder, say=print), train)
    assert len(set(reads.taken())) <= len(train)
    assert len(list_packs(folder)) == 2


# loading from a pack


def test_workers_and_caches_give_the_same_batches_from_a_pack(root: Path, folder: Path) -> None:
    data = files(root)
    pack = built(data, folder)
    level = standard((10, 14))

    def batches(dataset: Dataset, **settings: Any) -> list[tuple[tuple[str, ...], bytes, bytes]]:
        with TrainLoader(dataset, level, batch=5, seed=3, **settings) as one:
            return [(b.names, b.image.numpy().tobytes(), b.labels.numpy().tobytes()) for b in one.epoch(1)]

    expected = batches(data, cache="none")
    assert not TrainLoader(pack, level, batch=5, seed=3).cached  # it is mapped already
    for dataset, cache in ((data, "memory"), (pack, "none"), (pack, "auto"), (pack, "memory")):
        for workers in (0, 1, 2):
            assert batches(dataset, cache=cache, workers=workers) == expected, (cache, workers)


def test_processes_open_a_pack_by_its_path(root: Path, folder: Path) -> None:
    pack = built(files(root), folder)
    assert len(pickle.dumps(pack)) < 1000
    assert same(pickle.loads(pickle.dumps(pack)), pack)
    sums = [int(total) for total in torch.utils.data.DataLoader(Items(pack), batch_size=None, num_workers=2)]
    assert sums == [int(pack[i].rgb.sum()) for i in range(12)]


class Items(torch.utils.data.Dataset[int]):
    def __init__(self, pack: Pack) -> None:
        self.pack = pack

    def __len__(self) -> int:
        return len(self.pack)

    def __getitem__(self, index: int) -> int:
        return int(self.pack[index].rgb.sum())


# the folder


def test_the_folder_is_the_systems_or_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEGWRIGHT_CACHE", str(tmp_path))
    assert packs_folder() == tmp_path / "packs"
    monkeypatch.delenv("SEGWRIGHT_CACHE")
    monkeypatch.setattr("segwright.data.pack.store.sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert packs_folder() == tmp_path / "xdg" / "segwright" / "packs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert packs_folder() == tmp_path / ".cache" / "segwright" / "packs"


def test_packs_are_listed_and_deleted_by_name(root: Path, folder: Path) -> None:
    assert list_packs(folder) == []
    one = built(files(root), folder)
    two = built(files(root), folder, fit=Fit(size=(8, 8)))
    listed = {p.name: p for p in list_packs(folder)}
    assert set(listed) == {one.path.name, two.path.name}
    facts = listed[two.path.name]
    assert (facts.of, facts.pictures, facts.label_space, facts.size) == ("test", 12, "four", "8×8")
    assert facts.nbytes > 12 * 8 * 8 * 4
    with pytest.raises(UserError, match=f"no pack '{one.path.name}x'.*Did you mean '{one.path.name}'"):
        clear_packs([one.path.name + "x"], folder)
    assert [p.name for p in clear_packs([one.path.name], folder)] == [one.path.name]
    assert [p.name for p in list_packs(folder)] == [two.path.name]
    assert [p.name for p in clear_packs(folder=folder)] == [two.path.name]
    assert [p for p in folder.iterdir() if p.suffix != ".lock"] == []
    assert same(two, two)  # what is open stays readable


# the verbs


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and everything printed by `segwright data WORDS`."""
    code = 0
    try:
        cli.main(["data", *words])
    except SystemExit as stop:
        code = int(stop.code or 0)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_the_verbs_pack_list_and_delete(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGWRIGHT_CACHE", str(tmp_path / "cache"))
    assert run(capsys, "packs") == (0, "no packs\n")
    code, text = run(capsys, "pack", str(root), "--json")
    packs = json.loads(text)
    assert (code, len(packs)) == (0, 2)
    assert [p["of"] for p in packs] == [f"paired_folders {split} in {root}" for split in ("train", "val")]
    assert sum(p["pictures"] for p in packs) == 12
    assert {Path(p["path"]).parent for p in packs} == {tmp_path / "cache" / "packs"}
    code, text = run(capsys, "pack", str(root), "--split", "all", "--size", "8x16", "--verify")
    assert (code, "8×16" in text) == (0, True)
    code, text = run(capsys, "packs")
    assert all(p["name"] in text for p in packs)
    assert run(capsys, "packs", packs[0]["name"], "--clear")[1].startswith("1 pack deleted")
    assert run(capsys, "packs", packs[0]["name"], "--clear")[0] == 2
    assert run(capsys, "packs", "--clear")[1].startswith("2 packs deleted")


def test_the_verbs_refuse_what_cannot_be(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGWRIGHT_CACHE", str(tmp_path / "cache"))
    for words, found in (
        (["--split", "nix"], "nix"),
        (["--size", "8by16"], "HEIGHTxWIDTH"),
        (["--size", "8x16", "--short-side", "8"], "exclude each other"),
    ):
        code, text = run(capsys, "pack", str(root), *words)
        assert (code, found in text) == (2, True), text
    (tmp_path / "cache").write_text("in the way")
    code, text = run(capsys, "pack", str(root))
    assert (code, "cannot be written" in text) == (2, True)
    next((root / "images").rglob("*.png")).write_bytes(b"")
    assert run(capsys, "pack", str(root))[0] == 3
