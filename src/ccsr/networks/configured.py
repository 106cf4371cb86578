"""Networks of our own that are described by a config, as those of diffusers are, and need none of it."""

import json
from collections.abc import Mapping
from inspect import signature
from typing import Any, Self

import torch
from torch import nn

from ccsr.errors import OptionError


class Config(dict[str, Any]):
    """A network's constructor arguments by name, read as items or as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(f"there is no {name} in this config") from error


class ConfiguredModule(nn.Module):
    """A module that keeps its constructor's arguments in `config`, with what pipelines and trainers ask a network for.

    Subclasses hand their arguments to this class's constructor.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = Config(config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A network with random weights; keys that are no arguments are left aside."""
        return cls(**{name: config[name] for name in signature(cls).parameters if name in config})

    def register_to_config(self, **values: Any) -> None:
        """Change what the config says."""
        self.config.update(values)

    def to_json_string(self) -> str:
        """The config as its file holds it, with the name of the class."""
        return json.dumps({"_class_name": type(self).__name__, **self.config}, indent=2, sort_keys=True) + "\n"

    def enable_gradient_checkpointing(self) -> None:
        """As networks of diffusers have it, whose layers take much more memory.

        Raises:
            OptionError: always.
        """
        raise OptionError(f"{type(self).__name__} keeps what it computes", hint="loop.checkpointing=false")

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the parameters."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device
