"""Making low-quality pictures from good ones."""

from ccsr.degradation.realesrgan import PUBLISHED, DegradationRound, RealESRGANDegradation
from ccsr.degradation.simple import (
    CAMERA,
    BicubicDegradation,
    Camera,
    CameraDegradation,
    LightDegradation,
    StrongDegradation,
)

__all__ = [
    "CAMERA",
    "PUBLISHED",
    "BicubicDegradation",
    "Camera",
    "CameraDegradation",
    "DegradationRound",
    "LightDegradation",
    "RealESRGANDegradation",
    "StrongDegradation",
]
