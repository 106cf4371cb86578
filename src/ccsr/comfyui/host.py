"""What ComfyUI offers a node: a progress bar, a question whether the user wants it to stop, room for weights.

Outside of ComfyUI they are absent, and nothing happens.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PARTS = 1000
"""Of the bar, for each picture."""


def progress(pictures: int) -> Callable[[int], Callable[[int, int, str], None]]:
    """A listener for the pipeline's progress with each picture, by its number; raises what ComfyUI raises to stop."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted as check
        from comfy.utils import ProgressBar
    except ImportError:
        return lambda number: lambda done, total, stage: None
    bar: Any = ProgressBar(PARTS * pictures)

    def of(number: int) -> Callable[[int, int, str], None]:
        def listen(done: int, total: int, stage: str) -> None:
            check()
            bar.update_absolute(PARTS * number + PARTS * done // total, PARTS * pictures)

        return listen

    return of


def device() -> str:
    """The device that ComfyUI computes on, `auto` without it."""
    try:
        from comfy.model_management import get_torch_device
    except ImportError:
        return "auto"
    return str(get_torch_device())


def managed(networks: "Iterable[torch.nn.Module]") -> Callable[[int], None]:
    """Hand networks to ComfyUI's memory management, which takes idle weights out of a GPU when others need the room.

    What it returns is called before each work, with the bytes that this needs at most: other models make room, and
    the networks are whole and on ComfyUI's device.
    """
    try:
        from comfy.model_management import get_torch_device, load_models_gpu, unet_offload_device
        from comfy.model_patcher import ModelPatcher
    except ImportError:
        return lambda needed: None
    from torch.nn import ModuleList

    patcher = ModelPatcher(ModuleList(networks), load_device=get_torch_device(), offload_device=unet_offload_device())
    return lambda needed: load_models_gpu([patcher], memory_required=needed, force_full_load=True)
