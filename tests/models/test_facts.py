"""What `segwright models` tells: filters, orders, arguments read from signatures and docstrings, times."""

from __future__ import annotations

import inspect
import json
from contextlib import suppress

import pytest

import segwright
from segwright import cli
from segwright.contracts import UserError
from segwright.evaluation.speed import measure_latency
from segwright.models import CARDS, MODELS, Segmenter, build_architecture
from segwright.models.facts import ModelFacts, about, arguments, in_order, matching, model_facts
from segwright.models.summary import summarise
from tests.models.conftest import space


@pytest.mark.parametrize("name", MODELS)
def test_every_argument_of_every_model_is_explained(name: str) -> None:
    found = {item.name: item for item in arguments(name)}
    assert set(found) == set(inspect.signature(MODELS[name]).parameters) - {"num_classes"}
    assert [n for n, item in found.items() if not item.meaning] == []
    assert about(name)
    assert not any(f"{n}:" in about(name) for n in found)


def test_defaults_and_meanings_are_those_of_the_code() -> None:
    found = {item.name: item for item in arguments("fast_scnn")}
    assert (found["width"].default, found["auxiliary"].default, found["head_stride"].kind) == ("1.0", "false", "int")
    assert found["head_stride"].meaning.startswith("8, as in the paper, or 4 (ours)")
    assert found["head_stride"].meaning.endswith("stays as it is.")
    assert "Input: float" in about("fast_scnn")


def test_filters_and_orders() -> None:
    assert matching(["FAST-scnn"]) == ["fast_scnn"]
    assert "unet" in matching(["cityscapes", "mit"])
    assert matching([], experimental=False) == [n for n, card in CARDS.items() if not card.experimental]
    with pytest.raises(UserError, match="no model fits 'qqq'"):
        matching(["qqq"])
    facts = [model_facts(name) for name in ("unet", "smp", "fast_scnn")]
    assert [f.name for f in in_order(facts, "parameters")] == ["fast_scnn", "unet", "smp"]
    assert [f.name for f in in_order(facts, "published")] == ["unet", "fast_scnn", "smp"]
    with pytest.raises(UserError, match="allowed are name, parameters"):
        in_order(facts, "size")


def test_published_scores_are_read_from_the_cards() -> None:
    fact = ModelFacts(
        name="x",
        description="",
        parameters=1,
        stride=1,
        licence="",
        paper="",
        published=("Cityscapes 34 classes, val 99.0 (a study)", "VOC 2012 test 86.0", "Cityscapes val 80.1 (R50)"),
    )
    assert (fact.published_miou, fact.best_published) == (80.1, "Cityscapes val 80.1")


def test_arithmetic_at_a_size_is_that_of_the_padded_picture() -> None:
    expected = summarise(MODELS["fast_scnn"](19), (64, 96)).macs
    assert model_facts("fast_scnn", size=(50, 96)).macs == expected
    assert model_facts("fast_scnn").macs is None


def test_time_of_one_picture() -> None:
    net = build_architecture("small_cnn", 3, {"width": 8})
    model = Segmenter(net, labels=space(3), model={"name": "small_cnn"})
    calls: list[tuple[int, ...]] = []
    net.register_forward_pre_hook(lambda _, inputs: calls.append((*inputs[0].shape, net.training)))
    found = measure_latency(model, (32, 40), repeats=3, device="cpu")
    assert calls == [(1, 3, 32, 40, False)] * 5  # two to warm up
    assert 0 < found.fastest_ms <= found.median_ms <= found.slowest_ms
    assert "32×40" in found.conditions
    with pytest.raises(UserError, match="repeats is 0"):
        measure_latency(model, (32, 40), repeats=0)


def test_the_command_lists_and_shows(capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> str:
        with suppress(SystemExit):
            cli.main(["models", *words])
        return capsys.readouterr().out

    (fact,) = json.loads(run("--filter", "Fast-SCNN", "--latency", "--repeats", "1", "--size", "32x64", "--json"))
    assert fact["latency_ms"] > 0
    assert (fact["parameters"], fact["stride"]) == (1_137_763, 32)
    assert {"name", "description", "licence", "paper"} <= set(fact)
    page = run("show", "fast_scnn")
    for part in ("1,137,763", "head_stride", "arXiv 1902.04502", "68.0"):
        assert part in page
    with pytest.raises(UserError, match="add --latency"):
        segwright.list_models(sort="latency")
