"""Which architectures exist: a name, the class, and a card of facts. Adding one is an import, an entry and a card."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from segwright.contracts import UserError
from segwright.models.external import SmpNet
from segwright.models.fast_scnn import FastSCNN
from segwright.models.unet import UNet
from segwright.names import did_you_mean

MODELS: dict[str, Callable[..., nn.Module]] = {
    "unet": UNet,
    "fast_scnn": FastSCNN,
    "smp": SmpNet,
}
"""Name -> class, called as `MODELS[name](num_classes, **args)`.

An architecture takes normalised float [B, 3, H, W] and returns `Outputs`. It declares `stride` (H and W are multiples
of it), `unused` (names of parameters that never get a gradient) and, where it is not `stride`, `min_size`.
"""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What to know before choosing an architecture.

    licence: of the code; weights carry their own.
    initial_weights: arguments that only choose the weights to start from; a loaded file replaces those.
    fixed: False where parameters and stride depend on arguments that have no natural default.
    """

    description: str
    paper: str
    licence: str
    initial_weights: tuple[str, ...] = ()
    fixed: bool = True


CARDS: dict[str, ModelCard] = {
    "unet": ModelCard(
        description="Encoder-decoder with skips at every level: sharp edges, much arithmetic",
        paper="Ronneberger et al., MICCAI 2015, arXiv 1505.04597",
        licence="MIT",
    ),
    "fast_scnn": ModelCard(
        description="Two branches with a shared start: real time, trains on a CPU",
        paper="Poudel et al., BMVC 2019, arXiv 1902.04502",
        licence="MIT",
    ),
    "smp": ModelCard(
        description="segmentation_models_pytorch: any of its architectures × encoders (args: architecture, encoder)",
        paper="Iakubovskii 2019, github.com/qubvel-org/segmentation_models.pytorch",
        licence="MIT",
        initial_weights=("encoder_weights",),
        fixed=False,
    ),
}


def build_architecture(
    name: str, num_classes: int, args: Mapping[str, Any], *, where: str = "model", fresh: bool = True
) -> nn.Module:
    """An architecture by name. `fresh=False` gets no initial weights from elsewhere, for weights that are loaded next.

    Raises UserError that begins with `where` for an unknown name or argument, with the nearest one that exists.
    """
    if name not in MODELS:
        hint = did_you_mean(name, MODELS)
        raise UserError(f"{where}: there is no architecture '{name}'.{hint} There are: {', '.join(MODELS)}.")
    parameters = inspect.signature(MODELS[name]).parameters
    allowed = [key for key, p in parameters.items() if key != "num_classes" and p.kind is not p.VAR_KEYWORD]
    checks_its_own = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in args:
        if key not in allowed and not checks_its_own:
            hint = did_you_mean(key, allowed)
            raise UserError(f"{where}: {name} has no argument '{key}'.{hint} Allowed: {', '.join(allowed) or 'none'}.")
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in args.items()}
    if not fresh:
        plain |= dict.fromkeys(CARDS[name].initial_weights)
    try:
        return MODELS[name](num_classes, **plain)
    except TypeError as error:
        raise UserError(f"{where}: the arguments of {name} do not suit: {error}. Given: {dict(args)}.") from error
