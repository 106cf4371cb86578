"""The networks: stock diffusers classes and one small subclass, or nano's compact ones, and the way from pictures to
latents and back."""

from ccsr.networks.codec import Moments, decode, draw_latent, encode, latent_factor
from ccsr.networks.compact import CompactAutoencoder, CompactControlNet, CompactUNet
from ccsr.networks.configs import NANO, SD21, make_network, network_class
from ccsr.networks.controlnet import LatentControlNet
from ccsr.networks.denoiser import denoise

__all__ = [
    "NANO",
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
