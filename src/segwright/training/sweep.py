"""Sweeps: many trainings of one recipe with values that Optuna proposes, weak ones ended early, all of it resumable.

What is proposed depends on the seed, the trial's number and the results before it alone, so a sweep that was stopped
goes on as if it had not been. A trial that was stopped goes on in its own run folder.
"""

from __future__ import annotations

import math
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from segwright.build import check_args, component
from segwright.contracts import SegwrightError, UserError
from segwright.files import write_json, write_text
from segwright.losses import LOSSES
from segwright.models import MODELS
from segwright.names import did_you_mean
from segwright.recipe import Recipe, dump, load_recipe
from segwright.recipe.ranges import Range, parse_ranges
from segwright.runs import Run
from segwright.training.interrupt import Interrupted
from segwright.training.prepare import resume, settled, start
from segwright.training.schedule import build_schedule
from segwright.training.trials import Sweep, folder_name, latest_forms, read_trials

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as OptunaTrial

    from segwright.training.trainer import Trainer

FIRST_FAILURES = 3
"""When that many trials fail and none has worked, something is wrong with all of them."""
STARTING_TRIALS = 5  # before any is pruned


class Pruned(Exception):  # a message from the watcher to the sweep, no error that anybody sees
    """The trial is below the median of the others after as many epochs."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a sweep keeps in sweep.json. storage: an Optuna URL, or None for study.db in the folder."""

    source: str
    fixed: tuple[str, ...]
    space: tuple[str, ...]
    trials: int
    seed: int
    storage: str | None
    prune: bool


class SweepRunner:
    """A sweep in its folder: `sweep.json`, `base.yaml` (the recipe that all share), the storage, one run a trial."""

    def __init__(self, path: Path, settings: Settings, console: Console) -> None:
        _check_optuna()
        self.path, self.settings, self.console = path, settings, console
        self.ranges, _ = parse_ranges(settings.space)
        self.study = _open_study(path, settings)
        self.epochs = load_recipe(self.base).recipe.training.epochs

    @property
    def base(self) -> Path:
        return self.path / "base.yaml"

    def run(self, after_each: Callable[[Sweep], object]) -> None:
        """Train until there are as many trials as wanted, calling `after_each` with the sweep so far.

        Raises Interrupted when a signal asks to stop, with everything saved, and SegwrightError when the first trials all
        fail.
        """
        self._continue_stopped()
        while True:
            forms = latest_forms(self.study.get_trials(deepcopy=False))
            waiting = [form for form in forms if form.state.name == "WAITING"]
            begun = len(forms) - len(waiting)
            if not waiting and begun >= self.settings.trials:
                return
            try:
                self._one(forms.index(waiting[0]) + 1 if waiting else begun + 1)
            finally:
                after_each(self.result())
            self._refuse_if_all_fail()

    def result(self) -> Sweep:
        """The sweep so far."""
        return Sweep(
            path=self.path,
            source=self.settings.source,
            fixed=self.settings.fixed,
            ranges=tuple(self.ranges),
            trials=tuple(read_trials(self.study, self.path)),
            wanted=self.settings.trials,
            seed=self.settings.seed,
        )

    def _continue_stopped(self) -> None:
        """Put trials that never came to an end first in the queue, with their values."""
        from optuna.trial import TrialState

        for form in latest_forms(self.study.get_trials(deepcopy=False)):
            if form.state == TrialState.RUNNING:
                self.study.enqueue_trial(form.params, user_attrs={"continues": form.number})
        continued = {t.user_attrs.get("continues") for t in self.study.get_trials(deepcopy=False)}
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if trial.number in continued:
                self.study.tell(trial.number, state=TrialState.FAIL)

    def _one(self, number: int) -> None:
        """Train trial `number`, 1 for the first, and tell the study what came of it."""
        from optuna.trial import TrialState

        self.study.sampler = _sampler(self.settings.seed, number)
        trial = self.study.ask()
        overrides = [_proposal(trial, found) for found in self.ranges]
        trial.set_user_attr("overrides", overrides)
        told = escape(" ".join(overrides))
        self.console.print(f"\n[bold]trial {number} of {self.settings.trials}[/]: {told}", highlight=False)
        try:
            best = self._train(trial, number, overrides)
        except Pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
            self.console.print(f"trial {number}: below the median of the others, so it ends here", highlight=False)
        except (Interrupted, KeyboardInterrupt) as stopped:
            raise Interrupted(
                f"stopped in trial {number} of {self.settings.trials}; everything is saved. Continue with:\n"
                f"  segwright sweep --resume {self.path}",
                stopped.exit_code - 128 if isinstance(stopped, Interrupted) else signal.SIGINT,
            ) from None
        except Exception as error:  # whatever it is, the other trials go on; the table shows it
            reason = str(error) if isinstance(error, SegwrightError) else f"{type(error).__name__}: {error}"
            trial.set_user_attr("error", reason)
            self.study.tell(trial, state=TrialState.FAIL)
            self.console.print(f"[red]trial {number} failed:[/] {escape(reason)}", highlight=False)
        else:
            self.study.tell(trial, best)

    def _train(self, trial: OptunaTrial, number: int, overrides: Sequence[str]) -> float:
        """Train to the end in the trial's run folder; the best mIoU."""
        trainer = self._trainer(number, overrides)
        watch = _Watch(trial, self.settings.prune)
        for row in trainer.run.metrics():  # of an earlier process
            watch(row)
        trainer.watch = watch
        trainer.fit()
        best = trainer.learner.counters.best_miou
        if best is None or not math.isfinite(best):
            raise SegwrightError("no validation gave a finite mIoU: are there labelled pixels in the validation split?")
        return best

    def _trainer(self, number: int, overrides: Sequence[str]) -> Trainer:
        run = Run(self.path / folder_name(number))
        if run.last.is_file():
            return resume(run, console=self.console)
        if run.path.exists():
            shutil.rmtree(run.path)  # it was stopped before its first checkpoint
        loaded = load_recipe(self.base, [*_component_args(self.settings.fixed), *overrides])
        return start(loaded, runs=self.path, name=run.name, console=self.console)

    def _refuse_if_all_fail(self) -> None:
        trials = read_trials(self.study, self.path)
        if len(trials) == FIRST_FAILURES and all(trial.state == "failed" for trial in trials):
            raise SegwrightError(
                f"the first {FIRST_FAILURES} trials all failed, the last one with: {trials[-1].error}\n"
                f"If this is no matter of the values that were tried, mend it and begin a new sweep; "
                f"else go on with: segwright sweep --resume {self.path}"
            )


