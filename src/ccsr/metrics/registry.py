"""The list of metrics: what each is called, which way is better, who computes it, and how to get at it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ccsr.metrics import learned
from ccsr.metrics.differences import l1, psnr, psnr_color, psnr_rgb
from ccsr.metrics.niqe import niqe
from ccsr.metrics.squeezenet import squeezenet_distance
from ccsr.metrics.ssim import ssim

Score = Callable[[np.ndarray, np.ndarray], float]
"""`score(sr, gt)` of two uint8 pictures (H, W, 3); metrics without reference leave the second one alone."""


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
    digits: int = 4

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
    digits: int = 4,
) -> Metric:
    return Metric(name, title, direction, needs_gt, (0.0, top), source, "ccsr", lambda: score, digits=digits)


_INF = float("inf")
_LISTED = (
    _own("psnr", "PSNR", "higher", 80, "10 log10(1 / mse) of BT.601 Y", psnr, digits=2),
    _own("ssim", "SSIM", "higher", 1, "Wang et al. 2004, of BT.601 Y", ssim),
    _own("niqe", "NIQE", "lower", _INF, "Mittal et al. 2013", niqe, needs_gt=False, digits=2),
    _own("psnr_rgb", "PSNR RGB", "higher", 80, "over R, G and B", psnr_rgb, digits=2),
    _own("psnr_color", "PSNR CbCr", "higher", 80, "over Cb and Cr of BT.601", psnr_color, digits=2),
    _own("l1", "L1", "lower", 1, "mean absolute difference", l1),
    _own("squeezenet", "SqueezeNet distance", "lower", 4, "this project; it is not LPIPS", squeezenet_distance),
    *(
        Metric(
            name=model.name,
            title=model.title,
            direction=model.direction,
            needs_gt=model.needs_gt,
            range=model.range,
            source=model.source,
            implementation=model.library,
            load=model.load,
            of_set=model.of_set,
        )
        for model in learned.MODELS
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _LISTED}
"""All metrics by name, in the order in which tables show them."""
