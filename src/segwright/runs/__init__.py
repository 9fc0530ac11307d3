"""Runs: what a run folder holds, its checkpoints, the environment, and finding a model by run, file or name."""

from segwright.runs.folder import Run, create_run, find_run, home, model_file

__all__ = ["Run", "create_run", "find_run", "home", "model_file"]
