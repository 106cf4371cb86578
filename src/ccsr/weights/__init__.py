"""Model folders: found by name, described, verified, loaded and written.

Importing this loads no torch; the names that need it are loaded at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ccsr.weights.description import ModelDescription, describe, list_models, verify_model
from ccsr.weights.registry import base_model_setting, cache_folder, find_folder, is_offline

if TYPE_CHECKING:
    from ccsr.weights.load import Model, load_model
    from ccsr.weights.packing import ModelFacts, mix, pack, pack_networks, save_model
    from ccsr.weights.text import encode_prompt

__all__ = [
    "Model",
    "ModelDescription",
    "ModelFacts",
    "base_model_setting",
    "cache_folder",
    "describe",
    "encode_prompt",
    "find_folder",
    "is_offline",
    "list_models",
    "load_model",
    "mix",
    "pack",
    "pack_networks",
    "save_model",
    "verify_model",
]

_HOMES = {
    "Model": "load",
    "load_model": "load",
    "ModelFacts": "packing",
    "mix": "packing",
    "pack": "packing",
    "pack_networks": "packing",
    "save_model": "packing",
    "encode_prompt": "text",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
