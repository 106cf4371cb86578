"""The CCSR ControlNet: diffusers' own, with the scaled VAE latent of the input as its hint."""

from inspect import Parameter, signature
from typing import Any

from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn

_STOCK = signature(ControlNetModel.__init__)


class LatentControlNet(ControlNetModel):
    """A ControlNet whose hint is the scaled latent of the low-quality picture (ccsr-spec 2).

    The picture embedding of the stock class gives way to one bare 3x3 convolution, `condition_conv_in`, from the
    latent's channels to the first width. `forward` is the stock one: pass `z_lq`, shape (B, C, h, w), as
    `controlnet_cond`.
    """

    def __init__(self, *args: Any, use_vae_encode_condition: bool = True, **kwargs: Any) -> None:
        if not use_vae_encode_condition:
            raise ValueError("this ControlNet's hint is a latent: use_vae_encode_condition must be true")
        super().__init__(*args, **kwargs)
        del self._modules["controlnet_cond_embedding"]
        self.condition_conv_in = nn.Conv2d(
            self.config.in_channels, self.config.block_out_channels[0], kernel_size=3, padding=1
        )
        # Written so that the folder is read as what it is by the published program too.
        self.register_to_config(use_vae_encode_condition=True)

    @property
    def controlnet_cond_embedding(self) -> nn.Module:
        """The hint's embedding, under the name by which the stock `forward` calls it."""
        return self.condition_conv_in

    @classmethod
    def for_unet(cls, unet: UNet2DConditionModel) -> "LatentControlNet":
        """A ControlNet of `unet`'s shape that starts from its weights; the hint convolution keeps its random start."""
        config = {key: value for key, value in unet.config.items() if key in controlnet_keys()}
        model = cls.from_config(config)
        for part in ("conv_in", "time_embedding", "down_blocks", "mid_block"):
            getattr(model, part).load_state_dict(getattr(unet, part).state_dict())
        return model


# diffusers reads from here which keys of a config.json belong to the class.
LatentControlNet.__init__.__signature__ = _STOCK.replace(  # type: ignore[attr-defined]
    parameters=[
        *_STOCK.parameters.values(),
        Parameter("use_vae_encode_condition", Parameter.KEYWORD_ONLY, default=True, annotation=bool),
    ]
)


_SHARED = """
    in_channels flip_sin_to_cos freq_shift down_block_types mid_block_type only_cross_attention block_out_channels
    layers_per_block downsample_padding mid_block_scale_factor act_fn norm_num_groups norm_eps cross_attention_dim
    transformer_layers_per_block attention_head_dim num_attention_heads use_linear_projection class_embed_type
    upcast_attention resnet_time_scale_shift
"""


def controlnet_keys() -> frozenset[str]:
    """Names of the UNet's constructor arguments that its ControlNet shares."""
    return frozenset(_SHARED.split())
