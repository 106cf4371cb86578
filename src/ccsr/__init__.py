"""Faithful enlarging and restoring of photographs: content consistent super-resolution (CCSR).

from ccsr import CCSRPipeline
pipe = CCSRPipeline.from_pretrained("nano")
image = pipe("photo.jpg", scale=4).images[0]

"ccsr-spec 1.4" in a docstring is section 1.4 of docs/spec.md in the repository.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ccsr.errors import (
    CCSRError,
    ImageError,
    MemoryPlanError,
    MissingExtraError,
    ModelOutputError,
    OptionError,
    TrainingError,
    WeightsError,
)
from ccsr.version import __version__

if TYPE_CHECKING:
    from ccsr.options import UpscaleOptions
    from ccsr.pipeline import CCSROutput, CCSRPipeline

__all__ = [
    "CCSRError",
    "CCSROutput",
    "CCSRPipeline",
    "ImageError",
    "MemoryPlanError",
    "MissingExtraError",
    "ModelOutputError",
    "OptionError",
    "TrainingError",
    "UpscaleOptions",
    "WeightsError",
    "__version__",
]

_HOMES = {"CCSRPipeline": "pipeline", "CCSROutput": "pipeline", "UpscaleOptions": "options"}


def __getattr__(name: str) -> Any:
    # torch and diffusers take seconds: whoever asks for --help or for an error class should not wait for them.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
