"""The two kinds of model folder that are read, and where each part of a model lies in them.

packed: what `ccsr models pack` and `CCSRPipeline.save_pretrained` write; everything in one folder.
published_v2: a base folder (`unet/`, `vae/`, `scheduler/`, `tokenizer/`, `text_encoder/`) and a folder with
`controlnet/` and, where the decoder was fine-tuned, `vae/` (ccsr-spec 3). Both may be one folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ccsr.errors import WeightsError
from ccsr.weights.files import read_json

if TYPE_CHECKING:
    from torch import Tensor

NETWORKS = ("unet", "controlnet", "vae")
INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
EMBEDDINGS = "embeddings.safetensors"
WEIGHTS = "diffusion_pytorch_model"


@dataclass(frozen=True)
class Layout:
    """Where the parts of one model lie."""

    kind: str
    """packed or published_v2."""
    networks: Mapping[str, Path]
    """Folder of each network."""
    scheduler: Path
    """The scheduler's config file."""
    embeddings: Path | None
    """File of the text embeddings."""
    text: Path | None
    """Folder that holds `tokenizer/` and `text_encoder/`."""

    def files(self) -> dict[str, Path]:
        """Every file that decides what the model computes, by its name in a packed folder."""
        found = {SCHEDULER: self.scheduler}
        for network, folder in self.networks.items():
            weights = weights_file(folder)
            found |= {f"{network}/config.json": folder / "config.json", f"{network}/{weights.name}": weights}
        if self.embeddings:
            return found | {EMBEDDINGS: self.embeddings}
        if self.text:
            text = [p for part in ("tokenizer", "text_encoder") for p in (self.text / part).iterdir() if p.is_file()]
            found |= {path.relative_to(self.text).as_posix(): path for path in text}
        return found


def find_layout(folder: Path, base: Path | None) -> Layout:
    """Which kind of model `folder` holds, with the base model's folder where it is published in two.

    For a packed folder `base` only gives the text encoder.

    Raises:
        WeightsError: it is neither, or a part is missing.
    """
    index = folder / INDEX
    is_packed = index.is_file() and read_json(index).get("_class_name") == "CCSRPipeline"
    places = [folder] if is_packed or base is None else [folder, base]
    if not is_packed and not (folder / "controlnet").is_dir():
        raise WeightsError(
            "this is no CCSR model: it has no controlnet folder",
            path=folder,
            hint="give a packed folder, or the one that holds controlnet/",
        )
    if not is_packed and base is None and not (folder / "unet").is_dir():
        raise WeightsError(
            "the base model is missing: this folder has no unet", path=folder, hint="name its folder with --base-model"
        )

    def first(name: str, *, among: list[Path] = places) -> Path | None:
        return next((place / name for place in among if (place / name).exists()), None)

    parts = {part: first(part) for part in (*NETWORKS, SCHEDULER)}
    if absent := [part for part, path in parts.items() if path is None]:
        raise WeightsError(f"{', '.join(absent)} missing", path=places[-1])
    networks = {part: path for part in NETWORKS if (path := parts[part])}
    scheduler = parts[SCHEDULER]
    assert scheduler is not None  # noqa: S101 -- for the type checker: absent parts have been refused
    speakers = [folder, base] if base else [folder]
    text = next((p for p in speakers if (p / "tokenizer").is_dir() and (p / "text_encoder").is_dir()), None)
    kind = "packed" if is_packed else "published_v2"
    return Layout(kind, networks, scheduler, first(EMBEDDINGS), text)


def weights_file(folder: Path) -> Path:
    """The file with a network's tensors: `.safetensors`, or `.bin` where there is no other."""
    for suffix in (".safetensors", ".bin"):
        if (path := folder / (WEIGHTS + suffix)).is_file():
            return path
    others = sorted(p.name for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".ckpt", ".pt", ".pth"))
    hint = f"there is {', '.join(others[:3])}" if others else None
    raise WeightsError(f"{WEIGHTS}.safetensors is missing", path=folder, hint=hint)


_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def with_current_names(tensors: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Tensors of a VAE with its attention under today's names and as matrices.

    Stable Diffusion's own files call them query, key, value and proj_attn; some hold them as 1x1 convolutions of
    shape (C, C, 1, 1). Source: ccsr-spec 2, attention key names.
    """
    renamed = {}
    for name, tensor in tensors.items():
        head, attention, tail = name.partition(".attentions.0.")
        if attention:
            part, _, kind = tail.rpartition(".")
            part = _OLD_ATTENTION.get(part, part)
            name = f"{head}{attention}{part}.{kind}"
            if part.startswith("to_") and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
                tensor = tensor[:, :, 0, 0]
        renamed[name] = tensor
    return renamed
