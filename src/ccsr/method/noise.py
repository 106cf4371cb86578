"""The noise of a picture: standard normal values that are a function of (seed, sample, draw, position).

Nothing here depends on a picture's name, its place in a job, the tile that asks, or the version of a library's normal
generator: Philox words, whose stream is fixed by its definition, and the Box-Muller transform in float64.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ccsr.images.buffers import bands, zeros

_NAMED = {"posterior": 0, "start": 1, "renoise": 2}
_SECOND = 2**32
"""Added to the number of a sample for its second draw of a name: more samples than anybody asks for."""


def draw_number(name: str) -> int:
    """Number of a draw by its name: `posterior`, `start`, `renoise`, then `step0`, `step1`, ..."""
    return _NAMED[name] if name in _NAMED else len(_NAMED) + int(name.removeprefix("step"))


def normal_field(seed: int, sample: int, draw: int, channels: int, height: int, width: int) -> Tensor:
    """Standard normal values, float32 (1, channels, height, width).

    The value at a position is the same whatever the height and width, so a picture's tile and its whole agree.
    """
    pairs = -(-channels // 2)
    field = zeros((channels, height, width))
    for top, bottom in bands(height, width * pairs * 2):
        words = np.empty((bottom - top, width * pairs * 2), np.uint64)
        for row in range(top, bottom):
            generator = np.random.Philox(key=np.array([seed, sample], np.uint64), counter=[0, 0, row, draw])
            words[row - top] = generator.random_raw(width * pairs * 2)
        # 53 bits each; the first in (0, 1] so that its logarithm is finite.
        uniform = ((words >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53
        first, second = uniform.reshape(bottom - top, width, pairs, 2).transpose(3, 2, 0, 1)
        radius, angle = np.sqrt(-2 * np.log(first)), 2 * np.pi * second
        normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        field[:, top:bottom] = normal.reshape(-1, bottom - top, width)[:channels]
    return torch.from_numpy(field[None])


class NoiseSource:
    """The named draws of a batch of results: `noise("start")` is (B, channels, height, width)."""

    def __init__(
        self, seed: int, samples: Sequence[int], shape: tuple[int, int, int], posterior_draws: int = 1
    ) -> None:
        """`samples` has the number of each row; of `posterior`, two draws give 2B rows, the first of all rows first."""
        self.seed, self.samples, self.shape, self.posterior_draws = seed, samples, shape, posterior_draws

    def __call__(self, name: str) -> Tensor:
        """Standard normal tensor for a name, on the CPU."""
        rounds = self.posterior_draws if name == "posterior" else 1
        samples = [sample + turn * _SECOND for turn in range(rounds) for sample in self.samples]
        fields = [normal_field(self.seed, sample, draw_number(name), *self.shape) for sample in samples]
        return torch.cat(fields) if len(fields) > 1 else fields[0]
