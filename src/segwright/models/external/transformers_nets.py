"""Segmentation nets of transformers: SegFormer, UPerNet, BEiT, DPT, Mask2Former, OneFormer and EoMT.

Source: Wolf et al. 2020, "Transformers: State-of-the-Art Natural Language Processing", Apache-2.0. It is an extra, and
loads when the first such net is built.

Letters: B batch, Q queries, C channels, H W pixels, K classes, h w reduced sizes, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segwright.contracts import DataError, Outputs, Queries, UserError
from segwright.models.card import Entry, ModelCard
from segwright.models.external.fitting import first_line, fitting_sizes, never_used
from segwright.models.external.transformers_eomt import any_size
from segwright.models.external.transformers_settings import (
    FAMILIES,
    check_family,
    library,
    make_config,
    quiet,
    read_settings,
    settled,
)
from segwright.models.hub import SCHEME, hub_file
from segwright.models.layouts import LoadReport
from segwright.models.queries import class_scores

TASK = (49406, 518, 10549, 533, 29119, 1550, 49407)
"""OneFormer's prompt "the task is semantic" in CLIP's vocabulary, between its marks of start and end."""
LOOKS_AT_NUMBERS = ("oneformer",)
"""Families whose course depends on numbers: they cannot be tried on tensors without memory."""


class TransformersNet(nn.Module):
    """A segmentation net of transformers, from settings with random weights, or from a folder or hub id with its own.

    family: segformer, upernet, beit, data2vec-vision, dpt, mask2former, oneformer, eomt or eomt_dinov3.
    config: settings of the family that differ from the library's defaults, by the library's names; parts such as
    backbone_config (with its model_type: swin, convnext, beit, resnet, dinov2, ...) are mappings inside.
    source: a folder that the library wrote (config.json, model.safetensors), or hf://OWNER/NAME: settings and weights;
    `family` and `config` then change nothing but what they name. Layers with a row a class come along where the number
    of classes is the source's, in its order of classes; for another number they start anew.
    allow: patterns (`missing:decode_head.*`, `unexpected:classifier.*`) of tensors that need no partner in the source.
    masking: for eomt, the probability that a query looks only where its mask is, one a block or one for all; None for
    the source's, or 1.
    Input: float [B, 3, H, W], normalised, H and W multiples of `stride` and at least `min_size`, which are found by
    trying sizes without arithmetic. Output: logits [B, K, h, w] at the net's own stride; in training also those of an
    auxiliary head. Nets that classify masks put out `queries` (every decoder layer in training, the last otherwise), and
    logits made of them by `class_scores`.
    Raises UserError for unknown names, settings that the library refuses, nets that take one size only, and a source
    that cannot be had or does not fit.
    """

    task_1T: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        family: str | None = None,
        config: Mapping[str, Any] | None = None,
        source: str | None = None,
        allow: Sequence[str] = (),
        masking: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        folder = None if source is None else source_folder(source)
        settings: dict[str, Any] = {}
        if folder is not None:
            found, settings = read_settings(folder)
            if family not in (None, found):
                raise UserError(
                    f"transformers: {source} is a {found}, but model.args.family is {family}: leave it out."
                )
            family = found
        if family is None:
            raise UserError(
                f"transformers: name a family ({', '.join(FAMILIES)}), or a source: a folder or a hub id "
                "(hf://OWNER/NAME) of such a net."
            )
        self.family = family
        made = make_config(family, settings | dict(config or {}), num_classes)
        self.net = _random(family, made) if folder is None else _load(folder, family, made, num_classes, allow)
        self.settled_args: dict[str, Any] = {"family": family, "config": settled(made)}
        if family.startswith("eomt"):
            self.settled_args["masking"] = self.net.mask(_probabilities(masking, made.num_blocks))  # type: ignore[operator]
        elif masking is not None:
            raise UserError(f"transformers: masking is for eomt; {family} has no such thing. Leave it out.")
        task = None
        if family == "oneformer":
            task = torch.zeros(1, made.task_seq_len, dtype=torch.long)
            task[0, : len(TASK)] = torch.tensor(TASK[: made.task_seq_len])
        self.register_buffer("task_1T", task, persistent=False)
        own = _own_stride(made)
        sizes = (own, own) if family in LOOKS_AT_NUMBERS else fitting_sizes(self, own)
        if isinstance(sizes, str):
            raise UserError(f"transformers: {family} with this config does not take pictures of any size ({sizes}).")
        self.stride, self.min_size = sizes

    def forward(self, image_BCHW: Tensor) -> Outputs:
        if image_BCHW.is_meta and self.family in LOOKS_AT_NUMBERS:
            raise UserError(f"transformers: {self.family} looks at numbers as it runs, so it has no summary of layers.")
        if not FAMILIES[self.family].queries:
            return _of_pixels(self.net, self.family, image_BCHW)
        queries = self._queries(image_BCHW)
        return Outputs(class_scores(queries[-1]), (), queries if self.training else queries[-1:])

    @cached_property
    def unused(self) -> tuple[str, ...]:
        """Parameters that no output depends on. An auxiliary head learns in training."""
        never = never_used(self, 2 * self.min_size, arithmetic=self.family in LOOKS_AT_NUMBERS)
        return tuple(name for name in never if not name.startswith("net.auxiliary_head."))

    def _queries(self, image_BCHW: Tensor) -> tuple[Queries, ...]:
        if self.family.startswith("eomt"):
            net: Any = self.net
            found = net(image_BCHW)
            said, net.said = tuple(net.said), []
            return said or (Queries(found.class_queries_logits, found.masks_queries_logits),)
        given: dict[str, Any] = {"pixel_values": image_BCHW, "output_auxiliary_logits": self.training}
        if self.task_1T is not None:
            given["task_inputs"] = self.task_1T.expand(len(image_BCHW), -1)
        found = self.net(**given)
        inner = found.auxiliary_predictions if self.family == "oneformer" else found.auxiliary_logits
        layers = [*(inner or ()), found]
        return tuple(Queries(layer["class_queries_logits"], layer["masks_queries_logits"]) for layer in layers)


def _probabilities(masking: float | Sequence[float] | None, blocks: int) -> list[float] | None:
    if masking is None:
        return None
    found = [masking] * blocks if isinstance(masking, int | float) else list(masking)
    if len(found) != blocks or not all(isinstance(p, int | float) and 0 <= p <= 1 for p in found):
        raise UserError(
            f"transformers: masking is {masking}; it is one number in 0..1, or {blocks} of them, one a block."
        )
    return found


def source_folder(source: str) -> Path:
    """The folder of a path, or of a hub id, whose two files are fetched unless they are in the cache.

    Raises UserError for neither, and as `hub_file` does.
    """
    if source.startswith(SCHEME):
        if source.removeprefix(SCHEME).count("/") != 1:
            raise UserError(f"transformers: source '{source}' is no hub id of a net: hf://OWNER/NAME[@REVISION].")
        for file in ("config.json", "model.safetensors"):
            found = hub_file(f"{source}/{file}")
        return found.parent
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"transformers: source '{source}' is neither a folder nor a hub id. Give a folder that `save_pretrained` "
            "wrote (config.json and model.safetensors), or hf://OWNER/NAME."
        )
    return folder


def _net_class(family: str) -> Any:
    found = getattr(library(), check_family(family).net)
    return any_size(found) if family.startswith("eomt") else found


def _random(family: str, config: Any) -> nn.Module:
    try:
        with quiet():
            net: nn.Module = _net_class(family)(config)
    except Exception as error:  # settings that contradict each other fail anywhere in the library
        raise UserError(f"transformers: {family} cannot be built from this config: {first_line(error)}.") from error
    return net


def _load(folder: Path, family: str, config: Any, num_classes: int, allow: Sequence[str]) -> nn.Module:
    """The net with the folder's weights; safetensors only, so that no program in a file ever runs."""
    how = {"local_files_only": True, "use_safetensors": True, "ignore_mismatched_sizes": True, "dtype": torch.float32}
    try:
        with quiet():
            net, info = _net_class(family).from_pretrained(folder, config=config, output_loading_info=True, **how)
    except Exception as error:  # a damaged file can fail anywhere in the library
        kind = UserError if isinstance(error, OSError) else DataError
        raise kind(
            f"transformers: the weights in {folder} cannot be read ({first_line(error)}). They must be in "
            "model.safetensors (or its numbered parts), whole, and of this config."
        ) from error
    _check_report(folder, family, net, info, num_classes, allow)
    trained: nn.Module = net.train()
    return trained


