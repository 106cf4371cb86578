"""Which indices are evaluated: the paper's non-uniform timesteps (NUTS) and evenly spaced ones. Plain arithmetic.

`t` is an index 0..999 and the paper's T is index 999. Source: the paper, III-D; ccsr-spec 1.4.
"""

from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple

from ccsr.errors import OptionError

NUM_TIMESTEPS = 1000
LAST = NUM_TIMESTEPS - 1


class Trajectory(NamedTuple):
    """Which indices are evaluated, and how one leads to the next."""

    timesteps: tuple[int, ...]
    """Indices in the order of their evaluation; the first is that of the start."""
    previous: tuple[int, ...]
    """For each evaluation the index that a DDPM step from it arrives at; negative for the clean latent."""
    renoise: int | None
    """Index that the first estimate is noised to anew (NUTS); None where a plain step leads on (uniform)."""
    start: int | None = None
    """Index that the start is noised to, where it is not the first that is evaluated."""

    def starting_at(self, index: int) -> "Trajectory":
        """The same from a start at another index, which is evaluated first unless this leaves that evaluation out."""
        if self.start is not None:
            return self._replace(start=index)
        return self._replace(timesteps=(index, *self.timesteps[1:]))

    def without_start(self) -> "Trajectory":
        """The same without the first evaluation: the start, noised to its index, is taken for a latent at the next."""
        return Trajectory(self.timesteps[1:], self.previous[1:], None, self.timesteps[0])


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
        return Trajectory((LAST,), (-1,), None)
    # round() is half-to-even for Fraction and float alike, as in the published program.
    first, last = round(T * t_max), round(T * t_min)
    if not 0 <= last < first <= T:
        raise OptionError(
            f"T={T} with t_max={t_max} and t_min={t_min} leaves no step between them",
            hint="0 <= t_min < t_max <= 1 is needed, at least one step of 1/T apart",
        )
    timesteps = (LAST, *((k - 1) * stride + 1 for k in range(first, last, -1)))
    return Trajectory(timesteps, tuple(t - stride for t in timesteps), timesteps[1])


def uniform_trajectory(steps: int) -> Trajectory:
    """Evenly spaced indices round(999 k / N), k = N..1: sampling without NUTS (ablation V1 of Table I)."""
    if not 1 <= steps <= LAST:
        raise OptionError(f"{steps} uniform steps", hint=f"choose 1 to {LAST}")
    timesteps = tuple(round(Fraction(LAST * k, steps)) for k in range(steps, 0, -1))
    return Trajectory(timesteps, (*timesteps[1:], -1), None)


def first_version_trajectory(steps: int, t_max: Fraction | float, t_min: Fraction | float) -> Trajectory:
    """The list of the first published program: N indices from 0 to 999, of which the middle part is used.

    The estimate of 999 is noised to entry round((N - 1) t_max), but the loop starts at entry round(N t_max) - 1: the
    two agree for the published settings, not always (ccsr-spec 4.5).
    """
    if steps < 2:
        raise OptionError(f"{steps} steps under --compat v1", hint="choose 2 to 1000; the published value is 45")
    # Added up in floating point as published: 499.5 comes out a little less and rounds to 499.
    grid = [round(x) for x in accumulate([LAST / (steps - 1)] * (steps - 1), initial=0.0)]
    first, last = round(steps * t_max), round(steps * t_min)
    if not 0 < last < first <= steps:
        raise OptionError(
            f"{steps} steps with t_max={float(t_max):g} and t_min={float(t_min):g} leave none between them"
            " under --compat v1",
            hint="0 < t_min < t_max <= 1 is needed",
        )
    indices = range(first - 1, last - 1, -1)
    return Trajectory(
        (LAST, *(grid[i] for i in indices)), (-1, *(grid[i - 1] for i in indices)), grid[round((steps - 1) * t_max)]
    )


# S1 to S4 of the paper: T of 6, 12 and 18 between 2/3 and 1/2 evaluate two, three and four times.
T_OF_STEPS = {1: 1, 2: 6, 3: 12, 4: 18}
