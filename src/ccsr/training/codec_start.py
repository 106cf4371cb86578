"""Where nano's codec starts: what algebra gives from pictures, and the trunk of a trained super-resolution network.

Gradients find the principal components of a block of pixels only after thousands of steps; a matrix has them at once.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    interpolate,
    pad,
    pixel_unshuffle,
    unfold,
)

from ccsr.data.pairs import Pair, enlarge
from ccsr.errors import WeightsError
from ccsr.networks import CompactAutoencoder
from ccsr.networks.codec import shuffle_factor
from ccsr.networks.compact import sharpness
from ccsr.weights.ncnn_files import read_ncnn

_LEAST_SQUARES_NOISE = 4.0 / 255
"""Standard deviation of the noise in the pictures that `read_lq` is fitted on: it is not to sharpen."""
_GATE_NOISE, _GATE_SAMPLES = 8.0 / 255, 60_000


@torch.no_grad()
def start_codec(vae: CompactAutoencoder, pairs: Sequence[Pair], trunk: str | None) -> None:
    """Set the codec's weights: principal components of the good pictures' blocks, whitened, and their inverse.

    The low-quality picture is read out of the latent by the 3x3 convolution that does so best. `trunk` names, without
    the ending, ncnn files (`.param`, `.bin`) of a compact super-resolution network of this decoder's shape; without it
    the convolutions keep their random weights, and the last one is zero: then the decoder only inverts the encoder.

    Raises:
        WeightsError: the files of `trunk` cannot be read, or hold a network of another shape.
    """
    factor, decoder = shuffle_factor(vae), vae.decoder
    blocks = torch.cat([pixel_unshuffle(p.gt, factor).movedim(1, -1).flatten(0, -2) for p in pairs]).double()
    mean = blocks.mean(0)
    variance, basis = torch.linalg.eigh(torch.cov((blocks - mean).T))
    count = vae.config.latent_channels
    basis = basis.flip(1)[:, :count]
    # A sign of its own for each component, so that every machine gets the same codec.
    basis = basis * torch.sign(basis.gather(0, basis.abs().argmax(0, keepdim=True)))
    deviation = variance.flip(0)[:count].clamp(min=1e-12).sqrt()
    # The codec hands over pictures in -1..1; the components are those of 0..1.
    vae.deviation.copy_(deviation)
    _set(vae.encoder, basis.T / 2, (0.5 - mean) @ basis)
    _set(decoder.linear, 2 * basis, 2 * mean - 1)
    _fit_read_lq(vae, pairs, factor)
    _fit_gate(vae, pairs, factor)
    if trunk is None:
        nn.init.zeros_(decoder.correction.weight)
        nn.init.zeros_(decoder.conv_out.weight)
        nn.init.zeros_(decoder.conv_out.bias)  # type: ignore[arg-type]
    else:
        decoder.correction.weight.copy_(2 * (_nearest(factor) - _bicubic(factor)))
        _start_trunk(vae, trunk)


@torch.no_grad()
def open_gate(vae: CompactAutoencoder) -> None:
    """Let the decoder draw everywhere, for good: so far up a sigmoid is 1 and passes no gradient."""
    gate = vae.decoder.gate
    _set(gate, torch.zeros_like(gate.weight), torch.full((1,), 100.0))


def _set(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    conv.weight.copy_(weight.view_as(conv.weight))
    assert conv.bias is not None  # noqa: S101 -- for the type checker
    conv.bias.copy_(bias)


def _nearest(factor: int) -> Tensor:
    """The nearest enlargement as a 5x5 convolution onto pixel-shuffled channels, (3 * factor ** 2, 3, 5, 5)."""
    weight = torch.zeros(3, factor**2, 3, 5, 5)
    for channel in range(3):
        weight[channel, :, channel, 2, 2] = 1
    return weight.flatten(0, 1)


def _bicubic(factor: int) -> Tensor:
    """The bicubic enlargement likewise: what single bright pixels become."""
    picture = torch.zeros(1, 1, 9, 9)
    picture[..., 4, 4] = 1
    spread = interpolate(picture, (9 * factor, 9 * factor), mode="bicubic", antialias=True)
    # Block (4 - d) holds what the pixel at a distance of d adds to it.
    response = pixel_unshuffle(spread, factor)[0, :, 2:7, 2:7].flip(1, 2)
    weight = torch.zeros(3, factor**2, 3, 5, 5)
    for channel in range(3):
        weight[channel, :, channel] = response
    return weight.flatten(0, 1)


def _fit_read_lq(vae: CompactAutoencoder, pairs: Sequence[Pair], factor: int) -> None:
    conv, generator = vae.decoder.read_lq, torch.Generator().manual_seed(0)
    rows, targets = [], []
    for pair in pairs:
        size = (pair.gt.shape[-2] // factor, pair.gt.shape[-1] // factor)
        lq = interpolate(pair.gt, size, mode="bicubic", antialias=True)
        lq = (lq + _LEAST_SQUARES_NOISE * torch.randn(lq.shape, generator=generator)).clamp(0, 1)
        up = enlarge(lq, (size[0] * factor, size[1] * factor))
        y = vae.encoder(pixel_unshuffle(2 * up - 1, factor))
        seen = unfold(pad(y, (1,) * 4, mode="replicate"), 3).movedim(1, -1).flatten(0, 1)
        rows.append(torch.cat([seen, torch.ones(len(seen), 1)], 1).double())
        targets.append(lq.movedim(1, -1).flatten(0, 2).double())
    a, b = torch.cat(rows), torch.cat(targets)
    solution = torch.linalg.solve(a.T @ a + 1e-3 * torch.eye(a.shape[1], dtype=a.dtype), a.T @ b)
    _set(conv, solution[:-1].T, solution[-1])


def _fit_gate(vae: CompactAutoencoder, pairs: Sequence[Pair], factor: int) -> None:
    """Open for pictures that were enlarged by the codec's whole factor, closed for those enlarged by less.

    A logistic regression on what the gate sees.
    """
    generator = torch.Generator().manual_seed(0)
    seen, wanted = [], []
    for number, pair in enumerate(pairs):
        height, width = (side // (2 * factor) * 2 * factor for side in pair.gt.shape[-2:])
        gt = pair.gt[..., :height, :width]
        for scale in (factor, factor // 2, 1):
            lq = interpolate(gt, (height // scale, width // scale), mode="bicubic", antialias=True)
            # Noise is not detail: every other picture has some, as much as a camera's.
            lq = (lq + number % 2 * _GATE_NOISE * torch.randn(lq.shape, generator=generator)).clamp(0, 1)
            z = vae.encode(pixel_unshuffle(2 * enlarge(lq, (height, width)) - 1, factor)).latent_dist.mean
            seen.append(sharpness(z).movedim(1, -1).flatten(0, 2))
            wanted.append(torch.full((len(seen[-1]),), float(scale == factor)))
    x, y = torch.cat(seen), torch.cat(wanted)
    some = torch.randperm(len(x), generator=generator)[:_GATE_SAMPLES]
    x, y = x[some], y[some]
    weight, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        # The penalty keeps the gate from saturating: it is to learn on.
        value = binary_cross_entropy_with_logits(x @ weight + bias, y) + 1e-3 * (weight**2).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    _set(vae.decoder.gate, weight.detach(), bias.detach())


def _start_trunk(vae: CompactAutoencoder, stem: str) -> None:
    decoder = vae.decoder
    layers = read_compact(stem)
    trunk = list(decoder.trunk)
    convs: list[Any] = [decoder.conv_in, *trunk[0::2], decoder.conv_out]
    acts: list[Any] = [decoder.act_in, *trunk[1::2]]
    # The first one sees the latent beside the picture, at first without weight.
    wanted = [(c.out_channels, 3 if c is decoder.conv_in else c.in_channels, 3, 3) for c in convs]
    if [tuple(weight.shape) for weight, _, _ in layers] != wanted:
        raise WeightsError(
            f"holds {len(layers)} convolutions of another shape than the decoder's {len(convs)}", path=f"{stem}.param"
        )
    for conv, (weight, bias, _) in zip(convs, layers, strict=True):
        last = conv is decoder.conv_out
        full = torch.zeros_like(conv.weight)
        full[:, : weight.shape[1]] = weight
        _set(conv, full * (2 if last else 1), bias * (2 if last else 1))
    for act, (_, _, slopes) in zip(acts, layers[:-1], strict=True):
        if slopes is None:
            raise WeightsError("a convolution has no PReLU behind it", path=f"{stem}.param")
        act.weight.copy_(slopes)


def read_compact(stem: str) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Weight (out, in, k, k), bias and PReLU slopes (None: no PReLU) of each convolution in ncnn's two files.

    Raises:
        WeightsError: there are no such files, or they are not of this kind.
    """
    layers: list[tuple[Tensor, Tensor, Tensor | None]] = []
    for layer in read_ncnn(stem):
        if layer.kind == "Convolution":
            weight, bias = layer.weights
            layers.append((weight, bias, None))
        elif layer.kind == "PReLU" and layers:
            layers[-1] = (*layers[-1][:2], layer.weights[0])
    return layers
