"""Interpolation by Pillow on 8 bit values: what every method should beat, and in PSNR few do."""

from dataclasses import dataclass
from typing import ClassVar

from ccsr.compare.methods.base import Method, MethodJob, MethodResult
from ccsr.compare.methods.run_worker import make_with_worker


@dataclass(frozen=True, kw_only=True)
class Bicubic(Method):
    """Cubic with a = -0.5."""

    FILTER: ClassVar[str] = "bicubic"
    has_steps: ClassVar[bool] = False

    def make(self, job: MethodJob) -> MethodResult:
        """Enlarge to the size of the ground truth."""
        return make_with_worker(job, {"method": "resize", "filter": self.FILTER})


@dataclass(frozen=True, kw_only=True)
class Lanczos(Bicubic):
    """Lanczos of three lobes."""

    FILTER: ClassVar[str] = "lanczos"
