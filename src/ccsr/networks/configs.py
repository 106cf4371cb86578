"""Constructor arguments of the two models, and the class that each network is made of.

`SD21` is Stable Diffusion 2.1-base with the CCSR ControlNet (ccsr-spec 2); `NANO` is the small model that is trained
here and ships with the package; `NARROW` is nano with fewer and narrower layers, for experiments from nothing.
"""

from collections.abc import Mapping
from typing import Any

from ccsr.networks.compact import CompactAutoencoder, CompactControlNet, CompactUNet

Config = dict[str, Any]

_COMPACT: dict[str, Any] = {"unet": CompactUNet, "controlnet": CompactControlNet, "vae": CompactAutoencoder}


def network_class(part: str, config: Mapping[str, Any]) -> Any:
    """The class of a network, `unet`, `controlnet` or `vae`, by the name in its config; else the published model's."""
    if config.get("_class_name") == _COMPACT[part].__name__:
        return _COMPACT[part]
    # diffusers takes twice as long to import as torch, so only models that need it wait for it.
    if part == "controlnet":
        from ccsr.networks.controlnet import LatentControlNet

        return LatentControlNet
    from diffusers import AutoencoderKL, UNet2DConditionModel

    return {"unet": UNet2DConditionModel, "vae": AutoencoderKL}[part]


def make_network(part: str, sizes: Mapping[str, Config]) -> Any:
    """A network with random weights, by the configs of a whole model; a ControlNet without one is that of its UNet."""
    config = sizes.get(part)
    if config is None:
        from ccsr.networks.controlnet import controlnet_keys

        config = {key: value for key, value in sizes["unet"].items() if key in controlnet_keys()}
    return network_class(part, config).from_config(config)


_SCHEDULER: Config = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "variance_type": "fixed_small",
}

SD21: dict[str, Config] = {
    "unet": {
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        # A misnomer kept by diffusers: these are numbers of heads, each 64 wide.
        "attention_head_dim": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
        "norm_num_groups": 32,
    },
    "vae": {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "sample_size": 768,
        "scaling_factor": 0.18215,
    },
    "scheduler": {**_SCHEDULER, "prediction_type": "epsilon"},
}

# Pictures are pixel-unshuffled by 4: 48 channels in, 16 numbers for each block of 4x4 pixels, no layer at full size.
NANO: dict[str, Config] = {
    "unet": {"_class_name": "CompactUNet", "in_channels": 16, "block_out_channels": (64,), "layers": 8},
    "controlnet": {"_class_name": "CompactControlNet", "in_channels": 16, "block_out_channels": (64,), "layers": 4},
    "vae": {
        "_class_name": "CompactAutoencoder",
        "in_channels": 48,
        "latent_channels": 16,
        "block_out_channels": (64,),
        "decoder_layers": 32,
        "scaling_factor": 1.0,
    },
    "scheduler": {**_SCHEDULER, "prediction_type": "sample"},
}

NARROW: dict[str, Config] = {
    "unet": {**NANO["unet"], "block_out_channels": (48,)},
    "controlnet": {**NANO["controlnet"], "block_out_channels": (48,)},
    "vae": {**NANO["vae"], "block_out_channels": (48,), "decoder_layers": 16},
    "scheduler": NANO["scheduler"],
}

ARCHITECTURES: dict[str, dict[str, Config]] = {"nano": NANO, "narrow": NARROW, "sd21": SD21}
