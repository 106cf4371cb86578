"""The two kinds of model folder that are read, and where each part of a model lies in them.

packed: what `ccsr models pack` and `CCSRPipeline.save_pretrained` write; everything in one folder.
published_v2: a base folder (`unet/`, `vae/`, `scheduler/`, `tokenizer/`, `text_encoder/`) and a folder with
`controlnet/` and, where the decoder was fine-tuned, `vae/` (ccsr-spec 3). Both may be one folder.

People have these folders one level higher or lower than they are named, in other letters of case, and with another of
the files that are published side by side: what can be meant in one way alone is read so.
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
SUFFIXES = tuple(f"{variant}{kind}" for variant in ("", ".fp16", ".non_ema") for kind in (".safetensors", ".bin"))
"""Of a network's file, the best one first; half precision is enough, since networks are used in it."""
PRETRAINED = "pretrained_controlnet"
"""What the published folder calls the ControlNet from before the method's own training."""

_TEXT = ("tokenizer", "text_encoder")
_DEEPEST = 2
"""How many folders below the named one a model is looked for: `preset/models` in the published program's."""
_LISTED = 6
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")


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
    remarks: tuple[str, ...] = ()
    """What a user has to be told of this choice of files."""

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


def child(folder: Path, name: str) -> Path | None:
    """The folder `name` in `folder`, in any letters of case; None where there is none, or more than one."""
    if (folder / name).is_dir():
        return folder / name
    found = [path for path in _folders(folder) if path.name.casefold() == name.casefold()]
    return found[0] if len(found) == 1 else None


def part_file(folder: Path, name: str) -> Path:
    """The file `name` such as `unet/config.json`, its folder in any letters of case; it may not exist."""
    part, _, file = name.partition("/")
    return (child(folder, part) or folder / part) / file


def model_root(folder: Path) -> Path:
    """Where a model's parts lie: `folder`, the one around it if it is `controlnet` itself, or the one below that is.

    Raises:
        WeightsError: several below could be meant.
    """
    return _root(folder, ("controlnet", PRETRAINED), "ccsr upscale PICTURE --model {}")


def base_root(folder: Path) -> Path:
    """Where a base model's parts lie, as `model_root` finds it by `unet`.

    Raises:
        WeightsError: several below could be meant.
    """
    return _root(folder, ("unet",), "--base-model {}")


def _root(folder: Path, parts: tuple[str, ...], command: str) -> Path:
    if any(child(folder, part) for part in parts):
        return folder
    level = [folder]
    for _ in range(_DEEPEST):
        level = [below for place in level for below in _folders(place)]
        found = [place for place in level if any(child(place, part) for part in parts)]
        if len(found) > 1:
            raise WeightsError(
                f"there are several with {parts[0]}/: {', '.join(str(place.relative_to(folder)) for place in found)}",
                path=folder,
                hint=f"name one: {command.format(found[0])}",
            )
        if found:
            return found[0]
    around = folder.absolute().parent
    return around if folder.absolute().name.casefold() in parts and (folder / "config.json").is_file() else folder


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def contents(folder: Path) -> str:
    """What lies in a folder, in few words for an error."""
    try:
        names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    shown = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    return f"there lies {shown}" if names else "it is empty"


def is_packed(folder: Path) -> bool:
    """Whether a folder says of itself that it is a whole model of this method."""
    index = folder / INDEX
    return index.is_file() and read_json(index).get("_class_name") == "CCSRPipeline"


