"""The losses of the denoiser, in the forms of the paper and of the published program (ccsr-spec 5), and of pictures."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, mse_loss

from ccsr.method.sampler import NoiseSchedule, add_noise, predict_x0, training_target
from ccsr.method.timesteps import LAST

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Network output for (z_t, t, z_lq): shapes (B, C, h, w), (B,), (B, C, h, w)."""


def plain_loss(
    predict: Predict,
    schedule: NoiseSchedule,
    z_gt: Tensor,
    z_lq: Tensor,
    t: Tensor,
    noise: Tensor,
    snr_cap: float | None = None,
) -> dict[str, Tensor]:
    """The diffusion loss alone (paper Eq. 2): the pre-training, and the baseline that knows no truncation."""
    output = predict(add_noise(schedule, z_gt, noise, t), t, z_lq)
    return {"diffusion": _diffusion(schedule, output, z_gt, noise, t, snr_cap)}


def _diffusion(
    schedule: NoiseSchedule, output: Tensor, z_gt: Tensor, noise: Tensor, t: Tensor, snr_cap: float | None
) -> Tensor:
    if snr_cap is None:
        return mse_loss(output, training_target(schedule, z_gt, noise, t))
    # An error of the clean latent is one of the noise times sqrt((1 - a) / a). The bound is that of "Efficient
    # Diffusion Training via Min-SNR Weighting Strategy": without it the last few indices, a thousand times as heavy,
    # are all that is learnt.
    a = schedule.at(t, z_gt)
    x0 = predict_x0(schedule, add_noise(schedule, z_gt, noise, t), output, t)
    return ((a / (1 - a)).clamp(max=snr_cap) * (x0 - z_gt) ** 2).mean()


def published_losses(
    predict: Predict,
    schedule: NoiseSchedule,
    z_gt: Tensor,
    z_lq: Tensor,
    t: Tensor,
    noises: tuple[Tensor, Tensor, Tensor],
    renoise: int = 667,
    start_from_lq: bool = False,
    snr_cap: float | None = None,
) -> dict[str, Tensor]:
    """All three losses on the same batch, as the published program sums them (ccsr-spec 5.2).

    `t` is one index per sample, below `renoise`; `noises` are those of the diffusion term, of index 999 and of the
    re-noising. Latents are scaled; each term is a mean over all elements. Index 999 is reached from the good picture's
    latent as published, or from the low-quality one's as in use.
    """
    output = predict(add_noise(schedule, z_gt, noises[0], t), t, z_lq)
    diffusion = _diffusion(schedule, output, z_gt, noises[0], t, snr_cap)
    return {"diffusion": diffusion, **_truncated(predict, schedule, z_gt, z_lq, noises[1:], renoise, start_from_lq)}


def paper_losses(
    predict: Predict,
    schedule: NoiseSchedule,
    z_gt: Tensor,
    z_lq: Tensor,
    t: Tensor,
    noises: tuple[Tensor, Tensor, Tensor],
    renoise: int = 667,
    start_from_lq: bool = False,
    snr_cap: float | None = None,
) -> dict[str, Tensor]:
    """One index per sample: l_T + l_tmax where it is 999, l_diff elsewhere (paper Eq. 2 and 3, III-D).

    Samples with t = 999 must come first. The first evaluation is one batch for both kinds; each term is weighted with
    its share of the batch, so that the sum is the mean over samples.
    """
    last = int((t == LAST).sum())
    start = torch.cat([z_lq[:last], z_gt[last:]]) if start_from_lq else z_gt
    z_t = add_noise(schedule, start, noises[0], t)
    output = predict(z_t, t, z_lq)
    terms = {}
    if last < len(t):
        rest = _diffusion(schedule, output[last:], z_gt[last:], noises[0][last:], t[last:], snr_cap)
        terms["diffusion"] = rest * (1 - last / len(t))
    if last:
        share = last / len(t)
        z_gt, z_lq = z_gt[:last], z_lq[:last]
        x0 = predict_x0(schedule, z_t[:last], output[:last], LAST)
        terms["x0_at_T"] = mse_loss(x0, z_gt) * share
        terms["x0_at_t_max"] = _renoised(predict, schedule, x0, z_gt, z_lq, noises[2][:last], renoise) * share
    return terms


def _truncated(
    predict: Predict,
    schedule: NoiseSchedule,
    z_gt: Tensor,
    z_lq: Tensor,
    noises: tuple[Tensor, ...],
    renoise: int,
    start_from_lq: bool,
) -> dict[str, Tensor]:
    z_t = add_noise(schedule, z_lq if start_from_lq else z_gt, noises[0], LAST)
    x0 = predict_x0(schedule, z_t, predict(z_t, torch.full((len(z_gt),), LAST), z_lq), LAST)
    return {
        "x0_at_T": mse_loss(x0, z_gt),
        "x0_at_t_max": _renoised(predict, schedule, x0, z_gt, z_lq, noises[1], renoise),
    }


