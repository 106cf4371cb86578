"""The method on tensors: timesteps, sampler, noise, encode-sample-decode with tiles and guidance, sizes and colours."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccsr.method.restoration import Conditions, Networks, Restored, Restorer, Settings, restore

__all__ = ["Conditions", "Networks", "Restored", "Restorer", "Settings", "restore"]


def __getattr__(name: str) -> Any:
    # The options need the timesteps, and whoever asks for --help should not wait for torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.restoration"), name)