def find_layout(folder: Path, base: Path | None) -> Layout:
    """Which kind of model `folder` holds, with the base model's folder where it is published in two.

    Both are as `model_root` and `base_root` find them; for a packed folder `base` only gives the text encoder. Without
    `base`, one that lies in or beside the model's parts is taken.

    Raises:
        WeightsError: it is neither, or a part is missing.
    """
    packed = is_packed(folder)
    if not packed and base is None and (inside := base_root(folder)) != folder and child(inside, "unet"):
        base = inside
    places = [folder] if packed or base is None else [folder, base]
    if not packed:
        _check_parts(folder, base)

    def first(part: str) -> tuple[Path, Path] | None:
        return next(((place, found) for place in places if (found := child(place, part))), None)

    found = {part: first(part) for part in (*NETWORKS, "scheduler")}
    remarks = []
    if found["controlnet"] is None and (earlier := first(PRETRAINED)):
        found["controlnet"] = earlier
        remarks.append(
            f"there is no controlnet/, so {PRETRAINED}/ is used, which is that from before the method's own training:"
            " results are not CCSR's; fetch the final controlnet/ too"
        )
    if found["vae"] and not packed and base is not None and base != folder and found["vae"][0] == base:
        remarks.append(
            "it has no vae/ of its own, so the base model's decoder is used: the fine-tuned decoder, half of the"
            f" method, is missing; put CCSR's vae/ beside controlnet/ in {folder}"
        )
    scheduler = found.pop("scheduler")
    file = scheduler[1] / SCHEDULER.rpartition("/")[2] if scheduler else None
    absent = [part for part, where in found.items() if where is None]
    if file is None or not file.is_file():
        absent.append(SCHEDULER)
    if absent:
        raise WeightsError(f"{', '.join(absent)} missing", path=places[-1], hint=contents(places[-1]))
    networks = {part: where[1] for part, where in found.items() if where}
    for part, place in networks.items():
        if ".non_ema" in (name := weights_file(place).name):
            remarks.append(
                f"{part}/{name} is used, which are not the averaged weights: {WEIGHTS}.safetensors is better"
            )
    assert file is not None  # noqa: S101 -- for the type checker: absent parts have been refused
    speakers = [folder, base] if base else [folder]
    text = next((place for place in speakers if all((place / part).is_dir() for part in _TEXT)), None)
    embeddings = next((path for place in places if (path := place / EMBEDDINGS).is_file()), None)
    return Layout("packed" if packed else "published_v2", networks, file, embeddings, text, tuple(remarks))


def _check_parts(folder: Path, base: Path | None) -> None:
    """Refuse what is not in one of the two forms, with the way out by what it looks like."""
    has_control = any(child(folder, part) for part in ("controlnet", PRETRAINED))
    if not has_control:
        if base is not None and any(child(base, part) for part in ("controlnet", PRETRAINED)):
            raise WeightsError(
                "the model and the base model are swapped: this folder has no controlnet/, the other has",
                path=folder,
                hint=f"--model {base} --base-model {folder}",
            )
        if child(folder, "unet"):
            raise WeightsError(
                "this is no CCSR model: it has no controlnet folder, it is a base model",
                path=folder,
                hint=f"--model FOLDER-WITH-CONTROLNET --base-model {folder}",
            )
        if weights := [
            p.name for p in folder.glob("*") if p.suffix in (".ckpt", ".safetensors", ".bin", ".pt", ".pth")
        ]:
            checkpoint = next((name for name in weights if not name.startswith(WEIGHTS)), None)
            raise WeightsError(
                f"this is no CCSR model: it has no controlnet folder; {contents(folder)}",
                path=folder,
                hint=f"if it is the first version's: ccsr models pack {folder / checkpoint} -o OUT --base-model BASE"
                if checkpoint
                else "put the ControlNet's config.json and weights into controlnet/, the VAE's into vae/",
            )
        raise WeightsError(
            f"this is no CCSR model: it has no controlnet folder; {contents(folder)}",
            path=folder,
            hint="give a packed folder, or the one that holds controlnet/",
        )
    if base is None and not child(folder, "unet"):
        raise WeightsError(
            "the base model is missing: this folder has no unet",
            path=folder,
            hint="name its folder or file with --base-model",
        )
    if base is not None and not child(base, "unet"):
        raise WeightsError(
            f"this is no base model: it has no unet folder; {contents(base)}",
            path=base,
            hint="--base-model names the folder that holds unet/, or the one file of Stable Diffusion 2.1-base",
        )


def weights_file(folder: Path) -> Path:
    """The file with a network's tensors: `.safetensors`, or `.bin` where there is no other."""
    for suffix in SUFFIXES:
        if (path := folder / (WEIGHTS + suffix)).is_file():
            return path
    others = sorted(p.name for p in folder.iterdir() if p.suffix in _WEIGHT_SUFFIXES)
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
