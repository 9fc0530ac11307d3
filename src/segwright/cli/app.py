"""The command line: parse, call one verb of the API, print its result, set the exit code.

Exit codes: 0 done, 1 a defect of Segwright, 2 the user's mistake, 3 bad data, 130/143 stopped by Ctrl-C/SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from segwright import api
from segwright.cli import data_check as _data_check  # noqa: F401  adds its verbs to data_app
from segwright.cli import data_errors as _data_errors  # noqa: F401
from segwright.cli import data_get as _data_get  # noqa: F401
from segwright.cli import data_pack as _data_pack  # noqa: F401
from segwright.cli import data_show as _data_show  # noqa: F401
from segwright.cli import data_split as _data_split  # noqa: F401
from segwright.cli import data_stats as _data_stats  # noqa: F401
from segwright.cli import looking
from segwright.cli.before import lr_find, show_dry_run, show_overfit
from segwright.cli.bench import EXAMPLES as BENCH_EXAMPLES
from segwright.cli.bench import bench
from segwright.cli.calibrate import calibrate
from segwright.cli.cards import card
from segwright.cli.compare import compare
from segwright.cli.convert import convert
from segwright.cli.crf import tune_crf
from segwright.cli.crossval import crossval, soup
from segwright.cli.data import data_app
from segwright.cli.evaluate import EXAMPLES as EVALUATE_EXAMPLES
from segwright.cli.evaluate import evaluate
from segwright.cli.export import EXAMPLES as EXPORT_EXAMPLES
from segwright.cli.export import export
from segwright.cli.finetune import finetune
from segwright.cli.forms import AsJson, Overrides, Runs, console, example
from segwright.cli.labels import labels_app
from segwright.cli.models import models_app
from segwright.cli.predict import EXAMPLES as PREDICT_EXAMPLES
from segwright.cli.predict import predict
from segwright.cli.robustness import robustness
from segwright.cli.serve import EXAMPLES as SERVE_EXAMPLES
from segwright.cli.serve import serve
from segwright.cli.submit import EXAMPLES as SUBMIT_EXAMPLES
from segwright.cli.submit import submit
from segwright.cli.sweep import sweep
from segwright.cli.video import EXAMPLES as VIDEO_EXAMPLES
from segwright.cli.video import video
from segwright.contracts import SegwrightError, UserError
from segwright.runs.launch import note_error, place, start_several, without_option
from segwright.shipped import LicenceNotice

app = typer.Typer(
    name="segwright",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(labels_app, name="labels")
app.add_typer(models_app, name="models")
looking.register(app)
app.command(epilog=EVALUATE_EXAMPLES)(evaluate)
app.command(epilog=SUBMIT_EXAMPLES)(submit)
app.command(epilog=EXPORT_EXAMPLES)(export)
app.command(epilog=BENCH_EXAMPLES)(bench)
app.command(epilog=PREDICT_EXAMPLES)(predict)
app.command(epilog=VIDEO_EXAMPLES)(video)
app.command(epilog=SERVE_EXAMPLES)(serve)
app.command(
    epilog=example("segwright calibrate runs/latest", "segwright calibrate runs/latest --classwise --risk 0.05")
)(calibrate)
app.command(epilog=example("segwright tune-crf runs/latest", "segwright tune-crf runs/latest --tries 40"))(tune_crf)
app.command(epilog=example("segwright convert old.pth --model denseaspp --labels cityscapes19 -o model.safetensors"))(
    convert
)
app.command(
    epilog=example(
        'segwright sweep camvid-cpu data.root=DIR "optimizer.lr=log(1e-4,1e-1)" "training.batch=int(4,12,4)"',
        "segwright sweep --resume runs/sweeps/NAME --trials 40",
    )
)(sweep)
app.command(
    epilog=example(
        "segwright crossval camvid-cpu data.root=DIR --folds 5 --by grouped --test test",
        "segwright crossval --resume runs/NAME",
    )
)(crossval)
app.command(
    epilog=example(
        "segwright compare runs/A runs/B runs/C --split test",
        "segwright compare runs/A runs/B --no-speed --table markdown",
    )
)(compare)
app.command(epilog=example("segwright card runs/latest"))(card)
app.command(
    epilog=example(
        "segwright robustness runs/latest",
        "segwright robustness runs/latest --corruption fog --corruption rain --severities 1-3 --pictures 100",
    )
)(robustness)
app.command(epilog=example("segwright lr-find camvid-cpu data.root=DIR --plot rates.png"))(lr_find)
app.command(epilog=example("segwright soup runs/A runs/B runs/C -o soup.safetensors --held-out val"))(soup)
app.command(
    epilog=example(
        "segwright finetune runs/streets DIR_OF_IMAGES_AND_MASKS",
        "segwright finetune runs/streets a-suim data.root=DIR --freeze 0.25",
        "segwright finetune runs/streets camvid-cpu data.root=DIR training.epochs=10 --compare",
    )
)(finetune)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"segwright {version('segwright')}")
        raise typer.Exit


SHARED = ("train", "evaluate")
"""Verbs that several processes do together."""


@app.callback(epilog="--debug, anywhere in a command, shows the traceback of an error.")
def segwright(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Semantic segmentation that people can trust. First time here: [bold]segwright demo[/]"""
    if context.invoked_subcommand not in SHARED and place()[1] > 1:
        raise UserError(
            f"`segwright {context.invoked_subcommand}` runs in one process; several can do {' and '.join(SHARED)}. Start it "
            "without torchrun, or unset WORLD_SIZE."
        )


