"""The networks that training starts from, and the model folder that it ends in."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ccsr import atomic
from ccsr.errors import OptionError, WeightsError
from ccsr.method.sampler import NoiseSchedule
from ccsr.networks import ARCHITECTURES, CompactAutoencoder, LatentControlNet, denoise, make_network
from ccsr.training.codec_start import open_gate
from ccsr.training.config import ModelConfig, Part
from ccsr.weights import ModelFacts, find_folder, load_model, pack_networks
from ccsr.weights.files import read_json
from ccsr.weights.load import base_embeddings, load_network


class Denoiser(nn.Module):
    """UNet, ControlNet and one prompt embedding, called as `(z_t, t, z_lq)`."""

    def __init__(self, unet: Any, controlnet: Any, prompt: Tensor) -> None:
        super().__init__()
        self.unet, self.controlnet, self.prompt = unet, controlnet, nn.Parameter(prompt)

    def forward(self, z_t: Tensor, t: int | Tensor, z_lq: Tensor) -> Tensor:
        """Network output, (B, C, h, w), float32."""
        return denoise(self.unet, self.controlnet, z_t, t, z_lq, self.prompt)


@dataclass
class ModelInTraining:
    """A whole model in training."""

    denoiser: Denoiser
    vae: Any
    schedule: NoiseSchedule
    scheduler_config: dict[str, Any]
    embeddings: dict[str, Tensor]
    prompt_learnt: bool
    min_size: int | None
    min_scale: float | None
    useful_steps: int | None
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
    unet, controlnet, vae = base.unet, base.controlnet, base.vae
    fresh = set(config.fresh)
    if config.base is None:
        fresh |= {"vae", "unet", "controlnet", "prompt"}
    if controlnet is None and "controlnet" not in fresh:
        raise OptionError(
            f"{config.base} is a base model without a ControlNet",
            hint="model.fresh=[controlnet] makes one from its UNet",
        )
    sizes = {"unet": _described(unet), "vae": _described(vae)}
    if "vae" in fresh:
        vae = make_network("vae", sizes)
    if "unet" in fresh:
        unet = make_network("unet", sizes)
    if "controlnet" in fresh:
        own = _described(controlnet)
        # nano's shares no layer with its UNet, the published one is a copy of the UNet's first half.
        copied = isinstance(unet, UNet2DConditionModel)
        controlnet = LatentControlNet.for_unet(unet) if copied else make_network("controlnet", {"controlnet": own})
        if copied and "unet" in fresh:
            # Zero convolutions spare a trained UNet; where nothing is trained yet, the control path opens at once.
            for layer in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
                layer.reset_parameters()
    for module in (unet, controlnet, vae):
        for p in module.parameters():
            p.data = p.data.clone()  # what was mapped from a file must not be trained there
    if config.open_gate:
        if not isinstance(vae, CompactAutoencoder):
            raise OptionError("model.open_gate is for nano's VAE, this one has no gate", hint="model.open_gate=false")
        if "vae" in fresh:
            raise OptionError(
                "model.open_gate is for a VAE that is there already, a new one's gate is fitted to its pictures",
                hint="model.open_gate=false, or a model.base whose vae is not in model.fresh",
            )
        open_gate(vae)
    embeddings = dict(base.embeddings)
    learnt = "prompt" in fresh
    if learnt:
        prompt = 0.02 * torch.randn(1, 1, unet.config.cross_attention_dim)
    else:
        # A model with one embedding has it for every purpose.
        kind = config.prompt if len(embeddings) > 1 else next(iter(embeddings))
        if kind not in embeddings:
            raise OptionError(f"{config.base} has no embedding {kind}", hint=f"model.prompt={next(iter(embeddings))}")
        prompt = embeddings[kind].float().clone()
    scheduler = base.scheduler
    return ModelInTraining(
        denoiser=Denoiser(unet, controlnet, prompt),
        vae=vae,
        schedule=NoiseSchedule.scaled_linear(
            scheduler["beta_start"], scheduler["beta_end"], scheduler.get("prediction_type", "epsilon")
        ),
        scheduler_config=scheduler,
        embeddings=embeddings,
        prompt_learnt=learnt or "prompt" in config.trained,
        min_size=base.min_size,
        min_scale=base.min_scale,
        useful_steps=base.useful_steps,
        color_fix=config.color_fix or base.color_fix,
        licence=config.licence or base.licence,
        origin=base.origin,
    )


def _described(network: Any) -> Any:
    """A network's config with the name of its class; a config, or None, as it is."""
    if not isinstance(network, nn.Module):
        return network
    config: Any = network.config
    return {"_class_name": type(network).__name__, **config}


