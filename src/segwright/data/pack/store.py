"""The folder that holds packs: where it is, what is in it, deleting, and one builder at a time."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segwright.contracts import UserError
from segwright.data.pack.fit import Fit
from segwright.data.pack.format import Pack, PackFault
from segwright.names import did_you_mean

Say = Callable[[str], None]
"""Called with a sentence for the user."""

BUILDING = ".building"
"""How the names of folders end that are still being written, or that a killed build left behind."""


def packs_folder() -> Path:
    """Where packs are kept: `packs` in $SEGWRIGHT_CACHE, else in the system's folder for caches; may not exist yet."""
    if given := os.environ.get("SEGWRIGHT_CACHE"):
        return Path(given).expanduser().absolute() / "packs"
    if sys.platform == "win32":
        caches = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "segwright" / "packs"


def in_words(data: str, split: str, root: Path | str | None, args: Mapping[str, Any]) -> str:
    """What a pack is of: data set, split, arguments of the reader, folder. A newer pack of the same replaces it."""
    settings = "".join(f" {name}={value}" for name, value in sorted(args.items()))
    return f"{data} {split}{settings} in {Path(root or '.').expanduser().resolve()}"


@dataclass(frozen=True, kw_only=True)
class PackFacts:
    """A pack in words. nbytes: on disk. fault: why it is not usable, empty when it is."""

    name: str
    path: Path
    nbytes: int
    of: str = ""
    pictures: int = 0
    label_space: str = ""
    size: str = ""
    made: str = ""
    fault: str = ""


def list_packs(folder: Path | None = None) -> list[PackFacts]:
    """Every pack in `folder` (the default one without it), unfinished and damaged ones too, by name."""
    return [facts_of(path) for path in _entries(folder or packs_folder())]


def clear_packs(names: Sequence[str] = (), folder: Path | None = None) -> list[PackFacts]:
    """Delete the packs of these names, or all of them with what is remembered beside them; returns what was deleted.

    Running trainings keep what they have opened. Raises UserError for a name that does not exist.
    """
    folder = folder or packs_folder()
    packs = list_packs(folder)
    for name in names:
        if name not in (known := [p.name for p in packs]):
            hint = did_you_mean(name, known)
            raise UserError(f"there is no pack '{name}' in {folder}.{hint} There are: {', '.join(known) or 'none'}.")
    chosen = [p for p in packs if not names or p.name in names]
    for pack in chosen:
        remove(pack.path)
    if not names and folder.is_dir():
        for path in [*folder.glob("digests-*.json"), *folder.glob(".*.lock"), *folder.glob(".*.tmp")]:
            path.unlink(missing_ok=True)
    return chosen


def remove(path: Path) -> None:
    """Delete a pack's folder; what cannot be deleted now (a file in use on Windows) stays."""
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def one_builder(folder: Path, name: str, say: Say) -> Iterator[None]:
    """Hold the lock of a pack: others who want to build it wait. It ends with the process, however that ends.

    Without file locks (Windows, some network disks) two builders both build, and one of the results is used.
    """
    with (folder / f".{name}.lock").open("a+b") as file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another process is building the pack {name}: waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                say(f"{folder} has no file locks ({error.strerror}): two builders at once would do the same work twice")
        yield


def leftovers(folder: Path, name: str) -> list[Path]:
    """Unfinished folders of one pack. Whoever holds its lock may delete them: nobody else is building it."""
    return sorted(folder.glob(f".{name}.*{BUILDING}"))


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.is_dir()]
    return sorted(p for p in found if p.name.endswith(BUILDING) or not p.name.startswith("."))


def facts_of(path: Path) -> PackFacts:
    """What the folder of one pack holds."""
    nbytes = sum(f.stat().st_size for f in path.iterdir() if f.is_file())
    if path.name.endswith(BUILDING):
        return PackFacts(name=path.name, path=path, nbytes=nbytes, fault="unfinished")
    try:
        pack = Pack(path)
    except PackFault as error:
        return PackFacts(name=path.name, path=path, nbytes=nbytes, fault=str(error))
    kept = pack.source["fit"]
    return PackFacts(
        name=path.name,
        path=path,
        nbytes=nbytes,
        of=pack.of,
        pictures=len(pack),
        label_space=pack.labels.name,
        size=str(Fit(short_side=kept["short_side"], size=kept["size"] and tuple(kept["size"]))),
        made=pack.made,
    )
