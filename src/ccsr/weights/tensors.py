"""Tensors out of files that came from elsewhere; nothing in a file is ever run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ccsr.errors import WeightsError
from ccsr.weights.files import first_line, not_weights, read_safetensors_header

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Number formats by the names that options have for them."""

_OPEN_AT_ONCE = 1 << 28
"""Bytes of a file that may lie in memory because tensors made of them were converted."""


def read_tensors(path: Path, convert: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> dict[str, Tensor]:
    """All tensors of a `.safetensors` or `.bin` file, mapped from the disk; `convert` is applied to one at a time.

    What `convert` returns as it is stays a view of the file. Of what it copies, no more than a part of a
    `.safetensors` file is in memory beside the copies.

    A `.bin` file is a pickle: torch reads it with `weights_only`, which builds tensors and runs nothing.

    Raises:
        WeightsError: missing, cut off, or something else than tensors.
    """
    if path.suffix == ".safetensors":
        read_safetensors_header(path)
        try:
            return _read_safetensors(path, convert)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"damaged: {first_line(error)}", path=path, hint="fetch or copy it again") from error
    return {name: convert(tensor) for name, tensor in _read_pickle(path).items()}


def _read_safetensors(path: Path, convert: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    kept: Any = safe_open(path, framework="pt")
    passing, read = kept, 0
    tensors: dict[str, Tensor] = {}
    for name in kept.keys():  # noqa: SIM118 -- no mapping
        if passing is kept or read > _OPEN_AT_ONCE:
            # A mapping keeps every page that was looked at; another one begins without any.
            passing, read = safe_open(path, framework="pt"), 0
        tensor = passing.get_tensor(name)
        converted = convert(tensor)
        if converted is tensor:
            tensors[name] = kept.get_tensor(name)
        else:
            tensors[name] = converted
            read += tensor.nbytes
    return tensors


def _read_pickle(path: Path) -> dict[str, Tensor]:
    # Before 2.10 a crafted file could get past weights_only.
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
        raise WeightsError("pickled weights need torch 2.10 or later", path=path)
    try:
        if kind := not_weights(path):
            raise WeightsError(f"this is {kind}", path=path, hint="fetch or copy the file again")
        with path.open("rb") as file:
            mapped = file.read(2) == b"PK"  # files from before torch 1.6 are no zip archives and can only be read
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        raise WeightsError(
            "holds something else than tensors, and was not run", path=path, hint="use a .safetensors file"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"damaged, or no file of torch.save: {first_line(error)}", path=path, hint="use a .safetensors file"
        ) from error
    # Training programs wrap what they trained.
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError("holds something else than tensors by name", path=path, hint="use a .safetensors file")
    return dict(content)
