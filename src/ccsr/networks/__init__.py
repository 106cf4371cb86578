"""The networks: stock diffusers classes and one small subclass, or nano's compact ones, and the way from pictures to
latents and back.

Importing this loads no diffusers; `LatentControlNet`, which needs it, is loaded at first use.
"""

from typing import TYPE_CHECKING, Any

from ccsr.networks.codec import Moments, decode, draw_latent, encode, latent_factor
from ccsr.networks.compact import CompactAutoencoder, CompactControlNet, CompactUNet
from ccsr.networks.configs import ARCHITECTURES, NANO, NARROW, SD21, make_network, network_class
from ccsr.networks.denoiser import denoise

if TYPE_CHECKING:
    from ccsr.networks.controlnet import LatentControlNet

__all__ = [
    "ARCHITECTURES",
    "NANO",
    "NARROW",
    "SD21",
    "CompactAutoencoder",
    "CompactControlNet",
    "CompactUNet",
    "LatentControlNet",
    "Moments",
    "decode",
    "denoise",
    "draw_latent",
    "encode",
    "latent_factor",
    "make_network",
    "network_class",
]


def __getattr__(name: str) -> Any:
    if name != "LatentControlNet":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from ccsr.networks.controlnet import LatentControlNet

    return LatentControlNet
