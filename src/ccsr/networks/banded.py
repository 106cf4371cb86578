"""Functions of each value by itself on tensors as large as a picture, by bands: only the result is as large again."""

from collections.abc import Callable

from torch import Tensor

from ccsr.images import buffers
from ccsr.networks.tiling import buffer


def by_bands(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """`function(*tensors)`, where each of its values comes from those of the same row.

    `tensors` are (B, C, H, W) with B and C of their own; so is the result, which for large tensors on the CPU is a
    buffer that need not be in memory. Tensors that are trained through, or lie elsewhere, are taken as they are.
    """
    small = all(tensor.nbytes <= buffers.RESIDENT for tensor in tensors)
    if small or any(tensor.requires_grad or tensor.device.type != "cpu" for tensor in tensors):
        return function(*tensors)
    height, width = tensors[0].shape[-2:]
    out = None
    for top, bottom in buffers.bands(height, width):
        band = function(*(tensor[..., top:bottom, :] for tensor in tensors))
        if out is None:
            out = buffer((*band.shape[:2], height, width), band.device)
        out[..., top:bottom, :] = band
    if out is None:
        raise ValueError("a tensor has one row at least")
    return out
