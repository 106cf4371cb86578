"""Pictures in, faithful enlargements out: `Upscaler` does the work, `CCSRPipeline` is its front for diffusers' users.

Importing this loads no diffusers; `CCSRPipeline`, which needs it, is loaded at first use.
"""

from typing import TYPE_CHECKING, Any

from ccsr.pipeline.outputs import CCSROutput, Upscaled
from ccsr.pipeline.upscaler import Upscaler
from ccsr.weights.tensors import DTYPES

if TYPE_CHECKING:
    from ccsr.pipeline.pipeline import CCSRPipeline

__all__ = ["DTYPES", "CCSROutput", "CCSRPipeline", "Upscaled", "Upscaler"]


def __getattr__(name: str) -> Any:
    if name != "CCSRPipeline":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from ccsr.pipeline.pipeline import CCSRPipeline

    return CCSRPipeline
