"""Targets 1 and 2: the full-size network on a CPU beside the stock modules that the published program would run.

python benchmarks/full_size.py [--parts encode denoise decode] [--rounds 3] [--threads N] [--engine torch|openvino]
                               [--memory] [--json FILE]

Weights are random: a network's cost does not depend on them. Target 1 alternates in one process, part by part: the
diffusers modules in fp32 and contiguous, eager, against what `ccsr` runs. The share of the machine's convolution peak
counts the plain network's operations. Target 2 (`--memory`) loads one folder of fp32 weights twice, in processes of
their own: as fp32 and as bf16. It writes 5 GB to the temporary folder.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import clock, row, write
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ccsr.bench import fill_randomly
from ccsr.networks import SD21, LatentControlNet, denoise
from ccsr.networks.controlnet import controlnet_keys
from ccsr.networks.fast import accelerate
from ccsr.options import UpscaleOptions
from ccsr.plan import bf16_is_faster, resolve_machine

TOKENS, T = 77, 999
PARTS = ("encode", "denoise", "decode")
Run = Callable[[], Tensor]


def networks_of(part: str) -> list[nn.Module]:
    """The networks of a part, without memory."""
    with torch.device("meta"):
        if part != "denoise":
            vae = AutoencoderKL(**SD21["vae"])
            return [nn.ModuleList([vae.encoder, vae.quant_conv] if part == "encode" else
                                  [vae.post_quant_conv, vae.decoder])]  # fmt: skip
        config = {key: value for key, value in SD21["unet"].items() if key in controlnet_keys()}
        return [UNet2DConditionModel(**SD21["unet"]), LatentControlNet(**config)]


def runner(part: str, networks: list[Any], dtype: torch.dtype, side: int, device: str = "cpu") -> Run:
    """One evaluation of a part at `side` x `side` out."""
    size = side // 8
    z, picture = (torch.zeros(1, c, s, s, device=device) for c, s in ((4, size), (3, side)))
    prompt = torch.zeros(1, TOKENS, SD21["unet"]["cross_attention_dim"], device=device)
    if device == "cpu":
        z, picture, prompt = (torch.rand_like(x) for x in (z, picture, prompt))
    if part == "denoise":
        unet, controlnet = networks
        return lambda: denoise(unet, controlnet, z, T, z, prompt)
    first, second = networks[0]
    x = (picture if part == "encode" else z).to(dtype)
    return lambda: second(first(x))


def operations(part: str, side: int) -> float:
    """Floating point operations of the plain networks."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        runner(part, networks_of(part), torch.float32, side, "meta")()
    return float(counter.get_total_flops())


def convolution(dtype: torch.dtype, now: Callable[[], float]) -> Callable[[], float]:
    """Operations per second of one typical convolution, measured at each call."""
    layer = nn.Conv2d(256, 256, 3, padding=1).to(dtype).to(memory_format=torch.channels_last).requires_grad_(False)
    x = torch.randn(1, 256, 128, 128).to(dtype).contiguous(memory_format=torch.channels_last)

    def measure() -> float:
        begin = now()
        layer(x)
        return 2 * 9 * 256 * 256 * 128 * 128 / (now() - begin)

    return measure


