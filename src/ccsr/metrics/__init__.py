"""Metrics: one file each, listed in `METRICS`, put together for a paper's protocol in `PROTOCOLS`."""

from ccsr.metrics.consistency import Consistency, consistency, consistency_of, difference_map
from ccsr.metrics.differences import l1, psnr, psnr_color, psnr_rgb
from ccsr.metrics.flat import flat_noise
from ccsr.metrics.lattice import lattice
from ccsr.metrics.luma import without_border
from ccsr.metrics.niqe import niqe
from ccsr.metrics.protocols import PROTOCOLS, Protocol, chosen_metrics
from ccsr.metrics.registry import METRICS, Metric
from ccsr.metrics.squeezenet import squeezenet_distance
from ccsr.metrics.ssim import ssim

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Consistency",
    "Metric",
    "Protocol",
    "chosen_metrics",
    "consistency",
    "consistency_of",
    "difference_map",
    "flat_noise",
    "l1",
    "lattice",
    "niqe",
    "psnr",
    "psnr_color",
    "psnr_rgb",
    "squeezenet_distance",
    "ssim",
    "without_border",
]
