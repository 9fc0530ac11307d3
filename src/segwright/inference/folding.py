"""Batch normalisation folded into the convolution before it: one layer instead of two, the same arithmetic."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segwright.contracts import UserError
from segwright.models.segmenter import Segmenter

CLOSE = 1e-3
"""Largest difference of a score that folding may make, as a share of the largest score, at least 1."""


def folded(segmenter: Segmenter) -> Segmenter:
    """A copy in evaluation mode, on the CPU, whose batch normalisations are part of the convolutions that feed them.

    Raises UserError for a network without such a pair, and for one that does something else when folded.
    """
    model = copy.deepcopy(segmenter).cpu().eval()
    side = max(2 * model.stride, model.min_size)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        before, pairs = _pairs(model, image)
        for conv, norm in pairs:
            one, other = model.get_submodule(conv), cast(nn.BatchNorm2d, model.get_submodule(norm))
            whole = fuse_conv_bn_eval(one, other, transpose=isinstance(one, nn.ConvTranspose2d))  # type: ignore[type-var]
            model.set_submodule(conv, whole)
            model.set_submodule(norm, nn.Identity())
        apart = float((model(image) - before).abs().max())
    if not pairs or not apart <= CLOSE * max(1.0, float(before.abs().max())):
        reason = "scores change" if pairs else "there is nothing to fold"
        raise UserError(f"{model.model['name']} cannot be folded: {reason}. Use it as it is.")
    return model


def _pairs(model: Segmenter, image: Tensor) -> tuple[Tensor, list[tuple[str, str]]]:
    """Scores, and the names of each convolution, used once, with the batch normalisation that sees what it gives."""
    calls: dict[str, int] = {}
    given: dict[int, tuple[str, Tensor]] = {}
    found: list[tuple[str, str]] = []

    def watch(name: str, module: nn.Module) -> Any:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                given[id(output)] = (name, output)  # kept alive: its id stays its own
            elif id(inputs[0]) in given:
                found.append((given[id(inputs[0])][0], name))

        return module.register_forward_hook(note)

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)
    hooks = [watch(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
    try:
        scores = model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return scores, [pair for pair in found if all(calls[name] == 1 for name in pair)]
