"""Constructor arguments of the two models: one code path, two sets of widths.

`SD21` is Stable Diffusion 2.1-base with the CCSR ControlNet (ccsr-spec 2); `NANO` is the small model of the same
classes that is trained here and ships with the package.
"""

from typing import Any

Config = dict[str, Any]

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

NANO: dict[str, Config] = {
    "unet": {
        "sample_size": 128,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D",) * 4,
        "up_block_types": ("UpBlock2D",) * 4,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "block_out_channels": (64, 96, 128, 192),
        "layers_per_block": 1,
        "norm_num_groups": 16,
        "cross_attention_dim": 64,
        "attention_head_dim": 8,
        "use_linear_projection": True,
    },
    # 12 channels in and out: the VAE sees the picture pixel-unshuffled by 2, so nothing is computed at full size.
    "vae": {
        "in_channels": 12,
        "out_channels": 12,
        "latent_channels": 4,
        "block_out_channels": (48, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
        "sample_size": 256,
        "scaling_factor": 1.0,
    },
    "scheduler": {**_SCHEDULER, "prediction_type": "v_prediction"},
}
