"""What computes the two denoising networks: torch itself, or a runtime that was given their graph."""

from ccsr.engines.openvino import OpenVINODenoiser

__all__ = ["OpenVINODenoiser"]
