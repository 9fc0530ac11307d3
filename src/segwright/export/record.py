"""What is known of the exported files in a folder: `verified.json`, from which `--backend auto` chooses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.contracts import DataError
from segwright.files import sha256, write_json

if TYPE_CHECKING:
    from segwright.export.verify import Verification

RECORD = "verified.json"
MOST_LOST = 0.5
"""How many points of mIoU a backend may cost for `--backend auto` to take it."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """One verified way to run a model. file: exported. weights: fingerprint of the weights it was made of.

    split: on which labelled pictures. miou: of the original and of this, pooled, 0..1. milliseconds: of both, a picture.
    """

    file: Path
    backend: str
    weights: str
    split: str
    miou: tuple[float, float]
    milliseconds: tuple[float, float]

    @property
    def points(self) -> float:
        """Change of mIoU against the original, points of 100."""
        return 100 * (self.miou[1] - self.miou[0])


def remember(file: Path, weights: str, found: Sequence[Verification]) -> None:
    """Write what was verified of a file into the record of its folder, in place of what was known of it.

    weights: fingerprint of the weights that it was made of. found: none forgets the file, which has changed.
    """
    record = _read(file.parent / RECORD)
    record[file.name] = {"sha256": sha256(file), "weights": weights, "backends": [one.to_dict() for one in found]}
    if not found:
        del record[file.name]
    if found or (file.parent / RECORD).exists():
        write_json(file.parent / RECORD, record)


def known(folder: Path) -> list[Known]:
    """Every verified file of a folder that is as it was, with every backend; the fastest, beside the original, first.

    Raises DataError for a damaged record.
    """
    found = []
    for name, entry in _read(folder / RECORD).items():
        try:
            file = folder / Path(name).name
            if not file.is_file() or sha256(file) != entry["sha256"]:
                continue
            for one in entry["backends"]:
                (before, after), miou = one["milliseconds"], one["miou"]
                found.append(
                    Known(
                        file=file,
                        backend=one["backend"],
                        weights=entry["weights"],
                        split=str(one["split"]),
                        miou=(float(miou[0]), float(miou[1])),
                        milliseconds=(float(before), float(after)),
                    )
                )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(folder / RECORD, repr(error)) from None
    return sorted(found, key=lambda one: one.milliseconds[1] / max(one.milliseconds[0], 1e-9))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(content, dict):
        raise _damaged(path, "it is no mapping")
    return content


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged ({reason}). Remove it, then verify again: segwright export RUN --verify val")