@dataclass
class _Base:
    """What training starts from: networks, or the configs of those that start anew."""

    origin: str
    unet: Any
    controlnet: Any
    """None: a base model, which has none yet."""
    vae: Any
    scheduler: dict[str, Any]
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    min_size: int | None = None
    min_scale: float | None = None
    useful_steps: int | None = None
    color_fix: str = "adain"
    licence: str = "unknown"


def _base(config: ModelConfig) -> _Base:
    if config.base is None:
        sizes, published = ARCHITECTURES[config.architecture], config.architecture == "sd21"
        return _Base(
            f"random weights ({config.architecture})",
            sizes["unet"], sizes.get("controlnet"), sizes["vae"], sizes["scheduler"],
            min_size=512 if published else None, color_fix="adain" if published else "wavelet",
        )  # fmt: skip
    folder = find_folder(config.base)
    if not (folder / "controlnet").is_dir() and (folder / "unet").is_dir():
        return _base_alone(folder)
    model = load_model(config.base, base_model=config.base_model)
    facts = model.description
    # By its name and weights: where it lies is its owner's business, and the manifest travels.
    return _Base(
        f"{facts.name} (sha256 {facts.sha256[:12]})",
        model.unet, model.controlnet, model.vae, model.scheduler_config, model.embeddings,
        facts.min_size, facts.min_scale, facts.useful_steps, facts.color_fix, facts.licence,
    )  # fmt: skip


def _base_alone(folder: Path) -> _Base:
    """Stable Diffusion as it is published: no ControlNet yet."""
    vae = load_network("vae", folder / "vae")
    unet = load_network("unet", folder / "unet")
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    min_size = unet.config.sample_size * factor
    return _Base(folder.name, unet, None, vae, scheduler, base_embeddings(folder), min_size=min_size)


def pack(networks: ModelInTraining, config: ModelConfig, out: Path, how: str) -> None:
    """Write the model folder `out`, which `ccsr upscale --model` takes; one that is there gives way at the end.

    Raises:
        WeightsError: the disk refuses, or a weight is not finite.
    """
    embeddings = dict(networks.embeddings)
    if networks.prompt_learnt:
        # What it was trained with is the only one that it knows.
        embeddings = {"positive": networks.denoiser.prompt.detach().float()}
    parts = {"unet": networks.denoiser.unet, "controlnet": networks.denoiser.controlnet, "vae": networks.vae}
    facts = ModelFacts(
        config.name or out.parent.name, f"{how}, from {networks.origin}", networks.licence, networks.color_fix,
        networks.min_size, networks.min_scale, networks.useful_steps, config.dtype,
    )  # fmt: skip
    try:
        with atomic.folder(out, replace=True) as new:
            pack_networks(new, parts, networks.scheduler_config, embeddings, facts)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"cannot be replaced: {error.strerror}", path=out) from error


def with_base(config: ModelConfig, folder: Path, fresh: tuple[Part, ...]) -> ModelConfig:
    """The same for a following phase, which starts from what an earlier one has packed."""
    return replace(config, base=str(folder), base_model=None, fresh=fresh)
