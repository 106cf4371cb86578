"""Small random models in the published and in the packed layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file

from ccsr.networks import LatentControlNet
from ccsr.weights import pack

WIDTH = 24
UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (16, 32),
    "layers_per_block": 2,
    "attention_head_dim": (2, 4),
    "cross_attention_dim": WIDTH,
    "use_linear_projection": True,
    "norm_num_groups": 8,
}
VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_size": 16,
    "scaling_factor": 0.18215,
}
# The keys of Stable Diffusion 2.1-base's own file (ccsr-spec 1.2), which is a PNDM scheduler's.
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}

Networks = dict[str, Any]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCSR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CCSR_OFFLINE", raising=False)


@pytest.fixture(scope="session")
def networks() -> Networks:
    """One of each, random all over: fresh ControlNets have zeros in their last convolutions."""
    torch.manual_seed(5)
    unet = UNet2DConditionModel(**UNET)
    made = {"unet": unet, "controlnet": LatentControlNet.for_unet(unet), "vae": AutoencoderKL(**VAE)}
    for network in made.values():
        network.eval().requires_grad_(False)
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made


@pytest.fixture(scope="session")
def embeddings() -> dict[str, torch.Tensor]:
    drawn = torch.randn(3, 1, 7, WIDTH, generator=torch.Generator().manual_seed(1))
    return dict(zip(("empty", "positive", "negative"), drawn, strict=True))


def write_network(folder: Path, network: Any, tensors: dict[str, torch.Tensor] | None = None, suffix: str = "") -> Path:
    """Config and weights as the published programs left them; `suffix` .bin for a pickle."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(network.to_json_string())
    tensors = dict(network.state_dict()) if tensors is None else tensors
    path = folder / f"diffusion_pytorch_model{suffix or '.safetensors'}"
    if suffix == ".bin":
        torch.save(tensors, path)
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    return path


def old_vae_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The attention keys of files from before 2023 (ccsr-spec 2)."""
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def rename(name: str) -> str:
        for new, former in old.items():
            name = name.replace(new, former)
        return name

    return {rename(name): tensor for name, tensor in tensors.items()}


WritePublished = Callable[..., tuple[Path, Path]]


@pytest.fixture
def write_published(tmp_path: Path, networks: Networks, embeddings: dict[str, torch.Tensor]) -> WritePublished:
    """Writes (the CCSR folder, the base folder); the base's VAE has other weights than the fine-tuned one."""

    def write(suffix: str = ".safetensors", vae_tensors: dict[str, torch.Tensor] | None = None) -> tuple[Path, Path]:
        base, own = tmp_path / "base", tmp_path / "published"
        write_network(base / "unet", networks["unet"], suffix=suffix)
        write_network(base / "vae", networks["vae"], {k: v + 1 for k, v in networks["vae"].state_dict().items()})
        (base / "scheduler").mkdir()
        (base / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
        write_network(own / "controlnet", networks["controlnet"], suffix=suffix)
        write_network(own / "vae", networks["vae"], vae_tensors, suffix=suffix)
        save_file(embeddings, own / "embeddings.safetensors")
        return own, base

    return write


@pytest.fixture
def published(write_published: WritePublished) -> tuple[Path, Path]:
    return write_published()


@pytest.fixture
def packed(published: tuple[Path, Path], tmp_path: Path) -> Path:
    """The published folders as one packed folder in float32."""
    own, base = published
    out = tmp_path / "packed"
    pack(own, out, base_model=base, dtype="fp32", source_text="made in a test", licence="CC0-1.0")
    return out
