"""The verbs of Segwright as plain functions with result objects. The command line calls these and nothing else.

Each function imports what it needs when it is called, so that `import segwright` stays light.
"""

from segwright.api.showing import WIDTH, new_console
from segwright.api.verbs import (
    RUNS,
    TrainResult,
    demo,
    doctor,
    evaluate,
    list_models,
    make_streets,
    predict,
    resume,
    summary,
    train,
    write_report,
)

__all__ = [
    "RUNS",
    "WIDTH",
    "TrainResult",
    "demo",
    "doctor",
    "evaluate",
    "list_models",
    "make_streets",
    "new_console",
    "predict",
    "resume",
    "summary",
    "train",
    "write_report",
]
