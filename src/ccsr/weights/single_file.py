"""Stable Diffusion 2.1-base in one file, as its authors and most mirrors give it, as a folder of today's form.

The file is converted once, into the cache folder; the names are mapped by diffusers. It holds no tokenizer, so the
three text embeddings that the method uses are computed from their tokens, which stand here.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import save_file
from torch import Tensor

from ccsr import atomic
from ccsr.errors import MissingExtraError, WeightsError
from ccsr.log import get_logger
from ccsr.networks import SD21, make_network
from ccsr.weights.files import first_line
from ccsr.weights.layouts import EMBEDDINGS, SCHEDULER, WEIGHTS
from ccsr.weights.load import fill
from ccsr.weights.registry import writable_cache_folder
from ccsr.weights.tensors import read_tensors

logger = get_logger("weights")

_DENOISER, _TEXT = "model.diffusion_model.", "cond_stage_model.model."
_START, _END, _LENGTH = 49406, 49407, 77

TOKENS: dict[str, tuple[int, ...]] = {
    "empty": (),
    "positive": (3772, 267, 1400, 268, 9977, 267, 279, 330),
    "negative": (21977, 267, 47950, 267, 9307, 267, 559, 881, 3418, 267, 32955, 267, 1049, 934, 267, 962, 268, 10958,
                 538),
}  # fmt: skip
"""The published program's prompts (`ccsr.weights.text`) in the vocabulary of CLIP, without start, end and padding."""


def base_from_file(path: Path, sizes: Mapping[str, dict[str, Any]] = SD21) -> Path:
    """The folder of a base model that is one `.safetensors` or `.ckpt` file, converted into the cache folder once.

    A `.ckpt` file is a pickle: torch reads it with `weights_only`, and one that holds more than tensors is refused.

    Raises:
        WeightsError: damaged, something else than Stable Diffusion of these `sizes`, or the cache cannot be written.
        MissingExtraError: the text embeddings need transformers.
    """
    state = path.stat()
    mark = f"{path.resolve()} {state.st_size} {state.st_mtime_ns} {_LENGTH}"
    out = writable_cache_folder() / "base" / hashlib.sha256(mark.encode()).hexdigest()[:16]
    if (out / SCHEDULER).is_file():
        return out
    logger.warning("%s: is converted once, into %s", path, out)
    tensors = read_tensors(path)
    networks = converted(tensors, path, sizes)
    embeddings = text_embeddings(tensors, path)
    try:
        with atomic.folder(out, replace=True) as part:
            for name, network in networks.items():
                (part / name).mkdir()
                (part / name / "config.json").write_text(network.to_json_string(), encoding="utf-8")
                state_dict = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
                save_file(state_dict, part / name / f"{WEIGHTS}.safetensors", metadata={"format": "pt"})
            save_file(embeddings, part / EMBEDDINGS)
            (part / SCHEDULER).parent.mkdir()
            (part / SCHEDULER).write_text(json.dumps(sizes["scheduler"]), encoding="utf-8")
    except OSError as error:
        raise WeightsError(f"cannot be written: {error}", path=out, hint="CCSR_HOME sets another place") from error
    return out


def converted(tensors: Mapping[str, Tensor], path: Path, sizes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """`unet` and `vae` out of a checkpoint's tensors; `path` is named where they do not fit `sizes`."""
    if not any(name.startswith(_DENOISER) for name in tensors):
        raise WeightsError(
            f"this is no checkpoint of Stable Diffusion: it has no {_DENOISER.rstrip('.')}",
            path=path,
            hint="--base-model names the folder that holds unet/, or the one file of Stable Diffusion 2.1-base",
        )
    made: dict[str, Any] = {}
    for part, convert in (("unet", _unet), ("vae", convert_ldm_vae_checkpoint)):
        with torch.device("meta"):
            network = make_network(part, sizes)
        try:
            named = convert(dict(tensors), dict(network.config))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise WeightsError(f"its {part} cannot be read: {first_line(error)}", path=path) from error
        try:
            made[part] = fill(network, named, path)
        except WeightsError as error:
            raise WeightsError(
                f"its {part} is not that of Stable Diffusion 2.1: {error.what}", path=path, hint="2.1-base is needed"
            ) from error
    return made


def _unet(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    # Where the averaged weights are there too, they are the ones to use.
    return dict(convert_ldm_unet_checkpoint(tensors, config, extract_ema=True))


def text_embeddings(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The three embeddings (1, 77, width) float32, by the file's own text tower up to its last layer but one."""
    try:
        from transformers import CLIPTextConfig, CLIPTextModel
    except ImportError as error:
        raise MissingExtraError(
            "text embeddings need transformers", path=path, hint='pip install "ccsr[text]"'
        ) from error
    table = tensors.get(f"{_TEXT}token_embedding.weight")
    layers = len({name.split(".")[4] for name in tensors if name.startswith(f"{_TEXT}transformer.resblocks.")}) - 1
    if table is None or layers < 1:
        raise WeightsError("it has no text tower of Stable Diffusion 2", path=path, hint="2.1-base is needed")
    width = table.shape[1]
    last = f"{_TEXT}transformer.resblocks.{layers}."
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(_TEXT) and not name.startswith(last)}
    named = convert_open_clip_checkpoint(SimpleNamespace(config=SimpleNamespace(hidden_size=width)), kept)
    inner = tensors[f"{_TEXT}transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
    config: Any = CLIPTextConfig
    kind: Any = CLIPTextModel
    # Heads of 64, the exact GELU: OpenCLIP's ViT-H.
    encoder = kind(
        config(vocab_size=table.shape[0], hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
               num_attention_heads=max(1, width // 64), hidden_act="gelu", max_position_embeddings=_LENGTH,
               bos_token_id=_START, eos_token_id=_END, pad_token_id=0)
    )  # fmt: skip
    # Versions of transformers differ in the names' first word.
    plain = {name.removeprefix("text_model."): tensor.float() for name, tensor in named.items()}
    wanted = {name.removeprefix("text_model."): name for name in encoder.state_dict()}
    if missing := [name for name in wanted if name not in plain]:
        raise WeightsError(f"its text tower lacks {missing[0]}", path=path)
    encoder.load_state_dict({name: plain[short] for short, name in wanted.items()})
    encoder = encoder.eval()
    with torch.no_grad():
        return {kind: encoder(_padded(tokens), attention_mask=None)[0].contiguous() for kind, tokens in TOKENS.items()}


def _padded(tokens: tuple[int, ...]) -> Tensor:
    ids = (_START, *tokens, _END)
    return torch.tensor([ids + (0,) * (_LENGTH - len(ids))])
