"""What is wrong with a recipe, in the words of its author: where the value stands, what was found, what was meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from segwright.names import did_you_mean
from segwright.recipe.schema import Stage, keys


def nearest_key(key: str, known: Sequence[str]) -> str:
    """' Did you mean …?' for a dotted key, or the list of all keys where none is near."""
    sections = {k.split(".")[0] for k in known}
    if "." not in key and (section := get_close_matches(key, sections, n=1, cutoff=0.75)):
        return f" Did you mean '{section[0]}'?"
    last = key.rsplit(".", 1)[-1]
    same_end = [k for k in known if k.rsplit(".", 1)[-1] == last]
    close = same_end or get_close_matches(key, known, n=1, cutoff=0.5)
    if not close:
        by_end = {k.rsplit(".", 1)[-1]: k for k in known}
        close = [by_end[k] for k in get_close_matches(last, by_end, n=1)]
    return f" Did you mean '{close[0]}'?" if close else f" Keys: {', '.join(known)}."


def explained(item: Any, origins: Mapping[str, str], where: str) -> str:
    """One line for one of pydantic's errors. origins: dotted key -> where it was written; where: said for all others."""
    path = [str(p) for p in item["loc"]]
    candidates = [".".join(path[:n]) for n in range(len(path), 0, -1)]
    origin = next((origins[k] for k in candidates if k in origins), where)
    key = ".".join(path) or "recipe"
    if item["type"] == "extra_forbidden" and path[0] == "stages" and len(path) == 3:
        allowed = [*Stage.model_fields, "freeze"]
        return (
            f"{origin}: a stage cannot have '{path[2]}'.{did_you_mean(path[2], allowed)} Allowed: {', '.join(allowed)}."
        )
    if item["type"] == "extra_forbidden":
        return f"{origin}: unknown key '{key}'.{nearest_key(key, keys())}"
    if item["type"] == "missing":
        return f"{origin}: the key '{key}' is missing."
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{origin}: {message}."
    return f"{origin}: {key} is {item['input']!r}; {message[0].lower()}{message[1:]}."