@app.command(epilog=example("segwright demo"))
def demo(
    runs: Runs = api.RUNS,
    name: Annotated[str | None, typer.Option(help="Name of the run; made up by default.")] = None,
) -> None:
    """Generated street scenes → trained model → scores → report, in minutes on two CPU cores, nothing to download."""
    from segwright.recipe import load_recipe

    _show_training(api.demo(runs=runs, name=name, console=console()))
    data = load_recipe("streets-demo").recipe.data
    keys = [f"data.{key}={json.dumps(getattr(data, key))}" for key in ("name", "labels", "cache", "args")]
    other = api.evaluate("streets-small", keys, measures=["none"], runs=runs, console=console())
    console().print(
        f"streets-small, which comes with Segwright, learnt longer and from more scenes: mIoU {other.miou:.1%} on the same ones."
        "\nTry it: segwright predict --model streets-small PICTURE",
        highlight=False,
        soft_wrap=True,
    )


@app.command(
    epilog=example(
        "segwright train camvid-cpu data.root=DIR training.epochs=50",
        "segwright train DIR_OF_IMAGES_AND_MASKS",
        "segwright train --resume runs/NAME",
        "segwright train camvid-cpu data.root=DIR --dry-run --sheet batch.png",
    )
)
def train(
    context: typer.Context,
    source: Annotated[
        str | None, typer.Argument(help="A shipped recipe, a .yaml file, or a folder of images and masks.")
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[str | None, typer.Option("--resume", metavar="RUN", help="Continue this run exactly.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; made up by default.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out files that cannot be read; the report lists them.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --resume: go on although the recipe was changed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print steps, learning rates, memory and time; train nothing.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="With --dry-run: draw the learning rates.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="With --dry-run: draw the first batch with its masks.")
    ] = None,
    overfit: Annotated[
        bool, typer.Option("--overfit-one-batch", help="Only check that the model can learn one batch by heart.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Train in so many processes of this machine, by torchrun.")
    ] = None,
    runs: Runs = api.RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="With these checks: print JSON.")] = False,
) -> None:
    """Train a model, score its best state and write the report."""
    if (dry_run or overfit) and max(processes or 1, place()[1]) > 1:
        raise UserError("--dry-run and --overfit-one-batch look at a training in one process: leave out the others.")
    if processes is not None and processes > 1:
        raise typer.Exit(start_several(processes, without_option(context.obj or sys.argv[1:], "--processes")))
    if dry_run and overfit:
        raise UserError("--dry-run and --overfit-one-batch are two checks: run one after the other.")
    if as_json and not (dry_run or overfit):
        raise UserError("--json goes with --dry-run and --overfit-one-batch; a run keeps its numbers in metrics.jsonl.")
    if (plot is not None or sheet is not None) and not dry_run:
        raise UserError("--plot and --sheet draw what --dry-run finds: add it.")
    if resume is not None:
        if dry_run or overfit:
            raise UserError(
                f"--dry-run and --overfit-one-batch look at a new training, not at a run that goes on. For its recipe: "
                f"segwright train {resume} {'--dry-run' if dry_run else '--overfit-one-batch'}"
            )
        changes = [text for text in (source, *(overrides or [])) if text]
        extra = (
            [text for text in changes if "=" not in text] + ["--skip-bad"] * skip_bad + ["--name"] * (name is not None)
        )
        if extra:
            raise UserError(
                f"--resume continues a run and takes only KEY=VALUE with --force besides; found {' '.join(extra)}. To "
                f"change something else, start a new run: segwright train {resume}"
            )
        return _show_training(api.resume(resume, changes, force=force, runs=runs, console=console()))
    if force:
        raise UserError("--force goes with --resume RUN: it lets a run go on although its recipe was changed.")
    if source is None:
        raise UserError("what to train is missing: a recipe or a folder. `segwright recipes` lists the shipped ones.")
    keys = [*(overrides or []), *(["data.skip_bad=true"] if skip_bad else [])]
    if dry_run:
        return show_dry_run(source, keys, plot=plot, sheet=sheet, runs=runs, as_json=as_json)
    if overfit:
        return show_overfit(source, keys, runs=runs, as_json=as_json)
    return _show_training(api.train(source, keys, name=name, runs=runs, console=console()))


