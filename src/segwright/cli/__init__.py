"""The command line: `segwright VERB …` is `segwright.cli.main`."""

from segwright.cli.app import app, main

__all__ = ["app", "main"]