class _Watch:
    """Reports each validation of a training to its trial; raises Pruned when it lags behind."""

    def __init__(self, trial: OptunaTrial, prune: bool) -> None:
        self.trial, self.prune = trial, prune

    def __call__(self, row: Mapping[str, Any]) -> None:
        if row["kind"] != "val" or row["miou"] is None:
            return
        self.trial.report(row["miou"], int(row["epoch"]))
        if self.prune and self.trial.should_prune():
            raise Pruned


def new_sweep(
    source: str,
    texts: Sequence[str],
    *,
    trials: int,
    seed: int,
    name: str | None,
    storage: str | None,
    prune: bool,
    runs: Path,
    console: Console,
) -> SweepRunner:
    """A sweep ready to `run`, its folder runs/sweeps/NAME made.

    texts: ranges and plain overrides. Raises UserError, before anything is written, for a wrong range, key or value.
    """
    _check_optuna()
    if trials < 1:
        raise UserError(f"--trials {trials}: at least one is needed.")
    if storage is not None and "://" not in storage:
        raise UserError(
            f"--storage {storage}: expected a URL of a database, such as sqlite:///sweeps.db. Without it, the sweep keeps "
            "a database of its own in its folder."
        )
    ranges, fixed = parse_ranges(texts)
    source = _recipe_of(source, runs)
    base = settled(load_recipe(source, fixed).recipe)
    _check_values(source, ranges, fixed)
    path = _new_folder(runs / "sweeps", name, base.name)
    settings = Settings(
        source=source,
        fixed=tuple(fixed),
        space=tuple(str(r) for r in ranges),
        trials=trials,
        seed=seed,
        storage=storage,
        prune=prune,
    )
    write_text(path / "base.yaml", dump(base))
    _write_settings(path, settings)
    return SweepRunner(path, settings, console)


