"""Findings about splits: pictures that repeat, classes and groups in the wrong place.

Letters: K classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from segwright.data.check.findings import Finding, finding
from segwright.data.check.repeats import equal_groups, near_groups
from segwright.data.check.result import SplitFacts
from segwright.data.check.seen import Seen
from segwright.labels import LabelSpace

CHANCE = 0.001
_SHOWN = 4
_ROLES = ("train", "val", "test")
_NEW_SPLIT = "Divide the data anew, whole groups on one side: segwright data split --method group."


def separate_splits(members: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """The splits that must not share a picture: those that do not contain another one (as `all` or `trainval` do)."""
    sets = {split: frozenset(indices) for split, indices in members.items()}
    return tuple(
        split
        for split, own in sets.items()
        if split in _ROLES or not any(other and other <= own for name, other in sets.items() if name != split)
    )


def repeat_findings(seen: Sequence[Seen], separate: Sequence[str]) -> list[Finding]:
    """Pictures that occur twice, within and across splits, exactly and nearly; masks that occur twice."""
    found = [_listed_twice(item, separate) for item in seen if len(_sides(item, separate)) > 1]
    images = [item.look.image for item in seen]
    equal = equal_groups([image.digest if image else None for image in images])
    for group in equal:
        found += _equal(group, seen, separate)
    again = {index for group in equal for index in group[1:]}
    single = [i for i, image in enumerate(images) if image is not None and i not in again]
    facts = [image for i in single if (image := images[i]) is not None]
    if facts:
        near = near_groups(np.array([f.dhash for f in facts], np.uint64), np.stack([f.grey for f in facts]))
        found += [_near([single[i] for i in group], seen, separate) for group in near]
    return found + _equal_masks(seen, again)


def _sides(item: Seen, separate: Sequence[str]) -> list[str]:
    return [s for s in item.splits if s in separate]


def _listed_twice(item: Seen, separate: Sequence[str]) -> Finding:
    sides = ", ".join(_sides(item, separate))
    text = f"the picture {item.pair.name} is listed in {sides}: its score is not that of an unseen picture."
    return finding("leak", text, "Take the picture out of one split.", split=sides, files=(item.pair.image,))


def _equal(group: Sequence[int], seen: Sequence[Seen], separate: Sequence[str]) -> list[Finding]:
    items = [seen[i] for i in group]
    sides = list(dict.fromkeys(s for item in items for s in _sides(item, separate)))
    files, names = tuple(item.pair.image for item in items), _names(items)
    found = []
    if len(sides) > 1:
        text = f"the pictures {names} are the same, in {' and '.join(sides)}: the model is scored on what it learnt."
        fix = "Keep the picture in one split only."
        found.append(finding("leak", text, fix, split=", ".join(sides), files=files))
    else:
        text = f"the pictures {names} are the same; it counts {len(items)} times."
        fix = "Keep one of them, with its mask."
        found.append(finding("duplicate-image", text, fix, split=items[0].split, files=files))
    masks = {item.look.mask.digest for item in items if item.look.mask is not None}
    if len(masks) > 1:
        text = f"the pictures {names} are the same, but have {len(masks)} different masks: at most one is right."
        files = tuple(item.pair.mask for item in items) + files
        found.append(finding("different-masks", text, "Keep the right mask.", split=", ".join(sides), files=files))
    return found


def _near(group: Sequence[int], seen: Sequence[Seen], separate: Sequence[str]) -> Finding:
    items = [seen[i] for i in group]
    sides = list(dict.fromkeys(s for item in items for s in _sides(item, separate)))
    files, names = tuple(item.pair.image for item in items), _names(items)
    if len(sides) > 1:
        text = (
            f"the pictures {names} are nearly the same (saved again, resized or recoloured), in {' and '.join(sides)}."
        )
        fix = "Keep such pictures in one split."
        return finding("near-leak", text, fix, split=", ".join(sides), files=files)
    text = f"the pictures {names} are nearly the same (saved again, resized or recoloured)."
    return finding("near-duplicate", text, "Nothing, if this was meant.", split=items[0].split, files=files)


def _equal_masks(seen: Sequence[Seen], again: set[int]) -> list[Finding]:
    """Different pictures with the same mask; masks of a single value are left out."""
    masks = [item.look.mask for item in seen]
    keys = [m.digest if m is not None and m.distinct > 1 and i not in again else None for i, m in enumerate(masks)]
    found = []
    for group in equal_groups(keys):
        items = [seen[i] for i in group]
        if len({item.pair.mask for item in items}) < 2:
            continue
        text = f"the pictures {_names(items)} have the same mask, although they differ."
        files = tuple(item.pair.mask for item in items) + tuple(item.pair.image for item in items)
        fix = "Look at both: one of them may have got the other's mask."
        found.append(finding("duplicate-mask", text, fix, split=items[0].split, files=files))
    return found


def _names(items: Sequence[Seen]) -> str:
    shown = [item.pair.name for item in items[:_SHOWN]]
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(shown[:-1]) + (f", {shown[-1]}{more}" if more else f" and {shown[-1]}")


def class_findings(splits: Mapping[str, SplitFacts], space: LabelSpace, separate: Sequence[str]) -> list[Finding]:
    """Classes that a split lacks, and classes of very different size.

    A class that is so rare that a random split of this size would lack it as well (with a chance above CHANCE) makes
    a note, whatever the split.
    """
    shown = {s: splits[s].class_images for s in separate if splits[s].looked and any(splits[s].class_images)}
    found: list[Finding] = []
    nowhere = [n for k, n in enumerate(space.class_names) if not any(counts[k] for counts in shown.values())]
    if nowhere and shown:
        text = f"no mask shows {', '.join(nowhere)}: nothing can be learnt or scored there."
        found.append(finding("class-nowhere", text, "Nothing, if the label space is the right one."))
    for split, counts in shown.items():
        for k, name in enumerate(space.class_names):
            elsewhere = [(s, other[k]) for s, other in shown.items() if s != split and other[k]]
            if counts[k] or not elsewhere:
                continue
            where = ", ".join(f"{n} in {s}" for s, n in elsewhere)
            text = f"no mask of {split} shows {name} (pictures that do: {where})."
            code = f"class-not-in-{split}" if split in ("train", "val") else "class-not-in-split"
            total = sum(splits[s].looked for s in shown)
            chance = (1 - splits[split].looked / total) ** sum(n for _, n in elsewhere)
            severity = {"severity": "note"} if chance > CHANCE else {}
            fix = "Divide the data so that every split has every class: segwright data split --method stratified."
            found.append(finding(code, text, fix, split=split, **severity))
    return found + _imbalance(splits, space, separate)


def _imbalance(splits: Mapping[str, SplitFacts], space: LabelSpace, separate: Sequence[str]) -> list[Finding]:
    split = "train" if "train" in separate else next((s for s in separate if any(splits[s].class_pixels)), "")
    if not split:
        return []
    pixels = {n: p for n, p in zip(space.class_names, splits[split].class_pixels, strict=True) if p}
    total = sum(pixels.values())
    if len(pixels) < 2 or max(pixels.values()) < 50 * min(pixels.values()):
        return []
    large, small = max(pixels, key=lambda n: pixels[n]), min(pixels, key=lambda n: pixels[n])
    text = f"{large} has {pixels[large] / total:.1%} of the labelled pixels, {small} {pixels[small] / total:.2%}."
    fix = "Class weights or crops chosen by class help rare classes; mean IoU weighs all classes alike."
    return [finding("imbalance", text, fix, split=split)]


def group_findings(seen: Sequence[Seen], separate: Sequence[str]) -> list[Finding]:
    """Groups (cities, sequences) with pictures in more than one split: neighbouring frames make scores too good."""
    sides: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for item in seen:
        for side in _sides(item, separate):
            sides[item.pair.group][side] += 1
    found = []
    for group, counts in sides.items():
        if len(counts) > 1 and sum(counts.values()) > len(counts):
            shown = ", ".join(f"{n} in {s}" for s, n in counts.items())
            text = f"group {group} has pictures in several splits ({shown}): scores on them are flattering."
            found.append(finding("group-straddles", text, _NEW_SPLIT, split=", ".join(counts)))
    return found
