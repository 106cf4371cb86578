"""A trained super-resolution network whose pictures the decoder is to match where it knows better.

Of a badly damaged picture the good one cannot be known from what is left. Told to match it, a network learns the mean
of all that it could have been, which is blurred; what another network makes of the same input can be matched.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle

from ccsr.errors import WeightsError
from ccsr.method.color import wavelet_color_fix
from ccsr.metrics.features import FeatureNetwork, feature_distances
from ccsr.training.codec_start import read_compact

FACTOR = 4


class Teacher(nn.Module):
    """A stack of convolutions with PReLU at the input's size; the last one's channels are shuffled to the factor of 4
    and added to the nearest enlargement."""

    def __init__(self, stem: str) -> None:
        """Of the files `stem`.param and `stem`.bin.

        Raises:
            WeightsError: they cannot be read, or are of another kind or factor.
        """
        super().__init__()
        layers = read_compact(stem)
        if not layers or layers[0][0].shape[1] != 3 or layers[-1][0].shape[0] != 3 * FACTOR**2:
            raise WeightsError(f"is no compact network that enlarges by {FACTOR}", path=f"{stem}.param")
        stack: list[nn.Module] = []
        for weight, bias, slopes in layers:
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
            conv.load_state_dict({"weight": weight, "bias": bias})
            stack.append(conv)
            if slopes is not None:
                act = nn.PReLU(len(slopes))
                act.load_state_dict({"weight": slopes})
                stack.append(act)
        self.stack = nn.Sequential(*stack).requires_grad_(False)

    @torch.no_grad()
    def forward(self, lq: Tensor) -> Tensor:
        """(B, 3, h, w) in 0..1 to (B, 3, 4h, 4w), which may leave 0..1 a little."""
        return pixel_shuffle(self.stack(lq), FACTOR) + interpolate(lq, scale_factor=FACTOR, mode="nearest")


def taught(teacher: Teacher, lq: Tensor, gt: Tensor) -> Tensor:
    """The teacher's picture of `lq` with the colours of `gt`, (B, 3, H, W) in 0..1: detail is learnt, no cast."""
    return wavelet_color_fix(teacher(lq).clamp(0, 1), gt).clamp(0, 1)


def knows_better(network: FeatureNetwork, picture: Tensor, good: list[Tensor], apart: Tensor) -> Tensor:
    """Whether the teacher's `picture`, (B, 3, h, w), is nearer to the good one than the decoder's: (B, 1, 1, 1).

    `good` are the features of the good picture, `apart` the decoder's feature distances from it, (B,).
    """
    with torch.no_grad():
        return (feature_distances(network, network(picture), good) < apart)[:, None, None, None]
