"""The networks: stock diffusers classes, one small subclass, and the way from pictures to latents and back."""

from ccsr.networks.codec import Moments, decode, draw_latent, encode, latent_factor
from ccsr.networks.configs import NANO, SD21
from ccsr.networks.controlnet import LatentControlNet
from ccsr.networks.denoiser import denoise

__all__ = ["NANO", "SD21", "LatentControlNet", "Moments", "decode", "denoise", "draw_latent", "encode", "latent_factor"]
