"""A feature distance of our own, by a small network that ships with the package. It is not LPIPS.

The weights are SqueezeNet v1.0's, trained on ImageNet (BSD-2-Clause, notice beside them).
"""

from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from ccsr.errors import ImageError
from ccsr.metrics.features import SHIPPED, SqueezeNetFeatures, VGG16Features, feature_distance, load_features
from ccsr.metrics.luma import as_levels

SMALLEST = 32


def squeezenet_distance(sr: np.ndarray, gt: np.ndarray) -> float:
    """Feature distance of two pictures (H, W, 3), uint8 or float in 0..1: 0 for equal ones, at most 4.

    The mean over five layers of the squared difference of feature vectors of length one.

    Raises:
        ImageError: a side is too short for the network.
    """
    if min(sr.shape[:2]) < SMALLEST:
        raise ImageError(
            f"{sr.shape[1]}x{sr.shape[0]} is too small for SqueezeNet", hint=f"{SMALLEST} pixels a side are needed"
        )
    with torch.inference_mode():
        truth = _features(as_levels(gt).tobytes(), gt.shape)
        return float(feature_distance(_network(), _network()(_tensor(sr)), truth))


@lru_cache(maxsize=1)
def _features(levels: bytes, shape: tuple[int, ...]) -> list[Tensor]:
    """Of the ground truth, which several results in a row are held against."""
    return _network()(_tensor(np.frombuffer(levels, np.uint8).reshape(shape)))


@cache
def _network() -> SqueezeNetFeatures | VGG16Features:
    from safetensors.torch import load_file

    return load_features(load_file(SHIPPED))


def _tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(as_levels(picture).transpose(2, 0, 1).copy())[None].float() / 255
