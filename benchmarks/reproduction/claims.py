"""The paper's claims of IV-C and III-A as comparisons of records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reproduction.measure import SCORES
from reproduction.verdicts import Check, Difference, check, difference

Records = Callable[[str], dict[str, Any] | None]
"""A system's record by its name, or None where it was not measured."""

FIDELITY = ("psnr", "ssim", "squeezenet")
"""With reference; the SqueezeNet distance stands where the paper has LPIPS and DISTS."""
NO_REFERENCE = ("niqe",)
STABILITY = (*(f"gstd {name}" for name in (*FIDELITY, *NO_REFERENCE)), "lstd")


@dataclass(frozen=True)
class Part:
    """`first` is better (or worse) than `second` in all of `quantities`."""

    first: str
    second: str
    quantities: tuple[str, ...]
    claim: Literal["better", "worse"]


@dataclass(frozen=True)
class Claim:
    """What the paper says, and what would bear it out."""

    text: str
    parts: tuple[Part, ...]

    def checks(self, records: Records) -> list[tuple[Part, list[Check]]]:
        """Each part with its checks; parts whose systems were not measured are left out."""
        found = []
        for part in self.parts:
            first, second = records(part.first), records(part.second)
            if first and second:
                found.append((part, [check(first, second, quantity, part.claim) for quantity in part.quantities]))
        return found


CLAIMS = (
    Claim(
        "NUTS improves all metrics (V2 against V1, Table I)",
        (Part("v2", "v1", (*FIDELITY, *NO_REFERENCE, *STABILITY), "better"),),
    ),
    Claim(
        "V1's colours are further off (the paper: noticeable colour distortion, Fig. 4)",
        (Part("v2", "v1", ("psnr_color",), "better"),),
    ),
    Claim(
        "DeFT improves most perception metrics (full against V2, Table I)",
        (Part("full", "v2", ("squeezenet", "niqe"), "better"),),
    ),
    Claim("DeFT raises G-STD and L-STD a little (full against V2, Table I)", (Part("full", "v2", STABILITY, "worse"),)),
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


def gaps(record: dict[str, Any], metric: str, system: str, other: str) -> Difference:
    """Fig. 2: a metric of the last step of `system` minus that of `other`, paired over the pictures of a set."""
    last = {name: [steps[-1][metric] for steps in record["steps"][name]["of_picture"]] for name in (system, other)}
    return difference(last[system], last[other])


def grows(found: Sequence[Difference]) -> str:
    """Whether gaps that are listed from light to heavy grow: each end held against the errors of both."""
    first, last = found[0], found[-1]
    change, error = abs(last.mean) - abs(first.mean), (first.error**2 + last.error**2) ** 0.5
    if abs(change) <= error:
        return "within noise"
    return "holds" if change > 0 else "does not hold"
