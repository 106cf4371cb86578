"""From measured differences to words: does a claim of the paper hold here, not hold, or can it not be decided?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import t as student

from ccsr.metrics import METRICS

Direction = Literal["better", "worse"]
Outcome = Literal["as claimed", "the contrary", "not clear"]
CONFIDENCE = 0.95
MEAN_RUNS = 2
"""Runs of a picture that its mean is taken over: the same number for all, though some have more for deviations."""


@dataclass(frozen=True)
class Difference:
    """Mean over pictures of a paired difference, and half the width of its confidence interval."""

    mean: float
    error: float
    pictures: int


def difference(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Difference:
    """Of `a` minus `b`, values of the same pictures, with Student's t for so many; infinite for one picture.

    Raises:
        ValueError: they are not of the same pictures.
    """
    apart = np.asarray(a, float) - np.asarray(b, float)
    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} and {len(b)} pictures")
    count = len(apart)
    if count == 1:
        return Difference(float(apart[0]), float("inf"), 1)
    wide = float(student.ppf(0.5 + confidence / 2, count - 1))
    return Difference(float(apart.mean()), wide * float(apart.std(ddof=1)) / count**0.5, count)


def values_of(record: Mapping[str, Any], quantity: str) -> dict[str, float]:
    """By picture: a metric's mean (`psnr`), its deviation over runs (`gstd psnr`), or `lstd`.

    Deviations are of the pictures with the most runs; empty where none has more than a mean takes.
    """
    pictures, kind, metric = record["pictures"], *quantity.rpartition(" ")[::2]
    if quantity != "lstd" and not kind:
        return {name: float(np.mean(found[metric][:MEAN_RUNS])) for name, found in pictures.items()}
    runs = {name: len(found["psnr"]) for name, found in pictures.items()}
    most = max(runs.values(), default=0)
    many = [name for name, count in runs.items() if count == most > MEAN_RUNS]
    if quantity == "lstd":
        return {name: pictures[name]["lstd"] for name in many}
    return {name: float(np.std(pictures[name][metric])) for name in many}


def mean_of(record: Mapping[str, Any], quantity: str) -> float | None:
    """Over pictures; None where it is not known."""
    values = values_of(record, quantity)
    return float(np.mean(list(values.values()))) if values else None


def compared(
    first: Mapping[str, Any], second: Mapping[str, Any], quantity: str, confidence: float = CONFIDENCE
) -> Difference | None:
    """The first record minus the second over the pictures that both have; None where there are none."""
    a, b = values_of(first, quantity), values_of(second, quantity)
    both = [name for name in a if name in b]
    return difference([a[n] for n in both], [b[n] for n in both], confidence) if both else None


def is_better_when_higher(quantity: str) -> bool:
    """Deviations are better when they are small, metrics as their list says."""
    return quantity in METRICS and METRICS[quantity].direction == "higher"


def title_of(quantity: str) -> str:
    """As the page prints it."""
    if quantity == "lstd":
        return "L-STD"
    word, _, metric = quantity.rpartition(" ")
    return f"G-STD of {METRICS[metric].title}" if word == "gstd" else METRICS[metric].title


@dataclass(frozen=True)
class Check:
    """One comparison of a claim: in `quantity`, the first of two systems is better (or worse) than the second."""

    first: str
    second: str
    quantity: str
    found: Difference
    floor: float | None
    """How far apart two trainings by one recipe may be; None where both systems are one network."""
    outcome: Outcome


def outcome_of(found: Difference, quantity: str, claim: Direction, floor: float | None) -> Outcome:
    """Clear is what lies outside its confidence interval and, where there is one, above the noise floor."""
    if abs(found.mean) <= max(found.error, floor or 0.0):
        return "not clear"
    better = (found.mean > 0) == is_better_when_higher(quantity)
    return "as claimed" if better == (claim == "better") else "the contrary"


def floor_of(one: Mapping[str, Any], twin: Mapping[str, Any], quantity: str) -> float:
    """The largest difference between two trainings that these two leave possible; infinite where nothing is known."""
    apart = compared(one, twin, quantity)
    return float("inf") if apart is None else abs(apart.mean) + apart.error


def verdict(outcomes: Sequence[Outcome]) -> str:
    """Of a claim: it holds when every part is clearly as claimed, and does not when one is clearly the contrary."""
    if "the contrary" in outcomes:
        return "does not hold"
    return "holds" if outcomes and set(outcomes) == {"as claimed"} else "not decided"
