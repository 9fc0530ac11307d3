"""Unpacking archives that nobody has checked: .zip and .tar (plain, .gz, .bz2, .xz).

Only plain files and folders come out, and only inside the target. Refused, with the member's name, before that member
is written: paths that leave the target (`..`, absolute, drive letters, backslashes), links of every kind, devices and
pipes, encrypted members, names that occur twice or differ only in case or in Unicode form, more members than
MAX_MEMBERS or than suit the archive's size, and archives that grow more than MAX_RATIO times. Permissions and owners
are not taken over.

An archive is unpacked into a temporary folder beside the target, which is renamed when all is done: half an unpacked
archive never looks whole.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from segwright.contracts import DataError

MAX_MEMBERS = 500_000
"""COCO's pictures are 118,287."""
MIN_MEMBERS, MEMBER_BYTES = 10_000, 100
"""Up to MIN_MEMBERS always; beyond, one for every MEMBER_BYTES of archive: a million empty files are no data set."""
MAX_RATIO = 100
"""Bytes that may come out of one byte of archive; pictures hardly shrink, lists of names shrink about tenfold."""
MIN_GROWTH = 16 << 20
"""Bytes that may always come out: a small archive of small text files may shrink a lot."""

Progress = Callable[[int, int], None]
"""Called with (bytes read, bytes in all)."""

_COPY = 1 << 20
_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, struct.error),
    *(EOFError, ValueError, RuntimeError),
)
"""What the standard library raises for damaged archives and for compressions that it does not know."""
_ZIP_TAIL = 1 << 17  # the record at the end of a .zip, its longest comment, and the zip64 record before it


@dataclass(frozen=True)
class _Member:
    """One entry of an archive.

    kind: `file`, `folder`, or what it is instead. size: bytes it is said to have. end: where in the archive it ends.
    """

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes]]
    end: int


