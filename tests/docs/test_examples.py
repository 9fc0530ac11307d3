"""What README and docs show is true: links, commands, keys, YAML, Python, the tree, a page for everything registered."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
import yaml
from PIL import Image
from pydantic import TypeAdapter

from segwright.build import check_args
from segwright.cli import app
from segwright.data import DATASETS
from segwright.data.augment import AUGMENTATIONS
from segwright.data.streets import write_streets
from segwright.inference.outputs import KINDS
from segwright.labels import LabelSpace, catalogue
from segwright.losses import LOSSES
from segwright.metrics.confusion import confusion
from segwright.metrics.protocols import PROTOCOLS
from segwright.metrics.scores import scores
from segwright.models import MODELS
from segwright.recipe import Recipe, Schedule, load_recipe, shipped
from segwright.recipe.loading import check, data_from
from segwright.recipe.schema import ALIASES, keys
from segwright.recipe.stages import stage_recipes
from segwright.training.schedule import build_schedule

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
PACKAGE = PROJECT / "src" / "segwright"
PAGES = [
    *(PROJECT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts),
]
ALL_TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BARE_NAME = re.compile(r"[a-z][a-z0-9_-]*")


def title(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def shell_lines(page: Path) -> Iterator[str]:
    """Lines of bash blocks, and inline code that begins with a command."""
    for block in blocks(page, "bash"):
        yield from (line.strip() for line in block.splitlines() if line.strip())
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    yield from re.findall(r"`((?:segwright|make) [^`\n]+)`", prose)


def commands() -> list[tuple[str, str]]:
    """(page, command line) of every `segwright ...` in README and docs."""
    return [(title(p), line) for p in PAGES for line in shell_lines(p) if line.startswith("segwright ")]


def words_of(line: str) -> list[str]:
    """The arguments of a command line, without redirections and `--debug`, which `main` takes out."""
    words = shlex.split(line, comments=True)[1:]
    if ">" in words:
        words = words[: words.index(">")]
    return [w for w in words if w != "--debug"]


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The verb of a command line and the values of its parameters; raises where an option or argument is wrong."""
    command: Any = typer.main.get_command(app)
    path: list[str] = []
    while hasattr(command, "commands"):
        if words[:1] == ["--help"]:
            return " ".join(path), {}
        if not words and command.invoke_without_command and path:
            return " ".join(path), {}
        if path and command.invoke_without_command and words[0].startswith("-"):
            return " ".join(path), command.make_context(path[-1], list(words)).params
        assert words, f"{' '.join(path)} needs a verb: {', '.join(command.commands)}"
        path.append(words[0])
        assert words[0] in command.commands, f"there is no verb '{words[0]}'"
        command, words = command.commands[words[0]], words[1:]
    if not words:  # a mention of the verb
        return " ".join(path), {}
    return " ".join(path), command.make_context(path[-1], list(words)).params


