"""Findings about names and files, before anybody asks what the masks mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segwright.data.check.findings import Finding, finding
from segwright.data.check.seen import Seen
from segwright.data.pairs import Listing

_DARK = 64  # a 16-bit picture that stays below this, of 255, was probably meant for 10 or 12 bits
_PHRASES = (
    ("has no mask", "no-mask"),
    ("has no picture", "no-picture"),
    ("differ only in case", "case-collision"),
    ("for one name", "duplicate-name"),
    ("no pictures", "empty-split"),
    ("the list is empty", "empty-split"),
    ("is listed", "duplicate-name"),
    ("another size than", "size-mismatch"),
)
_FIXES = {
    "unreadable-image": "Copy or export the picture again, or remove it together with its mask.",
    "unreadable-mask": "Copy or export the mask again as PNG, or remove it together with its picture.",
    "lossy-mask": "Export the mask again as PNG: what JPEG or WebP changed cannot be restored with certainty.",
    "size-mismatch": "Find the mask that belongs to the picture, or export it again at the picture's size.",
    "swapped-size": "Turn the mask back by 90 degrees, or export it again.",
    "exif-size": "Save the picture upright and without EXIF orientation, or turn the mask like the picture.",
}


def listing_findings(split: str, listing: Listing) -> list[Finding]:
    """What is wrong with the names of one split."""
    found = []
    for problem in listing.problems:
        code = next((code for phrase, code in _PHRASES if phrase in problem), "listing")
        found.append(finding(code, problem, listing.remedy, split=split, files=_files_of(problem)))
    found += [finding("left-out", note, "Nothing, if this was meant.", split=split) for note in listing.notes]
    if not listing.pairs and not any(f.code == "empty-split" for f in found):
        text = "the split has no pair of picture and mask."
        found.append(finding("empty-split", text, listing.remedy, split=split))
    if len(listing.pairs) == 1:
        text = f"the only picture is {listing.pairs[0].name}: too few to train on, and no score to trust."
        fix = "Add pictures, or divide the data anew: segwright data split."
        found.append(finding("one-picture-split", text, fix, split=split, files=(listing.pairs[0].image,)))
    return found


def file_findings(seen: Iterable[Seen], read: str) -> list[Finding]:
    """Faults of single files and pairs. read: the command that mends lossy masks."""
    found: list[Finding] = []
    for item in seen:
        for fault in item.look.faults:
            fix = _FIXES[fault.code]
            if fault.code == "lossy-mask":
                fix = f"{fix} If there is no original: {read}"
            found.append(finding(fault.code, fault.text, fix, split=item.split, files=fault.files))
        found += _odd_image(item)
    return found


def size_findings(sizes: Mapping[str, Counter[tuple[int, int]]]) -> list[Finding]:
    """A note when the pictures of all splits together have more than one size."""
    total: Counter[tuple[int, int]] = Counter()
    for counts in sizes.values():
        total += counts
    if len(total) < 2:
        return []
    shown = ", ".join(f"{h}×{w} ({n})" for (h, w), n in total.most_common(3))
    text = f"{len(total)} sizes (height × width): {shown}{', …' if len(total) > 3 else ''}."
    return [finding("mixed-sizes", text, "Nothing: training cuts crops of one size.")]


def _odd_image(item: Seen) -> list[Finding]:
    image, mask = item.look.image, item.look.mask
    if image is None:
        return []
    found = []
    turned = image.orientation != 1
    surely_turned_alike = image.orientation >= 5 and image.size[0] != image.size[1]
    if turned and mask is not None and mask.size == image.size and not surely_turned_alike:
        text = (
            f"the picture carries EXIF orientation {image.orientation} and is turned when it is read; whether the mask "
            "was drawn on the turned picture cannot be told from its size."
        )
        fix = "Look at the overlay (--report); save the picture upright and without EXIF orientation."
        found.append(finding("exif-unclear", text, fix, split=item.split, files=(item.pair.image, item.pair.mask)))
    if image.deep and image.peak < _DARK:
        text = f"16 bits a channel, but nothing brighter than {image.peak} of 255 after reading: it will look black."
        fix = "Stretch the picture to the full range when you export it (10- or 12-bit cameras need that)."
        found.append(finding("dark-16-bit", text, fix, split=item.split, files=(item.pair.image,)))
    elif image.deep:
        text = "16 bits a channel; 65535 becomes 255 when it is read."
        found.append(finding("deep-image", text, "Nothing.", split=item.split, files=(item.pair.image,)))
    return found


def _files_of(problem: str) -> tuple[Path, ...]:
    """The files that a sentence of a listing begins with: `A and B: …`."""
    parts: Sequence[str] = problem.partition(": ")[0].split(" and ")
    files = [Path(part) for part in parts]
    return tuple(f for f in files if f.is_absolute() or f.exists())