def _check_report(
    folder: Path, family: str, net: nn.Module, info: Mapping[str, Any], num_classes: int, allow: Sequence[str]
) -> None:
    """Raise UserError, with the table, for tensors without a partner that nobody allowed."""
    shapes = {name: (tuple(theirs), tuple(ours)) for name, theirs, ours in info["mismatched_keys"]}
    rows = (num_classes, num_classes + 1)  # one more where there is a "no object"
    other = {name: (a, b) for name, (a, b) in shapes.items() if b[0] not in rows or a[1:] != b[1:]}
    missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    matched = tuple(name for name in net.state_dict() if name not in missing and name not in shapes)
    report = LoadReport(
        matched=matched, renamed={}, missing=tuple(missing), unexpected=tuple(unexpected), mismatched=other
    )
    spare = [f"{kind}:{pattern}" for kind in ("missing", "unexpected") for pattern in FAMILIES[family].spare]
    refused = report.refused([*allow, *spare])
    if matched and not refused:
        return
    example = ":".join(refused[0]) if refused else ""
    raise UserError(
        f"transformers: {folder} and {family} have tensors without a partner. Nothing was loaded.\n{report.table()}\n"
        f"Choose a config that fits; or allow what may start anew or stay out: model.args.allow=['{example}'] (patterns: "
        "'missing:decode_head.*')."
    )


