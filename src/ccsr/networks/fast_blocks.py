"""The blocks of diffusers that have faster forms: see `fast`, which puts these in their places."""

from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn.functional import conv2d, silu


class LeanResnetBlock(ResnetBlock2D):
    """The residual block with SiLU and additions in place, and no division by an output scale of 1."""

    def forward(self, input_tensor: Tensor, temb: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        """As the stock block: (B, C, h, w) and the time embedding (B, width) to (B, D, h, w)."""
        if (
            torch.is_grad_enabled()
            or self.upsample is not None
            or self.downsample is not None
            # Without an embedding, as in a VAE, the other kinds come to the same.
            or (self.time_embedding_norm != "default" and self.time_emb_proj is not None)
            or self.output_scale_factor != 1
            or not isinstance(self.nonlinearity, nn.SiLU)
        ):
            return super().forward(input_tensor, temb, *args, **kwargs)
        x = self.conv1(silu(self.norm1(input_tensor), inplace=True))
        if self.time_emb_proj is not None and temb is not None:
            x += self.time_emb_proj(temb if self.skip_time_act else silu(temb))[:, :, None, None]
        # The norm gives a tensor of its own, which nobody else holds; the same goes for what a convolution gives.
        x = self.conv2(silu(self.norm2(x), inplace=True))
        x += input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor)
        return x


_ENOUGH = 32 * 32
"""Pixels from which the multiplications saved outweigh adding up the weights, whatever the widths."""


class PhaseUpsample(Upsample2D):
    """Nearest enlargement by 2 and a 3x3 convolution, as four 2x2 convolutions of the picture before enlargement.

    Of the nine pixels under the kernel, many are copies of one: their weights add up. An output pixel at an even row
    sees the input's row above with the first row of weights and its own with the sum of the other two, at an odd row
    it is the other way round; columns likewise. 4 multiplications remain of 9.
    """

    def forward(self, hidden_states: Tensor, output_size: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        """As the stock block: (B, C, h, w) to (B, D, 2h, 2w)."""
        conv: Any = self.conv if self.name == "conv" else getattr(self, "Conv2d_0", None)
        if (
            torch.is_grad_enabled()
            or output_size is not None
            or hidden_states.device.type != "cpu"  # measured nowhere else
            or hidden_states.shape[-2] * hidden_states.shape[-1] < _ENOUGH
            or self.norm is not None
            or not self.interpolate
            or not _is_plain(conv)
        ):
            return super().forward(hidden_states, output_size, *args, **kwargs)
        batch, _, height, width = hidden_states.shape
        out = torch.empty(
            (batch, conv.out_channels, 2 * height, 2 * width),
            dtype=hidden_states.dtype, device=hidden_states.device, memory_format=torch.channels_last,
        )  # fmt: skip
        rows = _folded(conv.weight.float(), 2)
        for i, by_row in enumerate(rows):
            for j, kernel in enumerate(_folded(by_row, 3)):
                kernel = kernel.to(conv.weight.dtype).contiguous(memory_format=torch.channels_last)
                phase = conv2d(hidden_states, kernel, conv.bias, padding=1)
                out[:, :, i::2, j::2] = phase[:, :, i : i + height, j : j + width]
        return out


FASTER: dict[type, type] = {ResnetBlock2D: LeanResnetBlock, Upsample2D: PhaseUpsample}


def _folded(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Two weights of the three along `axis`, for the even and for the odd output pixels."""
    first, middle, last = weight.unbind(axis)
    return torch.stack([first, middle + last], axis), torch.stack([first + middle, last], axis)


def _is_plain(conv: Any) -> bool:
    """Whether this is a 3x3 convolution and nothing else: no adapter, no hook that fetches its weights."""
    return (
        type(conv) is nn.Conv2d
        and conv.kernel_size == (3, 3)
        and conv.stride == (1, 1)
        and conv.padding == (1, 1)
        and conv.groups == 1
        and "forward" not in vars(conv)
        and not conv._forward_hooks
        and not conv._forward_pre_hooks
    )
