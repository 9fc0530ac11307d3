"""The rule by which the weights of a sum of losses follow how fast each of them falls, once an epoch."""

from __future__ import annotations

from collections.abc import Sequence

DIGITS = 3
"""Weights are rounded to so many decimals, then scaled to sum 1."""
TINY = 1e-8


def adapted_weights(
    weights: Sequence[float], before: Sequence[float] | None, now: Sequence[float], smoothing: float
) -> list[float]:
    """The weights for the next epoch, sum 1.

    weights: those of the epoch that ended. before, now: the mean of each loss in the last epoch and in this one; before
    is None after the first epoch. smoothing: a, above 0 up to 1; the share of the new in the weights.
    First, w_i = 1 / now_i. Later, d_i = (before_i - now_i) / (now_i + 1e-8); where a loss rose (some d_i < 0) d_i becomes
    |d_i|, else 1 / d_i, for all; d is scaled to sum 1 and rounded; w_i ← (1 - a) · w_i + a · d_i.
    A loss that rises is thus given weight, and so is one that falls more slowly than the others.
    The weights stay as they are where a loss is flat (d_i = 0), and where a mean is 0, negative or not finite.
    """
    if not all(0 < value < float("inf") for value in now):
        return list(weights)
    if before is None:
        return _settled([1 / value for value in now], weights)
    change = [(old - new) / (new + TINY) for old, new in zip(before, now, strict=True)]
    if any(d == 0 or d != d for d in change):
        return list(weights)
    share = [abs(d) for d in change] if min(change) < 0 else [1 / d for d in change]
    rounded = [round(d / sum(share), DIGITS) for d in share]
    return _settled([(1 - smoothing) * w + smoothing * d for w, d in zip(weights, rounded, strict=True)], weights)


def _settled(wanted: Sequence[float], otherwise: Sequence[float]) -> list[float]:
    """Rounded and scaled to sum 1; `otherwise` where nothing is left after rounding."""
    rounded = [round(w, DIGITS) for w in wanted]
    total = sum(rounded)
    return [w / total for w in rounded] if total > 0 else list(otherwise)