def variants(part: str, engine: str, threads: int, side: int) -> dict[str, Run]:
    """The baseline, and what `ccsr` runs."""
    dtype = torch.bfloat16 if bf16_is_faster() else torch.float32
    stock = [fill_randomly(network) for network in networks_of(part)]
    fast = [fill_randomly(network.to(dtype)).to(memory_format=torch.channels_last) for network in networks_of(part)]
    accelerate(*fast)
    made = {"stock": runner(part, stock, torch.float32, side), "ccsr": runner(part, fast, dtype, side)}
    if engine == "openvino" and part == "denoise":
        from ccsr.engines import OpenVINODenoiser

        unet, controlnet = fast
        other = OpenVINODenoiser(unet, controlnet, "random-sd21", threads)
        z, prompt = torch.rand(1, 4, side // 8, side // 8), torch.rand(1, TOKENS, SD21["unet"]["cross_attention_dim"])
        made["ccsr"] = lambda: other(z, T, z, prompt)
    return made


def speed(
    parts: list[str], rounds: int, engine: str, threads: int, side: int, now: Callable[[], float]
) -> list[dict[str, Any]]:
    """Rows of target 1."""
    dtype = torch.bfloat16 if bf16_is_faster() else torch.float32
    peak, peaks, seconds, work = convolution(dtype, now), [], {}, {}
    with torch.inference_mode():
        for part in parts:
            work[part] = operations(part, side)
            runs = variants(part, engine, threads, side)
            laps: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(rounds):
                for name, run in runs.items():
                    peaks.append(peak())
                    begin = now()
                    run()
                    laps[name].append(now() - begin)
            del runs, run
            seconds[part] = {name: median(values[1:] or values) for name, values in laps.items()}
    best = max(peaks)
    rows = []
    for part in parts:
        stock, ours = seconds[part]["stock"], seconds[part]["ccsr"]
        note = f"{stock:.2f} s and {ours:.2f} s, {work[part] / ours / best:.0%} of the convolution peak"
        rows.append(row(f"1 {part}", f"sd21 {part}, {side}x{side}", stock / ours, "x", "", None, note))
    if set(parts) == set(PARTS):
        stock, ours = (sum(values[name] for values in seconds.values()) for name in ("stock", "ccsr"))
        share = sum(work.values()) / ours / best
        kind = "bf16" if bf16_is_faster() else "fp32, faster here than bf16"
        what = f"sd21 S1 {side}x{side}, {kind}, {engine}, against stock eager contiguous fp32"
        note = f"{stock:.1f} s and {ours:.1f} s, {share:.0%} of the convolution peak of {best / 1e9:.0f} GFLOP/s"
        rows.append(row("1", what, stock / ours, "x", ">= 2.8", stock / ours >= 2.8, note))
    return rows


def closeness() -> dict[str, Any]:
    """The row of the difference to fp32, on nano and a photograph."""
    from skimage import data

    from ccsr import CCSRPipeline

    pipe = CCSRPipeline.from_pretrained("nano")
    pipe.set_progress_bar_config(disable=True)
    photo = data.astronaut()[:128, 160:288].copy()
    exact, fast = (pipe(photo, dtype=dtype, device="cpu", output_type="np").images[0] for dtype in ("fp32", "bf16"))
    levels = float(abs(exact - fast).mean()) * 255
    return row("1", "nano bf16 from fp32, mean absolute", levels, "/255", "<= 1/255", levels <= 1)


_ONE = """
import sys, numpy
from ccsr import CCSRPipeline
from ccsr.bench import peak_memory
from ccsr.pipeline import DTYPES
_, model, dtype, threads = sys.argv
pipe = CCSRPipeline.from_pretrained(model, torch_dtype=DTYPES[dtype])
pipe(numpy.random.rand(128, 128, 3).astype("float32"), dtype=dtype, threads=int(threads), device="cpu")
print(peak_memory())
"""


def memory(threads: int, model: Path | None) -> dict[str, Any]:
    """The row of target 2; `model` is a folder of fp32 weights, or None to write one."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            model = Path(folder) / "sd21"
            code = (
                "import pathlib, sys, ccsr.bench as b; b.write_random_model('sd21', 'fp32', pathlib.Path(sys.argv[1]))"
            )
            subprocess.run([sys.executable, "-c", code, str(model)], check=True)
        for dtype in ("fp32", "bf16"):
            command = [sys.executable, "-c", _ONE, str(model), dtype, str(threads)]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            peaks[dtype] = int(out.split()[-1])
    ratio = peaks["bf16"] / peaks["fp32"]
    note = " and ".join(f"{kind} {count / 1e9:.2f} GB" for kind, count in peaks.items())
    what = "peak memory of sd21 512x512, bf16 by fp32, both from fp32 files"
    return row("2", what, ratio, "x", "<= 0.5", ratio <= 0.5, note)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="the first does not count, unless it is the only one")
    parser.add_argument("--threads", type=int, default=resolve_machine(UpscaleOptions())[2])
    parser.add_argument("--side", type=int, default=512, help="pixels of the result; the target's is 512")
    parser.add_argument("--engine", choices=("torch", "openvino"), default="torch")
    parser.add_argument("--cpu-seconds", action="store_true", help="with one thread, on a machine that does other work")
    parser.add_argument("--memory", action="store_true", help="target 2 too")
    parser.add_argument(
        "--model", type=Path, help="for --memory: a folder of sd21's size in fp32, instead of writing one"
    )
    parser.add_argument("--json", metavar="FILE")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    rows = [memory(chosen.threads, chosen.model)] if chosen.memory else []
    if chosen.parts:
        now = clock(chosen.cpu_seconds)
        rows += speed(chosen.parts, chosen.rounds, chosen.engine, chosen.threads, chosen.side, now)
    if set(chosen.parts) == set(PARTS):
        rows.append(closeness())
    write(rows, chosen.json)


if __name__ == "__main__":
    main()
