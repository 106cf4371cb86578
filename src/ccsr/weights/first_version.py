"""The one-file checkpoint of the first published program, as networks of today's names (ccsr-spec 4.1 to 4.3).

It holds the denoiser, the ControlNet with an 8-channel first convolution, the VAE and a text tower, under the names of
latent-diffusion code. Sizes are not in it: they come from the base model's configuration.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccsr.errors import WeightsError
from ccsr.networks import LatentControlNet
from ccsr.weights.files import read_json
from ccsr.weights.layouts import part_file
from ccsr.weights.load import build, fill
from ccsr.weights.tensors import read_tensors

_PREFIXES = {"unet": "model.diffusion_model.", "controlnet": "control_model.", "vae": "first_stage_model."}
_HINT_ENCODER = "cond_encoder."
_RESIDUAL = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
             "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}  # fmt: skip
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
_ENDS = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
         "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
         "middle_block_out.0": "controlnet_mid_block"}  # fmt: skip
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def read_first_version(path: Path, base: Path) -> dict[str, Any]:
    """`unet`, `controlnet` and `vae` of a checkpoint, in float32; `base` is the base model's folder.

    Raises:
        WeightsError: damaged, no such checkpoint, or not of the base model's sizes.
    """
    tensors = {name.removeprefix("module."): tensor for name, tensor in read_tensors(path).items()}
    if not any(name.startswith(_PREFIXES["controlnet"]) for name in tensors):
        raise WeightsError(
            "this is no checkpoint of the first CCSR program: it has no control_model",
            path=path,
            hint="a folder with controlnet/ and vae/ is named as a folder",
        )
    _check_hint_encoder(tensors, path)
    parts = {part: _below(tensors, prefix) for part, prefix in _PREFIXES.items()}
    configs = {part: part_file(base, f"{part}/config.json") for part in ("unet", "vae")}
    layers = int(read_json(configs["unet"]).get("layers_per_block", 2))
    levels = len(read_json(configs["vae"]).get("block_out_channels", ()))
    named = {
        "unet": {_denoiser_name(name, layers): tensor for name, tensor in parts["unet"].items()},
        "controlnet": _split_input({_denoiser_name(n, layers): t for n, t in parts["controlnet"].items()}, path),
        "vae": {new: _as_matrix(new, t) for n, t in parts["vae"].items() if (new := _vae_name(n, levels))},
    }

    def filled(part: str, network: Any) -> Any:
        return fill(network, {name: tensor.float() for name, tensor in named[part].items()}, path)

    unet = filled("unet", build("unet", configs["unet"]))
    return {
        "unet": unet,
        "controlnet": filled("controlnet", LatentControlNet.for_unet(unet)),
        "vae": filled("vae", build("vae", configs["vae"])),
    }


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _check_hint_encoder(tensors: Mapping[str, Tensor], path: Path) -> None:
    """The hint's encoder is a copy of the VAE's; a model where it is another cannot be written in today's form."""
    vae = _below(tensors, _PREFIXES["vae"])
    for name, tensor in _below(tensors, _HINT_ENCODER).items():
        if name in vae and not torch.equal(tensor, vae[name]):
            raise WeightsError(f"its {_HINT_ENCODER}{name} is not the VAE's own, which is not supported", path=path)


def _denoiser_name(name: str, layers: int) -> str:
    """Name of a UNet's or ControlNet's tensor (ccsr-spec 4.2); each level has `layers` residual blocks and one more
    entry, which resizes."""
    module, _, kind = name.rpartition(".")
    if module in _ENDS:
        return f"{_ENDS[module]}.{kind}"
    if found := re.fullmatch(r"zero_convs\.(\d+)\.0", module):
        return f"controlnet_down_blocks.{found[1]}.{kind}"
    if found := re.fullmatch(r"middle_block\.(\d)\.(.+)", module):
        return f"mid_block.{_MIDDLE.get(found[1], found[1])}.{_RESIDUAL.get(found[2], found[2])}.{kind}"
    if found := re.fullmatch(r"input_blocks\.(\d+)\.(\d)\.(.+)", module):
        level, entry = divmod(int(found[1]) - 1, layers + 1)
        if entry == layers:
            return f"down_blocks.{level}.downsamplers.0.conv.{kind}"
        which = "attentions" if found[2] == "1" else "resnets"
        return f"down_blocks.{level}.{which}.{entry}.{_RESIDUAL.get(found[3], found[3])}.{kind}"
    if found := re.fullmatch(r"output_blocks\.(\d+)\.(\d)\.(.+)", module):
        level, entry = divmod(int(found[1]), layers + 1)
        if found[3] == "conv":
            return f"up_blocks.{level}.upsamplers.0.conv.{kind}"
        which = "attentions" if found[2] == "1" else "resnets"
        return f"up_blocks.{level}.{which}.{entry}.{_RESIDUAL.get(found[3], found[3])}.{kind}"
    return name


def _vae_name(name: str, levels: int) -> str | None:
    """Name of a VAE's tensor (ccsr-spec 4.2); None for what belongs to its training."""
    if not name.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")):
        return None
    name = re.sub(r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets.", name)
    name = re.sub(r"\.down\.(\d+)\.downsample\.conv\.", r".down_blocks.\1.downsamplers.0.conv.", name)
    name = re.sub(r"\.up\.(\d+)\.block\.", lambda m: f".up_blocks.{levels - 1 - int(m[1])}.resnets.", name)
    name = re.sub(
        r"\.up\.(\d+)\.upsample\.conv\.", lambda m: f".up_blocks.{levels - 1 - int(m[1])}.upsamplers.0.conv.", name
    )
    name = re.sub(r"\.mid\.block_(\d)\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}.", name)
    name = re.sub(r"\.mid\.attn_1\.(\w+)\.", lambda m: f".mid_block.attentions.0.{_VAE_ATTENTION[m[1]]}.", name)
    return name.replace(".nin_shortcut.", ".conv_shortcut.").replace(".norm_out.", ".conv_norm_out.")


def _as_matrix(name: str, tensor: Tensor) -> Tensor:
    is_attention = ".attentions.0.to_" in name and tensor.ndim == 4
    return tensor[:, :, 0, 0] if is_attention else tensor


def _split_input(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The convolution over latent and hint side by side as two that are added (ccsr-spec 4.3), exact but for order."""
    joined, bias = tensors.get("conv_in.weight"), tensors.get("conv_in.bias")
    if joined is None or bias is None or joined.ndim != 4 or joined.shape[1] % 2:
        raise WeightsError("its ControlNet has no first convolution over latent and hint", path=path)
    half = joined.shape[1] // 2
    return tensors | {
        "conv_in.weight": joined[:, :half].contiguous(),
        "condition_conv_in.weight": joined[:, half:].contiguous(),
        "condition_conv_in.bias": torch.zeros_like(bias),
    }
