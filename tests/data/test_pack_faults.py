"""Packs in trouble: damaged ones are mended, half ones never count, and no training needs one."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from segwright.contracts import DataError, UserError
from segwright.data.pack import CannotPack, Fit, Pack, list_packs, packed
from segwright.data.pack.format import IMAGES, INDEX, LABELS, PackFault, PackWriter

from .files import fake_dataset, write_pairs
from .packs import NAMES, Reads, built, files, same, without_estimate, write_twelve


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_twelve(tmp_path / "data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "packs"


# damaged and half-written


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def edit_index(path: Path, change: dict[str, Any]) -> None:
    index = json.loads((path / INDEX).read_text())
    (path / INDEX).write_text(json.dumps(index | change))


DAMAGES = {
    "no index": lambda p: (p / INDEX).unlink(),
    "index cut": lambda p: (p / INDEX).write_text((p / INDEX).read_text()[:100]),
    "index is a list": lambda p: (p / INDEX).write_text("[]"),
    "index without sizes": lambda p: edit_index(p, {"sizes": []}),
    "foreign format": lambda p: edit_index(
        p, {"source": json.loads((p / INDEX).read_text())["source"] | {"format": 99}}
    ),
    "foreign index": lambda p: edit_index(
        p, {"source": json.loads((p / INDEX).read_text())["source"] | {"groups": ["x"] * 12}}
    ),
    "pixels cut": lambda p: os.truncate(p / IMAGES, 700),
    "pixels longer": lambda p: os.truncate(p / IMAGES, 10**5),
    "no labels": lambda p: (p / LABELS).unlink(),
    "one bit of a picture": lambda p: damage(p / IMAGES, 5),
    "one bit of a mask": lambda p: damage(p / LABELS, 241),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_packs_are_built_again(kind: str, root: Path, folder: Path) -> None:
    data, said = files(root), list[str]()
    path = built(data, folder).path
    DAMAGES[kind](path)
    if kind.startswith("one bit"):
        assert list_packs(folder)[0].fault
    again = built(data, folder, said)
    assert (again.path, same(again, data), again.damaged()) == (path, True, [])
    assert len(said) == 1
    assert "damaged" in said[0]
    assert [p.fault for p in list_packs(folder)] == [""]


def test_verifying_finds_every_damaged_sample_and_decodes_only_those(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_estimate(monkeypatch)
    data = files(write_pairs(tmp_path / "many", [f"p{i:03d}" for i in range(40)]))
    path = built(data, folder).path
    damage(path / IMAGES, 12 * 20 * 3 * 7 + 3)  # samples 7 and 8 are not among those that opening looks at
    damage(path / LABELS, 12 * 20 * 8 + 3)
    assert Pack(path).damaged() == [7, 8]
    reads, said = Reads(monkeypatch), list[str]()
    again = built(data, folder, said, verify=True)
    assert reads.taken() == ["p007", "p008"]
    assert "2 damaged samples (p007, p008)" in said[0]
    assert again.damaged() == []
    assert same(again, data)


class Crash(BaseException):
    """What a killed process looks like to the code: nothing gets to clean up."""


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    monkeypatch.setattr("segwright.data.pack.build.remove", lambda _: None)  # nor does cleaning up happen
    for moment in ("add", "finish"):
        with monkeypatch.context() as patch:
            patch.setattr(PackWriter, moment, crash)
            with pytest.raises(Crash):
                built(files(root), folder)
    unfinished = list_packs(folder)
    assert [(p.fault, p.name.startswith(".")) for p in unfinished] == [("unfinished", True)] * 2
    for one in unfinished:
        with pytest.raises(PackFault):
            Pack(one.path)
    monkeypatch.undo()
    assert same(built(files(root), folder), files(root))
    assert len(list_packs(folder)) == 1  # the leftovers are gone


BUILDER = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from tests.data.files import FOUR
from segwright.data import PairedFolders
from segwright.data.pack import open_pack
from segwright.data.pack.format import PackWriter
add = PackWriter.add
def slow(self, sample):
    add(self, sample)
    print("added", flush=True)
    time.sleep({pause})
PackWriter.add = slow
data = PairedFolders(Path({root!r}), "all", FOUR)
pack = open_pack(data, of="x", folder=Path({folder!r}), say=lambda text: print(text, flush=True))
print("sound", len(pack), pack.damaged())
"""


