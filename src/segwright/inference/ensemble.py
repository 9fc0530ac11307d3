"""Several segmenters as one: the mean of their probabilities.

Letters: B batch, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.segmenter import Segmenter, likeliest


class Ensemble(Segmenter):
    """Predicts with the mean of its members' class probabilities; a single member predicts as it does alone.

    Each member sees the picture at its own scale and answers at the picture's size, so architectures may differ. It costs
    the time of all members, and the memory of one picture's full-size scores. It predicts and is not trained or saved.
    Raises UserError without members, for members with different classes, and for a multi-label space.
    """

    def __init__(self, members: Sequence[Segmenter], names: Sequence[str] | None = None) -> None:
        called = list(names) if names is not None else [f"model {n}" for n in range(1, len(members) + 1)]
        _check(members, called)
        licences = dict.fromkeys(member.licence for member in members)
        super().__init__(
            _Members(members),
            labels=members[0].labels,
            model={"name": "ensemble", "args": {}},
            provenance={"ensemble": [dict(member.provenance) for member in members]},
            licence="; ".join(licences),
        )

    @property
    def members(self) -> list[Segmenter]:
        return [m for m in self.architecture.children() if isinstance(m, Segmenter)]

    def forward(self, image: Tensor) -> Tensor:
        """Scores whose softmax is the mean of the members' probabilities: float32 [B, K, H, W]. image: as for Segmenter."""
        first, *others = self.members
        if not others:
            logits: Tensor = first(image)
            return logits
        total = first(image).softmax(1)
        for member in others:
            total += member(image).softmax(1)
        return (total / (1 + len(others))).clamp_min(torch.finfo(total.dtype).tiny).log()

    def outputs(self, image: Tensor) -> Outputs:
        """Raises UserError: an ensemble is not trained."""
        self._refuse()

    @torch.no_grad()
    def ids(self, image: Tensor, among: Sequence[int] | None = None) -> Tensor:
        """The class of every pixel with the highest mean probability: uint8 [B, H, W]. Arguments as for Segmenter."""
        members = self.members
        if len(members) == 1:
            return members[0].ids(image, among)
        return likeliest(self.forward(image), among, self._name)

    def _refuse(self) -> NoReturn:
        raise UserError("an ensemble predicts and cannot be trained; train its members, or make a soup of them.")


class _Members(nn.ModuleList):
    """The members where a Segmenter has its architecture. stride: of the coarsest one."""

    def __init__(self, members: Sequence[Segmenter]) -> None:
        super().__init__(members)
        self.stride = max(member.stride for member in members)


def _check(members: Sequence[Segmenter], names: Sequence[str]) -> None:
    if not members:
        raise UserError("an ensemble needs at least one model.")
    first = members[0]
    for member, name in zip(members, names, strict=True):
        if not member.labels.exclusive:
            raise UserError(
                f"{name} predicts the multi-label space '{member.labels.name}'; an ensemble needs one class a pixel."
            )
        if member.labels.class_names != first.labels.class_names:
            raise UserError(
                f"{names[0]} predicts label space '{first.labels.name}' and {name} predicts '{member.labels.name}'. The "
                "probabilities of different classes have no mean: take models of one label space."
            )
