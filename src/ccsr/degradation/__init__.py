"""Making low-quality pictures from good ones."""

from ccsr.degradation.realesrgan import PUBLISHED, RealESRGANDegradation, Stage
from ccsr.degradation.simple import BicubicDegradation, LightDegradation

__all__ = ["PUBLISHED", "BicubicDegradation", "LightDegradation", "RealESRGANDegradation", "Stage"]
