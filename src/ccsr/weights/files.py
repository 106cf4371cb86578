"""Reading files that came from elsewhere, without torch: json objects and the headers of safetensors files."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from ccsr.errors import WeightsError

# The format's own limit; a larger number in the first eight bytes means that this is another kind of file.
_HEADER_LIMIT = 100_000_000
_BROKEN = "fetch or copy the file again"


class TensorEntry(NamedTuple):
    """What a safetensors header says of one tensor: `dtype` such as `BF16`, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a json file.

    Raises:
        WeightsError: the file is missing, is no json, or holds something else than an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError("the file is missing", path=path) from error
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror}", path=path) from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"this is {_kind_of(path) or 'no valid json'}", path=path, hint=_BROKEN) from error
    if not isinstance(content, dict):
        raise WeightsError("this is no json object", path=path, hint=_BROKEN)
    return content


def read_safetensors_header(path: Path) -> dict[str, TensorEntry]:
    """Name, dtype and shape of each tensor; the data is not read, only its length is compared with the header.

    Source: the safetensors format (8 bytes of length, little endian; a json object; the data).

    Raises:
        WeightsError: missing, cut off, or another kind of file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(_HEADER_LIMIT, size - 8):
                raise ValueError
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        entries = {name: TensorEntry(str(v["dtype"]), tuple(map(int, v["shape"]))) for name, v in header.items()}
        end = 8 + length + max((int(v["data_offsets"][1]) for v in header.values()), default=0)
    except FileNotFoundError as error:
        raise WeightsError("the file is missing", path=path) from error
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror}", path=path) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        what = _kind_of(path) or "damaged, or no safetensors file"
        raise WeightsError(f"this is {what}", path=path, hint=_BROKEN) from error
    if end != size:
        raise WeightsError(f"damaged: {size} bytes where its header asks for {end}", path=path, hint=_BROKEN)
    return entries


def not_weights(path: Path) -> str | None:
    """What a file is that cannot hold weights at all (an HTML page, a git LFS pointer, nothing), else None."""
    with path.open("rb") as file:
        start = file.read(256).lstrip()
    if not start:
        return "an empty file"
    if start.startswith(b"<"):
        return "an HTML page in place of the file"
    if start.startswith(b"version https://git-lfs"):
        return "a git LFS pointer in place of the file"
    return None


def _kind_of(path: Path) -> str | None:
    try:
        return not_weights(path)
    except OSError:
        return None


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says anything."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
