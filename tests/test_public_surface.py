"""What `import segwright` promises: these names, and nothing removed by accident."""

from __future__ import annotations

import inspect

import segwright
from segwright import api, cli

VERBS = {"demo", "train", "resume", "evaluate", "predict", "report", "models", "summary", "doctor", "make_streets"}
TYPES = {"TrainResult", "SegwrightError", "UserError", "DataError", "IGNORE"}


def test_the_public_names_are_these() -> None:
    assert set(segwright.__all__) == VERBS | TYPES
    assert all(hasattr(segwright, name) for name in segwright.__all__)
    assert segwright.IGNORE == 255


def test_every_verb_is_documented_and_typed() -> None:
    for name in VERBS:
        verb = getattr(api, name)
        assert verb.__doc__, name
        signature = inspect.signature(verb)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values()), name


def test_command_line_and_python_have_the_same_verbs() -> None:
    commands = {c.callback.__name__ for c in cli.app.registered_commands if c.callback is not None}
    assert commands == (VERBS - {"resume", "make_streets"}) | {"recipes"}


def test_exit_codes_tell_user_from_data() -> None:
    assert segwright.UserError.exit_code == 2
    assert segwright.DataError.exit_code == 3
