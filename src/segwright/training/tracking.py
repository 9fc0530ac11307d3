"""TensorBoard, MLflow and Weights & Biases, where a recipe asks for them: views of metrics.jsonl, which stays what counts.

When training starts or resumes, a tracker is brought up to the rows of metrics.jsonl, then follows row by row. What lies
in the run folder is written anew; an MLflow store or a W&B server is asked what it has and gets the rest, so that no
row stands twice. Nothing leaves the machine unless the user's own variables say so (docs/guides/tracking.md).
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, Protocol

from segwright.contracts import UserError
from segwright.recipe import Recipe, dump
from segwright.runs import Run
from segwright.training.interrupt import Interrupted

Row = Mapping[str, Any]
Value = str | int | float | bool
Outcome = Literal["finished", "stopped", "failed"]

TRACKERS = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""Name in a recipe -> module that has to be installed; the extra has the recipe's name."""
LONGEST = 500  # characters of one parameter; MLflow's servers refuse longer ones


class Writer(Protocol):
    """One tracker of one run."""

    def write(self, row: Row) -> None:
        """Add a row of metrics.jsonl, unless the tracker has it already."""
        ...

    def close(self, outcome: Outcome) -> None: ...


def check_trackers(names: Sequence[str]) -> None:
    """Raise UserError, with the line that installs it, for a tracker whose package is missing."""
    for name in names:
        spec = find_spec(TRACKERS[name])
        if spec is None or spec.origin is None:  # no origin: just a folder of that name, such as ./wandb
            raise UserError(
                f"training.track asks for {name}, whose package is not installed. Install it with "
                f'pip install "segwright[{name}]", or leave {name} out of training.track: metrics.jsonl has every number.'
            )


def scalars(row: Row) -> dict[str, float]:
    """The numbers of a row by name, such as train/loss, val/miou and val/iou/road; those that are undefined are left out."""
    found: dict[str, float] = {}
    for key, value in row.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for name, number in inner:
            if key != "step" and _is_number(number):
                found["/".join(p for p in (str(row["kind"]), key, str(name)) if p)] = float(number)
    return found


def params(recipe: Recipe) -> dict[str, Value]:
    """The recipe as flat dotted keys: numbers and texts as they are, a label space by name, lists as JSON."""
    return dict(_flat(recipe.model_dump(), ""))


def _flat(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Value]]:
    for key, value in content.items():
        if isinstance(value, Mapping) and "classes" in value:
            yield f"{prefix}{key}", str(value.get("name", "written out"))
        elif isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, str | int | float):
            yield f"{prefix}{key}", value[:LONGEST] if isinstance(value, str) else value
        else:
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False)[:LONGEST]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class TensorBoard:
    """Event files in RUN/tensorboard: scalars by optimiser step, the recipe as text and as hyper-parameters."""

    def __init__(self, run: Run, recipe: Recipe) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        folder = run.path / "tensorboard"
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(folder))
        self._writer.add_text("recipe", f"```yaml\n{dump(recipe)}```")
        for summary in hparams(params(recipe), {"val/miou": 0.0}):
            self._writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]  # torch says None here

    def write(self, row: Row) -> None:
        for name, value in scalars(row).items():
            self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def close(self, outcome: Outcome) -> None:
        self._writer.close()


class Mlflow:
    """A run in the store RUN/mlflow, or where MLFLOW_TRACKING_URI says; found again by the id in tracking.json."""

    def __init__(self, run: Run, recipe: Recipe) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the store that needs no database
        from mlflow.tracking import MlflowClient

        store = os.environ.get("MLFLOW_TRACKING_URI") or (run.path / "mlflow").resolve().as_uri()
        self._client = MlflowClient(tracking_uri=store)
        ids = run.read_json("tracking.json")
        if "mlflow" in ids:
            self.id = str(ids["mlflow"])
            self._client.update_run(self.id, status="RUNNING")
        else:
            self.id = self._create(run, recipe)
            run.write_json("tracking.json", ids | {"mlflow": self.id})
        self._last: dict[str, int] = {}

    def _create(self, run: Run, recipe: Recipe) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "segwright"
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        made = str(self._client.create_run(experiment, run_name=run.name).info.run_id)
        told = [Param(_mlflow_name(key), str(value)) for key, value in params(recipe).items()]
        for start in range(0, len(told), 100):
            self._client.log_batch(made, params=told[start : start + 100])
        self._client.log_artifact(made, str(run.recipe_file))
        return made

    def write(self, row: Row) -> None:
        from mlflow.entities import Metric

        step, kind = int(row["step"]), str(row["kind"])
        if kind not in self._last:
            history = self._client.get_metric_history(self.id, f"{kind}/epoch")
            self._last[kind] = max((int(metric.step) for metric in history), default=-1)
        if step <= self._last[kind]:
            return
        now = round(time.time() * 1000)
        found = scalars(row)
        found[f"{kind}/epoch"] = found.pop(f"{kind}/epoch")  # last: what says that the row is complete
        told = [Metric(_mlflow_name(name), value, now, step) for name, value in found.items()]
        for start in range(0, len(told), 500):
            self._client.log_batch(self.id, metrics=told[start : start + 500])
        self._last[kind] = step

    def close(self, outcome: Outcome) -> None:
        states = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
        self._client.set_terminated(self.id, status=states[outcome])


