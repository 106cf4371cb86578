"""How much the results of one picture differ from run to run: as figures, and as a map."""

from ccsr.stability.meter import LocalDeviation, StabilityMeter, gstd

__all__ = ["LocalDeviation", "StabilityMeter", "gstd"]