def _show_training(result: api.TrainResult) -> None:
    out = console()
    out.print(result.evaluation.table())
    out.print(f"model   {result.path / 'checkpoints' / 'best.safetensors'}", highlight=False, soft_wrap=True)
    out.print(f"report  {result.report}", highlight=False, soft_wrap=True)


@app.command(epilog=example("segwright report runs/latest", "segwright report runs/latest --budget-mb 40"))
def report(
    run: Annotated[str, typer.Argument(help="A run or its name.")],
    budget_mb: Annotated[
        float, typer.Option("--budget-mb", help="Size of the page in megabytes: more pictures, or fewer.")
    ] = 15,
    runs: Runs = api.RUNS,
) -> None:
    """Write a run's HTML report again."""
    written = api.write_report(run, budget_mb=budget_mb, runs=runs, console=console())
    console().print(f"report  {written}", highlight=False, soft_wrap=True)


@app.command(epilog=example("segwright recipes", "segwright recipes camvid-cpu training.epochs=50"))
def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe to show with the origin of every value.")] = None,
    overrides: Overrides = None,
) -> None:
    """List the shipped recipes, or show one as it would run."""
    from segwright.recipe import load_recipe, shipped
    from segwright.recipe.loading import annotated, headline

    if name is not None:
        print(annotated(load_recipe(name, overrides or [])), end="")
        return
    table = Table("recipe", "what it does")
    for key, text in shipped().items():
        table.add_row(key, headline(text))
    console().print(table)


@app.command(epilog=example("segwright doctor"))
def doctor(runs: Runs = api.RUNS, as_json: AsJson = False) -> None:
    """Check this machine: Python, torch, memory, disk, decoders, one real training step."""
    findings = api.doctor(runs=runs)
    if as_json:
        print(json.dumps([asdict(f) for f in findings], ensure_ascii=False))
    else:
        table = Table("check", "status", "found", "what to do")
        colors = {"OK": "green", "WARN": "yellow", "FAIL": "red"}
        for item in findings:
            table.add_row(item.name, f"[{colors[item.status]}]{item.status}[/]", item.detail, item.remedy)
        console().print(table)
    if any(f.status == "FAIL" for f in findings):
        raise typer.Exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `segwright`. `--debug` anywhere shows tracebacks."""
    # OpenMP's threads spin for milliseconds while they wait for each other. When another program wants a core too, that
    # slows training several times over; spinning briefly costs nothing alone (docs/performance.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", LicenceNotice)
            warnings.showwarning = partial(_show_warning, warnings.showwarning, set())
            app(arguments, obj=[*arguments, *(["--debug"] if debug else [])])
    except SegwrightError as error:
        _fail(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        _fail("stopped", 130, debug)
    except Exception as error:
        message = f"{type(error).__name__}: {error}\nThis is a defect of Segwright. Run again with --debug and report what it prints."
        _fail(message, 1, debug)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: object) -> None:
    """SIGTERM ends a verb as an error does, so that temporary files go. Training and the server have their own way."""
    sys.exit(128 + number)


def _show_warning(
    others: Callable[..., None], told: set[str], message: Warning | str, category: type[Warning], *place: Any
) -> None:
    """A notice about a licence as one line, once; every other warning as Python shows it."""
    if not issubclass(category, LicenceNotice):
        others(message, category, *place)
    elif str(message) not in told:
        told.add(str(message))
        Console(stderr=True).print(str(message), markup=False, highlight=False, soft_wrap=True)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    text = message if code >= 128 else f"error: {message}"  # 128 and up: stopped by a signal, which is no error
    if (rank := os.environ.get("RANK", "0")) != "0" and os.environ.get("WORLD_SIZE", "1") != "1":
        if code >= 128:
            sys.exit(code)  # the first process says so for all
        text = f"process {rank}: {text}"
    note_error(text)
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)
