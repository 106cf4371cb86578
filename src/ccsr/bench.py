"""How long each phase of upscaling takes here, and how much memory it needs: what `ccsr bench` prints.

Nothing here says anything about quality. The weights may be random: a network's cost does not depend on them.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ccsr import images
from ccsr.jobs.runner import load_pipeline
from ccsr.options import UpscaleOptions
from ccsr.plan import make_plan, resolve_machine
from ccsr.weights import describe

PHASES = ("load", "encode", "denoise", "decode", "color", "save")
ARCHITECTURES = ("nano", "sd21")


@dataclass(frozen=True)
class Timing:
    """What one benchmark found; seconds by phase."""

    model: str
    device: str
    dtype: str
    threads: int
    engine: str
    input_width: int
    input_height: int
    output_width: int
    output_height: int
    cold: dict[str, float]
    """The first picture of the process; `load` is the model and the picture."""
    warm: dict[str, float]
    """Medians of the later ones; `load` is the picture alone."""
    runs: int
    """Later ones."""
    peak_memory_bytes: int | None
    """Most memory that the process held at once, programs and mapped weights included; None where nobody tells."""
    peak_gpu_bytes: int | None

    def as_json(self) -> dict[str, Any]:
        """The fields, with the sums of both kinds of run."""
        return {**asdict(self), "cold_seconds": sum(self.cold.values()), "warm_seconds": sum(self.warm.values())}


def measure(options: UpscaleOptions, picture: Path | None, size: tuple[int, int], runs: int) -> Timing:
    """Upscale one picture 1 + `runs` times: the file `picture`, or one of noise of `size` (width, height).

    Raises:
        CCSRError: as upscaling does.
    """
    import torch

    device, dtype, threads = resolve_machine(options)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        source = picture or _noise(Path(folder) / "noise.png", *size)
        begin = time.perf_counter()
        pipeline: Any = load_pipeline(options)
        loading = time.perf_counter() - begin
        laps = []
        for _ in range(1 + runs):
            begin = time.perf_counter()
            opened = images.load(source)
            read = time.perf_counter() - begin
            height, width = opened.rgb.shape[:2]
            plan = make_plan(width, height, options, pipeline.description)
            upscaled = pipeline.upscale(opened.rgb, options, plan)
            begin = time.perf_counter()
            images.save(replace(opened, rgb=upscaled.sr), Path(folder) / "result.png")
            seconds = {"load": read, **upscaled.seconds, "save": time.perf_counter() - begin}
            laps.append({phase: seconds[phase] for phase in PHASES})
    cold = laps[0] | {"load": laps[0]["load"] + loading}
    return Timing(
        model=pipeline.description.name,
        device=device,
        dtype=dtype,
        threads=threads,
        engine=options.engine,
        input_width=width,
        input_height=height,
        output_width=plan.output_width,
        output_height=plan.output_height,
        cold=cold,
        warm={phase: median(lap[phase] for lap in laps[1:]) for phase in PHASES},
        runs=runs,
        peak_memory_bytes=peak_memory(),
        peak_gpu_bytes=torch.cuda.max_memory_allocated() if device.startswith("cuda") else None,
    )


def peak_memory() -> int | None:
    """Most bytes of memory that this process held at once; None where the system does not tell."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
        import sys

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except ImportError:  # Windows
        return None


@contextmanager
def random_weights(architecture: str, dtype: str) -> Iterator[Path]:
    """The folder of a model of this architecture with random weights, `nano` or `sd21`; it goes at the end.

    It is written by a process of its own, so that this one's memory is that of upscaling.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"random-{architecture}"
        process = multiprocessing.get_context("spawn").Process(
            target=write_random_model, args=(architecture, dtype, path)
        )
        process.start()
        process.join()
        describe(path)  # says in one line what is wrong, if anything is
        yield path


def write_random_model(architecture: str, dtype: str, folder: Path) -> None:
    """Pack a model of this architecture with random weights into `folder`; `dtype` is bf16, fp16 or fp32."""
    import torch
    from diffusers.utils import logging

    from ccsr.networks import NANO, SD21, make_network
    from ccsr.pipeline import DTYPES
    from ccsr.weights import ModelFacts, pack_networks

    logging.set_verbosity_error()
    sizes = {"nano": NANO, "sd21": SD21}[architecture]
    torch.manual_seed(0)
    parts: dict[str, Any] = {}
    for part in ("unet", "controlnet", "vae"):
        with torch.device("meta"):
            network = make_network(part, sizes)
        # Not the networks' own: it warns of a cast.
        parts[part] = fill_randomly(torch.nn.Module.to(network, DTYPES[dtype]))
    width = parts["unet"].config.cross_attention_dim
    # The published model's prompt has 77 tokens, nano's networks look at none.
    embeddings = {"positive": torch.randn(1, 77 if architecture == "sd21" else 1, width)}
    facts = ModelFacts(f"random-{architecture}", "random numbers, for ccsr bench", "CC0-1.0", "adain", dtype=dtype)
    pack_networks(folder, parts, sizes["scheduler"], embeddings, facts)


def fill_randomly(network: Any) -> Any:
    """Give a network without memory weights that keep its values within range: repeated random numbers."""
    import torch

    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    for buffer in network.buffers():
        buffer.fill_(1)
    numbers = torch.randn(2**20 + 7)
    for name, tensor in network.named_parameters():
        if tensor.ndim > 1:
            drawn = numbers.repeat(-(-tensor.numel() // len(numbers)))[: tensor.numel()].view_as(tensor)
            tensor.copy_(drawn * tensor[0].numel() ** -0.5)
        else:
            tensor.fill_(float(name.endswith("weight")))
    return network


def _noise(path: Path, width: int, height: int) -> Path:
    """A picture of coarse noise: something of every colour, and not flat."""
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path