@pytest.mark.parametrize("text_page", PAGES, ids=title)
def test_links_and_images_exist(text_page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", text_page.read_text(encoding="utf-8"))):
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            assert (text_page.parent / target.partition("#")[0]).is_file(), f"{title(text_page)} links to {target}"


@pytest.mark.parametrize(("where", "line"), commands())
def test_commands_parse_and_name_what_exists(where: str, line: str) -> None:
    verb, values = parsed(words_of(line))
    overrides = [text for text in values.get("overrides") or [] if "=" in text and text.lower() != "key=value"]
    for text in overrides:
        key = ALIASES.get(text.partition("=")[0], text.partition("=")[0])
        assert key in keys() or any(key.startswith(f"{k}.") for k in keys() if k.endswith(".args")), f"{key}: {line}"
    source = values.get("source") or values.get("name") or "" if verb in ("train", "recipes", "summary") else ""
    if verb in ("train", "recipes") and BARE_NAME.fullmatch(source):
        load_recipe(source, overrides)  # the name is shipped, every key and value is right
    if verb == "summary" and BARE_NAME.fullmatch(source):
        assert source in MODELS or source in shipped()
    if verb == "evaluate":
        assert all(text.startswith(("data.", "root=")) for text in overrides)
        assert values.get("protocol") in (None, *PROTOCOLS)
        if str(values.get("model")).endswith(".safetensors"):
            data_from(overrides, labels={"name": "any"})
    for text in values.get("write") or []:
        assert set(text.split(",")) <= set(KINDS)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        for line in shell_lines(page):
            if line.startswith("make "):
                assert set(line.split()[1:]) <= targets, f"{title(page)}: {line}"


@pytest.mark.parametrize("text_page", PAGES, ids=title)
def test_python_blocks_compile(text_page: Path) -> None:
    for number, block in enumerate(blocks(text_page, "python"), start=1):
        compile(block, f"{title(text_page)}, Python block {number}", "exec")


@pytest.mark.parametrize("name", ["guides/python.md", "labels.md"])
def test_python_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "guides/python.md":  # as its first command does
        write_streets(tmp_path / "scenes", counts={"train": 8, "val": 4}, size=(128, 256), workers=1)
    namespace: dict[str, Any] = {"__name__": "example"}
    for number, block in enumerate(blocks(DOCS / name, "python"), start=1):
        exec(compile(block, f"{name}, Python block {number}", "exec"), namespace)


def tree(page: Path) -> set[Path]:
    """Files and folders of the package that the page's tree names; every one has to exist."""
    text = next(block for block in blocks(page, "text") if block.startswith("src/segwright/"))
    path, named = [PACKAGE], set[Path]()
    for line in text.splitlines()[1:]:
        prefix, entry = re.match(r"([│├└─ ]+)(\S+)", line).groups()  # type: ignore[union-attr]
        depth = len(prefix) // 4
        path = [*path[:depth], path[depth - 1] / entry.rstrip("/")]
        assert path[-1].is_dir() if entry.endswith("/") else path[-1].is_file(), f"{title(page)}'s tree names {entry}"
        named.add(path[-1])
    return named


def test_the_tree_of_the_readme_is_the_package() -> None:
    top = {p for p in PACKAGE.iterdir() if p.name not in ("__init__.py", "__pycache__", "py.typed")}
    assert top == tree(PROJECT / "README.md")


def test_the_page_about_the_code_names_every_file() -> None:
    named = tree(DOCS / "code.md")
    folders = {p.parent for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts} - {PACKAGE}
    assert folders - named == set(), "folders that docs/code.md leaves out"
    files = {p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" and p.parent != PACKAGE / "data" / "streets"}
    assert files - named == set(), "files that docs/code.md leaves out"


@pytest.mark.parametrize("text_page", PAGES, ids=title)
def test_yaml_blocks_are_read_by_the_real_loaders(text_page: Path) -> None:
    for block in blocks(text_page, "yaml"):
        content = yaml.safe_load(block)
        if "classes" in content:
            space = LabelSpace.from_dict(content, where=title(text_page))
            assert LabelSpace.from_dict(space.to_dict()) == space
            continue
        for section, values in content.items():
            TypeAdapter[Any](Recipe.model_fields[section].annotation).validate_python(values)
            if section == "stages":
                check_stages_of(values)
            else:
                check_component(section, values)


def check_stages_of(stages: list[dict[str, Any]]) -> None:
    """A recipe with these stages is right, and so are the components that they name."""
    content = load_recipe("camvid-cpu", ["training.epochs=90"]).recipe.model_dump() | {"stages": stages}
    for stage in stage_recipes(check(content)):
        for section in ("loss", "augmentation"):
            check_component(section, getattr(stage.recipe, section).model_dump())
        build_schedule(stage.recipe.schedule, 10)


def check_component(section: str, values: dict[str, Any]) -> None:
    """The section's name is registered, and its component takes the arguments."""
    args = values.get("args", {})
    if section == "data":
        check_args(DATASETS[values["name"]], args, "data.args", given=("root", "split", "labels"))
        assert values["labels"] in catalogue() or values["labels"].endswith(".yaml")
    elif section == "model":
        check_args(MODELS[values["name"]], args, "model.args", given=("num_classes",))
    elif section == "loss":
        check_args(LOSSES[values["name"]], args, "loss.args", given=("num_classes",))
    elif section == "schedule":
        build_schedule(Schedule.model_validate(values), 10)
    elif section == "augmentation":
        AUGMENTATIONS[values["name"]](values["size"], **args)


def test_everything_registered_has_its_page() -> None:
    for folder, registry in (("models", MODELS), ("datasets", DATASETS), ("losses", LOSSES)):
        titles = [p.read_text(encoding="utf-8").splitlines()[0] for p in (DOCS / folder).glob("*.md")]
        named = {name for title in titles for name in re.split(r", | and ", title.removeprefix("# "))}
        assert set(registry) - named == set(), f"docs/{folder}: no page has these in its title"


def test_everything_shipped_is_mentioned() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name in (*catalogue(), *shipped(), *AUGMENTATIONS, *PROTOCOLS):
        assert f"`{name}`" in ALL_TEXT, f"'{name}' is shipped, but no page names it"
    for verb in verbs:
        assert f"segwright {verb}" in ALL_TEXT, f"no page shows `segwright {verb}`"


def test_every_key_of_a_recipe_is_explained_once() -> None:
    text = (DOCS / "guides" / "training.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE)
    assert [key for key in explained if key in keys()] == keys()
    for alias in ALIASES:
        assert f"`{alias}`" in text


def test_the_definitions_of_miou_differ_as_the_page_says(camvid: Path) -> None:
    """The table of docs/metrics.md: one prediction, seven numbers."""
    void, building, bicyclist = 11, 1, 10
    counts, without = np.zeros((11, 11), np.int64), np.zeros((11, 11), np.int64)
    called_K, each = np.zeros(11, np.int64), []
    for file in sorted((camvid / "trainannot").glob("*.png")):
        mask = np.asarray(Image.open(file))
        predicted = np.roll(mask, (2, 3), (0, 1))
        predicted[predicted == void] = building
        truth = np.where(mask == void, 255, mask).astype(np.uint8)
        here = count(truth, predicted)
        counts += here
        each.append(scores(here).macro_iou)
        called_K += np.bincount(predicted[mask == void], minlength=11)
        without += count(np.where(mask == bicyclist, 255, truth), np.where(predicted == bicyclist, building, predicted))
    whole, absent = scores(counts), scores(without)
    hits_K = counts.diagonal()
    with_void = hits_K / (whole.support + whole.predicted - hits_K + called_K)
    measured = [
        PROTOCOLS["pooled"].mean_iou(whole),
        float(with_void.mean()),
        float(np.mean(each)),
        whole.micro_iou,
        whole.weighted_iou,
        PROTOCOLS["pooled"].mean_iou(absent),
        PROTOCOLS["camvid"].mean_iou(absent),
    ]
    section = (DOCS / "metrics.md").read_text(encoding="utf-8").split("## Why toolkits disagree")[1].split("\n## ")[0]
    assert re.findall(r"\| ([\d.]+) \|$", section, re.MULTILINE) == [f"{100 * value:.1f}" for value in measured]


def count(truth: np.ndarray[Any, Any], predicted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = confusion(
        torch.from_numpy(truth.astype(np.uint8)), torch.from_numpy(predicted.astype(np.uint8)), 11
    ).numpy()
    return found
