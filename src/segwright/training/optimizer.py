"""Optimisers by name. Biases and normalisation weights are not decayed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from segwright.contracts import DataError, UserError
from segwright.models import Segmenter
from segwright.models.freezing import parameter_groups
from segwright.recipe import Optimizer


def muon(
    params: Iterable[dict[str, Any]],
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    betas: tuple[float, float] = (0.9, 0.95),
    fallback_lr_scale: float = 1.0,
) -> torch.optim.Optimizer:
    """timm's Muon: kernels and matrices take a step whose singular values are all alike, the rest takes AdamW's.

    The step of a kernel [out, in, h, w] is that of the matrix [out, in·h·w], scaled to the size that AdamW's would have,
    so learning rates and weight decay of AdamW suit it. Depthwise kernels count with the rest.
    nesterov: for both kinds of step. ns_steps: Newton-Schulz iterations. betas: of AdamW. fallback_lr_scale: the share
    of the learning rate that AdamW's steps have.
    Source: K. Jordan and others, "Muon", 2024; the scale from J. Liu and others, arXiv 2502.16982.
    """
    from timm.optim.muon import Muon  # here, as timm takes a second to import

    optimizer: torch.optim.Optimizer = Muon(
        params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, ns_steps=ns_steps, betas=betas,
        fallback_lr_scale=fallback_lr_scale, adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    return optimizer


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "muon": muon,
}
_OURS = {"params", "lr", "weight_decay", "fused", "foreach", "capturable", "differentiable", "maximize"}


def build_optimizer(recipe: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimiser: matrices and kernels are decayed, the rest is not.

    `decay_by_depth` and `groups` make parameter groups of their own. Frozen parameters are in none.
    Raises UserError for arguments that the optimiser does not take, and for a pattern that matches nothing.
    """
    create = OPTIMIZERS[recipe.name]
    parameters = inspect.signature(create).parameters
    allowed = [name for name in parameters if name not in _OURS]
    if unknown := sorted(set(recipe.args) - set(allowed)):
        raise UserError(f"optimizer.args has no '{unknown[0]}' for {recipe.name}; allowed are {', '.join(allowed)}.")
    patterns = [group.match for group in recipe.groups]
    if twice := [pattern for pattern in patterns if patterns.count(pattern) > 1]:
        raise UserError(
            f"optimizer.groups has the pattern '{twice[0]}' twice; the first that matches counts: keep one."
        )
    network = model.architecture if isinstance(model, Segmenter) else model
    groups = parameter_groups(
        network,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        decay_by_depth=recipe.decay_by_depth,
        factors={group.match: group.lr_factor for group in recipe.groups},
        decays={group.match: group.weight_decay for group in recipe.groups},
    )
    args = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe.args.items()}
    fused = {"fused": True} if "fused" in parameters else {}
    try:
        return create(groups, lr=recipe.lr, **fused, **args)
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer.args {recipe.args} do not suit {recipe.name}: {error}") from None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors: `PARAMETER_INDEX.KEY`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{key}": value for i, entry in state.items() for key, value in entry.items() if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put saved tensors back, laid out in memory as the parameters are. Raises DataError when they do not fit."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        if not index.isdigit() or int(index) >= len(parameters):
            raise DataError(f"the checkpoint holds optimiser state '{name}', which this model has no parameter for.")
        parameter = parameters[int(index)]
        if tensor.ndim and tensor.shape != parameter.shape:
            raise DataError(
                f"optimiser state '{name}' is {tuple(tensor.shape)}; the parameter is {tuple(parameter.shape)}."
            )
        placed = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor) if tensor.ndim else tensor
        state.setdefault(int(index), {})[key] = placed.detach()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