def _of_pixels(net: Any, family: str, image_BCHW: Tensor) -> Outputs:
    """Logits before the library's enlargement; in training those of its auxiliary head, which it keeps to itself, too."""
    head = getattr(net, "auxiliary_head", None) if net.training else None
    if family == "upernet":
        features = net.backbone(image_BCHW).feature_maps
        return Outputs(net.decode_head(features), () if head is None else (head(features),))
    if family == "dpt":
        features = _dpt_features(net, image_BCHW)
        return Outputs(net.head(features), () if head is None else (head(features[-1]),))
    given = {"interpolate_pos_encoding": True} if family in ("beit", "data2vec-vision") else {}
    if head is None:
        return Outputs(net(image_BCHW, **given).logits)
    seen: list[Tensor] = []
    hook = head.register_forward_hook(lambda layer, inputs, output: seen.append(output))
    try:
        logits_BKhw = net(image_BCHW, **given).logits
    finally:
        hook.remove()
    return Outputs(logits_BKhw, tuple(seen))


def _dpt_features(net: Any, image_BCHW: Tensor) -> Any:
    """What DPT's neck puts out. The library's own way from transformer to neck takes squares only."""
    config = net.config
    found = net.dpt(image_BCHW, output_hidden_states=True)
    chosen = [h for i, h in enumerate(found.hidden_states[1:]) if i in config.backbone_out_indices]
    if config.is_hybrid:
        later = config.backbone_out_indices[2:]
        chosen = [*found.intermediate_activations, *(h for i, h in enumerate(found.hidden_states[1:]) if i in later)]
    height, width = (side // config.patch_size for side in image_BCHW.shape[2:])
    return net.neck(hidden_states=chosen, patch_height=height, patch_width=width)


def _own_stride(config: Any) -> int:
    """32 for backbones of four halving stages; the side of a patch for plain transformers."""
    backbone = getattr(config, "backbone_config", None) or config
    patch = getattr(backbone, "patch_size", None)
    return patch if isinstance(patch, int) and not hasattr(backbone, "depths") else 32


ENTRIES = {
    "transformers": Entry(
        TransformersNet,
        ModelCard(
            description="transformers' SegFormer, UPerNet, DPT, Mask2Former, OneFormer, EoMT (args: family, config, source)",
            paper="Xie et al. 2021, arXiv 2105.15203; Cheng et al. 2022, arXiv 2112.01527; Kerssies et al. 2025, arXiv 2503.19108",
            licence="Apache-2.0",
            published=(
                "Cityscapes val 83.3 (mask2former, Swin-L, paper)",
                "Cityscapes val 83.0 (oneformer, Swin-L, paper)",
                "Cityscapes val 82.4 (segformer, MiT-B5, paper, single scale)",
                "ADE20K val 58.4 (eomt, ViT-L, paper)",
            ),
            initial_weights=("source",),
            fixed=False,
        ),
    )
}
