"""The options as keywords of a function that takes them as `**options`, for help() and editors."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ccsr.options import UpscaleOptions, options_of

Function = TypeVar("Function", bound=Callable[..., Any])


def documents_options(function: Function) -> Function:
    """The same function, whose signature and docstring name every option but the model."""
    signature = inspect.signature(function)
    fixed = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = [
        inspect.Parameter(o.name, inspect.Parameter.KEYWORD_ONLY, default=o.default)
        for o in options_of(UpscaleOptions, "python")
        if o.name != "model"
    ]
    function.__signature__ = signature.replace(parameters=[*fixed, *options])  # type: ignore[attr-defined]
    lines = [f"        {o.name}: {o.help} (default {o.default})." for o in options_of(UpscaleOptions, "python")]
    function.__doc__ = f"{function.__doc__}\n        Options:\n" + "\n".join(lines)
    return function