def _mlflow_name(name: str) -> str:
    """A name that MLflow takes: characters that it refuses become their number, so that two names stay two."""
    return re.sub(r"[^\w\-. :/]", lambda found: f"_{ord(found[0]):x}_", name)


class Wandb:
    """An offline run in RUN/wandb for `wandb sync`; online where WANDB_MODE says so."""

    def __init__(self, run: Run, recipe: Recipe) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # crash reports go out from offline runs too
        import wandb

        ids = run.read_json("tracking.json")
        if "wandb" not in ids:
            ids |= {"wandb": secrets.token_hex(8)}
            run.write_json("tracking.json", ids)
        mode = os.environ.get("WANDB_MODE") or "offline"
        online = mode not in ("offline", "disabled", "dryrun")
        if not online:
            for old in (run.path / "wandb").glob("offline-run-*"):
                shutil.rmtree(old)
        settings = wandb.Settings(
            silent=True, console="off", x_disable_stats=True, disable_git=True, disable_code=True, save_code=False
        )
        self._run = wandb.init(
            mode=mode,  # type: ignore[arg-type]
            dir=str(run.path),
            id=str(ids["wandb"]),
            resume="allow" if online else None,
            project=os.environ.get("WANDB_PROJECT") or "segwright",
            name=run.name,
            config=params(recipe),
            settings=settings,
        )
        self._next = self._run.step if online else 0

    def write(self, row: Row) -> None:
        if row["step"] >= self._next:
            self._run.log(scalars(row), step=int(row["step"]))

    def close(self, outcome: Outcome) -> None:
        self._run.finish(exit_code=1 if outcome == "failed" else 0)


WRITERS: dict[str, Callable[[Run, Recipe], Writer]] = {"tensorboard": TensorBoard, "mlflow": Mlflow, "wandb": Wandb}


@dataclass
class Tracking:
    """The trackers of one run. A tracker that fails while training is told and left behind; training goes on."""

    run: Run
    recipe: Recipe
    say: Callable[[str], None]
    _writers: dict[str, Writer] = field(default_factory=dict)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open all trackers, bring them up to metrics.jsonl, and close them with the outcome of the block.

        Raises UserError for a tracker that cannot be opened.
        """
        outcome: Outcome = "failed"
        try:
            for name in dict.fromkeys(self.recipe.training.track):
                self._writers[name] = self._opened(name)
            if self._writers:
                self.write(*self.run.metrics())
            yield
            outcome = "finished"
        except (Interrupted, KeyboardInterrupt):
            outcome = "stopped"
            raise
        finally:
            for opened in list(self._writers):
                self._attempt(opened, partial(self._writers[opened].close, outcome))
            self._writers.clear()

    def write(self, *rows: Row) -> None:
        """Show rows of metrics.jsonl in every tracker."""
        for row in rows:
            for name in list(self._writers):
                self._attempt(name, partial(self._writers[name].write, row))

    def _opened(self, name: str) -> Writer:
        try:
            return WRITERS[name](self.run, self.recipe)
        except Exception as error:
            raise UserError(
                f"training.track: {name} cannot be opened for {self.run.path} ({_short(error)}). Check its variables "
                f"and its server, or leave {name} out of training.track: metrics.jsonl has every number."
            ) from error

    def _attempt(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            del self._writers[name]
            self.say(
                f"[yellow]{name} failed and gets no more rows ({_short(error)}). Training goes on, metrics.jsonl is "
                f"complete, and the next resume brings {name} up to it.[/]"
            )


def _short(error: Exception) -> str:
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first[:200]}".replace("[", "(").replace("]", ")")
