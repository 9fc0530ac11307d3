"""Which architectures exist: every file of them ends in `ENTRIES`, name -> (class, card). Adding one is an import here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from segwright.contracts import UserError
from segwright.models import (
    bisenet_v1,
    bisenet_v2,
    ddrnet,
    deeplab_v1,
    deeplab_v2,
    deeplab_v3,
    deeplab_v3_plus,
    deeplab_v3_plus_d,
    denseaspp,
    external,
    fast_scnn,
    fcn,
    hrnet,
    linear_head,
    pidnet,
    pspnet,
    resnet_decoder,
    segnet,
    slim_unet,
    small_cnn,
    unet,
    unet_a,
    unet_aspp,
    upernet,
)
from segwright.models.card import Entry, ModelCard
from segwright.models.dilated import train_by_taps
from segwright.models.experimental import (
    ccnet,
    danet,
    dfn,
    duc_hdc,
    emanet,
    encnet,
    enet,
    erfnet,
    gcn,
    hanet,
    hmsa,
    icnet,
    nas_fpn,
    psanet,
    refinenet,
    spgnet,
)
from segwright.names import did_you_mean

_ALL: dict[str, Entry] = {
    **unet.ENTRIES,
    **unet_a.ENTRIES,
    **unet_aspp.ENTRIES,
    **resnet_decoder.ENTRIES,
    **deeplab_v1.ENTRIES,
    **deeplab_v2.ENTRIES,
    **deeplab_v3.ENTRIES,
    **deeplab_v3_plus.ENTRIES,
    **deeplab_v3_plus_d.ENTRIES,
    **pspnet.ENTRIES,
    **denseaspp.ENTRIES,
    **hrnet.ENTRIES,
    **upernet.ENTRIES,
    **linear_head.ENTRIES,
    **fcn.ENTRIES,
    **segnet.ENTRIES,
    **small_cnn.ENTRIES,
    **slim_unet.ENTRIES,
    **fast_scnn.ENTRIES,
    **bisenet_v1.ENTRIES,
    **bisenet_v2.ENTRIES,
    **ddrnet.ENTRIES,
    **pidnet.ENTRIES,
    **danet.ENTRIES,
    **ccnet.ENTRIES,
    **encnet.ENTRIES,
    **emanet.ENTRIES,
    **psanet.ENTRIES,
    **gcn.ENTRIES,
    **refinenet.ENTRIES,
    **icnet.ENTRIES,
    **enet.ENTRIES,
    **erfnet.ENTRIES,
    **duc_hdc.ENTRIES,
    **dfn.ENTRIES,
    **nas_fpn.ENTRIES,
    **hanet.ENTRIES,
    **spgnet.ENTRIES,
    **hmsa.ENTRIES,
    **external.ENTRIES,
}

MODELS: dict[str, Callable[..., nn.Module]] = {name: entry.build for name, entry in _ALL.items()}
"""Name -> class, called as `MODELS[name](num_classes, **args)`.

An architecture takes normalised float [B, 3, H, W] and returns `Outputs`. It declares `stride` (H and W are multiples
of it), `unused` (names of parameters that never get a gradient) and, where it is not `stride`, `min_size`.
"""

CARDS: dict[str, ModelCard] = {name: entry.card for name, entry in _ALL.items()}


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
        return train_by_taps(MODELS[name](num_classes, **plain))
    except TypeError as error:
        raise UserError(f"{where}: the arguments of {name} do not suit: {error}. Given: {dict(args)}.") from error
