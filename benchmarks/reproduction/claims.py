"""The paper's claims of IV-C and III-A as comparisons of records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reproduction.measure import SCORES
from reproduction.verdicts import (
    CONFIDENCE,
    Check,
    Difference,
    Direction,
    Outcome,
    compared,
    difference,
    floor_of,
    outcome_of,
)

Records = Callable[[str], dict[str, Any] | None]
"""A system's record by its name, or None where it was not measured."""

FIDELITY = ("psnr", "ssim", "squeezenet")
"""With reference; the SqueezeNet distance stands where the paper has LPIPS and DISTS."""
NO_REFERENCE = ("niqe",)
STABILITY = (*(f"gstd {name}" for name in (*FIDELITY, *NO_REFERENCE)), "lstd")
TWINS = ("v2", "twin")
"""Two trainings by one recipe: the noise floor."""


@dataclass(frozen=True)
class Part:
    """`first` is better (or worse) than `second` in all of `quantities`."""

    first: str
    second: str
    quantities: tuple[str, ...]
    claim: Direction


@dataclass(frozen=True)
class Claim:
    """What the paper says, and what would bear it out."""

    text: str
    parts: tuple[Part, ...]
    trained_apart: bool = False
    """Whether it compares networks that were trained apart, so that the noise floor counts."""

    def checks(self, records: Records) -> list[Check]:
        """Its comparisons; empty where a system was not measured, or a quantity is not known of these pictures.

        Their intervals are so wide that all of them are right together with 95 % confidence (Bonferroni).
        """
        confidence = 1 - (1 - CONFIDENCE) / sum(len(part.quantities) for part in self.parts)
        found = []
        for part in self.parts:
            first, second = records(part.first), records(part.second)
            for quantity in part.quantities:
                apart = compared(first, second, quantity, confidence) if first and second else None
                if apart is None:
                    return []
                floor = self._floor(records, quantity)
                outcome = outcome_of(apart, quantity, part.claim, floor)
                found.append(Check(part.first, part.second, quantity, apart, floor, outcome))
        return found

    def _floor(self, records: Records, quantity: str) -> float | None:
        if not self.trained_apart:
            return None
        one, twin = (records(name) for name in TWINS)
        return floor_of(one, twin, quantity) if one and twin else float("inf")


CLAIMS = (
    Claim(
        "NUTS improves the metrics (V2 against V1, Table I)",
        (Part("v2", "v1", (*FIDELITY, *NO_REFERENCE), "better"),),
        trained_apart=True,
    ),
    Claim(
        "NUTS improves the stability (V2 against V1, Table I)",
        (Part("v2", "v1", STABILITY, "better"),),
        trained_apart=True,
    ),
    Claim(
        "V1's colours are further off (the paper: noticeable colour distortion, Fig. 4)",
        (Part("v2", "v1", ("psnr_color",), "better"),),
        trained_apart=True,
    ),
    Claim(
        "DeFT improves most perception metrics (full against V2, Table I)",
        (Part("full", "v2", ("squeezenet", "niqe"), "better"),),
        trained_apart=True,
    ),
    Claim(
        "DeFT has a price in fidelity (full against V2; the paper does not speak of it)",
        (Part("full", "v2", ("psnr", "ssim"), "worse"),),
        trained_apart=True,
    ),
    Claim(
        "DeFT raises G-STD and L-STD a little (full against V2, Table I)",
        (Part("full", "v2", STABILITY, "worse"),),
        trained_apart=True,
    ),
    Claim(
        "A larger T makes reference-based metrics worse and no-reference ones better (Table II)",
        (
            Part("full-T12", "full", FIDELITY, "worse"),
            Part("full-T18", "full-T12", FIDELITY, "worse"),
            Part("full-T12", "full", NO_REFERENCE, "better"),
            Part("full-T18", "full-T12", NO_REFERENCE, "better"),
        ),
    ),
    Claim(
        "With t_max kept (2/3), a larger t_min (1/2 against 1/3) is better in both kinds, with fewer steps (Table III)",
        (Part("full", "full-2_3-1_3", (*FIDELITY, *NO_REFERENCE), "better"),),
    ),
    Claim(
        "With t_min kept (1/2), a larger t_max (5/6 against 2/3) is better without reference, worse with it and in"
        " stability (Table III)",
        (
            Part("full-5_6-1_2", "full", NO_REFERENCE, "better"),
            Part("full-5_6-1_2", "full", (*FIDELITY, "lstd"), "worse"),
        ),
    ),
    Claim(
        "With S kept, steps early in the chain help no-reference metrics, steps late in it the reference-based ones"
        " (Table III: 5/6, 2/3 against 2/3, 1/2; 5/6, 1/2 against 2/3, 1/3)",
        (
            Part("full-5_6-2_3", "full", NO_REFERENCE, "better"),
            Part("full", "full-5_6-2_3", FIDELITY, "better"),
            Part("full-5_6-1_2", "full-2_3-1_3", NO_REFERENCE, "better"),
            Part("full-2_3-1_3", "full-5_6-1_2", FIDELITY, "better"),
        ),
    ),
    Claim(
        "One step is competitive with two (III-D; Table V: fidelity and stability better at S1)",
        (Part("full-S1", "full", (*FIDELITY, "lstd"), "better"),),
    ),
)
assert set(FIDELITY) | set(NO_REFERENCE) < set(SCORES)


Fig2 = Mapping[str, Any]
"""A record of `measure_steps`."""


def advantages(record: Fig2, metric: str, system: str, other: str, higher: bool) -> dict[str, float]:
    """Fig. 2: by picture, how much better the last step of `system` is than that of `other` in a metric."""
    sign = 1 if higher else -1
    return {
        name: sign * (found[system][-1][metric] - found[other][-1][metric])
        for name, found in record["pictures"].items()
    }


def growth(light: Mapping[str, float], heavy: Mapping[str, float], confidence: float = CONFIDENCE) -> Difference:
    """How much larger an advantage is at the heavy end than at the light one, over the same pictures."""
    both = [name for name in light if name in heavy]
    return difference([heavy[n] for n in both], [light[n] for n in both], confidence)


def step_change(
    record: Fig2, system: str, metric: str, start: int, end: int, confidence: float = CONFIDENCE
) -> Difference:
    """Fig. 2: how much a metric changes between two steps of a system."""
    runs = [found[system] for found in record["pictures"].values()]
    return difference([run[end][metric] for run in runs], [run[start][metric] for run in runs], confidence)


def sign_of(found: Difference, rises: bool) -> Outcome:
    """Whether a value clearly rises (or falls) as claimed."""
    if abs(found.mean) <= found.error:
        return "not clear"
    return "as claimed" if (found.mean > 0) == rises else "the contrary"
