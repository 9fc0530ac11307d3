"""Opening a data set's pack, and building it where there is none, an outdated one or a damaged one."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segwright.contracts import DataError, Dataset, Sample, UserError
from segwright.data.cache import estimated_bytes
from segwright.data.pack.fit import Fit, Fitted
from segwright.data.pack.format import Pack, PackFault, PackWriter, Progress, key_of
from segwright.data.pack.identity import describe
from segwright.data.pack.store import BUILDING, Say, leftovers, one_builder, packs_folder, remove
from segwright.data.pairs import refuse_unreadable
from segwright.data.prefetch import Check, prefetched

_SAME_READING = ("format", "decoder", "reader", "fit", "label_space")
"""What two packs must have in common so that equal files give equal samples."""


class CannotPack(UserError):
    """A pack cannot be written here: disk full, no permission. The files can still be read."""


def packed(
    dataset: Dataset,
    *,
    of: str,
    fit: Fit | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    say: Say,
) -> Dataset:
    """The pack of a data set; where it cannot be written, `say` tells why, and the data set is read from its files.

    Either way the samples hold the same pixels. Arguments and errors: open_pack, but for CannotPack.
    """
    fit = fit or Fit()
    try:
        return open_pack(dataset, of=of, fit=fit, folder=folder, progress=progress, say=say)
    except CannotPack as error:
        say(f"WARNING: no pack, so every epoch decodes all files again, which is slower: {error}")
        return Fitted(dataset, fit)


def open_pack(
    dataset: Dataset,
    *,
    of: str,
    fit: Fit | None = None,
    folder: Path | None = None,
    verify: bool = False,
    progress: Progress | None = None,
    say: Say,
) -> Pack:
    """The pack of a data set read from files; built when there is none for exactly these files, names and label space.

    of: data set, split, folder and arguments in words; an older pack of the same words, size and label space is
    replaced, and what has not changed is taken over from it. fit: size at which pictures are kept.
    folder: where packs are kept, `packs_folder()` without it. verify: compare all checksums instead of a few.
    progress: called with (done, total). say: called with what the user should know.
    Raises UserError for data that is not read from files; DataError listing all files that cannot be read; CannotPack.
    """
    fit, folder = fit or Fit(), folder or packs_folder()
    if len(dataset) == 0:
        raise UserError(f"{of}: there are no pictures to pack.")
    source = describe(dataset, fit, folder, progress)
    name = key_of(source)[:16]
    if pack := _whole(folder / name, verify, say, progress):
        return pack
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with one_builder(folder, name, say):
            if pack := _whole(folder / name, verify, lambda _: None, progress):
                return pack  # another process was quicker
            return _build(Fitted(dataset, fit), source, folder / name, of, progress, say)
    except OSError as error:
        raise CannotPack(
            f"the pack of {of} cannot be written to {folder} ({error.strerror or error}). Free some space there, or "
            "name another folder in the environment variable SEGWRIGHT_CACHE."
        ) from error


def _whole(path: Path, verify: bool, say: Say, progress: Progress | None) -> Pack | None:
    """The pack in this folder, or None where there is none or a damaged one."""
    if not path.is_dir():
        return None
    try:
        pack = Pack(path)
    except PackFault as error:
        say(f"the pack {path} is damaged: {error}. Building it again.")
        return None
    if verify and (bad := pack.damaged(progress=progress)):
        names = ", ".join(pack.names[i] for i in bad[:8]) + (", …" if len(bad) > 8 else "")
        say(f"the pack {path} has {len(bad)} damaged sample{'s' * (len(bad) != 1)} ({names}). Mending it.")
        return None
    return pack


def _build(
    samples: Dataset, source: dict[str, Any], target: Path, of: str, progress: Progress | None, say: Say
) -> Pack:
    folder, name = target.parent, target.name
    for path in leftovers(folder, name):
        remove(path)
    _need_space(samples, folder, of)
    temporary = folder / f".{name}.{secrets.token_hex(4)}{BUILDING}"
    temporary.mkdir()
    try:
        outdated = _fill(temporary, samples, source, of, progress)
        _put(temporary, target)
    except BaseException:
        remove(temporary)
        raise
    for path in outdated:
        if path != target:
            say(f"the pictures, masks or their list have changed: the pack {path.name} is replaced by {name}")
            remove(path)
    return Pack(target)


def _fill(temporary: Path, samples: Dataset, source: dict[str, Any], of: str, progress: Progress | None) -> list[Path]:
    """Write all files of a pack; samples whose files other packs already hold are taken from there.

    Returns the packs that this one replaces.
    """
    related = _related(temporary.parent, source)
    known = {digest: (pack, i) for pack in related for i, digest in enumerate(pack.source["digests"])}

    def read(index: int) -> Sample:
        pack, kept = known.get(source["digests"][index], (None, 0))
        if pack is None or pack.damaged([kept]):
            return samples[index]
        return replace(pack[kept], name=source["names"][index], weight=source["weights"][index])

    writer = PackWriter(temporary)
    try:
        _write(writer, read, len(samples), progress)
        writer.finish(source, of=of, made=datetime.now(UTC).isoformat(timespec="seconds"))
    finally:
        writer.close()
    return [pack.path for pack in related if pack.of == of]


def _write(writer: PackWriter, read: Callable[[int], Sample], count: int, progress: Progress | None) -> None:
    """All samples in order, decoded a few ahead in threads: memory does not grow with the data set."""

    def job(index: int) -> Callable[[Check], Sample | DataError]:
        def attempt(_: Check) -> Sample | DataError:
            try:
                return read(index)
            except DataError as error:
                return error

        return attempt

    threads = min(8, os.cpu_count() or 1)
    problems: list[str] = []
    samples = prefetched(map(job, range(count)), ready=threads, threads=threads)
    with closing(samples):
        for done, sample in enumerate(samples, start=1):
            if isinstance(sample, DataError):
                problems.append(str(sample))
            elif not problems:  # after a bad file only the other bad ones are looked for
                writer.add(sample)
            if progress is not None:
                progress(done, count)
    refuse_unreadable(problems, count)


def _related(folder: Path, source: dict[str, Any]) -> list[Pack]:
    """Packs of the same reading: their samples can be taken over wherever the files are equal."""
    found = []
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        try:
            pack = Pack(path, probes=0)
        except PackFault:
            continue
        if all(pack.source.get(fact) == source[fact] for fact in _SAME_READING):
            found.append(pack)
    return found


def _need_space(samples: Dataset, folder: Path, of: str) -> None:
    need, free = estimated_bytes(samples), shutil.disk_usage(folder).free
    if need > free:
        raise CannotPack(
            f"the pack of {of} needs about {need / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free. Free some "
            "space, name another folder in the environment variable SEGWRIGHT_CACHE, or pack smaller pictures."
        )


def _put(temporary: Path, target: Path) -> None:
    """Rename a finished pack into its place. A damaged one that stands there goes; a whole one is as good as this."""
    if target.is_dir():
        aside = temporary.with_name(f"{temporary.name[: -len(BUILDING)]}-old{BUILDING}")
        target.rename(aside)
        temporary.rename(target)
        remove(aside)
    else:
        temporary.rename(target)
