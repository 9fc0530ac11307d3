"""What to know about the architectures before choosing one: facts of each, filters, orders, and what arguments mean."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from segwright.contracts import UserError
from segwright.models.registry import CARDS, MODELS
from segwright.models.summary import summarise
from segwright.names import did_you_mean

CITYSCAPES = re.compile(r"Cityscapes\D*(\d\d\.\d)")


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """One architecture with its default arguments; None where a fact depends on arguments that have no natural default.

    stride: heights and widths are padded to multiples of it. macs: multiply-adds for one picture of the size that was
    asked for; None when none was. latency_ms: on this machine, when it was measured. published: of others.
    """

    name: str
    description: str
    parameters: int | None
    stride: int | None
    licence: str
    paper: str
    published: tuple[str, ...] = ()
    experimental: bool = False
    macs: int | None = None
    latency_ms: float | None = None

    @property
    def best_published(self) -> str:
        """The published result with that mIoU, without its conditions: `Cityscapes test 82.1`; else the first one."""
        best = self.published_miou
        chosen = [t for t in self.published if best is not None and f"{best:.1f}" in t and t.startswith("Cityscapes")]
        return next(iter([*chosen, *self.published]), "").partition(" (")[0]

    @property
    def published_miou(self) -> float | None:
        """The largest published mIoU on Cityscapes, per cent, whatever the split and backbone."""
        found = [float(number) for text in self.published for number in CITYSCAPES.findall(text)]
        return max(found, default=None)


ORDERS: dict[str, Callable[[ModelFacts], Any]] = {
    "name": lambda fact: fact.name,
    "parameters": lambda fact: fact.parameters,
    "macs": lambda fact: fact.macs,
    "stride": lambda fact: fact.stride,
    "latency": lambda fact: fact.latency_ms,
    "published": lambda fact: None if fact.published_miou is None else -fact.published_miou,
}
"""How a list may be sorted; models without the value come last."""


@dataclass(frozen=True)
class Argument:
    """One argument of an architecture: default as YAML writes it, kind as Python does, and its meaning."""

    name: str
    default: str
    kind: str
    meaning: str


def model_facts(name: str, num_classes: int = 19, size: tuple[int, int] | None = None) -> ModelFacts:
    """Facts of one entry of MODELS, for default arguments. Raises UserError for an unknown name.

    size: height and width to count multiply-adds for, padded to the stride.
    """
    check_name(name)
    card = CARDS[name]
    parameters = stride = macs = None
    if card.fixed:
        with torch.device("meta"):
            architecture = MODELS[name](num_classes)
        parameters = sum(p.numel() for p in architecture.parameters())
        stride = int(architecture.stride)  # type: ignore[arg-type]
        if size is not None:
            least = int(getattr(architecture, "min_size", stride))
            height, width = (max(least, -(-side // stride) * stride) for side in size)
            macs = summarise(architecture, (height, width)).macs
    return ModelFacts(
        name=name,
        description=card.description,
        parameters=parameters,
        stride=stride,
        licence=card.licence,
        paper=card.paper,
        published=card.published,
        experimental=card.experimental,
        macs=macs,
    )


def all_facts(num_classes: int = 19, size: tuple[int, int] | None = None) -> list[ModelFacts]:
    """Facts of every architecture, in the order of MODELS."""
    return [model_facts(name, num_classes, size) for name in MODELS]


def check_name(name: str) -> None:
    if name not in MODELS:
        hint = did_you_mean(name, MODELS)
        raise UserError(f"there is no architecture '{name}'.{hint} There are: {', '.join(MODELS)}.")


def matching(words: Sequence[str], *, experimental: bool | None = None) -> list[str]:
    """Names of the models whose name, description, paper, licence or published scores hold all words, in any case.

    experimental: only the second tier, only the first, or (None) both. Raises UserError where no model is left.
    """
    found = []
    for name, card in CARDS.items():
        text = _plain(" ".join((name, card.description, card.paper, card.licence, *card.published)))
        tier = experimental is None or card.experimental == experimental
        if tier and all(_plain(word) in text for word in words):
            found.append(name)
    if not found:
        asked = " and ".join(f"'{word}'" for word in words) or "these options"
        raise UserError(
            f"no model fits {asked}: names, descriptions, papers, licences and published scores are searched."
        )
    return found


def _plain(text: str) -> str:
    """In lower case, hyphens and underscores as spaces: `Fast-SCNN` finds `fast_scnn`."""
    return text.lower().replace("-", " ").replace("_", " ")


def in_order(facts: Iterable[ModelFacts], by: str) -> list[ModelFacts]:
    """Sorted by a name in ORDERS, smallest first (`published`: best first). Raises UserError for another name."""
    if by not in ORDERS:
        raise UserError(f"--sort {by}: allowed are {', '.join(ORDERS)}.{did_you_mean(by, ORDERS)}")
    key = ORDERS[by]
    return sorted(facts, key=lambda fact: (key(fact) is None, key(fact) if key(fact) is not None else 0))


def arguments(name: str) -> list[Argument]:
    """The arguments of an architecture, from its signature and docstring. Raises UserError for an unknown name."""
    check_name(name)
    parameters = inspect.signature(MODELS[name]).parameters
    meanings = _meanings(inspect.getdoc(MODELS[name]) or "", parameters)
    return [
        Argument(
            key,
            "any" if p.kind is p.VAR_KEYWORD else _written(p.default),
            "" if p.annotation is p.empty or p.kind is p.VAR_KEYWORD else str(p.annotation),
            meanings.get(key, ""),
        )
        for key, p in parameters.items()
        if key != "num_classes"
    ]


def about(name: str) -> str:
    """What its docstring says of an architecture, without the arguments. Raises UserError for an unknown name."""
    check_name(name)
    text = inspect.getdoc(MODELS[name]) or ""
    known = inspect.signature(MODELS[name]).parameters
    described = {line for lines in _paragraphs(text, known).values() for line in lines}
    return "\n".join(line for line in text.splitlines() if line not in described).strip()


def _written(default: Any) -> str:
    """As YAML has it."""
    if isinstance(default, tuple | list):
        return f"[{', '.join(_written(value) for value in default)}]"
    return {"None": "null", "True": "true", "False": "false"}.get(str(default), str(default))


def _meanings(text: str, known: Mapping[str, Any]) -> dict[str, str]:
    """Name -> what the docstring says; a paragraph may explain one argument after the other."""
    name = "|".join(map(re.escape, known))
    heads = re.compile(rf"(?:^|(?<=\. ))((?:{name})(?:, (?:{name}))*): ")
    found: dict[str, str] = {}
    for lines in _paragraphs(text, known).values():
        _, *parts = heads.split(" ".join(line.strip() for line in lines))
        for head, meaning in zip(parts[::2], parts[1::2], strict=True):
            found |= dict.fromkeys(head.split(", "), meaning.strip())
    return found


def _paragraphs(text: str, known: Mapping[str, Any]) -> dict[str, list[str]]:
    """`name, name: what they mean` and the lines that belong to it, for names that are arguments."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        head = line.partition(":")[0]
        names = head.split(", ")
        if ":" in line and all(n in known for n in names):
            current = found[head] = [line]
        elif current is not None and line.strip() and not re.match(r"(Input|Output|Returns|Raises|Training)\b", line):
            current.append(line)
        else:
            current = None
    return found
