"""What is decided before any work: sizes, device, number format, threads, tiles, memory and time.

A plan is a function of the picture's size, the options, the model and the kind of device, never of what is free at
the moment: the same command gives the same bytes tomorrow.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import groupby, islice
from math import isqrt
from typing import TYPE_CHECKING, Any, TypeVar

from ccsr.compat import COMPAT
from ccsr.errors import MemoryPlanError, OptionError
from ccsr.options import UpscaleOptions

if TYPE_CHECKING:
    from ccsr.weights import ModelDescription

Item = TypeVar("Item")
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
TILE_BUDGET = {"cpu": 1.5e9, "cuda": 4e9, "mps": 2e9}
"""Bytes of activations that one tile may take, by kind of device."""
MAXIMUM_SIDE = 65500
"""Longest side of a result; JPEG and the picture library end there."""


@dataclass(frozen=True)
class Plan:
    """How one picture will be computed."""

    device: str
    dtype: str
    threads: int
    tile: int | None
    vae_tile: int | None
    overlap: float | None
    output_width: int
    output_height: int
    memory_bytes: int
    flops: float
    """Floating point operations of one result, a multiply-add counted as two."""


def output_size(width: int, height: int, options: UpscaleOptions) -> tuple[int, int]:
    """(width, height) of the result: round(side * scale), or the target size with the aspect kept.

    Raises:
        OptionError: the target asks for less than the input or more than eight times its side.
    """
    if options.width is not None:
        size = (options.width, max(1, round(Fraction(height * options.width, width))))
    elif options.height is not None:
        size = (max(1, round(Fraction(width * options.height, height))), options.height)
    elif options.megapixels is not None:
        ratio = (options.megapixels * 1e6 / (width * height)) ** 0.5
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    else:
        size = (round(width * options.scale), round(height * options.scale))
    if not (0.999 * width <= size[0] <= 8.001 * width + 1 and 0.999 * height <= size[1] <= 8.001 * height + 1):
        raise OptionError(
            f"{width}x{height} to {size[0]}x{size[1]} is not between 1 and 8 times the side",
            hint="choose another --scale or target size",
        )
    if max(size) > MAXIMUM_SIDE:
        raise MemoryPlanError(f"a result of {size[0]}x{size[1]} is too large", hint=f"at most {MAXIMUM_SIDE} a side")
    return size


@cache
def has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware; elsewhere bf16 is emulated and slower than fp32."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return False
    return any(f in flags.split() for f in ("avx512_bf16", "amx_bf16", "bf16"))


def resolve_machine(options: UpscaleOptions) -> tuple[str, str, int]:
    """(device, dtype, threads) that `auto` stands for here."""
    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = device.partition(":")[0]
    if kind not in TILE_BUDGET:
        raise OptionError(f"--device is {device!r}", hint="choose auto, cpu, cuda, cuda:N or mps")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise OptionError(f"--device {device} is not available here", hint="use --device cpu")
    dtype = options.dtype
    if dtype == "auto":
        dtype = ("bf16" if has_bf16() else "fp32") if kind == "cpu" else "fp16" if kind == "cuda" else "fp32"
    threads = (
        options.threads or len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else (options.threads or os.cpu_count() or 1)
    )
    return device, dtype, threads


def make_plan(width: int, height: int, options: UpscaleOptions, model: "ModelDescription") -> Plan:
    """The plan for a picture of (width, height).

    Raises:
        OptionError: a size or device that cannot be.
        MemoryPlanError: the result or the untiled work is beyond the machine.
    """
    device, dtype, threads = resolve_machine(options)
    output_width, output_height = output_size(width, height, options)
    pixel_bytes = model.activation_bytes * BYTES[dtype] // 4
    auto = max(512, isqrt(int(TILE_BUDGET[device.partition(":")[0]] / pixel_bytes)) // 64 * 64)
    tile, vae_tile = (_tile(value, auto, output_width, output_height) for value in (options.tile, options.vae_tile))
    # Whatever is not tiled is computed in one piece.
    pixels = output_width * output_height
    computed = min(pixels, max(pixels if t is None else t * t for t in (tile, vae_tile)))
    # Input, enlarged input, result and their float copies, and what the blending holds.
    each = computed * pixel_bytes + output_width * output_height * 3 * 4 * 6
    memory = int(sum(model.parameters.values()) * BYTES[dtype] + options.batch_size * each + 600e6)
    if memory > (limit := _physical_memory()) and device == "cpu":
        raise MemoryPlanError(
            f"{output_width}x{output_height} needs about {memory / 1e9:.1f} GB, this machine has {limit / 1e9:.1f} GB",
            hint="use a smaller --tile and --vae-tile, or a smaller size"
            + (", or a smaller --batch-size" if options.batch_size > 1 else ""),
        )
    compat = COMPAT[options.compat]
    overlap = compat.overlap if options.overlap == "auto" else float(options.overlap)
    evaluations = len(options.trajectory.timesteps) * (2 if options.guidance > 1 else 1)
    per_pixel = model.flops_per_pixel
    flops = (
        output_width * output_height * (per_pixel["encode"] + per_pixel["decode"] + per_pixel["denoise"] * evaluations)
    )
    return Plan(device, dtype, threads, tile, vae_tile, overlap, output_width, output_height, memory, flops)


def batches(items: Iterable[Item], size: int, key: Callable[[Item], Any]) -> Iterator[list[Item]]:
    """Neighbours of equal `key` (the size of a picture, say), at most `size` at a time; the order stays."""
    for _, alike in groupby(items, key):
        while batch := list(islice(alike, size)):
            yield batch


def _tile(value: int | str, auto: int, width: int, height: int) -> int | None:
    """Output pixels of a tile, or None where the whole picture fits in one."""
    if value == "none":
        return None
    tile = auto if value == "auto" else int(value)
    return None if tile >= max(width, height) else tile


def _physical_memory() -> float:
    """Bytes of memory of this machine, or of what this process may have of it; unlimited where it cannot be asked."""
    try:
        limit = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
    try:
        import resource

        address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, OSError):  # Windows
        return limit
    return limit if address_space == resource.RLIM_INFINITY else min(limit, float(address_space))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch says so for the CPU in words only."""
    kinds = (MemoryError, *((torch.OutOfMemoryError,) if (torch := sys.modules.get("torch")) else ()))
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


@cache
def machine_flops(device: str, dtype: str, threads: int) -> float:
    """Operations per second of a typical convolution here and now, measured in about a tenth of a second."""
    import time

    import torch

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    torch.set_num_threads(threads)
    with torch.inference_mode():
        x = torch.randn(1, 64, 128, 128, device=device).to(kinds[dtype], memory_format=torch.channels_last)
        layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(device, kinds[dtype])
        float(layer(x).sum())
        started, runs = time.perf_counter(), 5
        for _ in range(runs):
            float(layer(x).float().sum())
    return runs * 2 * 64 * 64 * 9 * 128 * 128 / (time.perf_counter() - started)


def estimated_seconds(plan: Plan) -> float:
    """Rough seconds for one result: the networks reach about half of a plain convolution's speed."""
    return plan.flops / (0.5 * machine_flops(plan.device, plan.dtype, plan.threads))
