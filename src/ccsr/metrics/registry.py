"""The list of metrics: what each is called, which way is better, who computes it, and how to get at it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ccsr.metrics.consistency import consistency
from ccsr.metrics.differences import l1, psnr, psnr_color, psnr_rgb
from ccsr.metrics.flat import flat_noise
from ccsr.metrics.lattice import lattice
from ccsr.metrics.learned import LibraryMetric
from ccsr.metrics.niqe import niqe
from ccsr.metrics.squeezenet import squeezenet_distance
from ccsr.metrics.ssim import ssim

Score = Callable[[np.ndarray, np.ndarray], float]
"""`score(sr, gt)` of two uint8 pictures (H, W, 3); metrics without reference leave the second one alone, and for those
that compare with the input it is that, (h, w, 3)."""


@dataclass(frozen=True)
class Metric:
    """One row of the list. The implementation is part of a figure's name: another one's figure is another figure."""

    name: str
    title: str
    """As tables print it."""
    direction: Literal["higher", "lower"]
    """Which way is better."""
    needs_gt: bool
    range: tuple[float, float]
    source: str
    """The paper that defines it."""
    implementation: str
    """`ccsr`, or the library whose figure it is."""
    load: Callable[[], Score]
    """The scorer; raises MissingExtraError or WeightsError where something is not there."""
    of_set: bool = False
    """Scores two whole folders (their paths) instead of two pictures."""
    of_input: bool = False
    """Compares with the low-quality input, both whole, instead of the ground truth."""
    digits: int = 4
    files: tuple[str, ...] = ()
    """Weights that a person has to bring."""

    @property
    def is_learned(self) -> bool:
        """Whether it needs an extra and weights from elsewhere."""
        return self.implementation != "ccsr"


def _own(
    name: str,
    title: str,
    direction: Literal["higher", "lower"],
    top: float,
    source: str,
    score: Score,
    *,
    needs_gt: bool = True,
    of_input: bool = False,
    digits: int = 4,
) -> Metric:
    return Metric(
        name, title, direction, needs_gt, (0.0, top), source, "ccsr", lambda: score, of_input=of_input, digits=digits
    )


def _foreign(
    name: str, title: str, direction: Literal["higher", "lower"], top: float, source: str, model: LibraryMetric
) -> Metric:
    return Metric(
        name, title, direction, model.needs_gt, (0.0, top), source, model.library, model.load, of_set=model.of_set,
        files=model.files,
    )  # fmt: skip


_INF = float("inf")
_LISTED = (
    _own("psnr", "PSNR", "higher", 80, "10 log10(1 / mse) of BT.601 Y", psnr, digits=2),
    _own("ssim", "SSIM", "higher", 1, "Wang et al. 2004, of BT.601 Y", ssim),
    _own("niqe", "NIQE", "lower", _INF, "Mittal et al. 2013", niqe, needs_gt=False, digits=2),
    _own("psnr_rgb", "PSNR RGB", "higher", 80, "over R, G and B", psnr_rgb, digits=2),
    _own("psnr_color", "PSNR CbCr", "higher", 80, "over Cb and Cr of BT.601", psnr_color, digits=2),
    _own("l1", "L1", "lower", 1, "mean absolute difference", l1),
    _own("squeezenet", "SqueezeNet distance", "lower", 4, "this project; it is not LPIPS", squeezenet_distance),
    _own("flat_noise", "noise in flat areas", "lower", 128, "this project", flat_noise, digits=2),
    _own("lattice", "lattice", "lower", _INF, "this project", lattice, needs_gt=False, digits=2),
    _own("consistency", "consistency", "higher", 80, "this project", consistency, needs_gt=False, of_input=True,
         digits=2),
    _foreign("lpips", "LPIPS", "lower", 1, "Zhang et al. 2018, AlexNet, 0.1", LibraryMetric(
        "pyiqa", "lpips", ("LPIPS_v0.1_alex-df73285e.pth", "alexnet-owt-7be5be79.pth"))),
    _foreign("dists", "DISTS", "lower", 1, "Ding et al. 2020", LibraryMetric(
        "pyiqa", "dists", ("DISTS_weights-f5e65c96.pth", "vgg16-397923af.pth"))),
    _foreign("fid", "FID", "lower", _INF, "Heusel et al. 2017, as clean-fid", LibraryMetric(
        "pyiqa", "fid", ("pt_inception-2015-12-05-6726825d.pth",), of_set=True)),
    _foreign("clipiqa", "CLIPIQA", "higher", 1, "Wang et al. 2023", LibraryMetric(
        "pyiqa", "clipiqa", ("RN50.pt",), needs_gt=False)),
    _foreign("musiq", "MUSIQ", "higher", 100, "Ke et al. 2021, KonIQ", LibraryMetric(
        "pyiqa", "musiq", ("musiq_koniq_ckpt-e95806b9.pth",), needs_gt=False)),
    _foreign("maniqa", "MANIQA", "higher", 1, "Yang et al. 2022, PIPAL", LibraryMetric(
        "pyiqa", "maniqa-pipal", ("MANIQA_PIPAL-ae6d356b.pth",), needs_gt=False)),
    _foreign("maniqa_koniq", "MANIQA (KonIQ)", "higher", 1, "Yang et al. 2022, KonIQ", LibraryMetric(
        "pyiqa", "maniqa", ("ckpt_koniq10k.pt",), needs_gt=False)),
    _foreign("lpips_torchmetrics", "LPIPS (torchmetrics)", "lower", 1, "Zhang et al. 2018, AlexNet", LibraryMetric(
        "torchmetrics", "LearnedPerceptualImagePatchSimilarity", ("alexnet-owt-7be5be79.pth",))),
)  # fmt: skip
METRICS: dict[str, Metric] = {metric.name: metric for metric in _LISTED}
"""All metrics by name, in the order in which tables show them."""
