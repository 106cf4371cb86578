"""What several test files need: a whole model that is tiny, and pictures on disk."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TINY_UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 8,
    "attention_head_dim": 8,
    "use_linear_projection": True,
}
TINY_VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "mid_block_add_attention": False,
    "scaling_factor": 1.0,
}


def pack_tiny_model(folder: Path) -> Path:
    """A packed model with random weights, a fraction of a megabyte: the same classes as the real ones."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from ccsr.networks import NANO, LatentControlNet
    from ccsr.weights import ModelFacts, pack_networks

    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(**TINY_UNET)
        networks = {"unet": unet, "controlnet": LatentControlNet.for_unet(unet), "vae": AutoencoderKL(**TINY_VAE)}
        scheduler = {**NANO["scheduler"], "prediction_type": "v_prediction"}
        facts = ModelFacts("tiny", "random numbers", "CC0-1.0", "adain", dtype="fp32")
        pack_networks(folder, networks, scheduler, {"positive": torch.randn(1, 2, 8)}, facts)
    return folder


def pack_tiny_compact(folder: Path) -> Path:
    """A packed model of nano's own classes with random weights, which needs no diffusers."""
    import torch

    from ccsr.networks import NANO, make_network
    from ccsr.weights import ModelFacts, pack_networks

    sizes: dict[str, Any] = {
        "unet": {**NANO["unet"], "block_out_channels": (8,), "layers": 1},
        "controlnet": {**NANO["controlnet"], "block_out_channels": (8,), "layers": 1},
        "vae": {**NANO["vae"], "block_out_channels": (8,), "decoder_layers": 1},
    }
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        networks = {part: make_network(part, sizes) for part in sizes}
        for network in networks.values():
            for parameter in network.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        facts = ModelFacts("tiny-compact", "random numbers", "CC0-1.0", "adain", dtype="fp32")
        pack_networks(folder, networks, NANO["scheduler"], {"positive": torch.zeros(1, 1, 1)}, facts)
    return folder


def write_picture(path: Path, width: int = 12, height: int = 8, seed: int = 0, **how: object) -> Path:
    """A smooth coloured picture with some noise; `how` goes to Pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    noise = np.random.RandomState(seed).randint(0, 40, (height, width, 3))
    ramp = np.stack([x * 200 // width, y * 200 // height, (x + y) * 200 // (width + height)], axis=-1)
    Image.fromarray((ramp + noise).astype(np.uint8)).save(path, **how)
    return path


def program(*words: str, limit: str = "") -> list[str]:
    """The command line of a process of its own that runs `ccsr` from this checkout; `limit` is Python run before."""
    source = str(Path(__file__).parents[1] / "src")
    code = f"import sys; sys.path.insert(0, {source!r}); {limit}\nfrom ccsr.cli.main import main; sys.exit(main())"
    return [sys.executable, "-c", code, *words]


def interrupted(*words: str, by: signal.Signals = signal.SIGINT, **how: Any) -> tuple[int, str]:
    """Exit code and stderr of `ccsr upscale` with these words and a Ctrl-C, or another signal, after its first result.

    It cannot be done before that, however late this process comes to send it: its pipe holds a few lines of JSON, and
    nobody reads on.
    """
    command = program("upscale", *words, "--json")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "pipesize": 4096}
    process = subprocess.Popen(command, text=True, **pipes, **how)
    assert process.stdout is not None
    assert '"status": "done"' in process.stdout.readline()
    process.send_signal(by)
    _, err = process.communicate()
    return process.returncode, err


def write_ncnn(stem: Path, widths: Sequence[tuple[int, int]], half: bool, scale: float = 1.0) -> list[np.ndarray]:
    """A stack of 3x3 convolutions of these (outputs, inputs) and random weights, PReLU between, in ncnn's two files.

    Behind it the outputs are shuffled to 4x4 pixels and added to the nearest enlargement, as compact networks do.
    Returns each convolution's weight.
    """
    generator = np.random.default_rng(0)
    lines, raw, weights = ["7767517", "1 1", "Input in 0 1 data", "Split s 1 2 data x up"], b"", []
    for i, (outputs, inputs) in enumerate(widths):
        weight = scale * generator.standard_normal((outputs, inputs, 3, 3))
        weight = weight.astype(np.float16 if half else np.float32)
        bias = (scale * generator.standard_normal(outputs)).astype(np.float32)
        raw += (0x01306B47 if half else 0).to_bytes(4, "little") + weight.tobytes() + bias.tobytes()
        lines.append(f"Convolution c{i} 1 1 x x 0={outputs} 1=3 4=1 5=1 6={weight.size}")
        if i + 1 < len(widths):
            raw += generator.random(outputs).astype(np.float32).tobytes()
            lines.append(f"PReLU p{i} 1 1 x x 0={outputs}")
        weights.append(weight.astype(np.float32))
    lines += ["PixelShuffle d 1 1 x x 0=4", "Interp r 1 1 up up 0=1 1=4.0 2=4.0", "BinaryOp a 2 1 x up out"]
    stem.with_suffix(".param").write_text("\n".join(lines))
    stem.with_suffix(".bin").write_bytes(raw)
    return weights
