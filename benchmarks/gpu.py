"""Target 6: the full-size network on a GPU: latency of one 128 to 512, pictures a second at batch 8, peak memory.

python benchmarks/gpu.py [--rounds 20] [--json FILE]

bf16, random weights, S1. `eager`, `compiled` and `graph` are the networks as they are, under `torch.compile` and
replayed as a CUDA graph. `4096x4096` runs the pipeline in tiles with the networks offloaded, under a limit of 8 GB.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from common import row, write

from ccsr.bench import random_weights

WANTED = "30 ms on an H200-class card"


def latency(run: Callable[[], Any], rounds: int) -> float:
    """Median seconds of one run, after three."""
    laps = []
    for _ in range(rounds + 3):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        run()
        torch.cuda.synchronize()
        laps.append(time.perf_counter() - begin)
    return median(laps[3:])


def restored(pipe: Any, batch: int) -> Callable[[], torch.Tensor]:
    """Encode, one evaluation and decode of `batch` pictures of 512x512 on the GPU."""
    from ccsr.networks import decode, denoise, draw_latent, encode

    picture = torch.rand(batch, 3, 512, 512, device="cuda")
    noise = torch.randn(batch, 4, 64, 64, device="cuda")
    prompt = pipe.embeddings["positive"].to("cuda")
    t = torch.tensor(999, device="cuda")  # a number would be copied over, which a graph does not record

    def run() -> torch.Tensor:
        z_lq = draw_latent(pipe.vae, encode(pipe.vae, picture), noise)
        x0 = denoise(pipe.unet, pipe.controlnet, noise, t, z_lq, prompt)
        return decode(pipe.vae, x0)

    return run


def captured(run: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """The same work as one CUDA graph."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def main() -> None:
    """Measure where there is a GPU."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", metavar="FILE")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        rows = [row("6", "sd21 S1 128 to 512 on a GPU", None, "ms", WANTED, None, "no GPU here")]
        write(rows, chosen.json)
        return
    with random_weights("sd21", "bf16") as folder, torch.inference_mode():
        # Graphs and compiled networks keep memory, which would count against the limit of the large picture.
        rows = [large(str(folder)), *speed(str(folder), chosen.rounds)]
    write(rows, chosen.json)


def speed(folder: str, rounds: int) -> list[dict[str, Any]]:
    """Latency and throughput, each with the most memory held."""
    from ccsr import CCSRPipeline

    pipe = CCSRPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16, device="cuda")
    card, rows = torch.cuda.get_device_name(), []
    ways: dict[str, Callable[[Callable[[], torch.Tensor]], Callable[[], Any]]] = {
        "eager": lambda run: run,
        "graph": captured,
        "compiled": lambda run: torch.compile(run, mode="reduce-overhead"),
    }
    for name, way in ways.items():
        for batch in (1, 8):
            torch.cuda.reset_peak_memory_stats()
            seconds = latency(way(restored(pipe, batch)), rounds)
            note = f"{card}, peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"
            if batch == 1:
                reached = seconds <= 0.03
                rows.append(row("6", f"sd21 S1 128 to 512, {name}", 1000 * seconds, "ms", WANTED, reached, note))
            else:
                rows.append(row("6", f"sd21 at batch 8, {name}", batch / seconds, "pictures/s", "", None, note))
    return rows


def large(folder: str) -> dict[str, Any]:
    """4096x4096 within 8 GB."""
    import numpy as np

    from ccsr import CCSRPipeline

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    limit = 8e9 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit))
    pipe = CCSRPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    pipe.enable_model_cpu_offload()
    picture = np.random.default_rng(0).random((1024, 1024, 3), np.float32)
    begin = time.perf_counter()
    what = "sd21 to 4096x4096 by tiles and offload: peak memory"
    try:
        pipe(picture, dtype="bf16", device="cuda", output_type="np")
    except torch.OutOfMemoryError as error:
        return row("6", what, None, "GB", "<= 8", False, f"did not fit: {str(error)[:80]}")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    peak = torch.cuda.max_memory_allocated() / 1e9
    return row("6", what, peak, "GB", "<= 8", peak <= 8, f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
