"""A comparison in words: the answer, and what to beware of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segwright.metrics.intervals import Interval

if TYPE_CHECKING:
    from segwright.evaluation.compare import Comparison, Difference

MINUS = "\u2212"
FEW_GROUPS = 6
"""With fewer groups, even all of them on one side would not be rare enough by chance: 2 / 2**5 is more than 5 %."""


def points(value: float) -> str:
    """A difference of shares in points of per cent, with its sign: 0.0231 -> "+2.3"; "–" where undefined."""
    if math.isnan(value):
        return "–"
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def bounds(interval: Interval) -> str:
    """`[+1.1, +3.4]`, in points of per cent."""
    return f"[{points(interval.low)}, {points(interval.high)}]"


def listed(names: Sequence[str], most: int = 6) -> str:
    """`car, pole and sky`; beyond `most` names, how many more."""
    shown = [*names[: most - 1], f"{len(names) - most + 1} more"] if len(names) > most else list(names)
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)


def verdict_sentence(found: Difference, reference: str) -> str:
    """`B is better than A: +2.3 points of mIoU [+1.1, +3.4].`"""
    amount = f"{points(found.miou.value)} points of mIoU {bounds(found.miou)}"
    if found.equal:
        return f"{found.run} and {reference} gave the same counts in every picture."
    if found.verdict == "cannot tell":
        return f"{found.run} and {reference} cannot be told apart: {amount}."
    return f"{found.run} is {found.verdict} than {reference}: {amount}."


def class_sentence(found: Difference) -> str:
    """`Better in car and pole, worse in sky; of the other 8 classes nothing can be told.`"""
    better, worse = found.named("better"), found.named("worse")
    rest = len(found.classes) - len(better) - len(worse)
    if not better and not worse:
        return f"No class differs beyond its interval ({rest} looked at)."
    parts = [f"{word} in {listed(names)}" for word, names in (("better", better), ("worse", worse)) if names]
    text = ", ".join(parts)
    tail = f"; of the other {rest} {'class' if rest == 1 else 'classes'} nothing can be told" if rest else ""
    return f"{text[0].upper()}{text[1:]}{tail}."


def chance_sentence(found: Difference) -> str:
    """How many of so many classes would differ by chance, and how many stay after the correction."""
    looked = [one for one in found.classes if not math.isnan(one.p)]
    differ = sum(one.verdict != "cannot tell" for one in looked)
    hold = sum(one.holds for one in looked)
    text = (
        f"{len(looked)} classes were looked at: at the 95 % level about {0.05 * len(looked):.1f} of them would differ by "
        f"chance alone. {differ} differ; {hold} of them stay after Holm's correction (marked *)."
    )
    least = 2 / (found.miou.resamples + 1)
    if looked and least > 0.05 / len(looked):
        text += f" So many classes would need more than {found.miou.resamples} resamples for any to stay."
    return text


def seed_sentence(comparison: Comparison) -> str:
    """What repeats say, or that there are none."""
    noise = comparison.noise
    if noise is None:
        return (
            "Each setting was trained once, so seed noise is unknown: train again with seed=1 and seed=2 and compare all "
            "runs before you believe that a recipe is better."
        )
    repeated = [one for one in comparison.settings if one.miou.count > 1]
    told = "; ".join(
        f"{one.name} {100 * one.miou.mean:.1f} ± {100 * one.miou.deviation:.1f} ({one.miou.count} seeds)"
        for one in repeated
    )
    text = (
        f"Seed noise: mIoU % is {told} (mean, standard deviation). Two single trainings have to be more than "
        f"{100 * noise.least():.1f} points apart to be more than that."
    )
    if any(one.same_seed for one in repeated):
        text += " Some repeats have the same seed: they show less than the noise between seeds."
    return text


def headline(comparison: Comparison) -> str:
    """One or two sentences: who is better by how much, and whether another seed could undo it."""
    return " ".join(text for text in (verdict_line(comparison), noise_line(comparison)) if text)


def verdict_line(comparison: Comparison) -> str:
    """Who is better, by how much."""
    found = list(comparison.differences.values())
    if len(found) == 1:
        return verdict_sentence(found[0], comparison.reference)
    by_verdict = {
        verdict: [f"{one.run} ({points(one.miou.value)})" for one in found if one.verdict == verdict]
        for verdict in ("better", "worse", "cannot tell")
    }
    words = {"better": "better", "worse": "worse", "cannot tell": "not to be told apart from it"}
    parts = [f"{words[v]}: {listed(runs)}" for v, runs in by_verdict.items() if runs]
    return f"Against {comparison.reference}, in points of mIoU – {'; '.join(parts)}."


def noise_line(comparison: Comparison) -> str:
    """Which of the differences another seed could make; empty where none, or where nothing is known."""
    found = comparison.differences.values()
    noisy = [one.run for one in found if one.verdict != "cannot tell" and comparison.within_noise(one.run)]
    return f"{listed(noisy)}: within seed noise, so another seed alone could make this difference." if noisy else ""


def caveats(comparison: Comparison) -> list[str]:
    """In the order of weight."""
    drawn = comparison.miou[comparison.reference]
    told = [f"Intervals: {drawn.conditions}."]
    if drawn.unit == "pictures" and len(set(comparison.against.evaluation.groups)) == 1:
        told.append(
            "All pictures come from one clip or city: a verdict holds for pictures of that one, and says little about others."
        )
    if drawn.unit == "groups" and drawn.units < FEW_GROUPS:
        told.append(
            f"There are only {drawn.units} groups: intervals from so few are rough and rather too narrow. Read them as a hint."
        )
    told += [chance_sentence(one) for one in comparison.differences.values()][:1]
    told.append(seed_sentence(comparison))
    return [*told, *comparison.notes]
