"""What is decided before any work: sizes, device, number format, threads, tiles, memory and time.

A plan is a function of the picture's size, the options, the model and the kind of device, never of what is free at
the moment: the same command gives the same bytes tomorrow.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import groupby, islice
from math import ceil, isqrt
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ccsr.errors import MemoryPlanError, OptionError
from ccsr.images.buffers import RESIDENT
from ccsr.method.compat import COMPAT
from ccsr.options import UpscaleOptions

if TYPE_CHECKING:
    from ccsr.weights import ModelDescription

Item = TypeVar("Item")
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
TILE_BUDGET = {"cpu": 1.5e9, "cuda": 4e9, "mps": 2e9}
"""Bytes of activations that one tile may take, by kind of device."""
_DENOISER_SHARE = 0.25
"""Bytes that a pixel takes in the denoiser, in units of those in the VAE, at most about: it works on latents."""
_LEAST_TILE = 512
_MOST_TILE = {"denoiser": 1024, "vae": 704}
"""Side of the largest tiles: more pixels take no less time each, since they leave the processor's caches."""
_AT_ONCE = 2**22
"""Pixels of a result that are in a network at once at most: enough of a picture for the statistics that tiles share."""
SMALL_PIXELS = 256 * 256
"""Results of at most so many pixels are computed by one thread, several at a time: more threads hardly speed up one."""
_SMALLEST = 256
"""Side of the smallest tiles that are tried when memory runs out."""
_PROGRAM = 600e6
"""Bytes of the program and its libraries, about."""
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
    work_width: int
    """The size that is computed; a smaller result is reduced from it."""
    work_height: int
    memory_bytes: int
    """Of memory at most, about, the machine's file cache aside."""
    flops: float
    """Floating point operations of one result, a multiply-add counted as two."""
    together: int = 1
    """Tiles of the denoiser that run in step for the statistics they share."""
    vae_together: int = 1
    lanes: int = 1
    """Results that may be computed side by side, each with `threads` threads."""
    disk_bytes: int = 0
    """Of working files beside the result, about; they are gone when it is there."""

    @property
    def smaller(self) -> "Plan | None":
        """The same work with a quarter of the pixels at once, for a machine that had less memory than it should;
        None: tiles do not get smaller."""
        pieces = []
        for tile, together in ((self.tile, self.together), (self.vae_tile, self.vae_together)):
            at_work = self.work_width * self.work_height if tile is None else tile**2 * together
            side = isqrt(at_work // 16) // 64 * 64
            pieces.append((side, 4) if side >= _SMALLEST else (tile, together))
        (tile, together), (vae_tile, vae_together) = pieces
        if (tile, vae_tile) == (self.tile, self.vae_tile):
            return None
        return replace(self, tile=tile, together=together, vae_tile=vae_tile, vae_together=vae_together)


def output_size(width: int, height: int, options: UpscaleOptions) -> tuple[int, int]:
    """(width, height) of the result: round(side * scale), or the target size with the aspect kept.

    Under `--compat v1` a scale's sides are rounded up.

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
    elif options.paper is not None:
        size = _fitted(width, height, options.paper, options.dots_per_inch or 1)
    else:
        size = (round(width * options.scale), round(height * options.scale))
        if COMPAT[options.compat].sides_rounded_up:
            size = (ceil(width * float(options.scale)), ceil(height * float(options.scale)))
    if not (0.999 * width <= size[0] <= 8.001 * width + 1 and 0.999 * height <= size[1] <= 8.001 * height + 1):
        raise OptionError(
            f"{width}x{height} to {size[0]}x{size[1]} is not between 1 and 8 times the side",
            hint="choose another --scale or target size",
        )
    if max(size) > MAXIMUM_SIDE:
        raise MemoryPlanError(f"a result of {size[0]}x{size[1]} is too large", hint=f"at most {MAXIMUM_SIDE} a side")
    return size


def _fitted(width: int, height: int, paper: tuple[float, float], dpi: float) -> tuple[int, int]:
    """The largest (width, height) on a paper of (across, down) inches, which is turned as the picture stands."""
    short, long = sorted(side * dpi for side in paper)
    across, down = (long, short) if width > height else (short, long)
    ratio = min(across / width, down / height)
    if ratio < 1:
        raise OptionError(
            f"{width}x{height} is more than --print needs at {dpi:g} dots per inch",
            hint=f"print it as it is: it has {dpi / ratio:.0f} there, or choose a larger --dpi",
        )
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def least_side(options: UpscaleOptions, model: "ModelDescription") -> int | None:
    """Shortest side in pixels that is computed."""
    return options.min_size or COMPAT[options.compat].min_size or model.min_size


def work_size(
    width: int, height: int, output: tuple[int, int], options: UpscaleOptions, model: "ModelDescription"
) -> tuple[int, int]:
    """(width, height) that is computed for a picture of (width, height): the output's, or what the model's least side
    and least scale make of it. The published programs resize in their own way."""
    if COMPAT[options.compat].fit != "pad":
        return output
    least = least_side(options, model) or 1
    scale = options.min_scale or model.min_scale or 1
    factor = max(least / min(output), scale * width / output[0], scale * height / output[1])
    if factor <= 1:
        return output
    return max(least, round(output[0] * factor)), max(least, round(output[1] * factor))


@cache
def cpu_says(*names: str) -> frozenset[str]:
    """The words of the first of the system's lines on this CPU with one of these names; empty where it has none."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            found = (words for line in lines for name, _, words in [line.partition(":")] if name.strip() in names)
            return frozenset(next(found, "").split())
    except OSError:
        return frozenset()


def bf16_is_faster(backward: bool = False) -> bool:
    """Whether networks are computed faster in bf16 than in fp32 on this CPU, or, with `backward`, trained.

    It is decided by what the processor is, never by a measurement: bytes must not depend on chance. AMX multiplies bf16
    several times as fast. AVX-512's bf16 takes half the time of fp32 on AMD's processors, and twice the time on
    Intel's. Arm's were not measured, and are not trained in it.
    """
    flags = cpu_says("flags", "Features")
    return (
        "amx_bf16" in flags
        or ("avx512_bf16" in flags and "GenuineIntel" not in cpu_says("vendor_id"))
        or ("bf16" in flags and not backward)
    )


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
        dtype = ("bf16" if bf16_is_faster() else "fp32") if kind == "cpu" else "fp16" if kind == "cuda" else "fp32"
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
    output = output_size(width, height, options)
    work = work_size(width, height, output, options, model)
    pixels = work[0] * work[1]
    lanes = 1
    if device == "cpu" and options.threads is None and pixels <= SMALL_PIXELS:
        threads, lanes = 1, threads
    denoiser, vae = _choose_tiles(options, model, device, dtype, work)
    if denoiser.side or vae.side:
        lanes = 1  # the statistics that tiles share are kept in the networks
    at_work = max(_at_work(part, pixels) * part.pixel_bytes for part in (denoiser, vae))
    if COMPAT[options.compat].whole_encoder:
        at_work = max(at_work, pixels * vae.pixel_bytes)
    resident = _resident(width * height, pixels, model, options)
    weights = sum(model.parameters.values()) * BYTES[dtype]
    memory = int(weights + lanes * options.batch_size * (at_work + resident) + _PROGRAM)
    if memory > (limit := _physical_memory()) and device == "cpu":
        raise MemoryPlanError(
            f"{output[0]}x{output[1]} needs about {memory / 1e9:.1f} GB, this machine has {limit / 1e9:.1f} GB",
            hint="use a smaller --tile and --vae-tile, or a smaller size"
            + (", or a smaller --batch-size" if options.batch_size > 1 else ""),
        )
    return Plan(
        device=device,
        dtype=dtype,
        threads=threads,
        lanes=lanes,
        tile=denoiser.side,
        together=denoiser.together,
        vae_tile=vae.side,
        vae_together=vae.together,
        overlap=COMPAT[options.compat].overlap if options.overlap == "auto" else float(options.overlap),
        output_width=output[0],
        output_height=output[1],
        work_width=work[0],
        work_height=work[1],
        memory_bytes=memory,
        disk_bytes=_on_disk(width * height, pixels, output[0] * output[1], model.latent_factor, options),
        flops=_operations(pixels, options, model),
    )


def batches(items: Iterable[Item], size: int, key: Callable[[Item], Any]) -> Iterator[list[Item]]:
    """Neighbours of equal `key` (the size of a picture, say), at most `size` at a time; the order stays."""
    for _, alike in groupby(items, key):
        while batch := list(islice(alike, size)):
            yield batch


class _Tiles(NamedTuple):
    """How one part of the networks takes a picture."""

    side: int | None
    """Output pixels of a tile's side at most; None: the picture is computed in one piece."""
    together: int
    """Tiles that run in step."""
    pixel_bytes: float
    """What an output pixel takes in this part."""


def _choose_tiles(
    options: UpscaleOptions, model: "ModelDescription", device: str, dtype: str, work: tuple[int, int]
) -> tuple[_Tiles, _Tiles]:
    """Tiles of the denoiser and of the VAE for a picture that is computed at `work`, (width, height)."""
    budget = TILE_BUDGET[device.partition(":")[0]]
    in_vae = model.activation_bytes * BYTES[dtype] / 4
    in_denoiser = _DENOISER_SHARE * in_vae
    return (
        _Tiles(*_tile(options.tile, budget / in_denoiser, _MOST_TILE["denoiser"], *work), in_denoiser),
        _Tiles(*_tile(options.vae_tile, budget / in_vae, _MOST_TILE["vae"], *work), in_vae),
    )


def _tile(value: int | str, budget: float, most: int, width: int, height: int) -> tuple[int | None, int]:
    """The side of tiles and how many run in step, as in `_Tiles`; `budget` is the pixels that may be at work at once,
    `most` the side of the largest tile that is chosen here.

    A picture of more than that is cut so that at least four tiles run in step: they cost nothing extra, as windows
    would that only gather statistics.
    """
    longest = max(width, height)
    if value == "auto":
        budget = min(budget, _AT_ONCE)
        even = isqrt(int(budget / 4)) // 64 * 64
        side = longest if width * height <= budget else min(most, max(_LEAST_TILE, even))
    else:
        side = longest if value == "none" else int(value)
    if side >= longest:
        return None, 1
    return side, max(1, min(16, int(budget / side**2)))


def _at_work(tiles: _Tiles, pixels: int) -> int:
    """Pixels that are in a network at once. Where less than four tiles may run in step, sixteen windows do."""
    if tiles.side is None:
        return pixels
    windows = 16 * min(tiles.side, 640) ** 2 if tiles.together < 4 else 0
    return min(pixels, max(tiles.side**2 * tiles.together, windows))


def _resident(input_pixels: int, pixels: int, model: "ModelDescription", options: UpscaleOptions) -> float:
    """Bytes of what is as large as the picture and is not in working files: arrays under their limit, what a decoder
    and an encoder hold (WebP and AVIF hold the picture)."""
    bound = (pixels, *(input_pixels,) * 3) if options.consistency else ()
    arrays = sum(min(RESIDENT, 12 * count) for count in (input_pixels, pixels, pixels, pixels, *bound))
    latents = 6 * min(RESIDENT, 4 * model.latent_channels * pixels / model.latent_factor**2)
    published = 24 * pixels if COMPAT[options.compat].fit != "pad" else 0
    return arrays + 4 * input_pixels + 2 * pixels + latents + published


def _on_disk(input_pixels: int, pixels: int, output_pixels: int, factor: int, options: UpscaleOptions) -> int:
    """Bytes of the working files of a large picture that is computed with `pixels`: the enlarged input, what is decoded
    and the latents; the result, unless it takes the enlarged input's place; what is written, and what binds the result
    to its input."""
    if 12 * pixels <= RESIDENT:
        return 0
    per_input, per_pixel = 12, 6
    if pixels != output_pixels or COMPAT[options.compat].fit != "pad" or options.intermediates:
        per_pixel += 12
    if options.consistency:
        per_input, per_pixel = per_input + 12 * 3, per_pixel + 12
    if options.mask:
        per_pixel += 4
    computed = (12 * 2 + 16 * 4 / factor**2) * pixels
    return int(options.batch_size * (per_input * input_pixels + computed + per_pixel * output_pixels))


def _operations(pixels: int, options: UpscaleOptions, model: "ModelDescription") -> float:
    """Floating point operations of one result."""
    evaluations = len(options.trajectory.timesteps) * (2 if options.guidance > 1 else 1)
    per_pixel = model.flops_per_pixel
    return pixels * (per_pixel["encode"] + per_pixel["decode"] + per_pixel["denoise"] * evaluations)


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
    """Operations per second of a typical convolution here, measured in about a tenth of a second; the fastest of some
    runs counts, as other programs slow down each of them by chance."""
    import time

    import torch

    from ccsr.weights.tensors import DTYPES

    torch.set_num_threads(threads)
    side = 96
    with torch.inference_mode():
        x = torch.randn(1, 64, side, side, device=device).to(DTYPES[dtype], memory_format=torch.channels_last)
        layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(device, DTYPES[dtype])
        float(layer(x).sum())
        fastest = float("inf")
        for _ in range(10):
            started = time.perf_counter()
            float(layer(x).float().sum())
            fastest = min(fastest, time.perf_counter() - started)
    return 2 * 64 * 64 * 9 * side * side / fastest


def estimated_seconds(plan: Plan) -> float:
    """Rough seconds for one result: the networks reach about half of a plain convolution's speed."""
    return plan.flops / (0.5 * machine_flops(plan.device, plan.dtype, plan.threads))
