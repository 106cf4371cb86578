"""A feature distance of our own, by a small network that ships with the package. It is not LPIPS.

The weights are SqueezeNet v1.0's, trained on ImageNet (BSD-2-Clause, notice beside them).
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu

from ccsr.errors import ImageError, WeightsError
from ccsr.metrics.luma import as_levels

SHIPPED = Path(__file__).parent / "weights" / "squeezenet1_0.safetensors"
FIRES = (3, 4, 5, 7, 8, 9, 10, 12)
POOLED_BEFORE = (3, 7, 12)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TAPS = (0, 4, 7, 9, 12)
"""Layers whose outputs, after the activation, are compared; numbers as in torchvision's `squeezenet1_0`."""


class SqueezeNetFeatures(nn.Module):
    """SqueezeNet's convolutions as a frozen measuring instrument: gradients reach the picture, not the weights.

    `path` is a safetensors file with torchvision's key names.

    Raises:
        WeightsError: the file lacks a layer, or cannot be read.
    """

    def __init__(self, path: Path = SHIPPED) -> None:
        super().__init__()
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            stored = load_file(path)
            for name in _layers():
                for part in ("weight", "bias"):
                    self.register_buffer(_plain(f"{name}.{part}"), stored[f"{name}.{part}"].float(), persistent=False)
        except (OSError, SafetensorError, KeyError) as error:
            raise WeightsError(f"no SqueezeNet weights: {error}", path=path, hint="torchvision's names") from error

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Features of (B, 3, H, W) in 0..1, sides of 31 pixels or more: five tensors (B, C, h, w), not normalised."""
        mean, std = (picture.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        x = relu(self._convolved((picture - mean) / std, "features.0", stride=2))
        taps = [x]
        for i in FIRES:
            if i in POOLED_BEFORE:
                x = max_pool2d(x, 3, stride=2, ceil_mode=True)
            squeezed = relu(self._convolved(x, f"features.{i}.squeeze"))
            expanded = [
                self._convolved(squeezed, f"features.{i}.expand{side}x{side}", padding=side // 2) for side in (1, 3)
            ]
            x = relu(torch.cat(expanded, dim=1))
            if i in TAPS:
                taps.append(x)
        return taps

    def distance(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Mean over taps and positions of the squared difference of unit feature vectors: (B,), 0 to 4."""
        terms = []
        for a, b in zip(self(sr), self(gt), strict=True):
            difference = _unit(a) - _unit(b)
            terms.append((difference**2).sum(1).mean((1, 2)))
        return torch.stack(terms).mean(0)

    def _convolved(self, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = getattr(self, _plain(f"{name}.weight")), getattr(self, _plain(f"{name}.bias"))
        return conv2d(x, weight, bias, stride=stride, padding=padding)


def squeezenet_distance(sr: np.ndarray, gt: np.ndarray) -> float:
    """Feature distance of two pictures (H, W, 3), uint8 or float in 0..1: 0 for equal ones, at most 4.

    Raises:
        ImageError: a side is too short for the network.
    """
    if min(sr.shape[:2]) < 31:
        raise ImageError(f"{sr.shape[1]}x{sr.shape[0]} is too small for SqueezeNet", hint="31 pixels a side are needed")
    with torch.inference_mode():
        return float(_shipped().distance(_tensor(sr), _tensor(gt)))


@cache
def _shipped() -> SqueezeNetFeatures:
    return SqueezeNetFeatures()


def _layers() -> list[str]:
    parts = ("squeeze", "expand1x1", "expand3x3")
    return ["features.0", *(f"features.{i}.{part}" for i in FIRES for part in parts)]


def _plain(name: str) -> str:
    # A buffer's name cannot hold a dot.
    return name.replace(".", "_")


def _unit(features: Tensor) -> Tensor:
    # Not the square root of a sum: its gradient is no number where all channels are silent.
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


def _tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(as_levels(picture).transpose(2, 0, 1).copy())[None].float() / 255
