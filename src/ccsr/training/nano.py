"""All of nano's training, stage after stage, and the model folder at its end.

    python -m ccsr.training.nano configs/nano.toml PICTURES VALIDATION RUN_FOLDER [--manifest CSV] [--pack OUT]

A stage whose `average.safetensors` is marked done is skipped, so the same command goes on where it stopped.
"""

import argparse
import logging
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from ccsr.data.pairs import PairConfig
from ccsr.data.pictures import decoded_array, list_pictures
from ccsr.networks import NANO
from ccsr.sampler import NoiseSchedule
from ccsr.training.loop import LoopConfig
from ccsr.training.pretrain import VAEConfig, train_vae
from ccsr.training.stage1 import Denoiser, Stage1Config, train_stage1
from ccsr.training.stage2 import Decoder, Stage2Config, train_stage2
from ccsr.weights import pack_networks

SOURCE = "trained by ccsr.training on 367 crops of photographs, see MODEL_CARD.md"


def main() -> None:
    """Read the arguments, train what is not there yet, pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("pictures", type=Path, help="folder of training pictures")
    parser.add_argument("validation", type=Path, help="folder of pictures that checkpoints are judged on")
    parser.add_argument("run", type=Path, help="folder for checkpoints and logs")
    parser.add_argument("--manifest", type=Path, help="CSV with file and licence of each training picture")
    parser.add_argument("--pack", type=Path, help="write the model folder here")
    parser.add_argument("--card", type=Path, help="MODEL_CARD.md that goes into it")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = tomllib.loads(arguments.config.read_text(encoding="utf-8"))
    paths = list_pictures(arguments.pictures, arguments.manifest, config.get("without_licence"))
    pictures = decoded_array(paths, arguments.run / "pictures.npy")
    held_out = decoded_array(list_pictures(arguments.validation), arguments.run / "validation.npy")
    vae, denoiser = train(config, pictures, held_out[::5, 128:384, 128:384], arguments.run)
    if arguments.pack:
        card = {"MODEL_CARD.md": arguments.card.read_text(encoding="utf-8")} if arguments.card else {}
        pack_nano(arguments.pack, vae, denoiser, card)


def train(
    config: dict[str, Any], pictures: np.ndarray, validation: np.ndarray, run: Path
) -> tuple[AutoencoderKL, Denoiser]:
    """Every stage of the config in order; returns the networks with averaged weights."""
    schedule = NoiseSchedule.scaled_linear(prediction_type=NANO["scheduler"]["prediction_type"])
    start = None
    vae = AutoencoderKL(**NANO["vae"])
    for i, stage in enumerate(config["vae"]):
        folder = run / f"vae-{i}"
        if (folder / "vae" / "config.json").exists():
            vae = AutoencoderKL.from_pretrained(folder / "vae")
        else:
            options = VAEConfig(vae=NANO["vae"], start=start, **_with_loop(stage))
            vae = train_vae(options, pictures, validation, folder)
        start = str(folder / "average.safetensors")
    vae.eval().requires_grad_(False)
    start, denoiser = None, Denoiser.fresh(NANO["unet"])
    for i, stage in enumerate(config["stage1"]):
        folder = run / f"stage1-{i}"
        if not (folder / "done").exists():
            options1 = Stage1Config(unet=NANO["unet"], start=start, **_with_loop(stage))
            train_stage1(options1, schedule, vae, pictures, validation, folder)
            (folder / "done").touch()
        start = str(folder / "average.safetensors")
    if start:
        denoiser.load_state_dict(load_file(start))
    denoiser.eval().requires_grad_(False)
    for i, stage in enumerate(config["stage2"]):
        folder = run / f"stage2-{i}"
        if not (folder / "done").exists():
            options2 = Stage2Config(**_with_loop(stage))
            train_stage2(options2, schedule, vae, denoiser, pictures, validation, folder)
            (folder / "done").touch()
        Decoder(vae).load_state_dict(load_file(folder / "average.safetensors"))
    return vae, denoiser


def _with_loop(stage: dict[str, Any]) -> dict[str, Any]:
    parts = dict(stage)
    parts["loop"] = LoopConfig(**parts.get("loop", {}))
    if "pairs" in parts:
        parts["pairs"] = PairConfig(**parts["pairs"])
    return parts


def pack_nano(out: Path, vae: AutoencoderKL, denoiser: Denoiser, extra_files: dict[str, str]) -> None:
    """The model folder of trained networks, bf16."""
    pack_networks(
        out,
        unet=denoiser.unet,
        controlnet=denoiser.controlnet,
        vae=vae,
        scheduler_config=NANO["scheduler"],
        embeddings={"positive": denoiser.prompt.detach()},
        min_size=None,
        color_fix="wavelet",
        name="nano",
        source=SOURCE,
        licence="Apache-2.0",
        extra_files=extra_files,
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