def _renoised(
    predict: Predict, schedule: NoiseSchedule, x0: Tensor, z_gt: Tensor, z_lq: Tensor, noise: Tensor, renoise: int
) -> Tensor:
    # The gradient flows through x0 into the first evaluation as well.
    z_t = add_noise(schedule, x0, noise, renoise)
    output = predict(z_t, torch.full((len(z_t),), renoise), z_lq)
    return mse_loss(predict_x0(schedule, z_t, output, renoise), z_gt)


def to_ycbcr(rgb: Tensor) -> Tensor:
    """BT.601 full range of (B, 3, H, W) in 0..1: Y in 0..1, Cb and Cr in -0.5..0.5."""
    r, g, b = rgb.unbind(1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return torch.stack([y, (b - y) / 1.772, (r - y) / 1.402], dim=1)


def picture_loss(sr: Tensor, gt: Tensor, chroma_weight: float) -> Tensor:
    """L1 in YCbCr plus half the L1 of the first differences plus the L1 of 8x8 means, all with weighted chroma.

    PSNR-Y does not see colour and a short training loses it first; block means hold brightness and colour, which
    the normalised network gets wrong before it gets detail wrong. Inputs (B, 3, H, W) in 0..1.
    """
    weights = torch.tensor([1.0, chroma_weight, chroma_weight], device=sr.device).view(1, 3, 1, 1)
    error = (to_ycbcr(sr) - to_ycbcr(gt)) * weights
    rows, columns = error.diff(dim=2).abs().mean(), error.diff(dim=3).abs().mean()
    return error.abs().mean() + 0.5 * (rows + columns) + avg_pool2d(error, 8).abs().mean()


def lattice_loss(sr: Tensor, gt: Tensor, period: int) -> Tensor:
    """The pattern that repeats with every block of `period` pixels: of each picture's error, the mean at each place of
    a block, without the mean of all; L1 in -1..1, a float32 scalar. Inputs (B, 3, H, W) in 0..1, sides multiples of
    `period`.

    A plain error hardly feels it, being far below the error of any detail, while the eye finds it in smooth areas.
    """
    error = 2 * (sr.float() - gt.float())
    batch, channels, height, width = error.shape
    pattern = error.view(batch, channels, height // period, period, width // period, period).mean((2, 4))
    return (pattern - pattern.mean((2, 3), keepdim=True)).abs().mean()


def weave_loss(sr: Tensor, gt: Tensor) -> Tensor:
    """How much more one frequency and direction stands out of those of its length in luma than it does in the good
    pictures, taken over all blocks of the batch: a float32 scalar, 0 for equal pictures. Inputs (B, 3, H, W) in 0..1,
    sides of 32 at least.

    What is drawn with one period wherever there is texture stands out there; a picture's own lines differ from block to
    block. Sharpness and grain change all directions alike and cost nothing.
    """
    made, good = (_standing_out(to_ycbcr(x.float())[:, :1]) for x in (sr, gt))
    return torch.relu(made - good - _BY_CHANCE).mean()


_BLOCK, _FINE = 32, 5
"""Side of the blocks, and the lowest frequency that is looked at, in cycles a block."""
_BY_CHANCE = 0.3
"""What may stand out more in one batch of pictures than in another, in natural logarithms of power."""


def _standing_out(luma: Tensor) -> Tensor:
    """Logarithm of each frequency's mean power by that of its ring, each block's powers adding up to 1."""
    blocks = luma.unfold(2, _BLOCK, _BLOCK // 2).unfold(3, _BLOCK, _BLOCK // 2).flatten(0, 3)
    window = torch.hann_window(_BLOCK, device=luma.device)
    blocks = (blocks - blocks.mean((1, 2), keepdim=True)) * window * window[:, None]
    power = torch.view_as_real(torch.fft.fft2(blocks)).square().sum(-1)
    # A block without any detail has nothing that stands out.
    power = (power / (power.sum((1, 2), keepdim=True) + 1e-4)).mean(0)
    cycles = torch.fft.fftfreq(_BLOCK, 1 / _BLOCK, device=luma.device)
    ring = torch.hypot(cycles[:, None], cycles).round().long()
    wanted = (ring >= _FINE) & (ring <= _BLOCK // 2)
    powers, rings = power[wanted], ring[wanted]
    counts = torch.bincount(rings)
    means = torch.zeros(len(counts), device=luma.device).index_add(0, rings, powers) / counts.clamp(min=1)
    return torch.log(powers + 1e-12) - torch.log(means[rings] + 1e-12)


def ssim_loss(sr: Tensor, gt: Tensor) -> Tensor:
    """1 - SSIM of luma, (B, 3, H, W) in 0..1, sides of 11 at least: a float32 scalar, 0 for equal pictures.

    The Gaussian window and constants of "Image Quality Assessment: From Error Visibility to Structural Similarity".
    """
    x, y = (to_ycbcr(p)[:, :1] for p in (sr, gt))
    line = torch.exp(-((torch.arange(11, device=sr.device) - 5.0) ** 2) / (2 * 1.5**2))
    line = line / line.sum()

    def mean(values: Tensor) -> Tensor:
        return conv2d(conv2d(values, line.view(1, 1, 11, 1)), line.view(1, 1, 1, 11))

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return 1 - ssim.mean()
