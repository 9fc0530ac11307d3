"""What `check_data` returns: findings, counts, and what the page draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError
from segwright.data.check.findings import SEVERITIES, Finding, Group, Severity, grouped, printable
from segwright.data.pairs import Pair
from segwright.labels import LabelSpace

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLORS: Mapping[Severity, str] = {"error": "red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """Counts of one split.

    pictures: listed pairs; looked: those whose two files could be read. sizes: (H, W) -> pictures, most frequent first.
    class_pixels, class_images: of each class, over masks that fit the label space; ignored_pixels: of the same masks.
    mean_picture: uint8 [96, 128, 3], RGB, every picture stretched to one shape; None without pictures.
    """

    pictures: int
    looked: int
    groups: int
    sizes: Mapping[tuple[int, int], int]
    class_pixels: tuple[int, ...]
    class_images: tuple[int, ...]
    ignored_pixels: int
    mean_picture: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """A data set, looked at as a whole.

    data: name of its reader. space: None where none fits the masks; labels_from: where it comes from, in words.
    separate: the splits that must not share pictures: those without `all`, `trainval` and the like.
    mend: the command that does every fix that is certain.
    heat_KHW: float32 [K, 24, 32], share of each place that is the class, 0..1. examples: some pairs that could be read.
    """

    root: Path
    data: str
    space: LabelSpace | None
    labels_from: str
    findings: tuple[Finding, ...]
    splits: Mapping[str, SplitFacts]
    files: int
    separate: tuple[str, ...]
    heat_KHW: NDArray[np.float32] | None
    examples: tuple[tuple[str, Pair], ...]
    mend: str
    notes: tuple[str, ...] = ()

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == severity)

    @property
    def errors(self) -> tuple[Finding, ...]:
        return self.of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return self.of("warning")

    @property
    def groups(self) -> list[Group]:
        """Findings of one kind together, errors first."""
        return grouped(self.findings)

    @property
    def fix_options(self) -> tuple[str, ...]:
        """What `data fix --auto` does: every fix that is certain and loses nothing, each once."""
        return tuple(dict.fromkeys(" ".join(f.options) for f in self.findings if f.options))

    def exit_code(self, *, strict: bool = False) -> int:
        """3 with errors (with `strict`: or warnings), else 0."""
        return DataError.exit_code if self.errors or (strict and self.warnings) else 0

    @property
    def verdict(self) -> str:
        """One sentence: is the data fit for training?"""
        if not self.errors and not self.warnings:
            return "No fault found."
        counts = [(len(self.errors), "error"), (len(self.warnings), "warning")]
        told = " and ".join(f"{n:,} {word}{'s' * (n != 1)}" for n, word in counts if n)
        return f"{told}." + ("" if self.errors else " Nothing that stops a training.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: every finding, and the counts of every split."""
        names = self.space.class_names if self.space else ()
        return {
            "root": printable(self.root),
            "data": self.data,
            "labels": self.space.name if self.space else None,
            "labels_from": self.labels_from,
            "verdict": self.verdict,
            "counts": {severity: len(self.of(severity)) for severity in SEVERITIES},
            "files": self.files,
            "findings": [f.to_dict() for f in self.findings],
            "splits": {
                split: {
                    "pictures": facts.pictures,
                    "readable": facts.looked,
                    "groups": facts.groups,
                    "sizes": {f"{h}×{w}": n for (h, w), n in facts.sizes.items()},
                    "classes": {
                        name: {"pixels": facts.class_pixels[k], "images": facts.class_images[k]}
                        for k, name in enumerate(names)
                    },
                    "ignored_pixels": facts.ignored_pixels,
                }
                for split, facts in self.splits.items()
            },
            "notes": list(self.notes),
        }

    def table(self) -> RenderableType:
        """For a terminal: the splits, one row a kind of finding, and the verdict."""
        from rich.console import Group as Rows
        from rich.markup import escape
        from rich.table import Table

        where = f"{self.data}, {self.labels_from}" if self.labels_from else self.data
        parts: list[RenderableType] = [escape(f"{self.root}: {where}")]
        splits = Table("split", "pictures", "readable", "groups", "sizes (height × width)", "labelled")
        for name, facts in self.splits.items():
            sizes = ", ".join(f"{h}×{w}" for h, w in list(facts.sizes)[:3]) + (" …" if len(facts.sizes) > 3 else "")
            total = sum(facts.class_pixels) + facts.ignored_pixels
            share = f"{sum(facts.class_pixels) / total:.1%}" if total else "–"
            splits.add_row(name, f"{facts.pictures:,}", f"{facts.looked:,}", f"{facts.groups:,}", sizes, share)
        parts.append(splits)
        if self.findings:
            found = Table("", "found", "how often", "what to do", show_lines=True)
            for group in self.groups:
                color = _COLORS[group.first.severity]
                found.add_row(
                    f"[{color}]{group.first.severity}[/]",
                    f"[bold]{group.first.title}[/] [dim]{group.first.code}[/]\n{escape(self._shown(group))}",
                    f"{group.count:,}",
                    escape(group.first.fix),
                )
            parts.append(found)
        parts += [escape(f"note: {note}") for note in self.notes]
        if self.fix_options:
            parts.append(escape(f"What is certain can be mended:\n  {self.mend}"))
        color = "red" if self.errors else "yellow" if self.warnings else "green"
        parts.append(f"[bold {color}]{self.verdict}[/]")
        return Rows(*parts)

    def shown(self, file: Path) -> str:
        """A file as people see it: without the folder of the data set."""
        return printable(file.relative_to(self.root) if file.is_relative_to(self.root) else file)

    def _shown(self, group: Group) -> str:
        """The first message of a group, and up to three of its files."""
        files = [self.shown(file) for file in group.files]
        split = f"{group.first.split}: " if group.first.split else ""
        listed = "".join(f"\n  {f}" for f in files[:3]) + (
            f"\n  … and {len(files) - 3:,} more" if len(files) > 3 else ""
        )
        return f"{split}{group.first.message.replace(f'{self.root}/', '')}{listed}"
