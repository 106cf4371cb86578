"""The option list as JSON schema, for `/v1/options`, for the form bodies of the OpenAPI document and for the page."""

from fractions import Fraction
from typing import Any

from ccsr.options import EXCLUSIVE, Option, UpscaleOptions, options_of
from ccsr.serve.settings import ServeSettings

_EXCLUSIONS = [{"not": {"required": list(pair)}} for pair in EXCLUSIVE]


def options_schema(settings: ServeSettings, models: list[str], default_model: str) -> dict[str, Any]:
    """JSON schema of an object with every option that http offers.

    Beside the standard keywords there are `x-flag`, `x-label`, `x-group`, and where they apply `x-front`,
    `x-expert`, `x-suggestions`, `x-ends`, `x-unit` and `x-hidden`, from which a page can draw its controls.
    """
    properties = {}
    for option in options_of(UpscaleOptions, "http"):
        known = _property(option)
        if option.name == "model":
            known |= {"enum": models, "default": default_model}
        if option.name == "samples":
            known["maximum"] = settings.max_results
        properties[option.name] = known
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Options of upscaling",
        "type": "object",
        "properties": properties,
        "allOf": _EXCLUSIONS,
        "additionalProperties": False,
    }


def _property(option: Option) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if option.choices:
        known |= {"type": "string", "enum": [str(c) for c in option.choices]}
    else:
        known["type"] = {bool: "boolean", int: "integer", str: "string"}.get(option.kind, "number")
        if option.pattern is not None:
            known["pattern"] = f"^{option.pattern}$"
        if option.minimum is not None:
            known["minimum"] = _plain(option.minimum)
        if option.maximum is not None:
            known["maximum"] = _plain(option.maximum)
        if option.words:
            known = {"anyOf": [{"type": "string", "enum": list(option.words)}, known]}
        elif option.kind is Fraction:
            ratio = {"type": "string", "pattern": r"^[1-9][0-9]{0,5}/[1-9][0-9]{0,5}$"}
            known = {"anyOf": [known, {**ratio, "description": "a fraction, such as 2/3"}]}
    if option.kind is str and not option.choices:
        known["maxLength"] = 2000
    if option.default is not None:
        known["default"] = _plain(option.default)
    known |= {"description": option.help, "x-flag": option.flag, "x-group": option.group}
    known["x-label"] = option.label or option.name.replace("_", " ").capitalize()
    extra = {
        "x-front": option.front,
        "x-expert": option.expert,
        "x-suggestions": list(option.suggestions),
        "x-ends": list(option.ends or ()),
        "x-unit": option.unit,
        "x-hidden": option.hidden,
    }
    return known | {name: value for name, value in extra.items() if value}


_MASK = "a picture of any size that is laid over each one: where it is black the enlarged input stays, grey mixes"


def form_schema(options: dict[str, Any], *, several: bool) -> dict[str, Any]:
    """Schema of the multipart body: the picture or pictures, and the options as form fields."""
    picture = {"type": "string", "format": "binary", "description": "the bytes of a picture file"}
    file = {"type": "array", "items": picture, "minItems": 1} if several else picture
    plain = {
        name: {key: value for key, value in known.items() if not key.startswith("x-")}
        for name, known in options["properties"].items()
    }
    return {
        "type": "object",
        "required": ["file"],
        "properties": {"file": file, "mask": {**picture, "description": _MASK}, **plain},
        "allOf": _EXCLUSIONS,
        "additionalProperties": False,
    }


def _plain(value: Any) -> Any:
    """Numbers as JSON has them: whole ones without a point."""
    if isinstance(value, bool | str):
        return value
    return int(value) if value == int(value) else float(value)
