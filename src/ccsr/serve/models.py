"""The models that requests may name."""

from collections.abc import Mapping
from typing import Any

from ccsr.errors import OptionError
from ccsr.options import UpscaleOptions
from ccsr.weights import ModelDescription, describe, list_models


class ServedModels:
    """The server's own model, which is the default, and those in hand."""

    def __init__(self, model: str) -> None:
        first = describe(model)
        self.default = first.name
        self.by_name: dict[str, ModelDescription] = {
            first.name: first, **{m.name: m for m in list_models() if m.name != first.name}
        }  # fmt: skip

    def options_from(self, fields: Mapping[str, Any]) -> UpscaleOptions:
        """Options of a request; the model is one of these, never a folder or an address.

        Raises:
            OptionError: as everywhere, and for another model.
        """
        options = UpscaleOptions.from_mapping({"model": self.default, **fields}, "http")
        if options.model not in self.by_name:
            raise OptionError(f"no model is called {options.model}", hint=f"choose from {', '.join(self.by_name)}")
        return options
