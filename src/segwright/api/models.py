"""The architectures: facts to choose by, and what their arguments mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from segwright.api.showing import counting, new_console

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.evaluation.speed import Latency
    from segwright.models.facts import Argument, ModelFacts


@dataclass(frozen=True, kw_only=True)
class ModelPage:
    """Everything about one architecture: its facts, what it is, its arguments."""

    facts: ModelFacts
    text: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, kw_only=True)
class ShippedModel:
    """A trained model that comes with segwright. score: what was measured and on what; free: usable for anything."""

    name: str
    description: str
    network: str
    parameters: int
    megabytes: float
    score: str
    licence: str
    free: bool


def shipped_models() -> list[ShippedModel]:
    """The trained models that come with segwright; their names open them wherever a weights file does."""
    import warnings

    from segwright.models.weights import load_segmenter
    from segwright.shipped import SHIPPED, LicenceNotice, shipped_file

    found = []
    for name, model in SHIPPED.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LicenceNotice)
            file = shipped_file(name)
        segmenter = load_segmenter(file)
        found.append(
            ShippedModel(
                name=name,
                description=model.description,
                network=segmenter.model["name"],
                parameters=sum(weight.numel() for weight in segmenter.parameters()),
                megabytes=file.stat().st_size / 1e6,
                score=segmenter.provenance["score"],
                licence=segmenter.licence,
                free=model.free,
            )
        )
    return found


def list_models(
    *,
    num_classes: int = 19,
    words: Sequence[str] = (),
    experimental: bool | None = None,
    size: tuple[int, int] | None = None,
    latency: bool = False,
    repeats: int = 10,
    device: str = "auto",
    sort: str | None = None,
    console: Console | None = None,
) -> list[ModelFacts]:
    """The architectures with default arguments: parameters, stride, paper, licence, published mIoU.

    words: each has to occur in a model's name, description, paper, licence or published scores. experimental: only the
    second tier, only the first, or (None) both. size: height and width to count multiply-adds for. latency: also
    measure the time for one picture of that size (512×1024 without one) on this machine, with fresh weights. sort:
    name, parameters, macs, stride, latency or published; the order of the registry by default.
    Raises UserError where no model fits, and for another order.
    """
    from dataclasses import replace

    from segwright.contracts import UserError
    from segwright.models.facts import in_order, matching, model_facts

    needed = {"macs": size is not None or latency, "latency": latency}
    if sort in needed and not needed[sort]:
        option = "--latency" if sort == "latency" else "--size HEIGHTxWIDTH"
        raise UserError(f"sort is '{sort}', which is not known yet: add {option}.")
    in_order([], sort or "name")  # a wrong order is told before anything is measured
    seen = size or ((512, 1024) if latency else None)
    facts = [model_facts(name, num_classes, seen) for name in matching(words, experimental=experimental)]
    if latency:
        with counting(console or new_console(), "measuring") as progress:
            for number, fact in enumerate(facts):
                if fact.parameters is not None:
                    took = time_model(fact.name, seen or (512, 1024), num_classes, repeats=repeats, device=device)
                    facts[number] = replace(fact, latency_ms=took.median_ms)
                progress(number + 1, len(facts))
    return facts if sort is None else in_order(facts, sort)


def time_model(
    name: str, size: tuple[int, int], num_classes: int = 19, *, repeats: int = 10, device: str = "auto"
) -> Latency:
    """Time for one picture of `size` (height, width) through an architecture with fresh weights, on this machine."""
    from segwright.api.looking import open_model
    from segwright.evaluation.speed import measure_latency

    return measure_latency(open_model(name, num_classes=num_classes), size, repeats=repeats, device=device)


def describe_model(name: str, *, num_classes: int = 19, size: tuple[int, int] = (512, 1024)) -> ModelPage:
    """One architecture: facts, what it is, and its arguments with defaults. Raises UserError for an unknown name."""
    from segwright.models.facts import about, arguments, model_facts

    facts = model_facts(name, num_classes, size)
    return ModelPage(facts=facts, text=about(name), arguments=tuple(arguments(name)))
