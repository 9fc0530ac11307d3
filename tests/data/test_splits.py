"""Dividing: parts that are parts, whatever the order; balance against chance and scikit-learn; split files."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold

from segwright.api import split_data
from segwright.cli import main
from segwright.cli.data_split import parse_fractions
from segwright.contracts import DataError, UserError
from segwright.data import CamVid
from segwright.data.dividing import (
    fraction,
    group_split,
    hash_order,
    k_folds,
    leave_one_group_out,
    part_sizes,
    random_split,
    stratified_split,
)
from segwright.data.splits import (
    PRESETS,
    Joined,
    Plan,
    SplitFile,
    Subset,
    apply_split,
    as_method,
    make_splits,
    open_part,
    read_splits,
    write_splits,
)
from segwright.labels import load_label_space

from .files import FOUR, FakeDataset, fake_dataset, sample, write_pairs

NAMES = st.lists(st.text("abcäé0123_/-", min_size=1, max_size=8), min_size=4, max_size=60, unique=True)
FRACTIONS = st.sampled_from([(0.8, 0.2), (0.5, 0.25, 0.25), (0.34, 0.33, 0.33), (0.6, 0.2, 0.1, 0.1), (1 / 3, 2 / 3)])
SEEDS = st.integers(0, 2**31)


def numbered(count: int) -> list[str]:
    return [f"p{i:05d}" for i in range(count)]


def presence(count: int, classes: int = 6, seed: int = 0) -> np.ndarray:
    """Frequent to rare classes."""
    rng = np.random.default_rng(seed)
    return rng.random((count, classes)) < np.geomspace(0.8, 0.02, classes)


def is_partition(parts: tuple[tuple[str, ...], ...], names: list[str]) -> bool:
    return sorted(n for part in parts for n in part) == sorted(names)


# sizes


@settings(max_examples=200, deadline=None)
@given(count=st.integers(20, 5000), fractions=FRACTIONS)
def test_sizes_differ_from_shares_by_less_than_one(count: int, fractions: tuple[float, ...]) -> None:
    sizes = part_sizes(count, fractions)
    assert sum(sizes) == count
    assert all(abs(size - share * count) < 1 for size, share in zip(sizes, fractions, strict=True))


def test_sizes_may_be_numbers_of_pictures() -> None:
    assert part_sizes(2975, (2472, 503)) == (2472, 503)
    assert part_sizes(2913, (0.5, 0.25, 0.25)) == (1457, 728, 728)


@pytest.mark.parametrize(
    ("count", "fractions", "said"),
    [
        (10, (0.8,), "two or more"),
        (10, (), "two or more"),
        (10, (0.8, 0.1), "sum to 0.9"),
        (10, (1.2, -0.2), "above 0"),
        (10, (5, 4), "9 pictures together, but there are 10"),
        (2, (0.8, 0.1, 0.1), "too few"),
    ],
)
def test_wrong_sizes_are_refused(count: int, fractions: tuple[float, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        part_sizes(count, fractions)


# every method


@settings(max_examples=150, deadline=None)
@given(names=NAMES, fractions=FRACTIONS, seed=SEEDS, data=st.data())
def test_parts_are_a_partition_of_the_right_sizes_in_any_order(
    names: list[str], fractions: tuple[float, ...], seed: int, data: st.DataObject
) -> None:
    if round(min(fractions) * len(names)) < 1:
        fractions = (0.5, 0.5)
    shows = presence(len(names), seed=seed % 1000)
    order = data.draw(st.permutations(range(len(names))))
    shuffled = [names[i] for i in order]
    for once, again in (
        (random_split(names, fractions, seed=seed), random_split(shuffled, fractions, seed=seed)),
        (
            stratified_split(names, shows, fractions, seed=seed),
            stratified_split(shuffled, shows[list(order)], fractions, seed=seed),
        ),
    ):
        assert once == again
        assert is_partition(once, names)
        assert tuple(len(part) for part in once) == part_sizes(len(names), fractions)


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=4, max_size=12),
    fractions=st.sampled_from([(0.8, 0.2), (0.5, 0.25, 0.25)]),
    seed=SEEDS,
    data=st.data(),
)
def test_groups_stay_whole(sizes: list[int], fractions: tuple[float, ...], seed: int, data: st.DataObject) -> None:
    groups = [f"g{g}" for g, size in enumerate(sizes) for _ in range(size)]
    names = numbered(len(groups))
    order = data.draw(st.permutations(range(len(names))))
    shuffled = [names[i] for i in order], [groups[i] for i in order]
    k = data.draw(st.integers(2, len(sizes)))
    shows = presence(len(names))
    for once, again in (
        (group_split(names, groups, fractions, seed=seed), group_split(*shuffled, fractions, seed=seed)),
        (
            k_folds(names, k, seed=seed, groups=groups),
            k_folds(shuffled[0], k, seed=seed, groups=shuffled[1]),
        ),
        (
            k_folds(names, k, seed=seed, groups=groups, presence_NK=shows),
            k_folds(shuffled[0], k, seed=seed, groups=shuffled[1], presence_NK=shows[list(order)]),
        ),
    ):
        assert once == again
        assert is_partition(once, names)
        assert all(once)
        group_of = dict(zip(names, groups, strict=True))
        parts_of = Counter(g for part in once for g in {group_of[n] for n in part})
        assert set(parts_of.values()) == {1}


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=9), seed=SEEDS, share=st.floats(0.15, 0.5))
def test_two_parts_of_groups_are_as_near_as_groups_allow(sizes: list[int], seed: int, share: float) -> None:
    """Against trying every set of groups."""
    groups = [f"g{g}" for g, size in enumerate(sizes) for _ in range(size)]
    if round(share * sum(sizes)) < 1:
        share = 0.5
    parts = group_split(numbered(len(groups)), groups, (1 - share, share), seed=seed)
    wanted = part_sizes(len(groups), (1 - share, share))[1]
    sums = [sum(s for b, s in enumerate(sizes) if bits >> b & 1) for bits in range(1, 2 ** len(sizes) - 1)]
    assert abs(len(parts[1]) - wanted) == min(abs(s - wanted) for s in sums)


@settings(max_examples=60, deadline=None)
@given(names=NAMES, seed=SEEDS, shares=st.lists(st.floats(0.01, 1), min_size=2, max_size=4))
def test_smaller_shares_lie_in_larger_ones(names: list[str], seed: int, shares: list[float]) -> None:
    nested = [set(fraction(names, share, seed=seed)) for share in sorted(shares)]
    assert all(small <= large for small, large in pairwise(nested))
    assert all(nested)
    assert set(fraction(names, 1.0, seed=seed)) == set(names)


def test_seeds_differ_and_a_new_picture_moves_few() -> None:
    names = numbered(200)
    assert random_split(names, (0.8, 0.2), seed=0) != random_split(names, (0.8, 0.2), seed=1)
    before, after = (set(random_split(n, (0.8, 0.2))[1]) for n in (names, [*names, "new"]))
    assert len(before ^ after) <= 2
    assert hash_order(["e\u0301"], 0)  # a name in decomposed form


def test_mistakes_are_named() -> None:
    names = numbered(6)
    for call, said in (
        (lambda: random_split([], (0.5, 0.5)), "no pictures"),
        (lambda: random_split([*names, names[0]], (0.5, 0.5)), "more than once: p00000"),
        (lambda: stratified_split(names, np.ones((5, 2)), (0.5, 0.5)), r"\(5, 2\); expected .*\(6, classes\)"),
        (lambda: group_split(names, ["a"] * 6, (0.5, 0.5)), "2 parts need 2 groups; there are 1: a"),
        (lambda: leave_one_group_out(names, ["a"] * 6), "two groups"),
        (lambda: k_folds(names, 7), "folds is 7; allowed are 2 to 6, the number of pictures"),
        (lambda: k_folds(names, 3, groups=list("aabbbb")), "2 to 2, the number of groups"),
        (lambda: fraction(names, 0), "above 0"),
        (lambda: as_method("stratify"), "Did you mean 'stratified'"),
    ):
        with pytest.raises(UserError, match=said):
            call()


# balance


def imbalance(parts: tuple[tuple[str, ...], ...], names: list[str], shows: np.ndarray) -> float:
    """Mean over parts and classes of |share of the class in the part - share in all|."""
    row = {name: i for i, name in enumerate(names)}
    whole = shows.mean(0)
    return float(np.mean([np.abs(shows[[row[n] for n in part]].mean(0) - whole).mean() for part in parts]))


def test_stratified_parts_are_more_even_than_chance() -> None:
    names, shows = numbered(400), presence(400)
    ours = [imbalance(stratified_split(names, shows, (0.7, 0.2, 0.1), seed=s), names, shows) for s in range(5)]
    chance = [imbalance(random_split(names, (0.7, 0.2, 0.1), seed=s), names, shows) for s in range(5)]
    assert max(ours) < min(chance) / 2


def test_stratified_folds_beat_scikit_learns_folds() -> None:
    names, shows = numbered(300), presence(300, 8)
    folds = k_folds(names, 5, presence_NK=shows)
    theirs = tuple(tuple(names[i] for i in test) for _, test in KFold(5, shuffle=True, random_state=0).split(names))
    assert imbalance(folds, names, shows) < imbalance(theirs, names, shows) / 3
    assert {len(f) for f in folds} == {60}
    present = shows.sum(0)
    row = {name: i for i, name in enumerate(names)}
    for fold in folds:  # each class in each fold, by its share
        assert (np.abs(shows[[row[n] for n in fold]].sum(0) - present / 5) <= 3).all()


def test_group_folds_are_as_even_as_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    groups = [f"g{g:02d}" for g in range(40) for _ in range(int(rng.integers(1, 40)))]
    names, index = numbered(len(groups)), np.arange(len(groups))
    ours = sorted(len(f) for f in k_folds(names, 5, groups=groups))
    theirs = sorted(len(test) for _, test in GroupKFold(5).split(index, groups=groups))
    assert max(ours) - min(ours) <= max(theirs) - min(theirs)
    single = rng.integers(0, 4, 40)  # one class a group, so that scikit-learn can stratify it
    label = np.array([single[int(g[1:])] for g in groups])
    shows = np.eye(4, dtype=bool)[label]
    mine = k_folds(names, 5, groups=groups, presence_NK=shows)
    sklearn_folds = StratifiedGroupKFold(5).split(index, label, groups)
    other = tuple(tuple(names[i] for i in test) for _, test in sklearn_folds)
    assert imbalance(mine, names, shows) <= 1.5 * imbalance(other, names, shows)


# parts of a data set


def joined(count: int = 12) -> Joined:
    return Joined({"train": fake_dataset(count)})


def test_a_subset_is_a_view() -> None:
    source = fake_dataset(6)
    view = Subset(source, [4, 1])
    assert len(view) == 2
    assert view.names == ("a_004", "b_001")
    assert view.groups == ("a", "b")
    assert view[0] is source.samples[4]


def test_official_splits_together_keep_names_and_groups() -> None:
    both = Joined({"train": FakeDataset([sample(0), sample(1)]), "val": FakeDataset([sample(1), sample(2)])})
    assert both.names == ("train/a_000", "train/b_001", "val/b_001", "val/a_002")
    assert both.groups == ("a", "b", "b", "a")
    assert both.names_of() == {"train": both.names[:2], "val": both.names[2:]}
    assert both[2].name == "val/b_001"


def test_plans(tmp_path: Path) -> None:
    data = joined(20)
    made = make_splits(data, "fake", Plan(method="group", fractions={"train": 0.5, "test": 0.5}))
    assert made.groups in ({"train": ("a",), "test": ("b",)}, {"train": ("b",), "test": ("a",)})
    assert made.straddling(data) == ()
    chance = make_splits(data, "fake", Plan(seed=3))
    assert chance.straddling(data) == ("a", "b")
    part = make_splits(data, "fake", Plan(share=0.25, seed=3))
    assert set(part.splits["train"]) < set(chance.splits["train"])
    assert part.splits["val"] == chance.splits["val"]
    assert set(part.splits["train"]) | set(part.unused) == set(chance.splits["train"])
    folds = make_splits(data, "fake", Plan(method="folds", folds=4))
    assert set(folds.names("not-fold2")) == set(data.names) - set(folds.names("fold2"))
    left = make_splits(data, "fake", Plan(method="leave-one-group-out"))
    assert left.splits == {g: tuple(n for n in sorted(data.names) if n[0] == g) for g in "ab"}
    with pytest.raises(UserError, match="needs the masks"):
        make_splits(data, "fake", Plan(method="stratified"))
    with pytest.raises(UserError, match="only --method random, stratified and group"):
        make_splits(data, "fake", Plan(method="folds", share=0.5))
    single = fake_dataset(4)
    single.groups = list(single.names)
    with pytest.raises(UserError, match="every picture is a group of its own"):
        make_splits(Joined({"all": single}), "fake", Plan(method="group"))


@pytest.mark.parametrize("method", ["random", "stratified", "group", "leave-one-group-out", "folds"])
def test_a_split_file_comes_back_as_it_was(tmp_path: Path, method: str) -> None:
    data = joined(20)
    plan = Plan(method=as_method(method), seed=7, stratified=True)
    made = make_splits(data, "fake", plan, presence(20))
    path = write_splits(tmp_path / "splits.json", made)
    read = read_splits(path)
    assert read == made
    names = [n for part in read.splits for n in apply_split(data, read, part).names]
    assert sorted(names) == sorted(data.names)
    first = next(iter(read.splits))
    opened = open_part(path, first, lambda split: {"train": fake_dataset(20)}[split])
    assert opened.names == tuple(n for n in data.names if n in read.splits[first])


def test_a_split_file_and_data_that_differ(tmp_path: Path) -> None:
    made = make_splits(joined(10), "fake", Plan(share=0.5))
    smaller, larger = joined(9), joined(11)
    apply_split(joined(10), made, "train")
    with pytest.raises(DataError, match="b_009: in the split file, but not in the data"):
        apply_split(smaller, made, "train")
    with pytest.raises(DataError, match="a_010: in the data, but in no part of the split file"):
        apply_split(larger, made, "train")
    with pytest.raises(UserError, match="no part 'vla'. Did you mean 'val'"):
        apply_split(joined(10), made, "vla")


GOOD = {"seed": 0, "method": "m", "source": {"data": "d", "splits": ["s"]}, "splits": {"a": ["x"], "b": ["y"]}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("[]", "no split file"),
        ("{", "no split file"),
        ({"splits": {"a": ["x"], "b": ["x"]}}, "'x' is listed 2 times"),
        ({"unused": ["y"]}, "'y' is listed 2 times"),
        ({"splits": {"a": ["x"], "b": []}}, "part 'b' has no pictures"),
        ({"splits": {}}, "splits is empty"),
        ({"splits": {"a": "x"}}, "splits.a is no list of names"),
        ({"source": None}, "no split file"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"seed": None}, "no split file"),
    ],
)
def test_wrong_split_files_are_refused(tmp_path: Path, change: object, said: str) -> None:
    path = tmp_path / "splits.json"
    path.write_text(change if isinstance(change, str) else json.dumps(GOOD | change))  # type: ignore[operator]
    with pytest.raises((UserError, DataError), match=said) as caught:
        read_splits(path)
    assert str(path) in str(caught.value)


def test_a_missing_split_file_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="segwright data split"):
        read_splits(tmp_path / "none.json")


def test_presets_divide_as_their_sources_say() -> None:
    def cities(counts: list[int], split: str) -> FakeDataset:
        found = FakeDataset([])
        found.names = [f"{split}{c}_{i}" for c, count in enumerate(counts) for i in range(count)]
        found.groups = [f"{split}{c}" for c, count in enumerate(counts) for _ in range(count)]
        found.samples = [sample(0)] * len(found.names)
        return found

    # the pictures of the 18 train and 3 val cities of Cityscapes
    train = [174, 96, 316, 154, 85, 221, 109, 248, 196, 119, 99, 94, 365, 196, 144, 95, 142, 122]
    data = Joined({"train": cities(train, "train"), "val": cities([267, 174, 59], "val")})
    for name, sizes in (("cityscapes-2472-503-500", (2472, 503, 500)), ("cityscapes-by-city", (2472, 503, 500))):
        made = make_splits(data, "cityscapes", PRESETS[name].plan)
        assert tuple(len(made.splits[p]) for p in ("train", "val", "test")) == sizes
        assert all(n.startswith("val") for n in made.splits["test"])
        assert name == "cityscapes-2472-503-500" or made.straddling(data) == ()
    voc = FakeDataset([sample(0)] * 2913)
    voc.names = voc.groups = numbered(2913)
    made = make_splits(Joined({"trainval": voc}), "voc", PRESETS["voc-half"].plan)
    assert [len(names) for names in made.splits.values()] == [1457, 728, 728]


def test_camvids_sequences_are_left_out_in_turn(camvid: Path) -> None:
    preset = PRESETS["camvid-leave-one-sequence-out"]
    data = Joined({s: CamVid(camvid, s, load_label_space("camvid11")) for s in preset.splits})
    made = make_splits(data, "camvid", preset.plan)
    assert {g: len(names) for g, names in made.splits.items()} == {"0001TP": 62, "0006R0": 101, "0016E5": 204}
    assert made.straddling(data) == ()
    assert len(apply_split(data, made, "not-0016E5")) == 163


def test_fractions_on_the_command_line() -> None:
    assert parse_fractions("0.8,0.2") == {"train": 0.8, "val": 0.2}
    assert parse_fractions("2472, 503") == {"train": 2472, "val": 503}
    assert parse_fractions("fit=0.5,see=0.25,judge=0.25") == {"fit": 0.5, "see": 0.25, "judge": 0.25}
    for wrong in ("0.8,x", "a=1,a=2", "0.25,0.25,0.25,0.25", "a=0.5,=0.5"):
        with pytest.raises(UserError, match="--fractions"):
            parse_fractions(wrong)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as caught:
        main([str(w) for w in words])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_the_verb_writes_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_pairs(tmp_path / "photos", [f"{'ab'[i % 2]}_{i:02d}" for i in range(20)])
    (root / "labels.yaml").write_text(yaml.safe_dump(FOUR.to_dict()))
    out = tmp_path / "splits.json"
    shown = run(capsys, "data", "split", root, "--fractions", "0.7,0.2,0.1", "--seed", 3, "-o", out)
    assert [len(names) for names in read_splits(out).splits.values()] == [14, 4, 2]
    assert read_splits(out).source_splits == ("all",)
    for said in ("14 (70.0%)", "c3", "no groups are known", f"data.split_file={out} data.train=train data.val=val"):
        assert said in shown
    group = ("data.args.group_regex=^[ab]", "--method", "folds", "--folds", 2, "--by-group", "--stratified", "--json")
    told = json.loads(run(capsys, "data", "split", root, "-o", out, *group))
    assert told["pictures"] == {"fold1": 10, "fold2": 10}
    assert told["straddling"] == []
    assert set(told["class_pixels"]["fold1"]) == {"c0", "c1", "c2", "c3"}
    assert read_splits(out).groups in ({"fold1": ("a",), "fold2": ("b",)}, {"fold1": ("b",), "fold2": ("a",)})
    table = run(capsys, "data", "stats", root, "--split", "all")
    assert "pictures  20" in table
    counted = json.loads(run(capsys, "data", "stats", root, "--split", "all", "--json"))
    assert sum(told["class_pixels"][p]["c0"] for p in told["pictures"]) == counted["classes"][0]["pixels"]


def test_what_a_data_set_keeps_apart_stays_apart(tmp_path: Path) -> None:
    plan = Plan(fractions={"a": 0.5, "b": 0.5})

    def divided(root: Path) -> tuple[tuple[str, ...], int]:
        made = split_data(root, labels=FOUR, out=tmp_path / "s.json", plan=plan).parts
        return made.source_splits, sum(len(names) for names in made.splits.values())

    for split in ("train", "test"):
        write_pairs(tmp_path / split, [f"{split}{i}" for i in range(6)])
    assert divided(tmp_path) == (("train", "val"), 6)  # the reader took this val out of train
    write_pairs(tmp_path / "val", ["val0", "val1"])
    assert divided(tmp_path) == (("train",), 6)
    lines = [
        f"train/images/train{i}.png,train/masks/train{i}.png,{s}" for i, s in enumerate(["train"] * 4 + ["val"] * 2)
    ]
    (tmp_path / "with.csv").write_text("\n".join(["image,mask,split", *lines]))
    (tmp_path / "without.csv").write_text("\n".join(["image,mask", *(line.rpartition(",")[0] for line in lines)]))
    assert divided(tmp_path / "with.csv") == (("train",), 4)
    assert divided(tmp_path / "without.csv") == (("all",), 6)
    with pytest.raises(UserError, match="preset 'voc-half' divides voc, but .* holds paired_folders"):
        split_data(tmp_path, labels=FOUR, preset="voc-half")
    with pytest.raises(UserError, match="Did you mean 'voc-half'"):
        split_data(tmp_path, labels=FOUR, preset="voc-hlaf")


def test_a_preset_stands_alone(camvid: Path, tmp_path: Path) -> None:
    name = "camvid-leave-one-sequence-out"
    with pytest.raises(UserError, match="only the seed may stand beside it"):
        split_data(camvid, preset=name, plan=Plan(folds=3))
    made = split_data(camvid, preset=name, out=tmp_path / "s.json", classes=False, plan=Plan(seed=4))
    assert made.class_pixels is None
    assert made.to_dict()["pictures"] == {"0001TP": 62, "0006R0": 101, "0016E5": 204}


def test_split_files_are_frozen() -> None:
    made = SplitFile(seed=0, method="m", data="d", source_splits=("s",), splits={"a": ("x",)})
    assert made.names("not-a") == ()
