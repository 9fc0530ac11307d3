"""Which tensor of a file is which of a model: exact names, wrappers taken off, declared spellings, whole sub-trees.

Every tensor of both sides ends in exactly one row of the report, so that nothing is left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor

from segwright.contracts import UserError
from segwright.models import deeplab_v3, denseaspp, mmseg

Shape = tuple[int, ...]
Renaming = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
RENAMINGS: dict[str, tuple[Renaming, ...]] = {
    "deeplab_v3": (deeplab_v3.torchvision_keys, mmseg.backbone_only),
    "denseaspp": (denseaspp.old_keys,),
    **mmseg.RENAMINGS,
}
"""Architecture -> functions that give the tensors of a public implementation our names, in the same order.

Where a layer there reads its inputs in another order, the tensor comes back in ours.
"""

WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod)\.")
"""What data-parallel training and torch.compile put into names."""
COUNTER = "num_batches_tracked"
"""BatchNorm's count of steps: files of PyTorch before 0.4.1 lack it, and no result depends on it."""
SUB_TREE = 8
"""Tensors that a sub-tree needs so that its names and shapes cannot agree by chance."""
KINDS = ("missing", "unexpected", "shape")


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of every tensor.

    matched: names that file and model share. renamed: name in the file -> name in the model.
    missing: of the model, not in the file. unexpected: of the file, not in the model.
    mismatched: name in the model -> (shape in the file, shape in the model).
    counters: BatchNorm step counts that the file lacks and that start at 0; they change no result.
    """

    matched: tuple[str, ...]
    renamed: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: Mapping[str, tuple[Shape, Shape]]
    counters: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Every tensor of the file and of the model has its partner."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def loaded(self) -> int:
        return len(self.matched) + len(self.renamed)

    def refused(self, allow: Sequence[str]) -> list[tuple[str, str]]:
        """(kind, name) of what does not fit and is not allowed by a pattern such as `classify.*` or `missing:aux*`."""
        rows = [("missing", n) for n in self.missing] + [("unexpected", n) for n in self.unexpected]
        rows += [("shape", n) for n in self.mismatched]
        patterns = [_pattern(text) for text in allow]
        return [
            (kind, name)
            for kind, name in rows
            if not any(k in ("", kind) and fnmatchcase(name, p) for k, p in patterns)
        ]

    def table(self, limit: int | None = 8) -> str:
        """Plain text, a line a kind and under it the names; at most `limit` names a kind, None for all."""
        shapes = [f"{n}: file {list(a)}, model {list(b)}" for n, (a, b) in self.mismatched.items()]
        moves = [f"{a} → {b}" for a, b in self.renamed.items()]
        lines = [f"matched     {len(self.matched):5}"]
        for kind, names in (
            ("renamed", moves),
            ("missing", list(self.missing)),
            ("unexpected", list(self.unexpected)),
            ("shape", shapes),
        ):
            lines.append(f"{kind:11} {len(names):5}")
            lines += [f"    {text}" for text in names[:limit]]
            if limit is not None and len(names) > limit:
                lines.append(f"    … and {len(names) - limit} more")
        if self.counters:
            lines.append(f"({len(self.counters)} BatchNorm step counts, which the file lacks, start at 0)")
        return "\n".join(lines)


def _pattern(text: str) -> tuple[str, str]:
    """`missing:aux*` -> ("missing", "aux*"); `aux*` -> ("", "aux*")."""
    kind, colon, pattern = text.partition(":")
    if not colon:
        return "", text
    if kind not in KINDS:
        raise UserError(f"'{text}': before the colon comes one of {', '.join(KINDS)}; or give a name pattern alone.")
    return kind, pattern


def match_tensors(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], renamings: Iterable[Renaming] = ()
) -> tuple[dict[str, Tensor], LoadReport]:
    """Tensors of a file under the model's names, and the report. Neither side changes.

    expected: the model's state. found: the file's. renamings: see RENAMINGS. Names are tried whole first: as they are,
    as each renaming spells them, and both again without wrappers (`module.`); the spelling that fits most tensors wins.
    What is left is matched by whole sub-trees whose names and shapes agree: the backbone of a file, a whole file inside
    `net.`; dots and underscores do not matter there.
    """
    spelling, tensors = _best_spelling(expected, found, tuple(renamings))
    pairs = {n: new for n, new in spelling.items() if new in expected and expected[new].shape == found[n].shape}
    while step := _sub_tree(expected, found, pairs, spelling):
        pairs |= step
    taken = set(pairs.values())
    mismatched = {
        spelling[n]: (tuple(t.shape), tuple(expected[spelling[n]].shape))
        for n, t in found.items()
        if n not in pairs and spelling[n] in expected and spelling[n] not in taken
    }
    missing = [n for n in expected if n not in taken and n not in mismatched]
    counters = {n for n in missing if n.endswith(COUNTER) and n.removesuffix(COUNTER) + "running_mean" in taken}
    report = LoadReport(
        matched=tuple(n for n, new in pairs.items() if n == new),
        renamed={n: new for n, new in pairs.items() if n != new},
        missing=tuple(n for n in missing if n not in counters),
        unexpected=tuple(n for n in found if n not in pairs and spelling[n] not in mismatched),
        mismatched=mismatched,
        counters=tuple(sorted(counters)),
    )
    return {new: tensors[n] for n, new in pairs.items()}, report


def _best_spelling(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], renamings: tuple[Renaming, ...]
) -> tuple[dict[str, str], Mapping[str, Tensor]]:
    """Name in the file -> how the best spelling writes it, and -> its tensor as that spelling has it.

    Spellings that make two names equal are left out.
    """
    plain = {n: WRAPPERS.sub("", n) for n in found}
    tried: list[tuple[dict[str, str], Mapping[str, Tensor]]] = [({n: n for n in found}, found), (plain, found)]
    for rename in renamings:
        for names, _ in tried[:2]:
            renamed = rename({names[n]: t for n, t in found.items()})
            if len(renamed) == len(found):
                tensors = dict(zip(found, renamed.values(), strict=True))
                tried.append((dict(zip(found, renamed, strict=True)), tensors))

    def fitting(spelling: Mapping[str, str]) -> int:
        if len(set(spelling.values())) < len(found):
            return -1
        return sum(new in expected and expected[new].shape == found[n].shape for n, new in spelling.items())

    best = max(tried, key=lambda one: fitting(one[0]))
    return tried[1] if fitting(best[0]) == 0 and fitting(plain) == 0 else best


def _sub_tree(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], pairs: Mapping[str, str], spelling: Mapping[str, str]
) -> dict[str, str]:
    """The largest sub-tree of the file that is one of the model: one of the two whole, and no other fits as well."""
    taken = set(pairs.values())
    ours = _by_prefix({n: tuple(t.shape) for n, t in expected.items() if n not in taken}, depth=3)
    theirs = _by_prefix({n: tuple(t.shape) for n, t in found.items() if n not in pairs}, depth=1, spelling=spelling)
    fits: list[tuple[int, dict[str, str]]] = []
    for start, given in theirs.items():
        for prefix, wanted in ours.items():
            both = given.keys() & wanted.keys()
            solid = [k for k in both if not k[0].endswith(_spelled(COUNTER))]
            whole = len(solid) in (_solid(given), _solid(wanted))
            if solid and (start == prefix == "" or (whole and len(solid) >= SUB_TREE)):
                fits.append((len(solid), {given[k]: wanted[k] for k in both}))
    fits.sort(key=lambda fit: -fit[0])
    for index, (size, fit) in enumerate(fits):
        rivals = [other for n, other in fits if n == size and other is not fits[index][1]]
        if all(other == fit or not (other.keys() & fit.keys()) for other in rivals):
            return fit
    return {}


def _by_prefix(
    shapes: Mapping[str, Shape], *, depth: int, spelling: Mapping[str, str] | None = None
) -> dict[str, dict[tuple[str, Shape], str]]:
    """Prefix of up to `depth` parts -> (rest of the name, shape) -> name. Rests that two names share are left out."""
    names = {n: n if spelling is None else spelling[n] for n in shapes}
    common = _common_prefix(list(names.values())) if spelling is not None else ""
    tables: dict[str, dict[tuple[str, Shape], str]] = {}
    twice: set[tuple[str, tuple[str, Shape]]] = set()
    for name, spelled in names.items():
        parts = spelled.removeprefix(common).split(".")
        for count in range(min(depth, len(parts) - 1) + 1):
            prefix, key = ".".join(parts[:count]), (_spelled(".".join(parts[count:])), shapes[name])
            table = tables.setdefault(prefix, {})
            if key in table:
                twice.add((prefix, key))
            table[key] = name
    for prefix, key in twice:
        tables[prefix].pop(key, None)
    return tables


def _common_prefix(names: Sequence[str]) -> str:
    """The dotted beginning that all names share: `model.` of a file whose every name begins so."""
    parts: list[str] = []
    for column in zip(*(n.split(".")[:-1] for n in names), strict=False):
        if len(set(column)) > 1:
            break
        parts.append(column[0])
    return "".join(f"{p}." for p in parts)


def _solid(table: Mapping[tuple[str, Shape], str]) -> int:
    return sum(not rest.endswith(_spelled(COUNTER)) for rest, _ in table)


def _spelled(name: str) -> str:
    return re.sub(r"[._]", "", name)
