"""From measured differences to words: does a claim of the paper hold here, or is the difference within the noise?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ccsr.metrics import METRICS

Outcome = Literal["holds", "contrary", "within noise"]


@dataclass(frozen=True)
class Difference:
    """Mean over pictures of a paired difference, and twice its standard error."""

    mean: float
    error: float

    @property
    def is_clear(self) -> bool:
        """Whether it is larger than its error; with one picture there is none to hold it against."""
        return abs(self.mean) > self.error


def difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Of `a` minus `b`, values of the same pictures.

    Raises:
        ValueError: they are not of the same pictures.
    """
    apart = np.asarray(a, float) - np.asarray(b, float)
    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} and {len(b)} pictures")
    error = 2 * apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else np.inf
    return Difference(float(apart.mean()), float(error))


def values_of(record: dict[str, Any], quantity: str) -> list[float]:
    """Of each picture: a metric's mean (`psnr`), its G-STD (`gstd psnr`), or `lstd`."""
    if quantity == "lstd":
        return list(record["lstd_of_picture"])
    word, _, metric = quantity.rpartition(" ")
    return list(record["scores"][metric]["gstd_of_picture" if word == "gstd" else "of_picture"])


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
    """One part of a claim: in `quantity`, the first of two systems is better (or worse) than the second."""

    quantity: str
    outcome: Outcome
    found: Difference

    @property
    def text(self) -> str:
        """With its figure."""
        word = {"holds": "as claimed", "contrary": "**the contrary**", "within noise": "within noise"}[self.outcome]
        return f"{title_of(self.quantity)} {self.found.mean:+.3g} ± {self.found.error:.2g} ({word})"


def check(first: dict[str, Any], second: dict[str, Any], quantity: str, claim: Literal["better", "worse"]) -> Check:
    """Hold the claim that `first` is better (or worse) than `second` against two records of the same pictures."""
    found = difference(values_of(first, quantity), values_of(second, quantity))
    if not found.is_clear:
        return Check(quantity, "within noise", found)
    better = (found.mean > 0) == is_better_when_higher(quantity)
    return Check(quantity, "holds" if better == (claim == "better") else "contrary", found)


def verdict(checks: Sequence[Check]) -> str:
    """One line for a claim of several parts."""
    counts = {word: sum(c.outcome == word for c in checks) for word in ("holds", "contrary", "within noise")}
    total = len(checks)
    if counts["holds"] == total:
        return "holds"
    if counts["within noise"] == total:
        return "within noise"
    if counts["contrary"] == total:
        return "does not hold"
    if not counts["holds"]:
        return f"does not hold ({counts['contrary']} of {total} clearly the contrary, the rest within noise)"
    parts = [f"{counts['holds']} of {total} as claimed"]
    parts += [f"{counts['contrary']} the contrary"] if counts["contrary"] else []
    parts += [f"{counts['within noise']} within noise"] if counts["within noise"] else []
    return f"holds in part ({', '.join(parts)})"


def twin_verdict(free: dict[str, Any], all_pictures: dict[str, Any]) -> tuple[bool, list[str]]:
    """The issue's rule: the free weights are right if within 0.1 dB, and 2 % in the other scores, of the others.

    Being better by more does not count against them.
    """
    is_right, lines = True, []
    for name, ours in free["scores"].items():
        theirs = all_pictures["scores"][name]["mean"]
        behind = theirs - ours["mean"] if is_better_when_higher(name) else ours["mean"] - theirs
        decibel = name.startswith("psnr")
        short = behind if decibel else behind / abs(theirs)
        is_right &= short <= (0.1 if decibel else 0.02)
        lines.append(f"{METRICS[name].title} {-short:+.3f} dB" if decibel else f"{METRICS[name].title} {-short:+.1%}")
    return is_right, lines
