"""Writing model folders: all files under a temporary name, one rename at the end, nothing ever overwritten."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DDPMScheduler
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ccsr import atomic
from ccsr.errors import CCSRError, OptionError, WeightsError
from ccsr.options import COLOR_FIXES
from ccsr.version import __version__
from ccsr.weights.description import EMBEDDING_NAMES, describe
from ccsr.weights.files import read_json
from ccsr.weights.first_version import read_first_version
from ccsr.weights.layouts import EMBEDDINGS, INDEX, SCHEDULER, WEIGHTS, part_file
from ccsr.weights.load import Model, base_embeddings, load_model, read_embeddings
from ccsr.weights.manifest import write_manifest
from ccsr.weights.registry import find_base_model
from ccsr.weights.tensors import DTYPES


@dataclass(frozen=True)
class ModelFacts:
    """What a packed folder says of its model."""

    name: str
    source: str
    """Where the weights came from."""
    licence: str
    color_fix: str
    min_size: int | None = None
    """Shortest output side in pixels that it works at."""
    min_scale: float | None = None
    """Least scale that it works at."""
    useful_steps: int | None = None
    """How many steps are worth their time."""
    dtype: str = "bf16"
    """Number format of the weights in it: fp32, bf16 or fp16."""
    extra_files: Mapping[str, str] = field(default_factory=dict)
    """Text by file name, such as a model card."""


def pack(
    source: str | Path,
    out: Path,
    *,
    dtype: str = "bf16",
    base_model: str | Path | None = None,
    source_text: str,
    licence: str,
    name: str | None = None,
    extra_files: Mapping[str, str] | None = None,
) -> None:
    """Write the model `source` (published layout or packed; folder, name or hub id) as one packed folder `out`.

    A file is taken for a checkpoint of the first published program, which needs a base model.

    `source_text` says where the weights came from and `licence` under what terms; both go into the manifest.

    Raises:
        WeightsError: the source is damaged, or `out` exists.
        MissingExtraError: the published folder's text embeddings need transformers.
    """
    _refuse(out, dtype)
    facts = ModelFacts(
        name or out.name, source_text, licence, "adain", min_size=512, dtype=dtype, extra_files=extra_files or {}
    )
    if Path(source).is_file():
        return _pack_first_version(Path(source), out, base_model, facts)
    model = load_model(str(source), dtype=DTYPES[dtype], base_model=str(base_model) if base_model else None)
    # Not the model's own embeddings, which are rounded to the networks' dtype.
    _pack_loaded(model, out, read_embeddings(model.description), facts)


def _pack_first_version(checkpoint: Path, out: Path, base_model: str | Path | None, facts: ModelFacts) -> None:
    if base_model is None:
        raise WeightsError(
            "a checkpoint of the first program needs its base model", path=checkpoint, hint="--base-model names it"
        )
    base = find_base_model(str(base_model))
    networks = read_first_version(checkpoint, base)
    pack_networks(out, networks, read_json(part_file(base, SCHEDULER)), base_embeddings(base), facts)


def mix(
    shares: Mapping[str, float], out: Path, *, dtype: str = "bf16", licence: str | None = None, name: str | None = None
) -> None:
    """Write the weighted mean of models of one architecture, tensor by tensor, as one packed folder `out`.

    `shares`: name or folder to its share; they sum to 1, and one may be negative, which takes away what that model has
    learnt. Everything but the weights is the first one's.

    Raises:
        OptionError: shares that do not sum to 1.
        WeightsError: a model is not there or of another architecture, or `out` exists.
    """
    _refuse(out, dtype)
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise OptionError(f"the shares sum to {sum(shares.values()):g}", hint="they must sum to 1")
    (first, share), *others = shares.items()
    model = load_model(first)
    means = _tensors_of(model)
    for tensor in means.values():
        # Not in place: what was mapped from a file must stay as it is.
        tensor.data = tensor.data * share
    for source, share in others:
        theirs = _tensors_of(load_model(source))
        if {n: t.shape for n, t in theirs.items()} != {n: t.shape for n, t in means.items()}:
            raise WeightsError(f"is of another architecture than {first}", path=source)
        for key, tensor in means.items():
            tensor.data += share * theirs[key].data
    made = ", ".join(f"{share:g} {describe(source).name}" for source, share in shares.items())
    facts = ModelFacts(
        name or out.name, f"weighted mean: {made}", licence or model.description.licence, "", dtype=dtype
    )
    _pack_loaded(model, out, model.embeddings, facts)


def _tensors_of(model: Model) -> dict[str, Tensor]:
    """Everything that training can change, by name."""
    parts = {"unet": model.unet, "controlnet": model.controlnet, "vae": model.vae}
    tensors = {
        f"{part}.{n}": t for part, network in parts.items() for n, t in network.state_dict(keep_vars=True).items()
    }
    return {**tensors, **{f"embedding.{n}": t for n, t in model.embeddings.items()}}


def save_model(model: Model, out: Path) -> None:
    """Write a loaded model as a packed folder `out`, its networks in the dtype they have now.

    Raises:
        WeightsError: `out` exists and is no empty folder.
    """
    said = model.description
    dtype = next(name for name, dtype in DTYPES.items() if dtype == model.unet.dtype)
    _pack_loaded(
        model, out, model.embeddings, ModelFacts(said.name, said.source, said.licence, said.color_fix, dtype=dtype)
    )


def _pack_loaded(model: Model, out: Path, embeddings: Mapping[str, Tensor], facts: ModelFacts) -> None:
    """`pack_networks` with what a loaded model knows of itself."""
    known, networks = model.description, {"unet": model.unet, "controlnet": model.controlnet, "vae": model.vae}
    facts = replace(
        facts, min_size=known.min_size, min_scale=known.min_scale, useful_steps=known.useful_steps,
        color_fix=known.color_fix,
    )  # fmt: skip
    pack_networks(out, networks, model.scheduler_config, embeddings, facts)


def pack_networks(
    out: Path,
    networks: Mapping[str, Any],
    scheduler_config: Mapping[str, Any],
    embeddings: Mapping[str, Tensor],
    facts: ModelFacts,
) -> None:
    """Write networks in memory (unet, controlnet, vae) as a packed folder `out`; they stay as they are.

    `embeddings`: any of empty, positive and negative, (1, tokens, width); kept in float32, being small.

    Raises:
        WeightsError: `out` exists, or a tensor holds values that are not finite.
    """
    _refuse(out, facts.dtype)
    _check_facts(embeddings, facts.color_fix)
    index = {
        "_class_name": "CCSRPipeline",
        "_diffusers_version": diffusers.__version__,
        "_ccsr_version": __version__,
        "color_fix": facts.color_fix,
        "controlnet": _class_of(networks["controlnet"]),
        "min_scale": facts.min_scale,
        "min_size": facts.min_size,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": _class_of(networks["unet"]),
        "useful_steps": facts.useful_steps,
        "vae": _class_of(networks["vae"]),
    }
    scheduler: Any = DDPMScheduler
    try:
        # Fails on a folder that holds files, as one that came to be in the meantime does.
        with atomic.folder(out) as part:
            _write_json(part / INDEX, index)
            for kind, network in networks.items():
                _write_network(part / kind, network, DTYPES[facts.dtype])
            (part / SCHEDULER).parent.mkdir()
            _write_json(part / SCHEDULER, _config_of(scheduler.from_config(dict(scheduler_config))))
            _write_tensors(part / EMBEDDINGS, _on_cpu(embeddings, torch.float32))
            shutil.copymode(part / INDEX, part / EMBEDDINGS)
            for file, text in facts.extra_files.items():
                (part / file).write_text(text, encoding="utf-8")
            write_manifest(part, name=facts.name, source=facts.source, licence=facts.licence, dtype=facts.dtype)
    except CCSRError:
        raise
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot be written: {error}", path=out) from error


def _class_of(network: Any) -> list[str]:
    """Where diffusers finds a network's class: its own by their name alone."""
    kind = type(network)
    return ["diffusers" if kind.__module__.startswith("diffusers.") else kind.__module__, kind.__name__]


