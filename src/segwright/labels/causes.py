"""Why a mask holds values that its label space does not list: people's usual mistakes, recognised by their values."""

from __future__ import annotations

from collections.abc import Sequence


def likely_cause(found: Sequence[int], num_classes: int, allowed: Sequence[int], encoding: str) -> str:
    """One sentence on the likely cause and what to do.

    found: all distinct raw values of the mask, ascending; allowed: the raw values that the space lists, ascending.
    """
    values = set(found)
    extra = sorted(values - set(allowed))
    if encoding == "rgb":
        if len(extra) > 3 * num_classes:
            return "So many colours point to a JPEG or an anti-aliased mask: export the mask again as PNG without smoothing."
        return "Add the colours to the label space, or correct the mask."
    if values == {0, 255}:
        return (
            "The mask is black and white (0 and 255): a binary mask saved as a picture. "
            "Give the class the value 255 in the label space (values: [255]), or save 255 as 1."
        )
    if len(extra) > max(12, 3 * num_classes):
        return (
            "So many values point to a mask that was smoothed, resized with interpolation, saved as JPEG, or turned from "
            "colours into grey. Export it again as PNG with one number a pixel."
        )
    if allowed == list(range(num_classes)) and extra == [num_classes] and 0 not in values:
        return f"The ids run 1..{num_classes} instead of 0..{num_classes - 1}: they are off by one (list the values 1..{num_classes})."
    if set(allowed) - {255} == set(range(19)) and max(values - {255}) <= 33:
        return "These look like Cityscapes label ids (0..33), not train ids: read the *_labelIds.png files with space cityscapes19."
    if 33 in allowed and extra == [255]:
        return "255 beside ids 0..18 points to Cityscapes train ids: this space reads the *_labelIds.png files."
    if extra == [255]:
        return "255 is often void: list it under `ignored` in the label space."
    return "List the missing classes in the label space, or correct the mask."
