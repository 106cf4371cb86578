"""One evaluation of the two denoising networks together."""

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from ccsr.networks.kinds import ControlNet, UNet


def denoise(
    unet: "UNet",
    controlnet: "ControlNet",
    z_t: Tensor,
    t: int | Tensor,
    z_lq: Tensor,
    embedding: Tensor,
) -> Tensor:
    """ControlNet, then UNet: their output for `z_t`, float32, same shape (B, C, h, w).

    `t` is an index 0..999 or one per row, `z_lq` the scaled latent of the input, (B, C, h, w); the rows of
    `embedding`, (rows, tokens, width), repeat over the batch.
    """
    dtype = unet.dtype
    z_t, z_lq = z_t.to(dtype), z_lq.to(dtype)
    prompt = embedding.to(z_t.device, dtype).repeat(len(z_t) // len(embedding), 1, 1)
    down, mid = controlnet(z_t, t, encoder_hidden_states=prompt, controlnet_cond=z_lq, return_dict=False)
    output: Tensor = unet(
        z_t,
        t,
        encoder_hidden_states=prompt,
        down_block_additional_residuals=down,
        mid_block_additional_residual=mid,
        return_dict=False,
    )[0]
    return output.float()