def extract(archive: Path, target: Path, *, only: str = "", progress: Progress | None = None) -> None:
    """Unpack `archive` into the new folder `target`.

    only: take the members below this folder of the archive, without it in their paths; the others are checked too.
    Raises DataError, naming archive and member, for everything that the top of this file lists, a damaged archive, a
    full disk, or when nothing lies below `only`; `target` then does not exist.
    """
    if target.exists():
        raise DataError(f"{target}: there is something already. Remove it, or choose another folder.")
    staging = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)  # of a killed process
    staging.mkdir(parents=True)
    try:
        written = _unpack(archive, staging, PurePosixPath(only).parts, progress)
        if not written:
            raise DataError(f"{archive}: the archive holds no file below '{only or '.'}'. It is not the one expected.")
        staging.rename(target)
    except OSError as error:
        if error.errno is None:  # the decompressor's, not the file system's
            raise _damaged(archive, error) from error
        raise DataError(f"{archive}: cannot be unpacked to {target}: {error}.") from error
    except _BROKEN as error:
        raise _damaged(archive, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack(archive: Path, staging: Path, only: tuple[str, ...], progress: Progress | None) -> int:
    """Write the members; returns how many files."""
    size = archive.stat().st_size
    allowed = max(MIN_GROWTH, MAX_RATIO * size)
    most = min(MAX_MEMBERS, MIN_MEMBERS + size // MEMBER_BYTES)
    seen: dict[str, tuple[str, str]] = {}
    count = written = total = 0
    for member in _members(archive):
        count, total = count + 1, total + member.size
        if count > most:
            raise _refused(
                archive, member.name, f"is one of more than {most:,} members, too many for the archive's size"
            )
        if total > allowed:
            raise _refused(
                archive, member.name, f"brings the content to {total:,} bytes, over {MAX_RATIO} times the archive's"
            )
        if member.kind not in ("file", "folder"):
            raise _refused(archive, member.name, f"is {member.kind}; only files and folders are unpacked")
        parts = _safe_parts(archive, member)
        _remember(archive, parts, member, seen)
        if parts[: len(only)] == only and len(parts) > len(only):
            written += _write(archive, member, staging.joinpath(*parts[len(only) :]))
        if progress is not None:
            progress(min(member.end, size), size)
    return written


def _safe_parts(archive: Path, member: _Member) -> tuple[str, ...]:
    """The folders and the file name of a member. Refuses every name that could mean a place outside the target."""
    name = member.name
    if not name.isprintable():
        raise _refused(archive, name, "has characters in its name that cannot be shown")
    if "\\" in name or ":" in name:
        raise _refused(archive, name, "has a backslash or a colon in its name: a path or a drive of Windows")
    if name.startswith("/"):
        raise _refused(archive, name, "has an absolute path")
    parts = tuple(p for p in name.split("/") if p not in ("", "."))
    for part in parts:
        if part[-1] in ". ":
            raise _refused(archive, name, f"has the path part '{part}': it leads upwards, or Windows cuts its end")
    if not parts and member.kind == "file":
        raise _refused(archive, name, "is a file without a name")
    return parts


def _remember(archive: Path, parts: tuple[str, ...], member: _Member, seen: dict[str, tuple[str, str]]) -> None:
    """Note the member and its folders. Refuses two that are one on some file system, and files that are folders."""
    for depth in range(1, len(parts) + 1):
        path, kind = "/".join(parts[:depth]), member.kind if depth == len(parts) else "folder"
        key = unicodedata.normalize("NFC", path).casefold()
        if key not in seen:
            seen[key] = (path, kind)
        elif seen[key][0] != path:
            raise _refused(archive, member.name, f"differs from '{seen[key][0]}' only in case or in Unicode form")
        elif "file" in (kind, seen[key][1]):
            raise _refused(archive, member.name, f"needs '{path}', which is there already as a {seen[key][1]}")


def _write(archive: Path, member: _Member, path: Path) -> int:
    """Make the folder or write the file, exactly as many bytes as it is said to have; returns the number of files."""
    left = member.size
    try:
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            return 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, path.open("xb") as copy:
            while left > 0 and (block := source.read(min(_COPY, left))):
                copy.write(block)
                left -= len(block)
    except OSError as error:
        if error.errno is None:  # the decompressor's, not the file system's
            raise
        raise DataError(f"{archive}: member '{member.name}' cannot be written to {path}: {error.strerror}.") from error
    if left:
        raise _refused(archive, member.name, f"ends {left:,} bytes early")
    return 1


def _members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    return _zip_members(archive) if zipped else _tar_members(archive)


def _zip_members(archive: Path) -> Iterator[_Member]:
    declared = _declared_members(archive)
    if declared > MAX_MEMBERS:  # before the list of members fills the memory
        raise DataError(f"{archive}: refused: {declared:,} members; allowed are {MAX_MEMBERS:,}.")
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)
            kind = "folder" if info.is_dir() else "file"
            if info.flag_bits & 1:
                kind = "encrypted"
            elif mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "a link" if mode == stat.S_IFLNK else "a device or pipe"
            yield _Member(
                name=info.orig_filename,  # filename may be cut and have its separators changed
                size=info.file_size,
                kind=kind,
                open=partial(opened.open, info),
                end=info.header_offset + info.compress_size,
            )


def _declared_members(archive: Path) -> int:
    """How many members a .zip says it has, from the record at its end."""
    with archive.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _ZIP_TAIL))
        tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    (count,) = struct.unpack_from("<H", tail, at + 10)
    wide = tail.rfind(b"PK\x06\x06", 0, at)  # zip64: the count does not fit into 16 bits
    return int(struct.unpack_from("<Q", tail, wide + 32)[0]) if count == 0xFFFF and wide >= 0 else int(count)


def _tar_members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as opened:
        for info in opened:
            kind = "folder" if info.isdir() else "file" if info.isreg() and not info.issparse() else _tar_kind(info)
            yield _Member(
                name=info.name, size=info.size, kind=kind, open=partial(_tar_stream, opened, info), end=raw.tell()
            )


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.islnk() or info.issym():
        return "a link"
    return "a sparse file" if info.issparse() else "a device or pipe"


def _tar_stream(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = opened.extractfile(tarfile.data_filter(info, "."))
    if stream is None:
        raise tarfile.ReadError(f"'{info.name}' has no content")
    return stream


def _damaged(archive: Path, error: Exception) -> DataError:
    found = f"{type(error).__name__}: {error}".splitlines()[0]  # tarfile says what each format found
    return DataError(f"{archive}: the archive is damaged, or no .zip or .tar ({found}). Download it again.")


def _refused(archive: Path, name: str, why: str) -> DataError:
    shown = name if name.isprintable() else ascii(name)
    return DataError(
        f"{archive}: refused: member '{shown[:200]}' {why}. Nothing was kept. Get the archive from its publisher again."
    )
