"""Reading recipes: shipped by name or a .yaml file, `key=value` overrides on top, the origin of every value kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from segwright.contracts import UserError
from segwright.names import did_you_mean
from segwright.recipe.explaining import explained, nearest_key
from segwright.recipe.schema import ALIASES, Data, Recipe, keys
from segwright.recipe.stages import stage_recipes


@dataclass(frozen=True)
class LoadedRecipe:
    """A checked recipe, and where each value came from.

    origins: dotted key -> "FILE:LINE", "command line" or "default".
    """

    recipe: Recipe
    origins: Mapping[str, str]


def shipped() -> dict[str, str]:
    """Shipped recipes: name -> YAML text."""
    folder = resources.files("segwright.recipes")
    found = {
        p.name.removesuffix(".yaml"): p.read_text(encoding="utf-8")
        for p in folder.iterdir()
        if p.name.endswith(".yaml")
    }
    return dict(sorted(found.items()))


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """The recipe `source` (a shipped name or a .yaml file) with `key=value` overrides.

    Raises UserError with file and line for unknown, misspelt, repeated or wrongly typed keys, and for impossible values.
    """
    text, where = _read(source)
    content, lines = parse(text, where)
    origins = {key: f"{where}:{line}" for key, line in lines.items()}
    origins = override_all(content, origins, overrides)
    return LoadedRecipe(check(content, origins, where), origins)


def _read(source: str | Path) -> tuple[str, str]:
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except FileNotFoundError:
            raise UserError(f"recipe {path} does not exist. `segwright recipes` lists the shipped ones.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"recipe {path} cannot be read: {error}") from None
    recipes = shipped()
    if str(source) in recipes:
        return recipes[str(source)], f"{source}.yaml"
    hint = did_you_mean(str(source), recipes)
    raise UserError(
        f"'{source}' is neither a folder, a .yaml file nor a shipped recipe.{hint} Shipped: {', '.join(recipes)}."
    )


def parse(text: str, where: str) -> tuple[dict[str, Any], dict[str, int]]:
    """YAML text -> plain data and the line of every dotted key. Tags, repeated keys and unquoted `1e-4` are refused."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: not readable as YAML: {getattr(error, 'problem', error)}.") from None
    if not isinstance(root, yaml.MappingNode):
        found = "nothing" if root is None else f"a {type(root).__name__.removesuffix('Node').lower()}"
        raise UserError(f"{where}: a recipe is a mapping of keys to values; found {found}.")
    lines: dict[str, int] = {}
    for key, node in _walk(root, "", where):
        lines[key] = node.start_mark.line + 1
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: recipes are plain data: {getattr(error, 'problem', error)}.") from None
    return content, lines


def _walk(node: yaml.Node, prefix: str, where: str) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value in node.value:
            name = str(key_node.value)
            key = f"{prefix}{name}"
            if name in seen:
                raise UserError(f"{where}:{key_node.start_mark.line + 1}: the key '{key}' stands twice; keep one.")
            seen.add(name)
            yield key, key_node
            yield from _walk(value, f"{key}.", where)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            if isinstance(item, yaml.MappingNode):
                yield f"{prefix}{index}", item
            yield from _walk(item, f"{prefix}{index}.", where)
    elif isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str" and node.style is None:
        number = _as_float(node.value)
        if number is not None:
            raise UserError(
                f"{where}:{node.start_mark.line + 1}: YAML reads {node.value} as text, not as a number: "
                f"write {yaml.safe_dump(number).splitlines()[0]}."
            )


_EXPONENT = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?[eE][+-]?\d+")
"""Numbers like 1e-4, which YAML takes for text; names like 0016E5 are left alone."""


def _as_float(text: str) -> float | None:
    return float(text) if _EXPONENT.fullmatch(text) and text[0] not in "eE" else None


