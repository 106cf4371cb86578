"""The networks that training starts from, and the model folder that it ends in."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from ccsr import atomic
from ccsr.errors import OptionError, WeightsError
from ccsr.method.sampler import NoiseSchedule
from ccsr.networks import NANO, SD21, LatentControlNet, denoise
from ccsr.training.config import ModelConfig, Part
from ccsr.weights import find_folder, load_model, pack_networks
from ccsr.weights.files import read_json
from ccsr.weights.load import base_embeddings, load_network


class Denoiser(nn.Module):
    """UNet, ControlNet and one prompt embedding, called as `(z_t, t, z_lq)`."""

    def __init__(self, unet: UNet2DConditionModel, controlnet: LatentControlNet, prompt: Tensor) -> None:
        super().__init__()
        self.unet, self.controlnet, self.prompt = unet, controlnet, nn.Parameter(prompt)

    def forward(self, z_t: Tensor, t: int | Tensor, z_lq: Tensor) -> Tensor:
        """Network output, (B, C, h, w), float32."""
        return denoise(self.unet, self.controlnet, z_t, t, z_lq, self.prompt)


@dataclass
class ModelInTraining:
    """A whole model in training."""

    denoiser: Denoiser
    vae: AutoencoderKL
    schedule: NoiseSchedule
    scheduler_config: dict[str, Any]
    embeddings: dict[str, Tensor]
    prompt_learnt: bool
    min_size: int | None
    min_scale: float | None
    color_fix: str
    licence: str
    origin: str
    """Where it started, for the manifest."""

    def to(self, device: torch.device) -> "ModelInTraining":
        """Move everything; convolutions in the memory order that is fastest for them."""
        for module in (self.denoiser, self.vae):
            module.to(device)
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def freeze(self, dtype: torch.dtype | None = None, keep: Iterable[nn.Module] = ()) -> None:
        """No gradients anywhere, and whole networks in `dtype`, but for those in `keep`, which are about to learn."""
        kept = {id(m) for m in keep}
        for module in (self.denoiser.unet, self.denoiser.controlnet, self.vae):
            module.requires_grad_(False).eval()
            if dtype and id(module) not in kept:
                for tensor in (*module.parameters(), *module.buffers()):
                    tensor.data = tensor.data.to(dtype)
        self.denoiser.prompt.requires_grad_(False)


def start_networks(config: ModelConfig, seed: int) -> ModelInTraining:
    """Networks as `config` says, in float32 on the CPU, all parts that start anew drawn from `seed`.

    Raises:
        WeightsError: the base is not there or damaged.
        OptionError: no base, and yet parts that are to come from one.
    """
    torch.manual_seed(seed)
    base = _base(config)
    unet, controlnet, vae = (base[part] for part in ("unet", "controlnet", "vae"))
    fresh = set(config.fresh)
    if config.base is None:
        fresh |= {"vae", "unet", "controlnet", "prompt"}
    if controlnet is None and "controlnet" not in fresh:
        raise OptionError(
            f"{config.base} is a base model without a ControlNet",
            hint="model.fresh=[controlnet] makes one from its UNet",
        )
    if "vae" in fresh:
        vae = AutoencoderKL.from_config(getattr(vae, "config", vae))
    if "unet" in fresh:
        unet = UNet2DConditionModel.from_config(getattr(unet, "config", unet))
    if "controlnet" in fresh:
        controlnet = LatentControlNet.for_unet(unet)
        if "unet" in fresh:
            # Zero convolutions spare a trained UNet; where nothing is trained yet, the control path opens at once.
            for layer in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
                layer.reset_parameters()
    for module in (unet, controlnet, vae):
        for p in module.parameters():
            p.data = p.data.clone()  # what was mapped from a file must not be trained there
    embeddings = dict(base["embeddings"])
    learnt = "prompt" in fresh
    if learnt:
        prompt = 0.02 * torch.randn(1, 1, unet.config.cross_attention_dim)
    else:
        # A model with one embedding has it for every purpose.
        kind = config.prompt if len(embeddings) > 1 else next(iter(embeddings))
        if kind not in embeddings:
            raise OptionError(f"{config.base} has no embedding {kind}", hint=f"model.prompt={next(iter(embeddings))}")
        prompt = embeddings[kind].float().clone()
    scheduler = base["scheduler"]
    return ModelInTraining(
        denoiser=Denoiser(unet, controlnet, prompt),
        vae=vae,
        schedule=NoiseSchedule.scaled_linear(
            scheduler["beta_start"], scheduler["beta_end"], scheduler.get("prediction_type", "epsilon")
        ),
        scheduler_config=scheduler,
        embeddings=embeddings,
        prompt_learnt=learnt or "prompt" in config.trained,
        min_size=base["min_size"],
        min_scale=base["min_scale"],
        color_fix=config.color_fix or base["color_fix"],
        licence=config.licence or base["licence"],
        origin=config.base or f"random weights ({config.architecture})",
    )


def _base(config: ModelConfig) -> dict[str, Any]:
    if config.base is None:
        sizes = {"nano": NANO, "sd21": SD21}[config.architecture]
        return {
            "unet": sizes["unet"], "controlnet": None, "vae": sizes["vae"], "scheduler": sizes["scheduler"],
            "embeddings": {}, "min_size": None if config.architecture == "nano" else 512, "min_scale": None,
            "color_fix": "wavelet" if config.architecture == "nano" else "adain", "licence": "unknown",
        }  # fmt: skip
    folder = find_folder(config.base)
    if not (folder / "controlnet").is_dir() and (folder / "unet").is_dir():
        return _base_alone(folder)
    model = load_model(config.base, base_model=config.base_model)
    facts = model.description
    return {
        "unet": model.unet, "controlnet": model.controlnet, "vae": model.vae, "scheduler": model.scheduler_config,
        "embeddings": model.embeddings, "min_size": facts.min_size, "min_scale": facts.min_scale,
        "color_fix": facts.color_fix, "licence": facts.licence,
    }  # fmt: skip


def _base_alone(folder: Path) -> dict[str, Any]:
    """Stable Diffusion as it is published: no ControlNet yet."""
    vae = load_network("vae", folder / "vae")
    unet = load_network("unet", folder / "unet")
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    return {
        "unet": unet, "controlnet": None, "vae": vae,
        "scheduler": read_json(folder / "scheduler" / "scheduler_config.json"),
        "embeddings": base_embeddings(folder),
        "min_size": unet.config.sample_size * factor, "min_scale": None, "color_fix": "adain", "licence": "unknown",
    }  # fmt: skip


def pack(networks: ModelInTraining, config: ModelConfig, out: Path, how: str) -> None:
    """Write the model folder `out`, which `ccsr upscale --model` takes; one that is there gives way at the end.

    Raises:
        WeightsError: the disk refuses, or a weight is not finite.
    """
    embeddings = dict(networks.embeddings)
    if networks.prompt_learnt:
        # What it was trained with is the only one that it knows.
        embeddings = {"positive": networks.denoiser.prompt.detach().float()}
    try:
        with atomic.folder(out, replace=True) as new:
            pack_networks(
                new,
                unet=networks.denoiser.unet,
                controlnet=networks.denoiser.controlnet,
                vae=networks.vae,
                scheduler_config=networks.scheduler_config,
                embeddings=embeddings,
                min_size=networks.min_size,
                min_scale=networks.min_scale,
                color_fix=networks.color_fix,
                name=config.name or out.parent.name,
                source=f"{how}, from {networks.origin}",
                licence=networks.licence,
                dtype=config.dtype,
            )
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"cannot be replaced: {error.strerror}", path=out) from error


def with_base(config: ModelConfig, folder: Path, fresh: tuple[Part, ...]) -> ModelConfig:
    """The same for a following phase, which starts from what an earlier one has packed."""
    return replace(config, base=str(folder), base_model=None, fresh=fresh)
