"""The run folder: `runs/NAME/` with recipe, environment, data fingerprint, metrics, checkpoints and report."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segwright.contracts import DataError, UserError
from segwright.files import remove_leftovers, write_json, write_text
from segwright.names import did_you_mean
from segwright.shipped import SHIPPED, is_shipped, shipped_file

LONGEST_NAME = 255  # bytes of one file name, on nearly every file system
ADJECTIVES = (
    "amber bold brisk calm clear crisp deep fair fleet gentle keen light lucid mellow quiet rapid silver swift vivid warm"
).split()
ANIMALS = (
    "badger crane dolphin egret falcon finch fox hare heron ibex kite lark lynx marten otter owl puffin raven seal wren"
).split()


@dataclass(frozen=True)
class Run:
    """Paths of one run, and reading and writing what lies there. Every write is atomic."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def last(self) -> Path:
        """Everything that training needs to go on."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def previous(self) -> Path:
        """The checkpoint before the last one: what is used when the last one is damaged."""
        return self.path / "checkpoints" / "previous.safetensors"

    @property
    def best(self) -> Path:
        """The model with the best validation score: what `evaluate` and `predict` use."""
        return self.path / "checkpoints" / "best.safetensors"

    def write_json(self, name: str, content: Any) -> Path:
        return write_json(self.path / name, content)

    def read_json(self, name: str) -> Any:
        """Content of a JSON file of the run; {} where it is missing. Raises DataError when it is damaged."""
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DataError(
                f"{path} is damaged ({error}); remove it and run the command that wrote it again."
            ) from None

    def append_metrics(self, *rows: dict[str, Any]) -> int:
        """Append rows to metrics.jsonl, on disk before this returns. Returns the length of the file in bytes.

        Raises UserError when the disk is full or not writable.
        """
        text = "".join(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows)
        try:
            with self.metrics_file.open("a", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                return file.tell()
        except OSError as error:
            raise UserError(
                f"{self.metrics_file} could not be written: {error.strerror}. {len(text.encode())} bytes are needed, "
                f"{free_space(self.path)}. The checkpoints are unharmed. Free some space, then resume the run."
            ) from None

    def truncate_metrics(self, length: int) -> None:
        """Drop rows written after the checkpoint that training resumes from: they will be written again."""
        if self.metrics_file.exists():
            with self.metrics_file.open("r+b") as file:
                file.truncate(length)

    def metrics(self) -> list[dict[str, Any]]:
        """All complete rows of metrics.jsonl; a half-written last row is left out."""
        if not self.metrics_file.exists():
            return []
        rows = []
        for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def clean(self) -> None:
        """Remove temporary files that a killed process left behind."""
        for folder in (self.path, self.path / "checkpoints", self.path / "evaluation"):
            if folder.is_dir():
                remove_leftovers(folder)


def free_space(folder: Path) -> str:
    """How much the disk of a folder has free, in words."""
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB are free"
    except OSError as error:
        return f"how much is free is not known ({error.strerror})"


def check_place(folder: Path, *, need: int = 0, names: Sequence[str] = ()) -> None:
    """Write a small file where runs will be, flush it, rename it and remove it; a folder that is missing is not made.

    need: bytes that have to be free. names: file names that will be used there.
    Raises UserError for a place that cannot be written, names that are too long, and a disk that is too full.
    """
    for name in names:
        if (length := len(os.fsencode(name))) > LONGEST_NAME:
            raise UserError(
                f"the name '{name[:40]}…' has {length} bytes; file systems allow {LONGEST_NAME}. Choose a shorter one."
            )
    try:
        place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        probe = place / ".segwright-write-probe"
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        write_text(probe, "probe")
        probe.unlink()
        disk = shutil.disk_usage(place)
    except OSError as error:
        raise UserError(
            f"nothing can be written under {folder}: {error.strerror}. A training needs that: make it writable, or "
            "choose another folder with --runs DIR."
        ) from None
    if disk.total and disk.free < need:  # some network disks do not say what they hold
        raise UserError(
            f"the disk of {folder} has {disk.free / 1e6:.0f} MB free; the checkpoints of this training need about "
            f"{need / 1e6:.0f} MB. Free some space, or choose another folder with --runs DIR."
        )


def create_run(parent: Path, *, name: str | None, label: str, recipe_text: str) -> Run:
    """A new folder under `parent`: exactly `name` when given (it must not exist), else LABEL_adjective-animal-NN.

    Raises UserError when the name is taken or the folder cannot be written.
    """
    if name is not None and (name in ("latest", "", ".", "..") or set(name) & set("/\\:")):
        raise UserError(f"--name {name!r} cannot name a run: it must be one folder name, and not 'latest'.")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for _ in range(100):
            chosen = (
                name or f"{label}_{secrets.choice(ADJECTIVES)}-{secrets.choice(ANIMALS)}-{secrets.randbelow(100):02d}"
            )
            path = parent / chosen
            try:
                path.mkdir()
                break
            except FileExistsError:
                if name:
                    raise UserError(
                        f"run {path} exists already. Choose another name, or continue it: segwright train --resume {path}"
                    ) from None
        else:
            raise UserError(f"no free run name was found under {parent}; give one with --name.")
        run = Run(path)
        (path / "checkpoints").mkdir()
        write_text(run.recipe_file, recipe_text)
        _point_latest_to(run)
    except OSError as error:
        raise UserError(
            f"a run folder cannot be written under {parent}: {error.strerror}. Choose another with --runs DIR."
        ) from None
    return run


def _point_latest_to(run: Run) -> None:
    link = run.path.parent / "latest"
    temporary = link.with_name(f".latest.{secrets.token_hex(4)}.tmp")
    try:
        temporary.symlink_to(run.name, target_is_directory=True)
        temporary.replace(link)
    except OSError:  # file systems without links go without the shortcut
        temporary.unlink(missing_ok=True)


def find_run(source: str | Path, *, runs: Path = Path("runs"), others: Iterable[str] = ()) -> Run:
    """The run at a path, or of that name under `runs`. Raises UserError naming the nearest ones.

    others: names that would have been right as well.
    """
    for path in (Path(source), runs / str(source)):
        if (path / "recipe.yaml").is_file():
            return Run(path.resolve() if path.is_symlink() else path)
    known = sorted(p.parent.name for p in runs.glob("*/recipe.yaml")) if runs.is_dir() else []
    here = f" Runs here: {', '.join(known[:10])}." if known else ""
    hint = did_you_mean(Path(source).name, [*known, *others]) or here
    raise UserError(f"there is no run '{source}' (a run is a folder with a recipe.yaml).{hint}")


def home(weights: Path, run: Run | None) -> Path:
    """The folder for what is made of a model: its run, or where its file lies; of a shipped one ./NAME, a new folder."""
    if run is not None:
        return run.path
    return Path(weights.stem) if is_shipped(weights) else weights.parent


def model_file(source: str | Path, *, runs: Path = Path("runs")) -> tuple[Path, Run | None]:
    """The weights file that `source` means, and its run if any.

    source: a .safetensors or exported file, a run (its best checkpoint), or the name of a shipped model where no run
    has that name. Raises UserError when it is none of these.
    """
    path = Path(source)
    if path.is_file():
        owner = path.parent.parent
        return path, Run(owner) if (owner / "recipe.yaml").is_file() else None
    if path.suffix == ".safetensors":
        raise UserError(f"model file {path} does not exist.")
    if str(source) in SHIPPED and not path.exists() and not (runs / path).exists():
        return shipped_file(str(source)), None
    run = find_run(source, runs=runs, others=SHIPPED)
    if not run.best.is_file():
        raise UserError(
            f"run {run.path} has no validated model yet ({run.best.name} is missing). Let it train: segwright train --resume {run.path}"
        )
    return run.best, run
