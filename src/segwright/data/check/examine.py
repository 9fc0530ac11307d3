"""The doctor: one pass over every file of a data set, and everything that is wrong with it.

Files are decoded in threads (Pillow, OpenCV and hashlib let go of Python's lock) and forgotten at once; what stays are
two kilobytes a picture.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from segwright.contracts import DataError, UserError
from segwright.data import DATASETS
from segwright.data.check.file_rules import file_findings, listing_findings, size_findings
from segwright.data.check.findings import Finding, finding
from segwright.data.check.looking import Look, ReadRaw, look
from segwright.data.check.mask_rules import Reading, implausible_findings, mask_findings
from segwright.data.check.result import CheckResult, SplitFacts
from segwright.data.check.seen import Seen
from segwright.data.check.split_rules import class_findings, group_findings, repeat_findings, separate_splits
from segwright.data.check.tally import Tally
from segwright.data.check.whole_rules import train_id_findings, void_findings
from segwright.data.pairs import Listing, Pair, PairedFiles, need_split
from segwright.data.proposal import Encoding, propose, read_class_names
from segwright.data.recognise import default_labels, recognise
from segwright.labels import LabelSpace, load_label_space
from segwright.names import did_you_mean

Progress = Callable[[int, int], None]
EXAMPLES = 16


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set on disk. reader: its class; space: None where it has to be proposed from the masks.

    options: what was said about it on the command line, such as `--labels camvid11`.
    """

    root: Path
    name: str
    reader: type[PairedFiles]
    space: LabelSpace | None
    labels_from: str
    options: tuple[str, ...] = ()

    @property
    def read_raw(self) -> ReadRaw:
        return self.reader.read_raw

    def command(self, options: Sequence[str]) -> str:
        """The `data fix` command with these options for this data set."""
        whole = self.root if self.root.name not in ("", "..") else self.root.resolve()
        out = whole.with_name(f"{whole.name}-fixed")
        return shlex.join(["segwright", "data", "fix", str(self.root), *self.options, *options, "-o", str(out)])


