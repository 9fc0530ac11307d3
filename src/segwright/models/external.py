"""Networks of other libraries behind our contract: any architecture × encoder of segmentation_models_pytorch.

Source: Iakubovskii, "Segmentation Models Pytorch", MIT licence. The library loads when the first such net is built.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from segwright.contracts import Outputs, UserError

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

    architecture: Unet, FPN, DeepLabV3Plus, Segformer, ... in any spelling of case; encoder: resnet18, mit_b0, `tu-` and a timm
    name, ...; encoder_weights: None for random weights, or "imagenet" (downloaded from the hub unless it is in the cache).
    extra: further arguments of the architecture, and, for `tu-` encoders, of timm. An unknown one is refused.
    Input: float [B, 3, H, W], normalised, H and W multiples of `stride` and at least `min_size`; both are found by trying
    sizes, without arithmetic. Output: logits [B, K, h, w] at the net's own stride: the final up-sampling by a fixed factor is
    left to the Segmenter, whose corners are not aligned as the library's are. Give `upsampling` to keep the library's.
    Raises UserError for unknown names, combinations that the library refuses, and weights that cannot be had.
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
        self.net, (self.stride, self.min_size) = _build(factory, given)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        return Outputs(self.net(image_BCHW))

    @cached_property
    def unused(self) -> tuple[str, ...]:
        """Parameters that the output does not depend on: encoder layers deeper than the decoder reads."""
        with _evaluating(self.net):
            parameters = {n: p.detach().to("meta").requires_grad_() for n, p in self.net.named_parameters()}
            buffers = {n: b.to("meta") for n, b in self.net.named_buffers()}
            image = torch.empty(1, 3, 2 * self.min_size, 2 * self.min_size, device="meta")
            logits = functional_call(self.net, (parameters, buffers), (image,))
            found = torch.autograd.grad(logits.sum(), list(parameters.values()), allow_unused=True)
        return tuple(f"net.{n}" for n, g in zip(parameters, found, strict=True) if g is None)


def _architecture(name: str) -> type[nn.Module]:
    import segmentation_models_pytorch as smp

    known: dict[str, type[nn.Module]] = smp.MODEL_ARCHITECTURES_MAPPING
    if name.lower() not in known:
        close = get_close_matches(name.lower(), known, n=1)
        hint = f" Did you mean '{known[close[0]].__name__}'?" if close else ""
        names = ", ".join(c.__name__ for c in known.values())
        raise UserError(f"smp: there is no architecture '{name}'.{hint} There are: {names}.")
    return known[name.lower()]


def _check_encoder(name: str, weights: str | None) -> None:
    import timm
    from segmentation_models_pytorch.encoders import encoders

    if name.startswith("tu-"):
        timm_name = name.removeprefix("tu-")
        if not timm.is_model(timm_name):
            close = get_close_matches(timm_name, timm.list_models(), n=1)
            hint = f" Did you mean 'tu-{close[0]}'?" if close else ""
            raise UserError(f"smp: timm has no encoder '{timm_name}'.{hint} `timm.list_models()` lists all of them.")
        config = timm.get_pretrained_cfg(timm_name, allow_unregistered=False) if weights else None
        if weights and (config is None or not config.hf_hub_id):
            raise UserError(
                f"smp: timm has no weights for '{timm_name}'. Use `encoder_weights: null` to train from scratch."
            )
        if config is not None:
            _check_hub(name, config.hf_hub_id, "model.safetensors", None)
        return
    if name not in encoders:
        close = get_close_matches(name, encoders, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise UserError(
            f"smp: there is no encoder '{name}'.{hint} There are: {', '.join(encoders)}; and `tu-` with the name of a timm model."
        )
    if weights is not None:
        available = encoders[name]["pretrained_settings"]
        if weights not in available:
            raise UserError(
                f"smp: encoder '{name}' has no weights '{weights}'. There are: {', '.join(available) or 'none'}; "
                "or `encoder_weights: null` to train from scratch."
            )
        _check_hub(name, available[weights]["repo_id"], "model.safetensors", available[weights]["revision"])


def _check_hub(encoder: str, repo: str, file: str, revision: str | None) -> None:
    """Raise UserError at once where the weights are neither in the cache nor on a hub that answers."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE
    from huggingface_hub.errors import EntryNotFoundError

    if isinstance(try_to_load_from_cache(repo, file, revision=revision), str):
        return
    try:
        if HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        get_hf_file_metadata(hf_hub_url(repo, file, revision=revision), timeout=5)
    except EntryNotFoundError:
        return  # the hub answers; the library knows other names of the file
    except Exception as error:  # the hub's client raises its own errors and those of its HTTP library
        raise UserError(
            f"smp: the weights of encoder '{encoder}' ({file} of huggingface.co/{repo}) are not in {HF_HUB_CACHE} and the hub "
            f"cannot be reached ({error}). Connect, or copy that cache folder here, or use `encoder_weights: null` to train from scratch."
        ) from error


