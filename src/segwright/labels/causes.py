"""Why a mask holds values that its label space does not list: people's usual mistakes, recognised by their values."""

from __future__ import annotations

from collections.abc import Collection, Sequence

LABEL_IDS = frozenset(range(34))
"""Raw values of Cityscapes' *_labelIds.png; *_labelTrainIds.png hold 0..18 and 255."""


def likely_cause(
    found: Sequence[int],
    num_classes: int,
    allowed: Sequence[int],
    encoding: str,
    *,
    ignored: Collection[int] = (),
    colors: Sequence[Sequence[int]] = (),
) -> str:
    """One sentence on the likely cause and what to do.

    found: all distinct raw values of the mask, ascending; allowed: the raw values that the space lists, ascending, of
    which `ignored` count nowhere; colors: the space's display colours (red, green, blue), of classes and ignored labels.
    """
    values = set(found)
    extra = sorted(values - set(allowed))
    if encoding == "rgb":
        return _cause_of_colors(values, extra, num_classes, set(allowed))
    if values == {0, 255}:
        return (
            "The mask is black and white (0 and 255): a binary mask saved as a picture. "
            "Give the class the value 255 in the label space (values: [255]), or save 255 as 1."
        )
    return (
        _cityscapes(values, extra, set(allowed))
        or _shifted(values, extra, set(allowed), set(ignored))
        or _grey(values, colors)
        or _spread(extra, num_classes)
        or (
            "255 is often void: list it under `ignored` in the label space."
            if extra == [255]
            else "List the missing classes in the label space, or correct the mask."
        )
    )


def looks_grey(found: Collection[int], colors: Sequence[Sequence[int]]) -> bool:
    """True when the values are greys of these colours: a colour or palette mask that was turned into grey.

    The grey of a colour is 0.299 R + 0.587 G + 0.114 B (ITU-R 601), rounded up or down as Pillow and OpenCV do. Fewer
    than three values besides black and white prove nothing.
    """
    exact = [(299 * r + 587 * g + 114 * b) / 1000 for r, g, b in colors]
    greys = {int(g) for g in exact} | {int(g + 0.5) for g in exact}
    return len(set(found) - {0, 255}) >= 3 and set(found) <= greys | {0, 255}


def _cityscapes(values: set[int], extra: list[int], allowed: set[int]) -> str:
    """Label ids where train ids are expected, and the reverse."""
    if allowed - {255} == set(range(19)) and max(values - {255}, default=0) <= 33:
        return (
            "These look like Cityscapes label ids (0..33), not train ids: read the *_labelIds.png files with space "
            "cityscapes19."
        )
    if allowed != LABEL_IDS or extra != [255]:
        return ""
    if max(values - {255}, default=0) > 18:
        return (
            "255 beside label ids is the licence plate (-1) or void, written into 8 bits: list 255 under `ignored` in a "
            "copy of the label space, or write 0 there."
        )
    return (
        "255 beside ids 0..18 points to Cityscapes train ids: this space reads the *_labelIds.png files. "
        "For *_labelTrainIds.png choose cityscapes19_trainids."
    )


def _shifted(values: set[int], extra: list[int], allowed: set[int], ignored: set[int]) -> str:
    """Every id one too high or one too low."""
    classes = allowed - ignored
    if extra == [max(allowed - {255}, default=0) + 1] and {v - 1 for v in values - {0, 255}} <= allowed:
        last = extra[0]
        if 0 not in values:
            return f"The ids run 1..{last} instead of 0..{last - 1}: they are off by one (list the values 1..{last})."
        return (
            f"The ids seem to run 1..{last}, with 0 for everything else: they are off by one. Use a space that lists the "
            f"values 1..{last} and ignores 0, or subtract one and write 255 for 0."
        )
    if 0 in ignored and min(classes) == 1 and extra == [255] and {v + 1 for v in values - {255}} <= classes:
        return (
            f"Ids from 0 with 255 for void: these masks were shifted down by one already (reduce_zero_label), and this "
            f"space reads the originals, {min(classes)}..{max(classes)} with 0 ignored. Use the original masks, or a space "
            "whose classes begin at 0."
        )
    return ""


def _grey(values: set[int], colors: Sequence[Sequence[int]]) -> str:
    if not looks_grey(values, colors):
        return ""
    return (
        "The values are the greys of the class colours: a colour or palette mask was turned into grey (such as by "
        'OpenCV or convert("L")). Use the masks before that step, or save the palette index.'
    )


def _spread(extra: list[int], num_classes: int) -> str:
    if len(extra) <= max(12, 3 * num_classes):
        return ""
    return (
        "So many values point to a mask that was smoothed, resized with interpolation, saved as JPEG, or turned from "
        "colours into grey. Export it again as PNG with one number a pixel."
    )


def _cause_of_colors(values: set[int], extra: list[int], num_classes: int, allowed: set[int]) -> str:
    """values: colours packed as 0xRRGGBB."""
    if extra and {_swapped(v) for v in values} <= allowed:
        return (
            "With red and blue exchanged every colour is listed: the masks were saved in the order blue, green, red, as "
            "OpenCV keeps pictures. Save them again as RGB."
        )
    on_off = all(channel in (0, 255) for v in allowed for channel in _channels(v))
    if on_off and all(min(channel, 255 - channel) < 64 for v in extra for channel in _channels(v)):
        return (
            "This space's colours have channels of 0 or 255, and the mask comes near that: it was saved as JPEG or resized. "
            "Round each channel to 0 or 255 (above 127 is 255), as the `suim` reader does."
        )
    if len(extra) > 3 * num_classes:
        return (
            "So many colours point to a JPEG or an anti-aliased mask: export the mask again as PNG without smoothing."
        )
    return "Add the colours to the label space, or correct the mask."


def _channels(packed: int) -> tuple[int, int, int]:
    return packed >> 16, packed >> 8 & 255, packed & 255


def _swapped(packed: int) -> int:
    red, green, blue = _channels(packed)
    return blue << 16 | green << 8 | red
