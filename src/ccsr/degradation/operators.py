"""What several degradations do to a picture: filters and the JPEG codec."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Transforms and resizes round otherwise when they are shared out among threads."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def filtered(x: Tensor, kernel: np.ndarray | None) -> Tensor:
    """(B, C, h, w) by one symmetric kernel (k, k), or by (B, 1, k, k), one for each row; None leaves it as it is."""
    if kernel is None:
        return x
    reach = kernel.shape[-1] // 2
    # Pictures narrower than the kernel's reach cannot be reflected that far.
    mode = "reflect" if min(x.shape[-2:]) > reach else "replicate"
    padded = pad(x, (reach,) * 4, mode=mode)
    # By Fourier transform: a direct 21x21 convolution takes twenty times as long. Every kernel is symmetric about its
    # centre, so convolution and correlation are one.
    size = padded.shape[-2:]
    weight = torch.fft.rfft2(torch.from_numpy(kernel).to(x.dtype).to(x.device), s=size)
    return torch.fft.irfft2(torch.fft.rfft2(padded) * weight, s=size)[..., 2 * reach :, 2 * reach :]


def through_jpeg(x: Tensor, quality: int) -> Tensor:
    """(1, 3, h, w) through the codec."""
    picture = (x[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(file)).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(decoded))[None].float().to(x.device) / 255
