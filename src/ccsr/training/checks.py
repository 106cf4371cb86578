"""Which values a setting may have: one table by the setting's name, walked over a whole config before any work."""

import dataclasses
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import isclose, lcm
from typing import Any, NamedTuple

from ccsr.data.levels import level_of
from ccsr.data.pairs import PICTURE_GRID, DataConfig, DegradationConfig, check_sizes
from ccsr.errors import OptionError
from ccsr.method.timesteps import nuts_trajectory
from ccsr.training.yaml_config import plain


class Rule(NamedTuple):
    """What a setting's value must fulfil, and how that is said."""

    holds: Callable[[Any], bool]
    needed: str


def _ascending(low: float, high: float) -> Callable[[Any], bool]:
    return lambda pair: bool(low <= pair[0] <= pair[1] <= high)


def _is_grid(T: int, t_max: str = "2/3", t_min: str = "1/2") -> bool:
    try:
        nuts_trajectory(T, Fraction(t_max), Fraction(t_min))
    except (OptionError, ValueError, ZeroDivisionError):
        return False
    return True


_MOST = 2.0**63
_ONE_OR_MORE = Rule(lambda x: 1 <= x < _MOST, "choose 1 or more")
_NOT_NEGATIVE = Rule(lambda x: 0 <= x < _MOST, "choose 0 or more")
_POSITIVE = Rule(lambda x: x > 0, "more than 0 is needed")
_WEIGHT = Rule(lambda x: x >= 0, "choose 0 or more")
_SHARE = Rule(lambda x: 0 <= x <= 1, "a share from 0 to 1 is needed")
_STRENGTHS = Rule(_ascending(0, _MOST), "two values of 0 or more, the smaller one first")
_WIDTHS = Rule(lambda pair: 0 < pair[0] <= pair[1], "two values above 0, the smaller one first")
_AROUND_ONE = Rule(lambda pair: 0 < pair[0] <= 1 <= pair[1], "two values above 0 with 1 between them")

RULES: dict[str, Rule] = {
    # loop
    **dict.fromkeys(("steps", "accumulate", "log_every", "evaluate_every", "save_every", "keep"), _ONE_OR_MORE),
    **dict.fromkeys(("hours", "learning_rate", "clip_norm"), _POSITIVE),
    **dict.fromkeys(("warmup", "seed"), _NOT_NEGATIVE),
    **dict.fromkeys(("hold", "final_rate"), _SHARE),
    "betas": Rule(lambda betas: all(0 <= b < 1 for b in betas), "two values from 0 to below 1"),
    "weight_decay": _WEIGHT,
    "ema": Rule(lambda x: 0 <= x < 1, "choose 0 to below 1"),
    # data
    **dict.fromkeys(("crop", "batch", "region", "per_region", "first", "longest_side", "factor"), _ONE_OR_MORE),
    "workers": _NOT_NEGATIVE,
    "factors": Rule(lambda factors: all(f >= 1 for f in factors), "whole numbers of 1 or more"),
    # degradation
    **dict.fromkeys(("clean_share", "light_share", "camera_share", "strong_share"), _SHARE),
    **dict.fromkeys(("blur_share", "sinc_share", "gaussian_share", "grey_share"), _SHARE),
    **dict.fromkeys(("blur", "sigma"), _WIDTHS),
    **dict.fromkeys(("gaussian", "poisson"), _STRENGTHS),
    **dict.fromkeys(("resize", "plateau_beta", "generalized_beta"), _AROUND_ONE),
    **dict.fromkeys(("noise", "sharpening"), _WEIGHT),
    "jpeg": Rule(_ascending(1, 100), "two qualities from 1 to 100, the smaller one first"),
    "resize_shares": Rule(
        lambda shares: min(shares) >= 0 and isclose(sum(shares), 1, abs_tol=1e-6),
        "three shares that add up to 1: enlarge, reduce, keep",
    ),
    # validation
    **dict.fromkeys(("hold_out", "count", "sheet"), _NOT_NEGATIVE),
    # losses
    "t_range": Rule(lambda t: 0 <= t[0] < t[1] <= 1000, "0 to 1000, the first below the second"),
    **dict.fromkeys(("share_at_T", "latent_share", "teacher_share"), _SHARE),
    "renoise": Rule(lambda ts: ts != () and all(0 <= t < 1000 for t in ts), "one or more indices from 0 to 999"),
    "grids": Rule(lambda ts: ts != () and all(map(_is_grid, ts)), "values of T such as 1, 6, 12 and 18"),
    "other_grids": Rule(lambda grids: all(_is_grid(*g) for g in grids), "T, t_max and t_min such as [6, 2/3, 1/3]"),
    "snr_cap": _POSITIVE,
    "perceptual_zoom": _AROUND_ONE,
    **dict.fromkeys(
        (
            "reconstruction_weight", "chroma_weight", "perceptual_weight", "ssim_weight", "adversarial_weight",
            "critic_weight", "lattice_weight", "weave_weight", "latent_weight", "kl_weight",
        ), _WEIGHT,
    ),
    "filters": _ONE_OR_MORE,
    "begin": _NOT_NEGATIVE,
}  # fmt: skip
"""By the last part of a setting's name; None, where a setting may be it, is always right."""


def check_values(config: Any) -> None:
    """Hold every setting against its rule, and those against each other that must fit together.

    Raises:
        OptionError: the first that does not, with its key and what is needed.
    """
    for key, value in _settings(config, ""):
        rule = RULES.get(key.rpartition(".")[2])
        if rule and value is not None and not dataclasses.is_dataclass(value) and not rule.holds(value):
            raise OptionError(f"{key} is {plain(value)}", hint=rule.needed)
    for key, value in _settings(config, ""):
        if isinstance(value, DegradationConfig):
            shares = [value.clean_share, value.light_share, value.camera_share, value.strong_share]
            if sum(shares) > 1 + 1e-9:
                raise OptionError(f"the shares of {key} add up to {sum(shares):g}", hint="1 at most is needed")
        if isinstance(value, DataConfig):
            check_sizes(value, key)


def check_validation(levels: tuple[str, ...], crop: int, data: DataConfig) -> None:
    """Hold the crops that are judged against the grid that they are cut on, which depends on the factors.

    Raises:
        OptionError: a level that is unknown, or crops of which nothing would be left.
    """
    factors = [level_of(name)[1] for name in levels] or [data.degradation.factor]
    # The network that looks at the levels has nothing left to see of smaller ones.
    least = max(max(lcm(f, PICTURE_GRID) for f in factors), 32 if levels else 1)
    if crop < least:
        raise OptionError(f"validation.crop is {crop}", hint=f"choose {least} or more")


def _settings(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """(key, value) of everything that can be set, groups before what is in them."""
    for field in dataclasses.fields(config):
        key, value = f"{prefix}{field.name}", getattr(config, field.name)
        yield key, value
        if dataclasses.is_dataclass(value):
            yield from _settings(value, f"{key}.")
        elif isinstance(value, tuple):
            for i, entry in enumerate(value):
                if dataclasses.is_dataclass(entry):
                    yield from _settings(entry, f"{key}.{i}.")
