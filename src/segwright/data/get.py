"""Downloading data sets: resumed where it stopped, verified, unpacked safely, opened by the reader once.

In the folder that a user names, DIR/NAME becomes the data set; DIR/.downloads holds archives and what is still coming
(`.part`); DIR/.segwright-get.json remembers the sha256 of every archive that was accepted. A data set appears under its
name when all of it is there and the reader has opened it, not before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.contracts import DataError, Dataset, UserError
from segwright.data.archives import extract
from segwright.data.sources import Archive, Source
from segwright.files import write_json
from segwright.labels import LabelSpace

if TYPE_CHECKING:
    import httpx2

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all; 0 where unknown)."""
Reader = Callable[[Path, str, LabelSpace], Dataset]
Showing = Callable[[str], AbstractContextManager[Progress]]
"""What is being done -> a context that shows its progress."""

ATTEMPTS = 6
"""Attempts in a row without a single new byte before a download is given up."""
DOWNLOADS = ".downloads"
RECORD = ".segwright-get.json"

_BLOCK = 1 << 20
_AGAIN = {408, 425, 429, 500, 502, 503, 504}


def fetch(
    name: str,
    source: Source,
    reader: Reader,
    labels: LabelSpace,
    folder: Path,
    *,
    showing: Showing,
    keep_archives: bool = False,
    pause: float = 1.0,
) -> dict[str, int]:
    """Download, verify and unpack a data set into folder/name, then open it; returns split -> pictures.

    reader, labels: those that open it. keep_archives: leave them in folder/.downloads. pause: seconds before the second
    attempt at a download; it doubles with each.
    Raises UserError when the network or the address does not answer, DataError for a wrong checksum, an archive that is
    not safe, or a data set that the reader does not find complete. What was downloaded stays for the next attempt.
    """
    target = folder / name
    if target.exists():
        return check_complete(name, source, reader, labels, target)
    downloads = folder / DOWNLOADS
    downloads.mkdir(parents=True, exist_ok=True)
    archives = {}
    for archive in source.archives:
        archives[archive] = downloads / archive.file
        if not archives[archive].is_file():
            with showing(f"downloading {archive.file}") as progress:
                part = download(archive.url, downloads / f"{archive.file}.part", progress=progress, pause=pause)
            with showing(f"verifying {archive.file}") as progress:
                verify(archive, part, folder / RECORD, source.page, progress=progress)
            part.replace(archives[archive])
            _note(part).unlink(missing_ok=True)
    staging = folder / f".{name}.unpacking"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for archive, path in archives.items():
            with showing(f"unpacking {archive.file}") as progress:
                extract(path, staging / archive.into if archive.into else staging, only=archive.only, progress=progress)
        found = check_complete(name, source, reader, labels, staging)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if not keep_archives:
        for path in archives.values():
            path.unlink(missing_ok=True)
        if not any(downloads.iterdir()):
            downloads.rmdir()
    return found


def missing_bytes(name: str, source: Source, folder: Path) -> int:
    """Free space that getting the data set still needs, about: archives that are not there, and all of it unpacked."""
    if (folder / name).exists():
        return 0
    need = source.unpacked
    for archive in source.archives:
        path = folder / DOWNLOADS / archive.file
        have = next((p.stat().st_size for p in (path, path.with_name(f"{path.name}.part")) if p.is_file()), 0)
        need += max(0, archive.size - have)
    return need


def check_complete(name: str, source: Source, reader: Reader, labels: LabelSpace, root: Path) -> dict[str, int]:
    """Split -> pictures, after the reader has listed them all and read one of each split.

    Raises DataError when pictures are missing, or more than there should be.
    """
    found: dict[str, int] = {}
    for split, expected in source.splits.items():
        try:
            dataset = reader(root, split, labels)
            found[split] = len(dataset)
            dataset[0]
        except UserError as error:  # a folder is missing
            raise DataError(f"{root} holds no complete {name}: {error} Remove it and get the data again.") from error
        if found[split] != expected:
            raise DataError(
                f"{root}: split '{split}' of {name} has {found[split]} pictures; it should have {expected}. "
                f"Remove the folder and get the data again, or compare with {source.page}."
            )
    return found


