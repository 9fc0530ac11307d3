"""`segwright labels …`: the label spaces, their classes and colours, and maps between them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import AsJson, console, example
from segwright.contracts import UserError

labels_app = typer.Typer(help="Label spaces: list them, show one, map one to another.", invoke_without_command=True)
Space = Annotated[str, typer.Argument(help="A shipped label space or a .yaml file.")]


@labels_app.callback(epilog=example("segwright labels"))
def labels(context: typer.Context, as_json: AsJson = False) -> None:
    """List the label spaces; show one, or map one to another."""
    if context.invoked_subcommand is not None:
        return
    from segwright.report.swatches import spaces_table

    spaces = api.list_labels()
    if as_json:
        keys = ("name", "title", "num_classes", "encoding", "exclusive", "source")
        print(json.dumps([{key: getattr(s, key) for key in keys} for s in spaces], ensure_ascii=False))
    else:
        console().print(spaces_table(spaces))


@labels_app.command(epilog=example("segwright labels show camvid11", "segwright labels show orchard.yaml --json"))
def show(name: Space, as_json: AsJson = False) -> None:
    """Classes of a label space: id, colour, name, group, mask values, other names."""
    from segwright.report.swatches import space_table

    space = api.label_space(name)
    if as_json:
        print(json.dumps(space.to_dict(), ensure_ascii=False))
        return
    out = console()
    out.print(space_table(space))
    out.print(f"source: {space.source or 'not stated'}", highlight=False, markup=False, soft_wrap=True)


@labels_app.command(
    "map",
    epilog=example(
        "segwright labels map cityscapes19 camvid11",
        "segwright labels map kitti11 cityscapes19 --set bicyclist=rider --set sign=",
    ),
)
def map_(
    source: Space,
    target: Space,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="CLASS=TARGET", help="Decide a class yourself; a,b: any of these; nothing: void."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What each class of one label space becomes in another: what merges, what is coarse, what is lost."""
    from segwright.report.swatches import map_sentences, map_table

    label_map = api.map_labels(source, target, dict(_pair(text) for text in given or []))
    if as_json:
        verdict = {key: getattr(label_map, key) for key in ("exact", "total", "lost", "coarse", "merged", "unreached")}
        print(json.dumps(label_map.to_dict() | verdict, ensure_ascii=False))
        return
    out = console()
    out.print(map_table(label_map))
    for line in map_sentences(label_map):
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def _pair(text: str) -> tuple[str, list[str]]:
    """`truck=car` -> ("truck", ["car"]); `car=car,truck` -> two targets; `sign=` -> none."""
    name, equals, targets = text.partition("=")
    if not (name.strip() and equals):
        raise UserError(f"--set {text}: expected CLASS=TARGET, such as --set truck=car; CLASS= alone makes it void.")
    return name.strip(), [t.strip() for t in targets.split(",") if t.strip()]