def builder(root: Path, folder: Path, pause: float) -> subprocess.Popen[str]:
    code = BUILDER.format(
        tests=str(Path(__file__).resolve().parents[2]), root=str(root), folder=str(folder), pause=pause
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks: both build, one result is used")
def test_two_builders_do_not_disturb_each_other(root: Path, folder: Path) -> None:
    with builder(root, folder, 0.2) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "added\n"
        said = list[str]()
        pack = built(files(root), folder, said)  # waits for the other one, then uses its pack
        assert "sound 12 []" in first.stdout.read()
    assert "waiting" in said[0]
    assert same(pack, files(root))
    assert len(list_packs(folder)) == 1


def test_a_builder_that_is_killed_lets_the_next_one_build(root: Path, folder: Path) -> None:
    with builder(root, folder, 30) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "added\n"
        psutil.Process(first.pid).kill()
    assert [p.fault for p in list_packs(folder)] == ["unfinished"]
    assert same(built(files(root), folder), files(root))
    assert [p.fault for p in list_packs(folder)] == [""]


def test_threads_may_build_at_the_same_time(root: Path, folder: Path) -> None:
    found: list[Pack] = []
    threads = [threading.Thread(target=lambda: found.append(built(files(root), folder))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(same(pack, files(root)) for pack in found)
    assert len(list_packs(folder)) == 1


# never required


def test_a_full_disk_falls_back_to_the_files_and_says_so(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PackWriter, "add", full)
    said: list[str] = []
    data = packed(files(root), of="these pictures", fit=Fit(short_side=8), folder=folder, say=said.append)
    assert not isinstance(data, Pack)
    assert said[0].startswith("WARNING")
    assert all(words in said[0] for words in ("these pictures", "No space left on device", "SEGWRIGHT_CACHE"))
    assert list_packs(folder) == []
    with pytest.raises(CannotPack, match="No space left"):
        built(files(root), folder)
    monkeypatch.undo()
    assert same(packed(files(root), of="x", fit=Fit(short_side=8), folder=folder, say=said.append), data)


def test_too_little_space_is_seen_before_anything_is_written(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(root)._replace(free=100)
    monkeypatch.setattr("segwright.data.pack.build.shutil.disk_usage", lambda _: usage)
    with pytest.raises(CannotPack, match=r"needs about 0\.0 GB, and .* has 0\.0 GB free"):
        built(files(root), folder)
    assert list_packs(folder) == []


def test_a_folder_that_cannot_be_written_falls_back_too(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said: list[str] = []
    assert same(packed(files(root), of="x", folder=tmp_path / "file" / "packs", say=said.append), files(root))
    assert "WARNING" in said[0]


def test_an_existing_pack_is_used_from_a_read_only_folder(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = built(files(root), folder).path

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("segwright.data.pack.identity.write_json", refuse)
    monkeypatch.setattr("segwright.data.pack.build.one_builder", refuse)
    next(folder.glob("digests-*.json")).unlink()
    assert built(files(root), folder).path == path


def test_bad_files_are_all_listed_and_no_pack_is_left(root: Path, folder: Path) -> None:
    for i in (2, 9):
        (root / "images" / f"{NAMES[i]}.png").write_bytes(b"no picture")
    data = files(root)
    with pytest.raises(DataError, match=r"2 of 12 samples(.|\n)*p02\.png(.|\n)*p09\.png"):
        packed(data, of="x", folder=folder, say=print)
    (root / "masks" / f"{NAMES[4]}.png").unlink()
    with pytest.raises(DataError, match=r"1 of 12 samples(.|\n)*p04\.png"):
        packed(data, of="x", folder=folder, say=print)
    assert list_packs(folder) == []


def test_generated_data_and_empty_splits_are_refused(root: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="not read from picture files"):
        packed(fake_dataset(3), of="x", folder=folder, say=print)
    empty = files(root)
    empty.pairs = empty.names = empty.groups = ()
    with pytest.raises(UserError, match="no pictures to pack"):
        packed(empty, of="x", folder=folder, say=print)
