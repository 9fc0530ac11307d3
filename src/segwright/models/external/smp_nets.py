"""Any architecture × encoder of segmentation_models_pytorch.

Source: Iakubovskii, "Segmentation Models Pytorch", MIT licence. The library loads when the first such net is built.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.card import Entry, ModelCard
from segwright.models.external.fitting import first_line, fitting_sizes, never_used
from segwright.models.hub import check_hub, check_timm_weights
from segwright.names import did_you_mean

SET_HERE = {
    "classes": "the label space sets it",
    "in_channels": "pictures have three channels",
    "activation": "losses and scores take plain logits",
    "aux_params": "a classifier of whole pictures has no labels here",
    "encoder_name": "spell it `encoder`",
}
ANY_SIZE: tuple[dict[str, Any], ...] = ({}, {"dynamic_img_size": True}, {"strict_img_size": False})
"""timm's switches that let a transformer take pictures of any size; the first that helps is used."""


class SmpNet(nn.Module):
    """A segmentation_models_pytorch net.

    architecture: Unet, FPN, DeepLabV3Plus, Segformer, ... in any case.
    encoder: resnet18, mit_b0, ..., or `tu-` and the name of a timm model.
    encoder_weights: None for random weights, or a name such as "imagenet" (from the hub, unless in its cache).
    extra: further arguments of the architecture and, for `tu-` encoders, of timm; unknown ones are refused.
    Input: float [B, 3, H, W], normalised, H and W multiples of `stride` and at least `min_size`, which are found by
    trying sizes without arithmetic. Output: logits [B, K, h, w] at the net's own stride. The library's last step, which
    enlarges the logits by a fixed factor, is left to the Segmenter: the scores are the same, only that the library
    enlarges with aligned corners. Give `upsampling` to keep its step (DPT has no choice and keeps it).
    Raises UserError for unknown names, combinations that the library refuses, nets that take one size only, and
    weights that cannot be had.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        architecture: str = "Unet",
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        **extra: Any,
    ) -> None:
        super().__init__()
        factory = _architecture(architecture)
        _check_encoder(encoder, encoder_weights)
        _check_extra(factory, encoder, extra)
        if "upsampling" in inspect.signature(factory).parameters:
            extra = {"upsampling": 1} | extra
        weights = True if encoder_weights and encoder.startswith("tu-") else encoder_weights
        given = {"encoder_name": encoder, "encoder_weights": weights, "classes": num_classes} | extra
        self.net, self.stride, self.min_size = _build(factory, given)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        return Outputs(self.net(image_BCHW))

    @cached_property
    def unused(self) -> tuple[str, ...]:
        """Parameters that the output does not depend on, such as encoder layers deeper than the decoder reads."""
        return tuple(f"net.{name}" for name in never_used(self.net, 2 * self.min_size))


def _architecture(name: str) -> type[nn.Module]:
    import segmentation_models_pytorch as smp

    known: dict[str, type[nn.Module]] = smp.MODEL_ARCHITECTURES_MAPPING
    if name.lower() not in known:
        names = [c.__name__ for c in known.values()]
        hint = did_you_mean(name, names)
        raise UserError(f"smp: there is no architecture '{name}'.{hint} There are: {', '.join(names)} (in any case).")
    return known[name.lower()]


def _check_encoder(name: str, weights: str | None) -> None:
    from segmentation_models_pytorch.encoders import encoders

    if name.startswith("tu-"):
        _check_timm(name.removeprefix("tu-"), weights)
        return
    if name not in encoders:
        raise UserError(
            f"smp: there is no encoder '{name}'.{did_you_mean(name, encoders)} "
            f"There are: {', '.join(encoders)}; and `tu-` with the name of a timm model."
        )
    if weights is None:
        return
    available = encoders[name]["pretrained_settings"]
    if weights not in available:
        raise UserError(
            f"smp: encoder '{name}' has no weights '{weights}'. There are: {', '.join(available) or 'none'}; "
            "or `encoder_weights: null` to train from scratch."
        )
    check_hub(f"encoder '{name}'", available[weights]["repo_id"], available[weights]["revision"])


def _check_timm(name: str, weights: str | None) -> None:
    import timm

    if not timm.is_model(name):
        hint = did_you_mean(f"tu-{name}", [f"tu-{known}" for known in timm.list_models()])
        raise UserError(f"smp: timm has no model '{name}'.{hint} `timm.list_models()` lists all of them.")
    if weights is None:
        return
    check_timm_weights(name)


def _check_extra(factory: type[nn.Module], encoder: str, extra: Mapping[str, Any]) -> None:
    known = [n for n, p in inspect.signature(factory).parameters.items() if p.kind is not p.VAR_KEYWORD]
    allowed = [n for n in known if n not in SET_HERE and n != "encoder_weights"]
    for name in extra:
        if name in SET_HERE:
            raise UserError(f"smp: '{name}' cannot be given: {SET_HERE[name]}.")
        if name not in allowed and not encoder.startswith("tu-"):
            raise UserError(
                f"smp: {factory.__name__} has no argument '{name}'.{did_you_mean(name, allowed)} "
                f"Allowed: architecture, encoder, encoder_weights, {', '.join(allowed)}."
            )


def _build(factory: type[nn.Module], given: Mapping[str, Any]) -> tuple[nn.Module, int, int]:
    """The net, its stride and its smallest size; with timm's switch for any size where it needs one."""
    what = f"{factory.__name__} with encoder '{given['encoder_name']}'"
    reason = ""
    switches = ANY_SIZE if str(given["encoder_name"]).startswith("tu-") else ANY_SIZE[:1]
    for switch in switches:
        try:
            net = factory(**switch | dict(given))
        except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, AttributeError) as error:
            if not switch:
                raise UserError(f"smp: {what} cannot be built: {first_line(error)}.") from error
            continue
        found = fitting_sizes(net, int(net.encoder.output_stride))  # type: ignore[union-attr, arg-type]
        if not isinstance(found, str):
            return net, *found
        reason = found
    raise UserError(f"smp: {what} does not take pictures of any size ({reason}). Choose another encoder.")


ENTRIES = {
    "smp": Entry(
        SmpNet,
        ModelCard(
            description="segmentation_models_pytorch: any of its architectures × encoders (args: architecture, encoder)",
            paper="Iakubovskii 2019, github.com/qubvel-org/segmentation_models.pytorch",
            licence="MIT",
            initial_weights=("encoder_weights",),
            fixed=False,
        ),
    )
}
