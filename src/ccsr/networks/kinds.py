"""What the networks may be, for annotations alone: the published model's classes or nano's."""

from diffusers import AutoencoderKL, UNet2DConditionModel

from ccsr.networks.compact import CompactAutoencoder, CompactControlNet, CompactUNet
from ccsr.networks.controlnet import LatentControlNet

UNet = UNet2DConditionModel | CompactUNet
ControlNet = LatentControlNet | CompactControlNet
VAE = AutoencoderKL | CompactAutoencoder
