"""Metrics of plain differences: PSNR of brightness, of all channels and of colour, and L1."""

import numpy as np

from ccsr.metrics.luma import as_levels, chroma, studio_luma


def psnr(sr: np.ndarray, gt: np.ndarray) -> float:
    """PSNR of Y (BT.601, studio range, not rounded) in dB: 10 log10(1 / (mse + 1e-8)), mse of Y / 255.

    Pictures are (H, W, 3), uint8 or float in 0..1. 80 dB for equal ones. Source: ccsr-spec 8.
    """
    return _decibel(studio_luma(as_levels(sr)) - studio_luma(as_levels(gt)))


def psnr_rgb(sr: np.ndarray, gt: np.ndarray) -> float:
    """PSNR over R, G and B in dB, as `psnr`."""
    return _decibel(as_levels(sr).astype(float) - as_levels(gt))


def psnr_color(sr: np.ndarray, gt: np.ndarray) -> float:
    """PSNR over Cb and Cr (BT.601, studio range, of 255) in dB: the colour that PSNR of Y does not see."""
    return _decibel(chroma(as_levels(sr)) - chroma(as_levels(gt)))


def l1(sr: np.ndarray, gt: np.ndarray) -> float:
    """Mean absolute difference over R, G and B, 0..1."""
    return float(np.abs(as_levels(sr).astype(float) - as_levels(gt)).mean() / 255)


def _decibel(difference: np.ndarray) -> float:
    return float(10 * np.log10(1 / (np.mean((difference / 255) ** 2) + 1e-8)))