def override_all(content: dict[str, Any], origins: Mapping[str, str], overrides: Sequence[str]) -> dict[str, str]:
    """Apply overrides in place and return the new origins.

    Another component (`model.name=unet`) starts without the arguments of the one before: its `args` are emptied, then
    overrides of `args` apply.
    """
    found = dict(origins)
    for override in sorted(overrides, key=lambda o: not o.partition("=")[0].endswith(".name")):
        section = override.partition("=")[0].removesuffix(".name")
        before = content.get(section, {}).get("name") if isinstance(content.get(section), dict) else None
        key = apply_override(content, override)
        found = {k: v for k, v in found.items() if not k.startswith(f"{key}.")} | {key: "command line"}
        if key.endswith(".name") and content[section]["name"] != before and content[section].get("args"):
            content[section]["args"] = {}
            found = {k: v for k, v in found.items() if not k.startswith(f"{section}.args.")}
            found[f"{section}.args"] = f"emptied, since {key} changed"
    return found


def apply_override(content: dict[str, Any], override: str) -> str:
    """Set one `key=value` in place and return the canonical dotted key; the value is read as YAML."""
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"'{override}' is not of the form key=value, such as training.epochs=50.")
    key = ALIASES.get(key, key)
    known = keys()
    if key not in known and not any(key.startswith(f"{k}.") for k in known if k.endswith(".args")):
        raise UserError(f"unknown key '{key}' in '{override}'.{nearest_key(key, [*known, *ALIASES])}")
    value: Any = _as_float(text)
    if value is None:
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
    place = content
    *parents, last = key.split(".")
    for parent in parents:
        nested = place.setdefault(parent, {})
        if not isinstance(nested, dict):
            raise UserError(f"'{override}': {parent} is {nested!r} here, so it has no key '{last}'.")
        place = nested
    if key == "augmentation.size" and isinstance(value, int):
        value = [value, value]
    place[last] = value
    return key


def check(content: Mapping[str, Any], origins: Mapping[str, str] | None = None, where: str = "recipe") -> Recipe:
    """Plain data -> Recipe. Raises UserError listing every wrong key and value with its origin."""
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        problems = [explained(item, origins or {}, where) for item in error.errors()]
        raise UserError("\n".join(problems)) from None
    stage_recipes(recipe, origins, where)
    return recipe


def data_from(overrides: Sequence[str], *, labels: Mapping[str, Any]) -> Data:
    """The `data` section alone, from `data.*` overrides: for scoring a model that has no recipe."""
    content: dict[str, Any] = {"data": {"root": None, "labels": dict(labels), "train": "train", "val": "val"}}
    for override in overrides:
        apply_override(content, override)
    try:
        return Data.model_validate(content["data"])
    except ValidationError as error:
        problems = [explained(item | {"loc": ("data", *item["loc"])}, {}, "command line") for item in error.errors()]
        raise UserError("\n".join(problems)) from None


def dump(recipe: Recipe) -> str:
    """The recipe as YAML text that `load_recipe` reads back to an equal recipe."""
    return yaml.dump(recipe.model_dump(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def headline(text: str) -> str:
    """The first comment line of a recipe file."""
    return text.splitlines()[0].lstrip("# ").strip() if text.startswith("#") else ""


def annotated(loaded: LoadedRecipe) -> str:
    """The recipe as YAML, each value followed by a comment with its origin: still a recipe that `load_recipe` reads."""
    lines, path, known = [], list[str](), set(keys())
    for line in dump(loaded.recipe).splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        path = [*path[:depth], line.strip().partition(":")[0]]
        key = ".".join(path)
        origin = loaded.origins.get(key) or ("default" if key in known and not line.endswith(":") else "")
        lines.append(f"{line:<60}  # {origin}" if origin else line)
    return "\n".join(lines) + "\n"


class _Dumper(yaml.SafeDumper):
    """Short lists of numbers on one line, mappings in the order of the schema."""


def _write_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    flat = all(isinstance(i, int | float | str | bool) or i is None for i in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Dumper.add_representer(list, _write_list)
