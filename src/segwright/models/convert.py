"""Starting from weights: a file of ours, of another program or of a hub, into a Segmenter; never a part in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segwright.contracts import UserError
from segwright.labels import LabelSpace
from segwright.labels.mapping import Overrides
from segwright.models.foreign import Foreign, read_foreign
from segwright.models.hub import SCHEME, hub_file
from segwright.models.layouts import RENAMINGS, LoadReport, match_tensors
from segwright.models.registry import CARDS, build_architecture
from segwright.models.segmenter import IMAGENET_MEAN, IMAGENET_STD, Segmenter
from segwright.models.transfer import ClassTable, class_axes, class_map, move_classes
from segwright.models.weights import read_saved, save_segmenter


@dataclass(frozen=True, kw_only=True)
class Started:
    """What a Segmenter started from.

    report: every tensor. classes: where each class comes from; None where the file's classes are the model's own, or
    where it has no classifier. provenance: plain data to keep with the model.
    """

    path: Path
    report: LoadReport
    classes: ClassTable | None
    provenance: Mapping[str, Any]

    def table(self, limit: int | None = 8) -> str:
        texts = [f"weights from {self.path}", self.report.table(limit)]
        return "\n".join(texts if self.classes is None else [*texts, self.classes.table()])


def initial_args(name: str, args: Mapping[str, Any], weights: str | None) -> dict[str, Any]:
    """The architecture's arguments for `model.weights`: with "imagenet", those that choose its initial weights say so.

    Other values change nothing. Raises UserError where the architecture has no such argument, or args say otherwise.
    """
    if weights != "imagenet":
        return dict(args)
    keys = CARDS[name].initial_weights
    if not keys:
        having = ", ".join(n for n, card in CARDS.items() if card.initial_weights)
        raise UserError(f"model.weights: {name} has no ImageNet weights. These have: {having}. Or set it to null.")
    for key in keys:
        if args.get(key, "imagenet") not in (None, "imagenet"):
            raise UserError(f"model.weights is imagenet, but model.args.{key} is {args[key]}: leave one of them out.")
    return dict(args) | dict.fromkeys(keys, "imagenet")


def weights_path(source: str | Path) -> Path:
    """The file of a path, or of a hub id `hf://owner/name[@revision][/file]`, fetched unless it is in the cache."""
    text = str(source)
    return hub_file(text) if text.startswith(SCHEME) else Path(text).expanduser()


def start_from(
    segmenter: Segmenter,
    source: str | Path,
    *,
    labels: LabelSpace | None = None,
    allow: Sequence[str] = (),
    key: str | None = None,
    overrides: Overrides | None = None,
) -> Started:
    """Put the weights of a file into the Segmenter's architecture, its classifier by class name.

    source: a path or `hf://owner/name[/file]`. labels: the classes of the file's classifier; a file of ours says them
    itself. allow: name patterns (`classify.*`, `missing:aux*`) of tensors that need no partner; they keep the
    Segmenter's numbers. key: which container of a foreign file. overrides: source class -> target class.
    Raises UserError, with the table, for what has no partner and is not allowed, and for a classifier whose classes
    nobody named; nothing has changed then. Also as `read_foreign` and `load_segmenter` do.
    """
    path = weights_path(source)
    found, space, provenance = _read(path, key)
    space = labels if space is None else space
    name, args = segmenter.model["name"], segmenter.model.get("args", {})
    count = segmenter.num_classes if space is None else space.num_classes
    architecture = segmenter.architecture
    if count != segmenter.num_classes:
        with torch.random.fork_rng(devices=[]):
            architecture = build_architecture(name, count, args, fresh=False)
    state, report = match_tensors(architecture.state_dict(), found, RENAMINGS.get(name, ()))
    axes: dict[str, list[int]] = {}
    if space is None or space.class_names != segmenter.labels.class_names:
        axes = class_axes(architecture, name, args, count)
    if space is None:
        _refuse_nameless(path, axes, state, report)
    _refuse_partial(path, name, report, allow)
    fresh = segmenter.architecture.state_dict()
    classes = None
    if axes and space is not None:
        moved, classes = move_classes(
            state, fresh, axes, segmenter.architecture, class_map(space, segmenter.labels, overrides)
        )
        state |= moved
    _put(segmenter.architecture, state)
    return Started(path=path, report=report, classes=classes, provenance=provenance)


def convert_file(
    path: Path,
    out: Path,
    *,
    model: str,
    args: Mapping[str, Any],
    labels: LabelSpace,
    allow: Sequence[str] = (),
    key: str | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    short_side: int | None = None,
    licence: str = "not stated",
) -> Started:
    """Write a foreign file as a model of ours, which says what it is and where it comes from.

    labels: the classes of the file's classifier, in order. mean, std: with which it was trained, in units of 0..1.
    Tensors that `allow` leaves without a partner start from a fixed seed, and the provenance names them.
    Raises UserError as `start_from`, and for a target that is the source.
    """
    if out.resolve() == path.resolve():
        raise UserError(f"{out} is the file that is converted: give another name with -o.")
    if "segwright" in read_foreign(path, key=key).metadata:
        raise UserError(f"{path} is a model of Segwright already: there is nothing to convert.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        architecture = build_architecture(model, labels.num_classes, args, where="--model", fresh=False)
    segmenter = Segmenter(
        architecture,
        labels=labels,
        model={"name": model, "args": dict(args)},
        mean=mean,
        std=std,
        short_side=short_side,
        licence=licence,
    )
    started = start_from(segmenter, path, labels=labels, allow=allow, key=key)
    random = [*started.report.missing, *started.report.mismatched]
    segmenter.provenance = {"converted_from": dict(started.provenance)} | ({"untrained": random} if random else {})
    save_segmenter(segmenter.eval(), out)
    return started


def _read(path: Path, key: str | None) -> tuple[Mapping[str, Tensor], LabelSpace | None, dict[str, Any]]:
    """Tensors, their label space where the file says it, and where they come from."""
    foreign: Foreign = read_foreign(path, key=key)
    facts: dict[str, Any] = {"file": path.name, "sha256": foreign.sha256}
    if "segwright" not in foreign.metadata:
        return foreign.tensors, None, facts | ({"container": foreign.container} if foreign.container else {})
    content, tensors = read_saved(path)
    facts |= {key: content[key] for key in ("model", "licence", "provenance")}
    return tensors, LabelSpace.from_dict(content["labels"], where=f"{path}, label space"), facts


def _refuse_nameless(
    path: Path, axes: Mapping[str, list[int]], state: Mapping[str, Tensor], report: LoadReport
) -> None:
    """A classifier whose classes are not known could give every class the numbers of another one."""
    if held := [name for name in axes if name in state or name in report.mismatched]:
        shape = list(state[held[0]].shape if held[0] in state else report.mismatched[held[0]][0])
        raise UserError(
            f"{path} has a classifier ({held[0]} {shape}), and does not say for which classes. Name their label space: "
            "--labels SPACE in `segwright convert`, labels= in Python. Then rows are copied by class name."
        )


def _refuse_partial(path: Path, name: str, report: LoadReport, allow: Sequence[str]) -> None:
    refused = report.refused(allow)
    if not refused and report.loaded:
        return
    if not report.loaded:
        raise UserError(
            f"{path}: not one tensor fits {name}. Is it another architecture, or another size of it "
            f"(model.args)?\n{report.table(5)}"
        )
    kind, first = refused[0]
    raise UserError(
        f"{path}: {len(refused)} tensors of the file or of {name} have no partner. Nothing was loaded.\n"
        f"{report.table()}\nChoose model.args that fit the file; or allow what may stay out by name, such as "
        f"--allow '{kind}:{first}' (patterns: --allow '{kind}:*')."
    )


def _put(architecture: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy the tensors into the architecture, float16 and bfloat16 ones widened. Those without a partner stay."""
    own = architecture.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)
