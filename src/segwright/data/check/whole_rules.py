"""Findings about mask values that only the data set as a whole shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from segwright.contracts import IGNORE
from segwright.data.check.findings import Finding, finding
from segwright.data.check.mask_rules import Reading
from segwright.data.check.seen import Seen
from segwright.data.proposal import ValueFacts

_LAST_TRAIN_ID = 18


def train_id_findings(values: Mapping[int, ValueFacts], reading: Reading) -> list[Finding]:
    """Cityscapes' train ids (0..18) read as label ids (0..33): mostly listed values, but with other meanings."""
    if reading.space.encoding != "index" or 33 not in {*reading.class_of, *reading.ignored}:
        return []
    ids = [v for v in values if v != IGNORE]
    ignored = sum(values[v].pixels for v in ids if v in reading.ignored)
    if len(ids) < 6 or max(ids) > _LAST_TRAIN_ID or ignored < 0.5 * sum(values[v].pixels for v in ids):
        return []
    text = (
        f"all masks together hold {min(ids)}..{max(ids)}, and more than half of the pixels would be ignored: these are "
        "Cityscapes train ids, but the label space reads label ids (0..33)."
    )
    fix = "Use the *_labelIds.png files, or a label space for train ids (--labels)."
    return [finding("train-ids", text, fix, files=(values[ids[0]].example,))]


def void_findings(seen: Sequence[Seen], found: Sequence[Finding]) -> list[Finding]:
    """The findings, with one note instead of many warnings where every mask of a split is void, as in test splits."""
    void: Counter[str] = Counter(f.split for f in found if f.code == "void-mask")
    masks: dict[str, int] = defaultdict(int)
    for item in seen:
        masks[item.split] += 1
    whole = {split for split, count in void.items() if count == masks[split]}
    kept = [f for f in found if f.code != "void-mask" or f.split not in whole]
    for split in sorted(whole):
        text = (
            f"all {void[split]:,} masks are void, as in test splits whose labels are kept back: nothing can be scored."
        )
        kept.append(finding("void-split", text, "Score on another split.", split=split))
    return kept
