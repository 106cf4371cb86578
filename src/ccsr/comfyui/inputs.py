"""From the option list to a node's inputs, and from what ComfyUI hands over to options."""

from fractions import Fraction
from typing import Any

from ccsr.options import Option, UpscaleOptions, options_of

BY_THE_LOADER = {"model", "base_model", "device", "dtype"}
NOT_HERE = BY_THE_LOADER | {"batch_size", "engine", "intermediates", "samples"}
"""What other nodes decide, what has no output here, and what frames one after the other have no use for."""

FROM_MODEL = "as the model says"
INTEGER_LIMIT = 2**63 - 1


def node_options() -> list[Option]:
    """The options that an upscaling node shows; hidden ones only serve comparisons."""
    return [o for o in options_of(UpscaleOptions, "python") if o.name not in NOT_HERE and not o.hidden]


def inputs() -> dict[str, tuple[Any, dict[str, Any]]]:
    """One widget per option, in ComfyUI's form: (type or choices, settings)."""
    return {option.name: _widget(option) for option in node_options()}


def options_from(values: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Pipeline keywords from widget values: what stands at its default is left out, so that rules see what is meant."""
    known = {o.name: o for o in node_options()}
    given = {}
    for name, value in values.items():
        if name in known and value != _default(known[name]) and value != FROM_MODEL:
            given[name] = value
    return {**given, **more}


def _widget(option: Option) -> tuple[Any, dict[str, Any]]:
    settings: dict[str, Any] = {"default": _default(option), "tooltip": option.help}
    if option.expert:
        settings["advanced"] = True  # ComfyUI folds these away
    if option.choices:
        choices = [str(c) for c in option.choices]
        return ([FROM_MODEL, *choices] if option.default is None else choices), settings
    if option.words or (option.kind is Fraction and option.default is None) or option.kind is str:
        # A word or a number, a fraction such as 2/3, or nothing at all: text.
        return "STRING", settings
    if option.kind is bool:
        return "BOOLEAN", settings
    minimum = 0 if option.default is None else option.minimum or 0
    maximum = INTEGER_LIMIT if option.maximum is None else option.maximum
    settings |= {"min": minimum, "max": maximum}
    if option.kind is int:
        settings |= {"min": int(minimum), "max": int(maximum)}
        # A seed that changes by itself would make the cache useless.
        return "INT", settings | ({"control_after_generate": False} if option.name == "seed" else {})
    return "FLOAT", settings | {"step": 0.05, "max": float(min(maximum, 1e6)), "min": float(minimum)}


def _default(option: Option) -> Any:
    """The widget's value that stands for "not given"."""
    if option.choices:
        return FROM_MODEL if option.default is None else str(option.default)
    if option.default is None:
        return 0 if option.kind is int else 0.0 if option.kind is float else ""
    return float(option.default) if option.kind in (float, Fraction) and not option.words else option.default
