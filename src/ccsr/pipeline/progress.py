"""How far a restoration is, by the operations of each network, and the seconds that its steps took."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from ccsr.method import Restorer
from ccsr.networks import latent_factor
from ccsr.networks.tiled import count_tiles
from ccsr.networks.watch import WorkPart, watched

Progress = Callable[[int, int, str], None]
"""Called as (done, total, part of the work); what it raises stops the work."""


@contextmanager
def progress_of(
    restorer: Restorer, lq_up: Tensor, flops_per_pixel: Mapping[str, float], on_progress: Progress | None
) -> Iterator[None]:
    """Inside, `on_progress` hears of every thousandth of the work on `lq_up`, (B, 3, H, W).

    Beside other pictures in the same networks, their work could not be told from this one's.
    """
    if on_progress is None:
        yield
        return
    networks, settings = restorer.networks, restorer.settings
    rows, _, height, width = lq_up.shape
    factor = latent_factor(networks.vae)
    latent = (height // factor, width // factor)
    evaluations = len(settings.trajectory.timesteps) * (2 if restorer.conditions.guided else 1)
    parts = [
        WorkPart(
            "encode",
            [networks.vae.encoder],
            rows * count_tiles(height, width, settings.encode_tiles),
            flops_per_pixel["encode"],
        ),
        WorkPart(
            "denoise",
            [networks.unet, networks.controlnet],
            rows * count_tiles(*latent, settings.denoise_tiles) * evaluations,
            flops_per_pixel["denoise"] * evaluations,
        ),
        WorkPart(
            "decode",
            [networks.vae.decoder],
            rows * count_tiles(*latent, settings.decode_tiles),
            flops_per_pixel["decode"],
        ),
    ]
    told = -1

    def on_share(share: float, part: str) -> None:
        nonlocal told
        if (done := int(share * 1000)) > told:
            told = done
            on_progress(done, 1000, part)

    with watched(parts, on_share):
        yield


class Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """What passed since the last lap was spent on this."""
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()  # a GPU is still at what it was asked for
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
