"""Flags of the published programs, as hidden aliases: an old command line works as it stands.

Names and defaults: ccsr-spec 1.1. `--seed` is spelt alike in both. Differs from v2: nothing here implies `--compat`.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ccsr.cli.arguments import Parser
from ccsr.errors import OptionError


@dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    inputs: list[str]
    output: str | None
    options: dict[str, Any]
    """Our options by name, as typed."""


def _as(name: str) -> Callable[[str], dict[str, Any]]:
    return lambda value: {name: value}


def _ignored(_: str) -> dict[str, Any]:
    """No effect in the published program, so none here."""
    return {}


def _chosen(flag: str, name: str, values: Mapping[str, str]) -> Callable[[str], dict[str, Any]]:
    def translate(value: str) -> dict[str, Any]:
        if value not in values:
            raise OptionError(f"--{flag} is {value!r}", hint=f"choose from {', '.join(values)}")
        return {name: values[value]}

    return translate


def _sample_method(value: str) -> dict[str, Any]:
    if value != "ddpm":
        raise OptionError(
            f"--sample_method is {value!r}", hint="the method steps by ddpm; other samplers do not fit it"
        )
    return {}


def _negative_prompt(value: str) -> dict[str, Any]:
    """Nothing for the published program's own text: models hold its embedding, so no text encoder is asked for it."""
    from ccsr.weights.text import NEGATIVE

    return {} if value == NEGATIVE else {"negative_prompt": value}


def _added_prompt(value: str) -> dict[str, Any]:
    from ccsr.weights.text import POSITIVE

    return {} if value == POSITIVE else {"prompt": value}


FLAGS: dict[str, Callable[[str], dict[str, Any]]] = {
    "num_inference_steps": _as("T"),
    "t_max": _as("t_max"),
    "t_min": _as("t_min"),
    "upscale": _as("scale"),
    "sample_times": _as("samples"),
    "align_method": _chosen("align_method", "color_fix", {"wavelet": "wavelet", "adain": "adain", "nofix": "none"}),
    "guidance_scale": _as("guidance"),
    "negative_prompt": _negative_prompt,
    "added_prompt": _added_prompt,
    "mixed_precision": _chosen("mixed_precision", "dtype", {"no": "fp32", "fp16": "fp16", "bf16": "bf16"}),
    "process_size": _as("min_size"),
    "start_point": _chosen("start_point", "start_point", {"lr": "lq", "noise": "noise"}),
    "start_steps": _as("start_index"),
    "sample_method": _sample_method,
    "conditioning_scale": _ignored,
    "vae_encoder_tile_size": _ignored,
    "baseline_name": _ignored,
    "pretrained_model_path": lambda value: {"base_model": value} if value else {},
}
"""Flags with a value that translate one by one."""

PLACES = ("image_path", "output_dir", "controlnet_model_path", "vae_model_path")
TILES = ("tile_diffusion_size", "tile_diffusion_stride", "vae_decoder_tile_size")
SWITCHES = ("tile_diffusion", "tile_vae", "use_vae_encode_condition")

_PREFIX = "published."


def add_flags(parser: Parser) -> None:
    """Accept the flags without showing them in help."""
    for name in (*FLAGS, *PLACES, *TILES):
        parser.add_argument(
            f"--{name}", dest=_PREFIX + name, metavar="VALUE", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    for name in SWITCHES:
        parser.add_argument(
            f"--{name}", dest=_PREFIX + name, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def translate(request: Request, arguments: argparse.Namespace) -> Request:
    """The request with the published flags in `arguments` in our words; without any, as it is.

    Raises:
        OptionError: a value that the published program has and this one has not, or one thing asked for twice.
    """
    typed = {name.removeprefix(_PREFIX): value for name, value in vars(arguments).items() if name.startswith(_PREFIX)}
    if not typed:
        return request
    options = dict(request.options)

    def put(flag: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name in request.options:
                ours = "--" + name.replace("_", "-")
                raise OptionError(f"--{flag} and {ours} are one option", hint="give one of them")
            options[name] = value

    for name, value in typed.items():
        if name in FLAGS:
            put(name, FLAGS[name](value))
    if model := _model(typed):
        put("controlnet_model_path" if "controlnet_model_path" in typed else "vae_model_path", {"model": model})
    elif "base_model" in options:
        raise OptionError("--pretrained_model_path is the base model alone", hint="add --controlnet_model_path FOLDER")
    for name, value in {**_grid(typed), **_tiles(typed)}.items():
        options.setdefault(name, value)
    if float(_number("guidance_scale", options.get("guidance", "1"))) <= 1:
        options.pop("negative_prompt", None)  # it has no effect there either
    inputs = [*request.inputs, *([typed["image_path"]] if typed.get("image_path") else [])]
    output = typed.get("output_dir") or request.output
    if request.output and typed.get("output_dir"):
        raise OptionError("--output_dir and --output are one option", hint="give one of them")
    return Request(inputs, output, options)


def _model(typed: Mapping[str, Any]) -> str | None:
    """The folder with `controlnet/` and `vae/`, which these programs name twice."""
    controlnet, vae = typed.get("controlnet_model_path"), typed.get("vae_model_path")
    if controlnet and vae and controlnet.rstrip("/") != vae.rstrip("/"):
        raise OptionError(
            "--controlnet_model_path and --vae_model_path are different folders", hint="put both parts in one folder"
        )
    return controlnet or vae or None


def _grid(typed: Mapping[str, Any]) -> dict[str, Any]:
    """The published defaults of what the paper calls T, t_max and t_min; ours are another setting."""
    if not typed.keys() & {"num_inference_steps", "t_max", "t_min"}:
        return {}
    return {"T": "1", "t_max": "0.6666", "t_min": "0.0"}


def _tiles(typed: Mapping[str, Any]) -> dict[str, Any]:
    """Tiles are off there unless switched on; sizes are output pixels, the decoder's latent pixels."""
    tiles: dict[str, Any] = {"tile": "none", "vae_tile": "none"}
    if "tile_diffusion" in typed:
        size = _number("tile_diffusion_size", typed.get("tile_diffusion_size", "512"))
        stride = _number("tile_diffusion_stride", typed.get("tile_diffusion_stride", "256"))
        if not 0 < stride <= size:
            raise OptionError(f"--tile_diffusion_stride is {stride:g}", hint=f"choose 1 to {size:g}, the tile's size")
        tiles |= {"tile": f"{size:g}", "overlap": 1 - stride / size}
    if "tile_vae" in typed:
        tiles["vae_tile"] = f"{8 * _number('vae_decoder_tile_size', typed.get('vae_decoder_tile_size', '224')):g}"
    return tiles


def _number(flag: str, value: Any) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise OptionError(f"--{flag} is {value!r}", hint="expected a number") from error
