"""What a model costs to run, from the names and shapes of its tensors alone."""

import re
from collections.abc import Mapping
from math import isqrt, prod
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]


def flops_per_pixel(shapes: Mapping[str, Shapes], unet: Mapping[str, Any], vae: Mapping[str, Any]) -> dict[str, float]:
    """Floating point operations per output pixel of encode, decode and one evaluation (`denoise`).

    A multiply-add counts two. Convolutions and linear layers count at the resolution of their block; the products
    inside attention, which grow with the tile, do not.
    """
    shuffle, levels = isqrt(vae["in_channels"] // 3), len(vae["block_out_channels"])
    latent = shuffle * 2 ** (levels - 1)
    cost = {"encode": 0.0, "decode": 0.0, "denoise": 0.0}
    for name, shape in shapes["vae"].items():
        part = "encode" if name.startswith(("encoder", "quant")) else "decode"
        cost[part] += _operations(name, shape) / (shuffle * 2 ** _level(name, levels)) ** 2
    for network in ("unet", "controlnet"):
        for name, shape in shapes[network].items():
            level = _level(name, len(unet["block_out_channels"]))
            cost["denoise"] += _operations(name, shape) / (latent * 2**level) ** 2
    return cost


def activation_bytes(vae: Mapping[str, Any]) -> int:
    """Bytes of float32 activations per output pixel at the network's widest point, about: a few tensors of the VAE's
    finest level live at once in its decoder's last block."""
    shuffle = isqrt(vae["in_channels"] // 3)
    widths = vae["block_out_channels"]
    return int(4 * 6 * max(widths[0], widths[min(1, len(widths) - 1)]) / shuffle**2)


def _operations(name: str, shape: tuple[int, ...]) -> float:
    """Operations of one weight at each position it is applied to; embeddings of time are applied once."""
    return 0.0 if len(shape) < 2 or "time" in name or "gain" in name or "embed" in name else 2.0 * prod(shape)


def _level(name: str, levels: int) -> int:
    """How often the resolution was halved where this tensor works."""
    # A ControlNet's 1x1 outputs are numbered through all levels and cost next to nothing.
    if found := re.search(r"(?<!controlnet_)down_blocks\.(\d+)\.", name):
        return int(found[1]) + ("downsamplers" in name)
    if found := re.search(r"up_blocks\.(\d+)\.", name):
        return levels - 1 - int(found[1]) - ("upsamplers" in name)
    deepest = ("mid_block", "encoder.conv_out", "decoder.conv_in", "quant_conv")
    return levels - 1 if any(part in name for part in deepest) else 0
