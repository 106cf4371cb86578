"""How far a restoration is, by the operations of each network, and the seconds that its steps took."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf

import torch
from torch import Tensor

from ccsr.method import Restorer
from ccsr.networks import latent_factor
from ccsr.networks.tiled import count_tiles
from ccsr.networks.watch import WorkPart, watched

Progress = Callable[[int, int, str], None]
"""Called as (done, total, part of the work); what it raises stops the work."""


_PREPARED = 0.02
"""Of the whole, done when the networks begin: what enlarging a large picture takes of nano's work. Of larger networks'
it is less, and of small pictures nothing is told of it."""
_HANDLING = 20_000
"""Operations in whose time a pixel of a large picture is cut into tiles and has its noise drawn: more than small
encoders have."""
_SILENCE = 0.2
"""Seconds."""


class Teller:
    """Tells one listener how far a restoration is, in thousandths, and a few times a second in any case, since what the
    listener raises stops the work; without a listener nobody is told."""

    def __init__(self, on_progress: Progress | None) -> None:
        self.on_progress = on_progress
        self._done, self._part, self._last = 0, "prepare", -inf

    def tell(self, share: float, part: str) -> None:
        """`share` in 0..1 of the networks' work is done."""
        done, now = int(1000 * (_PREPARED + (1 - _PREPARED) * share)), time.monotonic()
        if done > self._done or now > self._last + _SILENCE:
            self._tell(done, part)

    def alive(self, share: float) -> None:
        """`share` of one pass over a large picture is done."""
        self._tell(int(1000 * _PREPARED * share), self._part)

    def _tell(self, done: int, part: str) -> None:
        if self.on_progress:
            self._done, self._part, self._last = max(done, self._done), part, time.monotonic()
            self.on_progress(self._done, 1000, part)


@contextmanager
def progress_of(
    restorer: Restorer, lq_up: Tensor, flops_per_pixel: Mapping[str, float], teller: Teller
) -> Iterator[None]:
    """Inside, the teller hears of the work on `lq_up`, (B, 3, H, W).

    Beside other pictures in the same networks, their work could not be told from this one's.
    """
    if teller.on_progress is None:
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
            flops_per_pixel["encode"] + _HANDLING,
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
    with watched(parts, teller.tell):
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