def _refuse(out: Path, dtype: str) -> None:
    if os.path.lexists(out) and not _is_empty_folder(out):
        raise WeightsError("exists already, and is not overwritten", path=out, hint="choose another name")
    if dtype not in DTYPES:
        raise OptionError(f"--dtype is {dtype!r}", hint=f"choose from {', '.join(DTYPES)}")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _check_facts(embeddings: Mapping[str, Tensor], color_fix: str) -> None:
    if not embeddings or (unknown := sorted(set(embeddings) - set(EMBEDDING_NAMES))):
        what = f"unknown embedding {unknown[0]}" if embeddings else "a model needs an embedding"
        raise WeightsError(what, hint=f"any of {', '.join(EMBEDDING_NAMES)}")
    if color_fix not in COLOR_FIXES:
        raise WeightsError(f"unknown color fix {color_fix}", hint=f"choose from {', '.join(COLOR_FIXES)}")


def _write_network(folder: Path, network: Any, dtype: torch.dtype) -> None:
    folder.mkdir()
    _write_json(folder / "config.json", _config_of(network))
    path = folder / f"{WEIGHTS}.safetensors"
    _write_tensors(path, _on_cpu(network.state_dict(), dtype))
    # safetensors writes for the owner's eyes only; a model has the rights that any new file gets.
    shutil.copymode(folder / "config.json", path)


def _on_cpu(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{name} holds values that are not finite", path=path.name)
    # The mark by which diffusers' own loader knows a file of torch tensors.
    save_file(tensors, path, metadata={"format": "pt"})


def _config_of(part: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(part.to_json_string())
    # diffusers notes here from where it loaded: a path of the packer's machine.
    config.pop("_name_or_path", None)
    return config


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
