"""What ComfyUI offers a node that runs: a progress bar, and a question whether the user wants it to stop.

Outside of ComfyUI both are absent, and nothing happens.
"""

from collections.abc import Callable
from typing import Any

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
