"""Data sets from their publishers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.showing import new_console
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.data.get import Progress
    from segwright.data.sources import Source

DATASETS_FOLDER = Path("datasets")


@dataclass(frozen=True)
class GetResult:
    """A data set that is there. path: its folder. splits: split -> pictures."""

    name: str
    path: Path
    splits: Mapping[str, int]


def get_data(
    name: str,
    *,
    into: str | Path = DATASETS_FOLDER,
    accept_licence: bool = False,
    keep_archives: bool = False,
    sources: Mapping[str, Source] | None = None,
    console: Console | None = None,
) -> GetResult:
    """Download a data set into INTO/NAME: resumed, verified, unpacked safely, opened once by its reader.

    accept_licence: its licence, which is printed first together with size and free space, has been read and accepted.
    keep_archives: leave the downloaded files in INTO/.downloads. sources: name -> where it comes from; the shipped ones
    (`segwright.data.sources.SOURCES`) when None.
    Raises UserError for an unknown name, a licence that is not accepted, a data set that has to be fetched by hand (the
    message says how), too little space or no network; DataError for a wrong checksum or archive. Running it again goes
    on where it stopped.
    """
    from segwright.data import DATASETS
    from segwright.data.get import fetch, missing_bytes
    from segwright.data.recognise import DEFAULT_LABELS
    from segwright.data.sources import MANUAL, SOURCES
    from segwright.labels import load_label_space
    from segwright.names import did_you_mean

    console = console or new_console()
    known = SOURCES if sources is None else sources
    if name in MANUAL and name not in known:
        raise UserError(_by_hand(name))
    if name not in known:
        hint = did_you_mean(name, [*known, *MANUAL])
        by_hand = ", ".join(MANUAL)
        raise UserError(f"cannot get '{name}'.{hint} There are: {', '.join(known)}; with registration: {by_hand}.")
    source, folder = known[name], Path(into).expanduser()
    need, free = missing_bytes(name, source, folder), _free(folder)
    sizes = f"{_gigabytes(source.size)}, unpacked {_gigabytes(source.unpacked)}; free in {folder}: {_gigabytes(free)}"
    lines = [source.title, f"licence   {source.licence}", f"from      {source.page}", f"download  {sizes}"]
    lines += [f"note      {source.note}"] if source.note else []
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    if not accept_licence and not (folder / name).exists():
        where = "" if folder == DATASETS_FOLDER else f" --into {folder}"
        raise UserError(
            f"'{name}' has a licence that you have to accept before it is downloaded: {source.licence}. "
            f"To accept: segwright data get {name}{where} --accept-licence"
        )
    if need > free:
        raise UserError(
            f"{folder}: getting '{name}' still needs about {_gigabytes(need)}; free are {_gigabytes(free)}. "
            "Make room, or name a folder on another disk with --into."
        )

    @contextmanager
    def showing(what: str) -> Iterator[Progress]:
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn())
        with Bar(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
        ) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total or None)

    labels = load_label_space(DEFAULT_LABELS[name])
    splits = fetch(name, source, DATASETS[name], labels, folder, showing=showing, keep_archives=keep_archives)
    return GetResult(name, folder / name, splits)


def _by_hand(name: str) -> str:
    from segwright.data.sources import MANUAL

    manual = MANUAL[name]
    files = ", ".join(manual.files)
    return (
        f"'{name}' cannot be downloaded for you. Licence: {manual.licence}. Get it at {manual.page}: {files}. "
        f"Unpack {manual.unpack}. Then: segwright data check DIR"
    )


def _free(folder: Path) -> int:
    import shutil

    existing = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    return shutil.disk_usage(existing).free


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
