"""Making low-quality pictures from good ones."""

from ccsr.degradation.realesrgan import PUBLISHED, RealESRGANDegradation, Stage

__all__ = ["PUBLISHED", "RealESRGANDegradation", "Stage"]
