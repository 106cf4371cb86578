"""From a model folder to networks: every tensor named and shaped as the network wants it, or one line that says not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccsr.errors import WeightsError
from ccsr.log import get_logger
from ccsr.networks import network_class
from ccsr.weights.description import EMBEDDING_NAMES, ModelDescription, describe
from ccsr.weights.files import first_line, read_json
from ccsr.weights.layouts import EMBEDDINGS, weights_file, with_current_names
from ccsr.weights.manifest import differences, read_manifest
from ccsr.weights.tensors import read_tensors
from ccsr.weights.text import NEGATIVE, POSITIVE, encode_prompts

logger = get_logger("weights")

_LARGEST, _DEEPEST = 1e7, 100
"""Limits of a config's numbers, and of those that count layers; Stable Diffusion's largest are 1024 and 10."""
_NAMED = 3
"""How many of the tensors at fault an error names; it counts the others."""


@dataclass
class Model:
    """Networks ready to evaluate (no gradients), and what belongs to them."""

    unet: Any
    controlnet: Any
    vae: Any
    scheduler_config: dict[str, Any]
    embeddings: dict[str, Tensor]
    """Any of empty, positive and negative: (1, tokens, width)."""
    description: ModelDescription


def load_model(
    name: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    base_model: str | Path | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Model:
    """Load a model by name, folder or hub id, on the CPU, in `dtype`; `memory_format` is that of convolutions.

    Files are mapped, not read: a tensor that they hold as it is wanted is the file's pages, others are converted one
    by one.

    Raises:
        WeightsError: not found, damaged, or not the tensors that the networks want.
        MissingExtraError: text embeddings have to be computed and transformers is missing.
    """
    description = describe(name, base_model)
    _check_manifest(description)
    for remark in description.remarks:
        logger.warning("%s: %s", description.name, remark)
    layout = description.layout
    networks = {part: load_network(part, folder, dtype, memory_format) for part, folder in layout.networks.items()}
    embeddings = read_embeddings(description)
    width = networks["unet"].config.cross_attention_dim
    for kind, tensor in embeddings.items():
        if tensor.ndim != 3 or tensor.shape[0] != 1 or tensor.shape[2] != width:
            raise WeightsError(
                f"embedding {kind} has shape {tuple(tensor.shape)}, the UNet wants (1, tokens, {width})",
                path=layout.embeddings or layout.text,
            )
    return Model(
        **networks,
        scheduler_config=read_json(layout.scheduler),
        embeddings={kind: tensor.to(dtype) for kind, tensor in embeddings.items()},
        description=description,
    )


def read_embeddings(description: ModelDescription) -> dict[str, Tensor]:
    """The text embeddings (1, tokens, width) as stored, or computed in float32 by the model's text encoder."""
    layout = description.layout
    if layout.embeddings is not None:
        return read_tensors(layout.embeddings)
    if layout.text is None:
        raise WeightsError(
            "there are no text embeddings: neither embeddings.safetensors nor tokenizer/ and text_encoder/",
            path=description.folder,
        )
    return dict(zip(EMBEDDING_NAMES, encode_prompts(layout.text, ("", POSITIVE, NEGATIVE)), strict=True))


def base_embeddings(base: Path) -> dict[str, Tensor]:
    """The text embeddings of a base model's folder: stored beside it, or computed by its text encoder."""
    if (base / EMBEDDINGS).is_file():
        return read_tensors(base / EMBEDDINGS)
    return dict(zip(EMBEDDING_NAMES, encode_prompts(base, ("", POSITIVE, NEGATIVE)), strict=True))


def load_network(
    part: str,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Any:
    """One network, `unet`, `controlnet` or `vae`, from its folder; no gradients.

    Raises:
        WeightsError: the folder's files do not belong together.
    """
    network = build(part, folder / "config.json")
    path = weights_file(folder)

    def convert(tensor: Tensor) -> Tensor:
        return tensor.to(dtype, memory_format=memory_format) if tensor.ndim == 4 else tensor.to(dtype)

    tensors = read_tensors(path, convert)
    return fill(network, with_current_names(tensors) if part == "vae" else tensors, path)


def fill(network: Any, tensors: Mapping[str, Tensor], path: Path) -> Any:
    """The network with these tensors in it, all that it has and no other; `path` is named where they do not fit."""
    _check_tensors({name: t.shape for name, t in network.state_dict().items()}, tensors, path)
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def build(part: str, path: Path) -> Any:
    """A network, `unet`, `controlnet` or `vae`, by its config file, without memory for its tensors.

    Raises:
        WeightsError: the file describes no such network, or one that nobody has.
    """
    config = {key: value for key, value in read_json(path).items() if key != "use_vae_encode_condition"}
    network = network_class(part, config)
    # Some millions of layers would take for ever to make, without a byte of weights.
    if any(abs(n) > _LARGEST for n in _numbers(list(config.values()))) or any(
        n > _DEEPEST for key, value in config.items() if "layers" in key for n in _numbers([value])
    ):
        raise WeightsError(f"this does not describe a {network.__name__}: its numbers are absurd", path=path)
    try:
        with torch.device("meta"):
            return network.from_config(config)
    except Exception as error:  # whatever diffusers stumbles over, it is this file's fault
        raise WeightsError(f"this does not describe a {network.__name__}: {first_line(error)}", path=path) from error


def _numbers(values: list[Any]) -> Iterator[float]:
    for value in values:
        if isinstance(value, list):
            yield from _numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield value


def _check_tensors(wanted: Mapping[str, torch.Size], given: Mapping[str, Tensor], path: Path) -> None:
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    misshapen = [
        f"{name} is {tuple(given[name].shape)} and not {tuple(shape)}"
        for name, shape in wanted.items()
        if name in given and given[name].shape != shape
    ]
    faults = [
        f"{len(names)} {what}: {', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", misshapen))
        if names
    ]
    if faults:
        stock = "condition_conv_in.weight" in missing
        hint = "a stock ControlNet is no CCSR ControlNet" if stock else "do config.json and this file belong together?"
        raise WeightsError("tensors " + "; ".join(faults), path=path, hint=hint)


def _check_manifest(description: ModelDescription) -> None:
    manifest = read_manifest(description.folder) if description.kind == "packed" else None
    faults = list(differences(description.folder, manifest["files"], quick=True)) if manifest else []
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise WeightsError(
            f"the model is not as it was packed: {faults[0]}{more}",
            path=description.folder,
            hint="ccsr models verify names all; pack or fetch it again",
        )