def _check_extra(factory: type[nn.Module], encoder: str, extra: Mapping[str, Any]) -> None:
    known = [n for n, p in inspect.signature(factory).parameters.items() if p.kind is not p.VAR_KEYWORD]
    allowed = [n for n in known if n not in SET_HERE and n != "encoder_weights"]
    for name in extra:
        if name in SET_HERE:
            raise UserError(f"smp: '{name}' cannot be given: {SET_HERE[name]}.")
        if name not in allowed and not encoder.startswith("tu-"):
            close = get_close_matches(name, allowed, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise UserError(f"smp: {factory.__name__} has no argument '{name}'.{hint} Allowed: {', '.join(allowed)}.")


def _build(factory: type[nn.Module], given: Mapping[str, Any]) -> tuple[nn.Module, tuple[int, int]]:
    """The net, and its stride and smallest size; with timm's switch for any size where it needs one."""
    what = f"{factory.__name__} with encoder '{given['encoder_name']}'"
    reasons: list[str] = []
    switches = ANY_SIZE if str(given["encoder_name"]).startswith("tu-") else ANY_SIZE[:1]
    for switch in switches:
        try:
            net = factory(**switch | dict(given))
        except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, AttributeError) as error:
            if not switch:
                raise UserError(f"smp: {what} cannot be built: {error or type(error).__name__}.") from error
            continue
        fits = _fitting_sizes(net, reasons)
        if fits is not None:
            return net, fits
    raise UserError(
        f"smp: {what} does not take pictures of any size ({reasons[-1]}). Choose another encoder, or give timm's argument for it."
    )


def _fitting_sizes(net: nn.Module, reasons: list[str]) -> tuple[int, int] | None:
    """(stride, smallest side) that the net takes, found on tensors without memory; why it refused is added to `reasons`."""
    own = int(net.encoder.output_stride)  # type: ignore[union-attr, arg-type]
    tensors = {name: t.to("meta") for name, t in _tensors(net)}
    with _evaluating(net), torch.no_grad():
        for stride in dict.fromkeys((own, 32, 64, 112, 128, 224, 256)):
            if stride % own:
                continue
            for smallest in (1, 2, 4, 8):
                sides = [stride * (smallest + step) for step in (0, 1, 2)]
                try:
                    for height, width in (sides[:2], sides[:0:-1], sides[::2]):
                        functional_call(net, tensors, (torch.empty(1, 3, height, width, device="meta"),))
                except (RuntimeError, AssertionError, ValueError) as error:
                    reasons.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
                else:
                    return stride, sides[0]
    return None


def _tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from net.named_parameters()
    yield from net.named_buffers()


class _evaluating:
    """The net in evaluation mode inside the block; every module's own mode again after it."""

    def __init__(self, net: nn.Module) -> None:
        self._training = [module for module in net.modules() if module.training]

    def __enter__(self) -> None:
        for module in self._training:
            module.training = False

    def __exit__(self, *exc: object) -> None:
        for module in self._training:
            module.training = True
