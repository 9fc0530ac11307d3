"""Unpacking: good archives come out whole, hostile ones leave nothing."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from segwright.contracts import DataError
from segwright.data import archives
from segwright.data.archives import extract

from .hostile_archives import CANARY, HOSTILE

CONTENT = {
    "top/images/a.png": os.urandom(3000),
    "top/images/ä b.png": b"",
    "top/list.txt": b"a\n" * 4000,
    "other/readme": b"hello",
}


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def write(path: Path) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.mkdir("top/")
            for name, data in CONTENT.items():
                zipped.writestr(name, data)
        return path
    mode = "w" if path.suffix == ".tar" else f"w:{path.suffix[1:]}"
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        for name, data in CONTENT.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o6777
            out.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_every_format_comes_out_byte_by_byte(tmp_path: Path, ending: str) -> None:
    archive = write(tmp_path / f"a{ending}")
    seen: list[tuple[int, int]] = []
    extract(archive, tmp_path / "out", progress=lambda *at: seen.append(at))
    assert {k: v for k, v in snapshot(tmp_path / "out").items() if v is not None} == CONTENT
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert all(0 <= done <= total == archive.stat().st_size for done, total in seen)
    assert all(p.stat().st_mode & 0o6111 == 0 for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name, "out"]


def test_one_folder_of_an_archive(tmp_path: Path) -> None:
    extract(write(tmp_path / "a.zip"), tmp_path / "new" / "out", only="top/images")
    assert set(snapshot(tmp_path / "new" / "out")) == {"a.png", "ä b.png"}
    with pytest.raises(DataError, match="holds no file below 'nowhere'"):
        extract(tmp_path / "a.zip", tmp_path / "none", only="nowhere")
    assert not (tmp_path / "none").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="there is something already"):
        extract(write(tmp_path / "a.tar"), tmp_path / "out")


def test_what_a_killed_process_left_does_not_come_in(tmp_path: Path) -> None:
    (tmp_path / ".out.unpacking").mkdir()
    (tmp_path / ".out.unpacking" / "stale").touch()
    extract(write(tmp_path / "a.tar"), tmp_path / "out")
    assert not (tmp_path / "out" / "stale").exists()


@pytest.mark.parametrize("trick", HOSTILE)
def test_hostile_archives_leave_nothing(tmp_path: Path, trick: str) -> None:
    (tmp_path / "store").mkdir()
    work = tmp_path / "deep" / "work"
    work.mkdir(parents=True)
    (work.parent / CANARY).write_text("untouched")
    archive = HOSTILE[trick](tmp_path / "store")
    before = snapshot(tmp_path)
    with pytest.raises(DataError) as caught:
        extract(archive, work / "out")
    assert snapshot(tmp_path) == before
    assert not Path("/tmp", CANARY).exists()
    assert str(archive) in str(caught.value)
    assert str(caught.value).isprintable()


def test_there_are_enough_tricks() -> None:
    assert len(HOSTILE) >= 25


def test_the_member_is_named(tmp_path: Path) -> None:
    for trick, said in (
        ("tar_parent", f"member '../{CANARY}' has the path part '..'"),
        ("tar_symlink", "member 'link' is a link; only files and folders"),
        ("tar_fifo", "member 'f' is a device or pipe"),
        ("zip_encrypted", "member 'secret.txt' is encrypted"),
        ("zip_duplicate", "needs 'good/first.txt', which is there already as a file"),
        ("zip_case", "member 'GOOD/second.txt' differs from 'good' only in case"),
        ("zip_bomb", f"member '{CANARY}' brings the content to"),
        ("zip_many_declared", "refused: 1,000,000 members; allowed are 500,000"),
        ("tar_cut_in_a_member", "ends|damaged"),
    ):
        folder = tmp_path / trick
        folder.mkdir()
        with pytest.raises(DataError, match=said.replace("(", r"\(")):
            extract(HOSTILE[trick](folder), folder / "out")


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    with pytest.raises(DataError, match="allowed are 2|more than 2 members"):
        extract(write(tmp_path / f"a{ending}"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path / "a.zip")
    real: Callable[..., io.IOBase] = Path.open

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    def full(self: Path, mode: str = "r", **more: object) -> io.IOBase:
        return Full() if mode == "xb" else real(self, mode, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DataError, match=r"member 'top/images/a\.png' cannot be written to .*No space left"):
        extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