def open_sweep(source: str | Path, *, trials: int | None, runs: Path, console: Console) -> SweepRunner:
    """The sweep at a path, or of that name under runs/sweeps, ready to go on. trials: how many there shall be in all now.

    Raises UserError naming the nearest sweeps when there is none.
    """
    for path in (Path(source), runs / "sweeps" / str(source)):
        file = path / "sweep.json"
        if file.is_file():
            break
    else:
        known = sorted(p.parent.name for p in (runs / "sweeps").glob("*/sweep.json"))
        here = did_you_mean(Path(source).name, known) or (f" Sweeps here: {', '.join(known[:10])}." if known else "")
        raise UserError(f"there is no sweep '{source}' (a sweep is a folder with a sweep.json).{here}")
    content = Run(path).read_json(file.name)
    settings = Settings(**content | {"fixed": tuple(content["fixed"]), "space": tuple(content["space"])})
    if trials is not None and trials != settings.trials:
        settings = Settings(**vars(settings) | {"trials": trials})
        _write_settings(path, settings)
    return SweepRunner(path, settings, console)


def _write_settings(path: Path, settings: Settings) -> None:
    write_json(path / "sweep.json", vars(settings))


def _check_optuna() -> None:
    if find_spec("optuna") is None:
        raise UserError('a sweep needs Optuna, which is not installed. Install it with pip install "segwright[sweep]".')


def _open_study(path: Path, settings: Settings) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = settings.storage or f"sqlite:///{(path / 'study.db').resolve()}"
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=STARTING_TRIALS, n_warmup_steps=load_recipe(path / "base.yaml").recipe.training.epochs // 4
    )
    try:
        return optuna.create_study(
            storage=url, study_name=path.name, direction="maximize", pruner=pruner, load_if_exists=True
        )
    except Exception as error:
        raise UserError(f"the storage {url} of sweep {path} cannot be used: {error}.") from error


def _sampler(seed: int, number: int) -> Any:
    """Fresh for every trial: its draws depend on seed and number, not on how often the sweep was stopped."""
    import optuna

    return optuna.samplers.TPESampler(seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


def _proposal(trial: OptunaTrial, found: Range) -> str:
    if found.form == "choice":
        return found.write(trial.suggest_categorical(found.key, found.values))
    if found.form == "int":
        return found.write(trial.suggest_int(found.key, int(found.low), int(found.high), step=found.step))
    return found.write(trial.suggest_float(found.key, found.low, found.high, log=found.form == "log"))


def _recipe_of(source: str, runs: Path) -> str:
    """The recipe that `source` names: that of a run where it is one. Raises UserError for a folder of pictures."""
    for folder in (Path(source), runs / source):
        if (folder / "recipe.yaml").is_file():
            return str(folder / "recipe.yaml")
    if Path(source).is_dir():
        raise UserError(
            f"a sweep varies a recipe, and {source} is a folder without one. Train it once, `segwright train {source}`, "
            "then sweep over the recipe of that run: segwright sweep runs/NAME ..."
        )
    return source


def _check_values(source: str, ranges: Sequence[Range], fixed: Sequence[str]) -> None:
    """Refuse bounds and choices that no recipe may have, before the first trial meets one."""
    first = {found.key: found.extremes[0] for found in ranges}
    for found in ranges:
        for override in found.extremes:
            others = [text for key, text in first.items() if key != found.key]
            _check(load_recipe(source, [*fixed, *others, override]).recipe, override)


def _check(recipe: Recipe, override: str) -> None:
    try:
        model = component(MODELS, recipe.model.name, "model.name")
        check_args(model, recipe.model.args, "model.args", given=("num_classes",))
        loss = component(LOSSES, recipe.loss.name, "loss.name")
        check_args(loss, recipe.loss.args, "loss.args", given=("num_classes",))
        build_schedule(recipe.schedule, 1)
    except UserError as error:
        raise UserError(f"with {override}: {error}") from None


def _component_args(fixed: Sequence[str]) -> list[str]:
    """Overrides of components' arguments: `base.yaml` has them, but another component would start without them."""
    return [text for text in fixed if ".args" in text.partition("=")[0]]


def _new_folder(parent: Path, name: str | None, label: str) -> Path:
    if name is not None and (name in ("", ".", "..") or set(name) & set("/\\:")):
        raise UserError(f"--name {name!r} cannot name a sweep: it must be one folder name.")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            path = parent / (name or f"{label}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                if name:
                    raise UserError(
                        f"sweep {path} exists already. Choose another name, or continue it: segwright sweep --resume {path}"
                    ) from None
            else:
                return path
    except OSError as error:
        raise UserError(
            f"a sweep cannot be written under {parent}: {error.strerror}. Choose another with --runs DIR."
        ) from None
    raise UserError(f"no free name for a sweep of {label} was found under {parent}; give one with --name.")
