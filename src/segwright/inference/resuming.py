"""The record of a folder of predictions: what each picture became, so that an interrupted prediction can go on.

`predictions.jsonl` lies in the output folder: a line about model and options, then a line for each picture as it is done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segwright.contracts import UserError
from segwright.files import sha256, write_text

RECORD = "predictions.jsonl"
FORMAT = "segwright predictions 1"


@dataclass(frozen=True, kw_only=True)
class PredictedFile:
    """What was written for one picture.

    outputs: kind, such as `overlay`, `color`, `ids` -> file. height, width: of the picture, pixels.
    shares: class name -> share of its pixels that have a class, 0..1, the largest first. abstained: share of all its
    pixels that got none, 0..1.
    """

    source: Path
    outputs: Mapping[str, Path]
    height: int
    width: int
    shares: Mapping[str, float]
    abstained: float = 0.0


class Record:
    """The record in folder `out`. root: folder that the pictures' names are relative to.

    identity: plain data on model and options. resume: keep what an earlier record of the same identity holds; `differs`
    says whether there was one of another. Lines that are no whole JSON, as the last one after a crash, are left out.
    Raises UserError where the record cannot be written.
    """

    def __init__(self, out: Path, root: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        self.path, self.out, self.root = out / RECORD, out, root
        head = {"format": FORMAT, **json.loads(json.dumps(identity))}
        lines = _read(self.path) if resume else []
        self.differs = bool(lines) and lines[0] != head
        kept = [] if self.differs else lines[1:]
        self._known = {str(line.get("source")): line for line in kept}
        text = "".join(f"{_line(line)}\n" for line in [head, *self._known.values()])
        try:
            write_text(self.path, text)
        except OSError as error:
            raise self._unwritable(error) from error

    def finished(self, source: Path, files: Mapping[str, Path]) -> PredictedFile | None:
        """What is recorded of a picture; None where it has changed since, or a file of it is missing or damaged."""
        line = self._known.get(self._name(source))
        try:
            if line is None or line["picture"] != stamp(source):
                return None
            if line["files"] != {kind: [self._place(path), sha256(path)] for kind, path in files.items()}:
                return None
            return PredictedFile(
                source=source,
                outputs=dict(files),
                height=int(line["height"]),
                width=int(line["width"]),
                shares={str(name): float(share) for name, share in line["shares"].items()},
                abstained=float(line["abstained"]),
            )
        except (OSError, KeyError, TypeError, ValueError, AttributeError):
            return None

    def add(self, file: PredictedFile, picture: Sequence[int]) -> None:
        """Note that a picture's files are written. picture: its `stamp` before it was read."""
        self._append(
            {
                "source": self._name(file.source),
                "picture": list(picture),
                "height": file.height,
                "width": file.width,
                "shares": dict(file.shares),
                "abstained": file.abstained,
                "files": {kind: [self._place(path), sha256(path)] for kind, path in file.outputs.items()},
            }
        )

    def add_fault(self, source: Path, reason: str) -> None:
        """Note that a picture cannot be read."""
        self._append({"source": self._name(source), "error": reason})

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{_line(line)}\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _name(self, source: Path) -> str:
        return source.relative_to(self.root).as_posix()

    def _place(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"{self.path} cannot be written: {error.strerror or error}. What was written before stays. Free space or mend the "
            "folder, then go on with --resume."
        )


def stamp(source: Path) -> list[int]:
    """Bytes of a file, and nanoseconds of its last change: by these an unchanged picture is known."""
    found = source.stat()
    return [found.st_size, found.st_mtime_ns]


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, allow_nan=False)  # names that are no Unicode stay readable as escapes


def _read(path: Path) -> list[dict[str, Any]]:
    """The lines that are JSON objects; none where there is no record."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            found.append(content)
    return found
