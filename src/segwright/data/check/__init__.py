"""The doctor of data sets: `check_data` finds what is wrong, `fix_data` writes what can be mended with certainty."""

from segwright.data.check.examine import check_data
from segwright.data.check.findings import CODES, Finding
from segwright.data.check.fixing import FixResult, fix_data
from segwright.data.check.mending import Steps
from segwright.data.check.result import CheckResult, SplitFacts

__all__ = ["CODES", "CheckResult", "Finding", "FixResult", "SplitFacts", "Steps", "check_data", "fix_data"]
