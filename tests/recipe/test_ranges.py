"""Ranges of a sweep: what is understood, and what is said about the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwright.contracts import UserError
from segwright.recipe import load_recipe
from segwright.recipe.ranges import parse_ranges


def test_each_form_is_read_and_written_as_it_was() -> None:
    texts = [
        "optimizer.lr=log(1e-05,0.01)",
        "loss.args.label_smoothing=uniform(0.0,0.2)",
        "training.batch=int(2,8)",
        "training.epochs=int(10,30,10)",
        "loss.name=choice(cross_entropy,dice)",
        "augmentation.size=choice([96,128],[192,256])",
        "model.args=choice({head_stride: 4},'{head_stride: 8, width: 1}')",
    ]
    ranges, fixed = parse_ranges([*texts, "data.root=DIR", "data.train=a (b)"])
    assert [str(found) for found in ranges] == texts
    assert fixed == ["data.root=DIR", "data.train=a (b)"]
    assert ranges[5].values == ("[96,128]", "[192,256]")
    assert [found.extremes for found in ranges[:4]] == [
        ["optimizer.lr=1e-05", "optimizer.lr=0.01"],
        ["loss.args.label_smoothing=0.0", "loss.args.label_smoothing=0.2"],
        ["training.batch=2", "training.batch=8"],
        ["training.epochs=10", "training.epochs=30"],
    ]


def test_short_names_mean_their_keys() -> None:
    ranges, _ = parse_ranges(["lr=log(1e-4,1e-2)", "batch = int( 2 , 8 )".replace("batch ", "batch")])
    assert [found.key for found in ranges] == ["optimizer.lr", "training.batch"]


def test_a_text_with_brackets_stays_a_text_in_quotes() -> None:
    _, fixed = parse_ranges(["data.root='photos(2)'", "lr=log(1e-4,1e-2)"])
    assert load_recipe("camvid-cpu", fixed).recipe.data.root == "photos(2)"


@given(st.floats(1e-6, 1), st.floats(1.0001, 1e4), st.floats(0, 1), st.booleans())
def test_values_stay_inside_the_bounds_and_read_back(low: float, factor: float, at: float, log: bool) -> None:
    high = low * factor
    (found,), _ = parse_ranges([f"optimizer.weight_decay={'log' if log else 'uniform'}({low!r},{high!r})"])
    text = found.write(low + (high - low) * at)
    assert low <= float(text.partition("=")[2]) <= high
    assert found.write(low) == f"optimizer.weight_decay={low!r}" or float(f"{low:.4g}") >= low


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("optimizer.lr=lgo(1e-5,1e-2)", "unknown form 'lgo'. Did you mean 'log'"),
        ("optimizer.lr=log(1e-2,1e-5)", "first bound has to be below the second; found 0.01 and 1e-05"),
        ("optimizer.lr=log(1e-2,1e-2)", "first bound has to be below"),
        ("optimizer.lr=log(0,1e-2)", "bounds above 0; found 0"),
        ("optimizer.lr=log(1e-5)", "log takes two numbers"),
        ("optimizer.lr=log(1e-5,1e-3,1e-2)", "log takes two numbers, such as log(1e-5,1e-2); found 3"),
        ("optimizer.lr=log(a,1e-2)", "a is not a number"),
        ("optimizer.lr=log(,1e-2)", "nothing is not a number"),
        ("optimizer.lr=uniform(0,inf)", "inf is not a number"),
        ("training.batch=int(2.5,8)", "whole numbers; found 2.5"),
        ("training.batch=int(2,8,4)", "steps of 4 do not lead from 2 to 8; the nearest end is 6"),
        ("training.batch=int(2,8,0)", "steps of 0"),
        ("training.batch=int(8)", "int takes two bounds"),
        ("loss.name=choice(dice)", "two or more values"),
        ("loss.name=choice(dice,)", "none may be empty"),
        ("loss.name=choice(dice,dice)", "dice stands twice"),
        ("optimizer.rate=log(1e-5,1e-2)", "unknown key 'optimizer.rate'"),
        ("optimiser.lr=log(1e-5,1e-2)", "Did you mean 'optimizer.lr'"),
        ("optimizer.lr", "key=value"),
        ("optimizer.lr=0.1", "at least one key to vary"),
    ],
)
def test_wrong_ranges_say_what_is_wrong(text: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_ranges([text])
    assert part in str(caught.value)


def test_a_key_stands_once() -> None:
    with pytest.raises(UserError, match=r"optimizer.lr stands twice \(also in 'lr=0.1'\)"):
        parse_ranges(["lr=0.1", "optimizer.lr=log(1e-5,1e-2)"])
