"""The published sizes, counted without memory, and the bounds of the small model."""

from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from ccsr.networks import NANO, NARROW, SD21, LatentControlNet, denoise, latent_factor, make_network

_PARTS = ("unet", "controlnet", "vae")


def _networks(config: dict[str, Any]) -> list[Any]:
    with torch.device("meta"):
        return [make_network(part, config) for part in _PARTS]


def _counted(config: dict[str, Any]) -> tuple[int, ...]:
    return tuple(sum(p.numel() for p in network.parameters()) for network in _networks(config))


def test_published_parameters() -> None:
    assert _counted(SD21) == (865_910_724, 363_153_600, 83_653_863)


def test_nano_is_small() -> None:
    assert sum(_counted(NANO)) <= 18_000_000


def test_narrow_is_nano_with_less() -> None:
    """The same classes on the same latents, and within what the ablations may have."""
    for part in _PARTS:
        assert {key for key in NANO[part] if NANO[part][key] != NARROW[part][key]} <= {
            "block_out_channels", "decoder_layers",
        }  # fmt: skip
    assert sum(_counted(NARROW)) <= 1_500_000


def test_the_hint_is_one_bare_convolution() -> None:
    controlnet = _networks(SD21)[1]
    keys = controlnet.state_dict()
    assert keys["condition_conv_in.weight"].shape == (320, 4, 3, 3)
    assert len(keys) == 326
    assert not [k for k in keys if "cond_embedding" in k]
    assert controlnet.config.use_vae_encode_condition


def test_equals_the_stock_class_with_the_convolution_in_its_place() -> None:
    config = {
        **SD21["unet"],
        "block_out_channels": (16, 16, 16, 32), "cross_attention_dim": 16, "norm_num_groups": 8, "layers_per_block": 1,
        "attention_head_dim": 8,
    }  # fmt: skip
    unet = UNet2DConditionModel(**config)
    ours = LatentControlNet.for_unet(unet)
    for layer in (*ours.controlnet_down_blocks, ours.controlnet_mid_block):
        layer.reset_parameters()
    stock = ControlNetModel.from_unet(unet)
    stock.controlnet_cond_embedding = ours.condition_conv_in
    state = {k: v for k, v in ours.state_dict().items() if "condition_conv_in" not in k}
    stock.load_state_dict(state, strict=False)
    z, hint, prompt = torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16), torch.randn(1, 1, 16)
    for a, b in zip(
        ours(z, 3, prompt, hint, return_dict=False), stock(z, 3, prompt, hint, return_dict=False), strict=True
    ):
        for x, y in zip(*((v if isinstance(v, (list, tuple)) else [v]) for v in (a, b)), strict=True):
            assert torch.equal(x, y)


@pytest.mark.parametrize(("config", "factor"), [(SD21, 8), (NANO, 4)])
def test_latent_factor(config: dict[str, Any], factor: int) -> None:
    assert latent_factor(_networks(config)[2]) == factor


def test_nano_flops() -> None:
    """At most 160 GFLOP for one step at 512x512, counted by torch on the real forward passes."""
    from torch.utils.flop_counter import FlopCounterMode

    from ccsr.networks import decode, encode

    unet, controlnet, vae = _networks(NANO)
    with torch.device("meta"):
        picture, z, prompt = torch.rand(1, 3, 512, 512), torch.randn(1, 16, 128, 128), torch.randn(1, 1, 1)
        t = torch.tensor([999])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encode(vae, picture)
        denoise(unet, controlnet, z, t, z, prompt)
        decode(vae, z)
    assert counter.get_total_flops() <= 160e9
