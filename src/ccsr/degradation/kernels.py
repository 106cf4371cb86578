"""Blur and sinc kernels of the Real-ESRGAN degradation (ccsr-spec 7)."""

import math

import numpy as np
from scipy.special import j1

SIZE = 21
"""Side to which every kernel is padded."""


def padded(kernel: np.ndarray) -> np.ndarray:
    """`kernel`, odd side up to `SIZE`, with zeros around it."""
    return np.pad(kernel, (SIZE - len(kernel)) // 2)


def blur(size: int, kind: str, sigma_x: float, sigma_y: float, rotation: float, beta: float) -> np.ndarray:
    """Normalised kernel (size, size): `iso`, `aniso`, and the same behind `generalized_` and `plateau_`."""
    axis = np.arange(size) - (size - 1) / 2
    u = np.stack(np.meshgrid(axis, axis), axis=-1)
    if kind.endswith("aniso"):
        turn = np.array([[math.cos(rotation), -math.sin(rotation)], [math.sin(rotation), math.cos(rotation)]])
        covariance = turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T
    else:
        covariance = np.eye(2) * sigma_x**2
    q = np.einsum("hwi,ij,hwj->hw", u, np.linalg.inv(covariance), u)
    if kind.startswith("plateau"):
        kernel = 1 / (1 + q**beta)
    else:
        kernel = np.exp(-0.5 * (q**beta if kind.startswith("generalized") else q))
    return kernel / kernel.sum()


def sinc(size: int, cutoff: float) -> np.ndarray:
    """Normalised circular low-pass kernel (size, size); `cutoff` in radians per pixel. It rings, which is its use."""
    axis = np.arange(size) - (size - 1) / 2
    r = np.hypot(*np.meshgrid(axis, axis))
    centre = r == 0
    r[centre] = 1
    kernel = cutoff * j1(cutoff * r) / (2 * math.pi * r)
    kernel[centre] = cutoff**2 / (4 * math.pi)
    return kernel / kernel.sum()
