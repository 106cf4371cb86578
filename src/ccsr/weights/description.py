"""What a model is, without loading it: everything here runs before torch is imported."""

from dataclasses import dataclass, field
from math import isqrt, prod
from pathlib import Path
from typing import Any

from ccsr.errors import WeightsError
from ccsr.log import get_logger
from ccsr.options import COLOR_FIXES
from ccsr.weights.cost import activation_bytes, flops_per_pixel
from ccsr.weights.files import read_json, read_safetensors_header
from ccsr.weights.layouts import NETWORKS, Layout, base_root, child, find_layout, model_root, weights_file
from ccsr.weights.manifest import MANIFEST, differences, file_sha256, model_sha256, names_below, read_manifest
from ccsr.weights.registry import base_model_setting, find_base_model, find_folder, known_models

logger = get_logger("weights")

EMBEDDING_NAMES = ("empty", "positive", "negative")


@dataclass(frozen=True)
class ModelDescription:
    """A model's facts, from its json files and tensor headers."""

    name: str
    folder: Path
    kind: str
    """packed or published_v2."""
    sha256: str
    """One hash over the hashes of the model's files."""
    source: str
    licence: str
    min_size: int | None
    """Shortest output side in pixels that the model works at; smaller pictures are processed at it."""
    min_scale: float | None
    """Least ratio of a result's side to the input's that the model works at; smaller results are reduced from it."""
    useful_steps: int | None
    """How many steps change its results enough to be worth their time; None: all that the method has."""
    color_fix: str
    """adain, wavelet or none: what the model wants where nothing else is asked for."""
    prediction_type: str
    """epsilon, v_prediction or sample."""
    parameters: dict[str, int]
    """Number of values in each network."""
    embeddings: tuple[str, ...]
    """Which of empty, positive and negative there are, stored or to be computed by the text encoder."""
    latent_factor: int
    """Picture pixels per latent pixel, along each axis."""
    latent_channels: int
    flops_per_pixel: dict[str, float]
    """Operations per output pixel of encode, decode and one evaluation (denoise), see `cost`."""
    activation_bytes: int
    """Bytes per output pixel that the widest place of the VAE holds at once, in float32, about."""
    config: dict[str, Any]
    """model_index.json."""
    layout: Layout = field(repr=False)
    """Where each part lies; `layout.text` is the folder with a text encoder, or None."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user has to be told: that a part of the method is missing, or is not the best one."""
        return self.layout.remarks


def describe(name: str | Path, base_model: str | Path | None = None) -> ModelDescription:
    """Facts of the model of this name, folder or hub id.

    `base_model`: where the base model is, if the published weights lie apart from it: see `find_base_model`.
    Weights in `.bin` files are opened with torch to be counted, since they have no header of their own.

    Raises:
        WeightsError: there is no such model, or its files are damaged.
    """
    name = str(name)
    found = find_folder(name)
    folder = model_root(found)
    layout = find_layout(folder, _base(folder, base_model))
    is_packed = layout.kind == "packed"
    config = read_json(folder / "model_index.json") if is_packed else {}
    manifest = (read_manifest(folder) if is_packed else None) or {}
    unet, vae = (read_json(layout.networks[network] / "config.json") for network in ("unet", "vae"))
    scheduler = read_json(layout.scheduler)
    try:
        shuffle, widths = isqrt(vae["in_channels"] // 3), vae["block_out_channels"]
        factor = shuffle * 2 ** (len(widths) - 1)
        activations = activation_bytes(vae)
        # The published program processes at 512 or more: the size of the pictures that its UNet was trained on.
        min_size = config.get("min_size") if is_packed else (unet.get("sample_size") or 64) * factor
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise WeightsError(
            f"unet/config.json or vae/config.json does not describe a network: {error!r}", path=folder
        ) from error
    color_fix, min_scale = config.get("color_fix", "adain"), config.get("min_scale")
    steps = config.get("useful_steps")
    facts = {
        "min_size": (min_size, min_size is None or (type(min_size) is int and min_size > 0)),
        "min_scale": (min_scale, min_scale is None or (type(min_scale) in (int, float) and 1 <= min_scale <= 8)),
        "useful_steps": (steps, steps is None or (type(steps) is int and steps > 0)),
        "color_fix": (color_fix, color_fix in COLOR_FIXES),
    }
    for fact, (value, makes_sense) in facts.items():
        if not makes_sense:
            raise WeightsError(f"{fact} {value!r} makes no sense", path=folder / "model_index.json")
    shapes = {network: _shapes(weights_file(layout.networks[network])) for network in NETWORKS}
    given = name if found != Path(name).expanduser() else found.resolve().name
    return ModelDescription(
        name=str(manifest.get("name") or given),
        folder=folder,
        kind=layout.kind,
        sha256=model_sha256(_hashes(layout, folder, manifest)),
        source=str(manifest.get("source") or "unknown"),
        licence=str(manifest.get("licence") or "unknown"),
        min_size=min_size,
        min_scale=min_scale,
        useful_steps=steps,
        color_fix=color_fix,
        prediction_type=str(scheduler.get("prediction_type", "epsilon")),
        parameters={network: sum(map(prod, shapes[network].values())) for network in NETWORKS},
        embeddings=_embedding_names(layout),
        latent_factor=factor,
        latent_channels=int(vae.get("latent_channels", 4)),
        flops_per_pixel=flops_per_pixel(shapes, unet, vae),
        activation_bytes=activations,
        config=config,
        layout=layout,
    )


def _base(folder: Path, base_model: str | Path | None) -> Path | None:
    """The base model's folder: the given one, or for weights that lack one, that of the setting."""
    if base_model is None and not child(base_root(folder), "unet"):
        base_model = base_model_setting()
    return find_base_model(str(base_model)) if base_model else None


def list_models() -> list[ModelDescription]:
    """All models that have a name; one that cannot be read is left out, with a warning in the log."""
    models = []
    for name in known_models():
        try:
            models.append(describe(name))
        except WeightsError as error:
            logger.warning("%s", error)
    return models


def verify_model(name: str) -> list[str]:
    """Compare every file of a packed model with its manifest: one line for each missing, changed or surplus file.

    An empty list means that all is as it was packed.
    """
    folder = model_root(find_folder(name))
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{MANIFEST}: missing, so there is nothing to compare with"]
    return list(differences(folder, manifest["files"]))


def _hashes(layout: Layout, folder: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """Hash of each file by its name: the manifest's, or made here for a folder that has none."""
    if manifest:
        return {name: entry["sha256"] for name, entry in manifest["files"].items()}
    files = {name: folder / name for name in names_below(folder)} if layout.kind == "packed" else layout.files()
    return {name: file_sha256(path) for name, path in files.items()}


def _embedding_names(layout: Layout) -> tuple[str, ...]:
    if layout.embeddings is None:
        return EMBEDDING_NAMES if layout.text else ()
    stored = read_safetensors_header(layout.embeddings)
    if unknown := sorted(set(stored) - set(EMBEDDING_NAMES)):
        raise WeightsError(
            f"unknown embedding {unknown[0]}", path=layout.embeddings, hint=f"known: {', '.join(EMBEDDING_NAMES)}"
        )
    return tuple(name for name in EMBEDDING_NAMES if name in stored)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    if path.suffix == ".safetensors":
        return {name: entry.shape for name, entry in read_safetensors_header(path).items()}
    from ccsr.weights.tensors import read_tensors

    return {name: tuple(tensor.shape) for name, tensor in read_tensors(path).items()}
