"""`ccsr models`: what weights there are, whether they are whole, and packing them into one folder."""

import argparse
import json
from pathlib import Path

from ccsr.cli import terminal
from ccsr.cli.arguments import Command, Parser
from ccsr.errors import OptionError

_DTYPES = ("bf16", "fp32")
"""Number formats of files."""


def _with_model(command: str, description: str) -> Parser:
    made = Parser(f"ccsr models {command}", "MODEL [options]", description)
    made.add_argument("model", nargs="*", metavar="MODEL", help="a name, a folder, or a hub id")
    return made


def _one(words: list[str], kind: str) -> str:
    if len(words) != 1:
        raise OptionError(f"one {kind} is needed, {len(words)} given", hint="ccsr models list shows what there is")
    return words[0]


def _list_parser() -> Parser:
    made = Parser("ccsr models list", "[--json]", "List the models that are here by name.")
    made.add_argument("--json", action="store_true", help="one object per model")
    return made


def _list(arguments: argparse.Namespace) -> int:
    from ccsr.weights import list_models

    for model in list_models():
        count = sum(model.parameters.values())
        if arguments.json:
            print(json.dumps({"name": model.name, "kind": model.kind, "parameters": count, "licence": model.licence}))
        else:
            print(f"{model.name:<16}{count / 1e6:8.1f} M parameters  {model.licence}")
    return 0


def _info_parser() -> Parser:
    made = _with_model("info", "Show what a model is, where it came from and under what licence.")
    made.add_argument("--base-model", metavar="PLACES", help="the base model: folders or hub ids, between commas")
    made.add_argument("--json", action="store_true", help="one object")
    return made


def _info(arguments: argparse.Namespace) -> int:
    name = _one(arguments.model, "model")
    from ccsr.weights import describe

    model = describe(name, arguments.base_model)
    facts = {
        "name": model.name,
        "folder": str(model.folder),
        "kind": model.kind,
        "sha256": model.sha256,
        "source": model.source,
        "licence": model.licence,
        "prediction_type": model.prediction_type,
        "min_size": model.min_size,
        "min_scale": model.min_scale,
        "useful_steps": model.useful_steps,
        "color_fix": model.color_fix,
        "embeddings": list(model.embeddings),
        "latent_factor": model.latent_factor,
        "parameters": model.parameters,
    }
    if arguments.json:
        print(json.dumps({**facts, "warnings": list(model.remarks)}))
        return 0
    for remark in model.remarks:
        terminal.error(f"{model.name}: WARNING: {remark}")
    for name, value in facts.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{part} {count:,}" for part, count in value.items())
        elif isinstance(value, list):
            shown = ", ".join(value) or "none"
        else:
            shown = "none" if value is None else str(value)
        print(f"{name.replace('_', ' ') + ':':<18}{shown}")
    return 0


def _verify_parser() -> Parser:
    return _with_model("verify", "Compare each file of a packed model with its manifest; exit code 1 if one differs.")


def _verify(arguments: argparse.Namespace) -> int:
    name = _one(arguments.model, "model")
    from ccsr.weights import verify_model

    problems = verify_model(name)
    for problem in problems:
        terminal.error(f"{name}: {problem}")
    if not problems:
        terminal.say(f"{name}: every file is as it was packed")
    return 1 if problems else 0


def _add_dtype(made: Parser) -> None:
    made.add_argument(
        "--dtype", metavar="|".join(_DTYPES), default="bf16", help="number format of the file (default: bf16)"
    )
    made.values["--dtype"] = _DTYPES


def _check_dtype(dtype: str) -> None:
    if dtype not in _DTYPES:
        raise OptionError(f"--dtype is {dtype!r}", hint=f"choose {' or '.join(_DTYPES)}")


def _pack_parser() -> Parser:
    made = Parser(
        "ccsr models pack",
        "SOURCE -o OUT [options]",
        "Write a model, in the published layout or packed, as one folder that needs no text encoder.",
    )
    made.add_argument(
        "source", nargs="*", metavar="SOURCE", help="folder with controlnet/ and vae/, a packed one, or a v1 file"
    )
    made.add_argument("-o", "--output", metavar="OUT", help="the folder to make")
    made.add_argument("--base-model", metavar="PLACES", help="the base model: folders or hub ids, between commas")
    _add_dtype(made)
    made.add_argument("--name", metavar="TEXT", help="name of the model (default: the folder's)")
    made.add_argument("--source", dest="source_text", metavar="TEXT", help="where the weights came from")
    made.add_argument("--licence", metavar="TEXT", help="under what terms they may be used")
    return made


def _pack(arguments: argparse.Namespace) -> int:
    source = _one(arguments.source, "SOURCE")
    if not arguments.output:
        raise OptionError("-o is needed", hint="the folder to make")
    _check_dtype(arguments.dtype)
    from ccsr.weights import base_model_setting, describe, pack

    base = arguments.base_model or base_model_setting()
    # A checkpoint in one file says nothing about itself.
    known = None if Path(source).is_file() else describe(source, base)
    out = Path(arguments.output)
    pack(
        source,
        out,
        dtype=arguments.dtype,
        base_model=base,
        source_text=arguments.source_text or (known.source if known else "unknown"),
        licence=arguments.licence or (known.licence if known else "unknown"),
        name=arguments.name,
    )
    terminal.say(f"packed: {out}")
    return 0


def _mix_parser() -> Parser:
    made = Parser(
        "ccsr models mix",
        "MODEL=SHARE MODEL=SHARE ... -o OUT [options]",
        "Write the weighted mean of models that were trained from one another: between before and after a training.",
    )
    made.add_argument("shares", nargs="*", metavar="MODEL=SHARE", help="a model and its share; the shares sum to 1")
    made.add_argument("-o", "--output", metavar="OUT", help="the folder to make")
    _add_dtype(made)
    made.add_argument("--name", metavar="TEXT", help="name of the model (default: the folder's)")
    made.add_argument("--licence", metavar="TEXT", help="under what terms it may be used (default: the first one's)")
    return made


def _mix(arguments: argparse.Namespace) -> int:
    if not arguments.output:
        raise OptionError("-o is needed", hint="the folder to make")
    shares: dict[str, float] = {}
    for word in arguments.shares:
        model, equals, share = word.rpartition("=")
        try:
            shares[model] = float(share)
        except ValueError:
            equals = ""
        if not equals or not model:
            raise OptionError(f"{word} is no model with its share", hint="for instance before=0.4 after=0.6")
    if len(shares) < 2:
        raise OptionError("two models are needed", hint="for instance before=0.4 after=0.6")
    _check_dtype(arguments.dtype)
    from ccsr.weights import mix

    out = Path(arguments.output)
    mix(shares, out, dtype=arguments.dtype, licence=arguments.licence, name=arguments.name)
    terminal.say(f"mixed: {out}")
    return 0


COMMANDS = {
    "models list": Command(_list_parser, _list),
    "models info": Command(_info_parser, _info),
    "models verify": Command(_verify_parser, _verify),
    "models pack": Command(_pack_parser, _pack),
    "models mix": Command(_mix_parser, _mix),
}
