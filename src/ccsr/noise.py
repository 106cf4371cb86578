"""The draws of one picture: standard normal values that are a function of (seed, sample, draw, position).

Nothing here depends on a picture's name, its place in a job, the tile that asks, or the version of a library's normal
generator: Philox words, whose stream is fixed by its definition, and the Box-Muller transform in float64.
"""

import numpy as np
import torch
from torch import Tensor

_NAMED = {"posterior": 0, "start": 1, "renoise": 2}


def draw_number(name: str) -> int:
    """Number of a draw by its name: `posterior`, `start`, `renoise`, then `step0`, `step1`, ..."""
    return _NAMED[name] if name in _NAMED else len(_NAMED) + int(name.removeprefix("step"))


def normal_field(seed: int, sample: int, draw: int, channels: int, height: int, width: int) -> Tensor:
    """Standard normal values, float32 (1, channels, height, width).

    The value at a position is the same whatever the height and width, so a picture's tile and its whole agree.
    """
    pairs = -(-channels // 2)
    words = np.empty((height, width * pairs * 2), np.uint64)
    for row in range(height):
        generator = np.random.Philox(key=np.array([seed, sample], np.uint64), counter=[0, 0, row, draw])
        words[row] = generator.random_raw(width * pairs * 2)
    # 53 bits each; the first in (0, 1] so that its logarithm is finite.
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53
    first, second = uniform.reshape(height, width, pairs, 2).transpose(3, 2, 0, 1)
    radius, angle = np.sqrt(-2 * np.log(first)), 2 * np.pi * second
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1, height, width)
    return torch.from_numpy(normal[None, :channels].astype(np.float32))


class Draws:
    """The named draws of one sample of one picture: `draws("start")` is (1, channels, height, width)."""

    def __init__(self, seed: int, sample: int, channels: int, height: int, width: int) -> None:
        self.seed, self.sample, self.shape = seed, sample, (channels, height, width)

    def __call__(self, name: str) -> Tensor:
        """Standard normal tensor for a name, on the CPU."""
        return normal_field(self.seed, self.sample, draw_number(name), *self.shape)