def download(url: str, part: Path, *, progress: Progress, pause: float = 1.0) -> Path:
    """Bring `url` into the file `part`, going on from the bytes that it has; returns `part`.

    Raises UserError for an address that does not answer, after ATTEMPTS attempts in a row without a new byte, or that
    refuses; the bytes that came stay in `part`.
    """
    import httpx2

    failures = 0
    timeout = httpx2.Timeout(30, connect=15)
    with httpx2.Client(timeout=timeout, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as client:
        while True:
            before = _size(part)
            try:
                if _receive(client, url, part, progress):
                    return part
                why = "the connection ended early"
            except httpx2.TransportError as error:
                why = f"{type(error).__name__}: {error}"
            except httpx2.HTTPError as error:
                raise UserError(f"{url}: cannot be downloaded ({type(error).__name__}: {error}).") from error
            except _Again as error:
                why = str(error)
            failures = 1 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                have = f" The same command goes on after the {_size(part):,} bytes in {part}." if before else ""
                raise UserError(
                    f"{url}: not downloaded in {ATTEMPTS} attempts ({why}). Is this machine offline, or does it need "
                    f"HTTPS_PROXY? Check the network, or try later.{have}"
                )
            time.sleep(pause * 2 ** (failures - 1))


class _Again(Exception):
    """The server is busy: try later."""


def _receive(client: httpx2.Client, url: str, part: Path, progress: Progress) -> bool:
    """One request; True when the file is complete. A file that has changed on the server starts again."""
    have, note = _size(part), _note(part)
    known = _read(note) if have else {}
    headers = {}
    if have and known.get("url") == url:
        headers["Range"] = f"bytes={have}-"
        if known.get("etag"):
            headers["If-Range"] = known["etag"]
    with client.stream("GET", url, headers=headers) as answer:
        if url.startswith("https:") and answer.url.scheme != "https":
            raise UserError(f"{url} leads to {answer.url}, which is not encrypted. Not downloaded.")
        if answer.status_code in _AGAIN:
            raise _Again(f"HTTP {answer.status_code}")
        if answer.status_code == 416:  # nothing behind the bytes that we have: complete, or another file
            if answer.headers.get("content-range") == f"bytes */{have}":
                return True
            part.unlink()
            return False
        if answer.status_code not in (200, 206):
            raise UserError(
                f"{url}: the server answers HTTP {answer.status_code}. The address may have changed: report it, and "
                "get the file by hand from the publisher's page."
            )
        resumed = answer.status_code == 206 and answer.headers.get("content-range", "").startswith(f"bytes {have}-")
        if answer.status_code == 206 and not resumed:
            part.unlink()
            return False
        start = have if resumed else 0
        length = answer.headers.get("content-length")
        total = start + int(length) if length else 0
        etag = answer.headers.get("etag", "")
        write_json(note, {"url": url, "etag": "" if etag.startswith("W/") else etag})
        try:
            with part.open("ab" if resumed else "wb") as out:
                for block in answer.iter_raw():
                    out.write(block)
                    start += len(block)
                    progress(start, total)
        except OSError as error:
            raise UserError(
                f"{part}: cannot be written: {error.strerror}. Make room and run the command again."
            ) from error
        return start >= total


def _note(part: Path) -> Path:
    """Beside the bytes: which address they came from, and which version of it."""
    return part.with_name(f"{part.name}.json")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{path}: is no longer what was written there ({error}). Remove it.") from error
    return found


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def verify(archive: Archive, path: Path, record: Path, page: str, *, progress: Progress) -> None:
    """Compare a downloaded file with the published checksum, or with what came the last time; remember what came.

    Raises DataError with both sums when they differ; the file is then renamed to *.wrong.
    """
    kind, _, expected = (archive.checksum or "sha256:").partition(":")
    found = checksums(path, {kind, "sha256"}, progress=progress)
    remembered = _read(record)
    origin = "published"
    if not expected:
        expected, origin = remembered.get(archive.url, {}).get("sha256", ""), f"written down in {record}"
    if expected and found[kind] != expected:
        aside = path.with_name(f"{path.name}.wrong")
        path.replace(aside)
        _note(path).unlink(missing_ok=True)
        raise DataError(
            f"{archive.url}: the {kind} of what came is {found[kind]}; {origin} is {expected}. The file was kept as "
            f"{aside}. Run the command again; if that fails, the publisher has changed the file: see {page}."
        )
    entry = {"sha256": found["sha256"], "bytes": path.stat().st_size, "checksum": archive.checksum}
    write_json(record, remembered | {archive.url: entry})


def checksums(path: Path, kinds: set[str], *, progress: Progress) -> dict[str, str]:
    """Kind (md5, sha1, sha256) -> hexadecimal sum of the file."""
    sums = {kind: hashlib.new(kind, usedforsecurity=False) for kind in sorted(kinds)}
    size, done = path.stat().st_size, 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            for one in sums.values():
                one.update(block)
            done += len(block)
            progress(done, size)
    return {kind: one.hexdigest() for kind, one in sums.items()}
