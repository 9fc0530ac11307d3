"""What the doctor finds: one `Finding` a fault, with its place and its fix; and what each code means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Code(NamedTuple):
    """severity: of its findings, unless a rule says otherwise. title: the row in a table, for one finding or many."""

    severity: Severity
    title: str


CODES: Mapping[str, Code] = MappingProxyType(
    {
        # names and splits
        "no-mask": Code("error", "picture without mask"),
        "no-picture": Code("error", "mask without picture"),
        "duplicate-name": Code("error", "several files for one name"),
        "case-collision": Code("error", "names that differ only in case"),
        "listing": Code("error", "files and list do not agree"),
        "empty-split": Code("error", "split without pictures"),
        "one-picture-split": Code("warning", "split of one picture"),
        "no-val": Code("note", "no validation split on disk"),
        "left-out": Code("note", "left out by the reader"),
        # files
        "unreadable-image": Code("error", "picture that cannot be read"),
        "unreadable-mask": Code("error", "mask that cannot be read"),
        "lossy-mask": Code("error", "mask in a format that changes its values"),
        "size-mismatch": Code("error", "picture and mask of different size"),
        "swapped-size": Code("error", "height and width swapped"),
        "exif-size": Code("error", "picture turned by EXIF, mask not"),
        "exif-unclear": Code("warning", "EXIF orientation that the mask may not follow"),
        "dark-16-bit": Code("warning", "16-bit picture that uses few of its levels"),
        "deep-image": Code("note", "16-bit picture, read with 8 bits"),
        "mixed-sizes": Code("note", "pictures of several sizes"),
        # values
        "unknown-values": Code("error", "mask values outside the label space"),
        "black-and-white": Code("error", "0 and 255 instead of class ids"),
        "off-by-one": Code("error", "class ids off by one"),
        "unlisted-255": Code("error", "255 (void) is not in the label space"),
        "grey-levels": Code("error", "colours turned into grey"),
        "smoothed-mask": Code("error", "mask with smoothed or compressed edges"),
        "color-mask": Code("error", "mask of colours where class ids are expected"),
        "index-mask": Code("error", "mask of numbers where colours are expected"),
        "palette-order": Code("error", "palette whose colours contradict its numbers"),
        "sixteen-bit-mask": Code("error", "16-bit mask values, such as instance ids"),
        "mixed-masks": Code("error", "masks of two kinds"),
        "train-ids": Code("error", "train ids read as label ids"),
        "no-label-space": Code("error", "no label space fits the masks"),
        "void-mask": Code("warning", "mask without a labelled pixel"),
        "void-split": Code("note", "split whose masks are all void"),
        "constant-mask": Code("warning", "mask of a single class"),
        # pictures that repeat
        "different-masks": Code("error", "same picture, different masks"),
        "leak": Code("error", "same picture in two splits"),
        "duplicate-image": Code("warning", "same picture twice"),
        "near-leak": Code("warning", "nearly the same picture in two splits"),
        "near-duplicate": Code("note", "nearly the same picture twice"),
        "duplicate-mask": Code("warning", "same mask for different pictures"),
        # classes and groups
        "class-not-in-train": Code("error", "class that train lacks"),
        "class-not-in-val": Code("warning", "class that val lacks"),
        "class-not-in-split": Code("note", "class that a split lacks"),
        "class-nowhere": Code("note", "class that no mask shows"),
        "group-straddles": Code("note", "group in more than one split"),
        "imbalance": Code("note", "classes of very different size"),
    }
)
"""Code -> what it means. Codes are stable: scripts may rely on them."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that the doctor found.

    split: its split, or several as `train, val`; empty for the whole data set. files: those concerned, the one to look
    at first in front. message: what was found, one or two sentences. fix: the command or action that mends it.
    options: what `data fix` needs to mend it without loss; empty when it cannot.
    """

    code: str
    severity: Severity
    split: str = ""
    files: tuple[Path, ...] = ()
    message: str
    fix: str
    options: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return CODES[self.code].title

    def to_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": self.severity,
            "split": self.split,
            "files": [printable(f) for f in self.files],
            "message": self.message,
            "fix": self.fix,
        }


@dataclass(frozen=True, kw_only=True)
class Group:
    """Findings of one code with one fix, for a table: the first of them speaks for all."""

    findings: tuple[Finding, ...]

    @property
    def first(self) -> Finding:
        return self.findings[0]

    @property
    def count(self) -> int:
        return len(self.findings)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file to look at of every finding, in order, each once."""
        return tuple(dict.fromkeys(f.files[0] for f in self.findings if f.files))


def finding(code: str, message: str, fix: str, **more: Any) -> Finding:
    """A Finding with the severity that its code usually has."""
    text = {"message": printable(message), "fix": printable(fix)}
    return Finding(**({"code": code, "severity": CODES[code].severity} | text | more))


def printable(text: object) -> str:
    """As text that every terminal and file takes: bytes of file names that are no UTF-8 become \\udc.. escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def grouped(findings: Iterable[Finding]) -> list[Group]:
    """Findings by code and fix, errors first, then in the order of CODES."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for item in findings:
        groups.setdefault((item.severity, item.code, item.fix), []).append(item)
    order = {code: index for index, code in enumerate(CODES)}
    keys = sorted(groups, key=lambda key: (SEVERITIES.index(key[0]), order[key[1]]))
    return [Group(findings=tuple(groups[key])) for key in keys]