def check_data(
    root: Path,
    *,
    name: str | None = None,
    labels: LabelSpace | str | None = None,
    splits: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Look at every picture and mask of every split once, and report all that is wrong; data faults never raise.

    name: of the reader (a key of DATASETS), recognised by the folders when None. labels: a space, its name or a file;
    None takes ROOT/labels.yaml, the reader's usual space, or one proposed from the masks. splits: all when None.
    workers: threads, one a core when None. progress: called with (done, total) pairs.
    Raises UserError for a missing folder, a layout or name that Segwright does not know, an unknown split or space.
    """
    source = find_source(Path(root), name=name, labels=labels)
    listings = list_all(source, splits)
    members, pairs = _members(listings)
    tally = Tally(listings)
    separate = separate_splits(members)
    splits_of: list[list[str]] = [[] for _ in pairs]
    for split, indices in members.items():
        for index in indices:
            splits_of[index].append(split)
    seen: list[Seen] = []
    for pair, names, found in zip(pairs, splits_of, looks(pairs, source.read_raw, workers, progress), strict=True):
        tally.add(names, found)
        own = [s for s in names if s in separate] or names
        seen.append(Seen(pair=pair, splits=tuple(own), look=_slim(found)))

    findings = _of_listings({split: listings[split] for split in sorted(listings, key=lambda s: s not in separate)})
    findings += file_findings(seen, source.command(("--nearest-color",)))
    space, labels_from, notes, of_masks = _judge_masks(source, seen, tally)
    findings += of_masks
    facts = {split: _facts(split, [seen[i] for i in members[split]], tally, space) for split in listings}
    findings += repeat_findings(seen, separate) + group_findings(seen, separate)
    findings += size_findings({split: tally.splits[split].sizes for split in separate})
    if space is not None:
        findings += class_findings(facts, space, separate)
    if splits is None and "val" not in listings:
        text = "the data set has no val split on disk: scores need pictures that were not learnt."
        findings.append(finding("no-val", text, "Divide the data: segwright data split."))
    return CheckResult(
        root=source.root,
        data=source.name,
        space=space,
        labels_from=labels_from,
        findings=tuple(findings),
        splits=facts,
        files=2 * len(pairs),
        heat_KHW=None if space is None else tally.heat_maps(space),
        separate=separate or tuple(listings),
        examples=_examples(seen, findings),
        notes=notes,
        mend=source.command(("--auto",)),
    )


def find_source(root: Path, *, name: str | None = None, labels: LabelSpace | str | None = None) -> Source:
    """The reader and the label space of a folder. Arguments and errors as in check_data."""
    options = (*(("--data", name) if name else ()), *(("--labels", labels) if isinstance(labels, str) else ()))
    name = name or recognise(root)
    if name is None:
        inside = ", ".join(sorted(p.name for p in root.iterdir() if not p.name.startswith("."))[:12]) or "nothing"
        raise UserError(
            f"{root}: no data set that Segwright knows by its folders; found {inside}. Say which one it is (--data "
            f"NAME: {', '.join(sorted(DATASETS))}), or put pictures and masks into images/ and masks/."
        )
    if name not in DATASETS:
        raise UserError(f"unknown data set '{name}'.{did_you_mean(name, DATASETS)} There are: {', '.join(DATASETS)}.")
    reader = DATASETS["cityscapes" if name == "streets" else name]
    if not (isinstance(reader, type) and issubclass(reader, PairedFiles)):
        raise UserError(f"data set '{name}' is not read from pictures and masks on disk, so there is nothing to check.")
    if isinstance(labels, LabelSpace):
        return Source(root=root, name=name, reader=reader, space=labels, labels_from=f"label space {labels.name}")
    chosen = labels or default_labels(name, root)
    if chosen is None:
        return Source(root=root, name=name, reader=reader, space=None, labels_from="", options=options)
    space = load_label_space(chosen)
    told = _told(space, chosen, root)
    return Source(root=root, name=name, reader=reader, space=space, labels_from=told, options=options)


def _told(space: LabelSpace, chosen: str, root: Path) -> str:
    """`label space mine from labels.yaml`"""
    if space.name == chosen:
        return f"label space {chosen}"
    file = Path(chosen)
    return f"label space {space.name} from {file.relative_to(root) if file.is_relative_to(root) else file}"


def list_all(source: Source, splits: Sequence[str] | None = None) -> dict[str, Listing]:
    """Split -> its listing. Raises UserError for a split that the folder does not have."""
    known = source.reader.splits(source.root)
    for split in splits or ():
        need_split(split, known, source.root)
    return {split: _listing(source, split) for split in (splits or known)}


def _listing(source: Source, split: str) -> Listing:
    try:
        return source.reader.listing(source.root, split)
    except DataError as error:  # a list file or folder that cannot be read
        return Listing(pairs=(), problems=(str(error),), remedy="Restore it, or correct its permissions.")


def looks(
    pairs: Sequence[Pair], read_raw: ReadRaw, workers: int | None = None, progress: Progress | None = None
) -> Iterator[Look]:
    """A look at every pair, in order; a few are made ahead."""
    count = workers or os.cpu_count() or 1
    waiting: deque[Future[Look]] = deque()
    pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="segwright-check")
    try:
        for done, pair in enumerate([*pairs, *[None] * (4 * count)]):
            if pair is not None:
                waiting.append(pool.submit(look, pair, read_raw))
            if done >= 4 * count and waiting:
                yield waiting.popleft().result()
                if progress is not None:
                    progress(min(done + 1 - 4 * count, len(pairs)), len(pairs))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _of_listings(listings: Mapping[str, Listing]) -> list[Finding]:
    """What is wrong with names; what several splits share is told once, for the first of them."""
    told: dict[tuple[str, str], Finding] = {}
    for split, listing in listings.items():
        for found in listing_findings(split, listing):
            told.setdefault((found.code, found.message), found)
    return list(told.values())


def _members(listings: Mapping[str, Listing]) -> tuple[dict[str, list[int]], list[Pair]]:
    """Split -> positions in a list of all pairs, where a pair that several splits list stands once."""
    position: dict[tuple[Path, Path], int] = {}
    pairs: list[Pair] = []
    members: dict[str, list[int]] = {}
    for split, listing in listings.items():
        for pair in listing.pairs:
            if (pair.image, pair.mask) not in position:
                position[pair.image, pair.mask] = len(pairs)
                pairs.append(pair)
        members[split] = [position[p.image, p.mask] for p in listing.pairs]
    return members, pairs


def _slim(found: Look) -> Look:
    """A look without what has been added up."""
    image = replace(found.image, preview=None) if found.image else None
    mask = replace(found.mask, cells_Vhw=None) if found.mask else None
    return Look(image=image, mask=mask, faults=found.faults)


def _judge_masks(
    source: Source, seen: Sequence[Seen], tally: Tally
) -> tuple[LabelSpace | None, str, tuple[str, ...], list[Finding]]:
    """(label space, where it comes from, what was decided about it, findings about mask values)."""
    space, labels_from = source.space, source.labels_from
    notes: tuple[str, ...] = ()
    found: list[Finding] = []
    good = [item for item in seen if item.look.mask is not None]
    if space is None:
        found, bad = implausible_findings(good)
        good = [item for item in good if item.pair.mask not in bad]
        kinds = Counter(item.look.mask.encoding for item in good if item.look.mask)
        kind: Encoding = "rgb" if kinds["rgb"] > kinds["index"] else "index"
        odd = [item for item in good if item.look.mask and item.look.mask.encoding != kind]
        found += [_odd_kind(item, kind) for item in odd]
        good = [item for item in good if item not in odd]
        _count(good, tally)
        if not good:
            return None, "", (), found
        try:
            space, notes = _proposed(source, kind, tally)
        except DataError as error:
            fix = f"Correct the masks, or say what the values mean in {source.root / 'labels.yaml'}."
            return None, "", (), [*found, finding("no-label-space", str(error), fix)]
        return space, "label space proposed from the masks", notes, found + _of_values(source, space, good, tally)
    _count([item for item in good if item.look.mask and item.look.mask.encoding == space.encoding], tally)
    return space, labels_from, notes, _of_values(source, space, good, tally)


def _of_values(source: Source, space: LabelSpace, good: Sequence[Seen], tally: Tally) -> list[Finding]:
    values = tally.values
    reading = Reading(space=space, union=frozenset(values))
    found = mask_findings(good, reading, source.command)
    return train_id_findings(values, reading) + void_findings(good, found)


def _odd_kind(item: Seen, kind: Encoding) -> Finding:
    here, there = ("colours", "one number a pixel") if kind == "index" else ("one number a pixel", "colours")
    text = f"holds {here}, while most masks hold {there}."
    fix = "Export it like the others."
    return finding("mixed-masks", text, fix, split=item.split, files=(item.pair.mask, item.pair.image))


def _count(items: Sequence[Seen], tally: Tally) -> None:
    for item in items:
        if item.look.mask is not None:
            tally.count(item.pair.mask, item.look.mask)


def _proposed(source: Source, kind: Encoding, tally: Tally) -> tuple[LabelSpace, tuple[str, ...]]:
    names_file = source.root / "classes.txt"
    named = read_class_names(names_file) if names_file.is_file() else []
    space, notes = propose(source.root.resolve().name or "own", kind, tally.values, named, source.root)
    return space, tuple(notes)


def _facts(split: str, items: Sequence[Seen], tally: Tally, space: LabelSpace | None) -> SplitFacts:
    sums = tally.splits[split]
    count = space.num_classes if space else 0
    pixels_K, images_K, ignored = [0] * count, [0] * count, 0
    classes_of: dict[int, list[int]] = {}
    for k, entry in enumerate(space.classes if space else ()):
        for value in entry.values:
            classes_of.setdefault(value, []).append(k)
    for item in items:
        mask = item.look.mask
        if space is None or mask is None or mask.encoding != space.encoding:
            continue
        shown: Counter[int] = Counter()
        for value, pixels in zip(mask.values_V.tolist(), mask.pixels_V.tolist(), strict=True):
            ignored += pixels if value not in classes_of else 0
            for k in classes_of.get(value, ()):
                shown[k] += pixels
        for k, pixels in shown.items():
            pixels_K[k] += pixels
            images_K[k] += 1
    return SplitFacts(
        pictures=sums.pictures,
        looked=sums.looked,
        groups=len({item.pair.group for item in items}),
        sizes=dict(sums.sizes.most_common()),
        class_pixels=tuple(pixels_K),
        class_images=tuple(images_K),
        ignored_pixels=ignored,
        mean_picture=sums.mean_picture,
    )


def _examples(seen: Sequence[Seen], findings: Sequence[Finding]) -> tuple[tuple[str, Pair], ...]:
    """Pairs without errors, evenly chosen over the whole data set."""
    faulty = {file for f in findings if f.severity == "error" for file in f.files}
    good = [item for item in seen if not {item.pair.image, item.pair.mask} & faulty]
    step = max(1.0, len(good) / EXAMPLES)
    chosen = [good[int(i * step)] for i in range(min(EXAMPLES, len(good)))]
    return tuple((item.splits[0], item.pair) for item in chosen)
