"""Which indices are evaluated: the paper's non-uniform timesteps (NUTS) and evenly spaced ones. Plain arithmetic.

`t` is an index 0..999 and the paper's T is index 999. Source: the paper, III-D; ccsr-spec 1.4.
"""

from fractions import Fraction
from typing import NamedTuple

from ccsr.errors import OptionError

NUM_TIMESTEPS = 1000
LAST = NUM_TIMESTEPS - 1


class Trajectory(NamedTuple):
    """Which indices are evaluated, and how one leads to the next."""

    timesteps: tuple[int, ...]
    stride: int
    """Distance to `previous` in each DDPM step; 0 for a uniform list, where the next entry is the previous index."""
    renoise: bool
    """Whether the estimate of the first index is noised anew to the second (NUTS), or stepped there (uniform)."""


def nuts_trajectory(T: int, t_max: Fraction | float, t_min: Fraction | float) -> Trajectory:
    """Non-uniform timesteps: index 999, a jump to about t_max, DDPM steps down to about t_min (ccsr-spec 1.4).

    The grid is k-th from the end = (k - 1) * stride + 1, so the jump lands one stride below 1000 * t_max: that is
    where the published program lands. T = 1 decodes the estimate of 999 and ignores t_max and t_min.

    Raises:
        OptionError: when no evaluation would be left after the jump, naming the setting.
    """
    if T < 1 or T > NUM_TIMESTEPS:
        raise OptionError(f"T is {T}", hint=f"choose 1 to {NUM_TIMESTEPS}")
    stride = NUM_TIMESTEPS // T
    if T == 1:
        return Trajectory((LAST,), stride, renoise=True)
    # round() is half-to-even for Fraction and float alike, as in the published program.
    first, last = round(T * t_max), round(T * t_min)
    if not 0 <= last < first <= T:
        raise OptionError(
            f"T={T} with t_max={t_max} and t_min={t_min} leaves no step between them",
            hint="0 <= t_min < t_max <= 1 is needed, at least one step of 1/T apart",
        )
    return Trajectory((LAST, *((k - 1) * stride + 1 for k in range(first, last, -1))), stride, renoise=True)


def uniform_trajectory(steps: int) -> Trajectory:
    """Evenly spaced indices round(999 k / N), k = N..1: sampling without NUTS (ablation V1 of Table I)."""
    if not 1 <= steps <= LAST:
        raise OptionError(f"{steps} uniform steps", hint=f"choose 1 to {LAST}")
    return Trajectory(tuple(round(Fraction(LAST * k, steps)) for k in range(steps, 0, -1)), 0, renoise=False)


# S1 to S4 of the paper: T of 6, 12 and 18 between 2/3 and 1/2 evaluate two, three and four times.
T_OF_STEPS = {1: 1, 2: 6, 3: 12, 4: 18}


def trajectory_of(
    sampling: str, steps: int, T: int | None, t_max: Fraction | None, t_min: Fraction | None
) -> Trajectory:
    """The trajectory that the options ask for: `steps` evaluations, or the paper's own T, t_max, t_min."""
    if sampling == "uniform":
        return uniform_trajectory(steps)
    if T is None:
        if steps not in T_OF_STEPS:
            raise OptionError(f"steps is {steps}", hint=f"choose {min(T_OF_STEPS)} to {max(T_OF_STEPS)}, or set T")
        T = T_OF_STEPS[steps]
    return nuts_trajectory(T, Fraction(2, 3) if t_max is None else t_max, Fraction(1, 2) if t_min is None else t_min)
