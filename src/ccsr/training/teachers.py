"""A trained super-resolution network whose pictures the decoder is to match where it knows better.

Of a badly damaged picture the good one cannot be known from what is left. Told to match it, a network learns the mean
of all that it could have been, which is blurred; what another network makes of the same input can be matched.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, leaky_relu, pixel_shuffle, prelu

from ccsr.errors import WeightsError
from ccsr.method.color import wavelet_color_fix
from ccsr.weights.ncnn_files import NcnnLayer, read_ncnn

FACTOR = 4
_LEAKY = 2
"""ncnn's number of that activation; its slope is the setting 10."""


class Teacher(nn.Module):
    """Any network in ncnn's files that enlarges by 4: the compact ones of "Real-ESRGAN", and its large one, x4plus."""

    def __init__(self, stem: str) -> None:
        """Of the files `stem`.param and `stem`.bin.

        Raises:
            WeightsError: they cannot be read, or are of another kind or factor.
        """
        super().__init__()
        self.layers = read_ncnn(stem)
        for i, layer in enumerate(self.layers):
            for j, weight in enumerate(layer.weights):
                self.register_buffer(f"weight_{i}_{j}", weight)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        try:
            shape = self(torch.zeros(1, 3, 8, 8)).shape
        except (RuntimeError, ValueError, LookupError) as error:
            raise WeightsError(f"is no network for pictures: {error}", path=f"{stem}.param") from error
        if shape != (1, 3, 8 * FACTOR, 8 * FACTOR):
            raise WeightsError(f"is no network that enlarges by {FACTOR}", path=f"{stem}.param")

    @torch.no_grad()
    def forward(self, lq: Tensor) -> Tensor:
        """(B, 3, h, w) in 0..1 to (B, 3, 4h, 4w), which may leave 0..1 a little."""
        made: dict[str, Tensor] = {}
        out = lq
        for i, layer in enumerate(self.layers):
            weights = [self.get_buffer(f"weight_{i}_{j}") for j in range(len(layer.weights))]
            inputs = [made[name] for name in layer.inputs] or [lq]
            out = _computed(layer, inputs, weights)
            made.update(dict.fromkeys(layer.outputs, out))
        return out


def _computed(layer: NcnnLayer, inputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    x = inputs[0]
    match layer.kind:
        case "Convolution":
            weight, bias = weights
            x = conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
            if layer.number(9) == _LEAKY:
                x = leaky_relu(x, layer.numbers(10)[0])
            elif layer.number(9):
                raise ValueError(f"the activation {layer.settings[9]} is not read here")
        case "PReLU":
            x = prelu(x, weights[0].to(x.dtype))
        case "PixelShuffle":
            x = pixel_shuffle(x, int(layer.number(0)))
        case "Interp":
            x = interpolate(x, scale_factor=layer.number(1), mode="nearest")
        case "Concat":
            x = torch.cat(inputs, 1)
        case "Eltwise" | "BinaryOp":
            factors = layer.numbers(1) if layer.kind == "Eltwise" else ()
            terms = [f * v for f, v in zip(factors or [1.0] * len(inputs), inputs, strict=True)]
            # Not stacked: that would leave the memory order in which convolutions are fastest.
            x = sum(terms[1:], terms[0])
    return x


def taught(teacher: Teacher, lq: Tensor, gt: Tensor) -> Tensor:
    """The teacher's picture of `lq` with the colours of `gt`, (B, 3, H, W) in 0..1: detail is learnt, no cast."""
    return wavelet_color_fix(teacher(lq).clamp(0, 1), gt).clamp(0, 1)
