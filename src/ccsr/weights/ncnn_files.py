"""Networks in ncnn's two files, read without ncnn: a text file that lists the layers, and one that holds their numbers.

The second has, in the layers' order, for a convolution four bytes of flag, its weights in float16 or float32, padded to
four bytes, and its bias in float32, and for a PReLU its slopes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccsr.errors import WeightsError

_HALF_PRECISION = 0x01306B47
"""The flag before weights in float16; 0 stands there before float32."""
_ARRAY = -23300
"""An array of the key k is written as -23300-k=LENGTH,VALUES."""
_WITHOUT_NUMBERS = {"Input", "Split", "Concat", "Eltwise", "BinaryOp", "Interp", "PixelShuffle"}


@dataclass(frozen=True)
class NcnnLayer:
    """One line of the text file, with its weights."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: dict[int, str]
    """By ncnn's number of the setting; an array is VALUES with commas between."""
    weights: tuple[Tensor, ...] = ()
    """Of a convolution its weight (out, in, k, k) and bias, of a PReLU its slopes."""

    def number(self, key: int, default: float = 0.0) -> float:
        """The setting as a number."""
        return float(self.settings.get(key, default))

    def numbers(self, key: int) -> tuple[float, ...]:
        """The setting as numbers, () where it is not set."""
        return tuple(float(v) for v in self.settings.get(key, "").split(",") if v)


def _settings(words: list[str]) -> Iterator[tuple[int, str]]:
    for key, _, value in (word.partition("=") for word in words):
        if int(key) <= _ARRAY:
            yield _ARRAY - int(key), value.partition(",")[2]
        else:
            yield int(key), value


def read_ncnn(stem: str) -> list[NcnnLayer]:
    """The layers of `stem`.param with the weights of `stem`.bin, in their order.

    Raises:
        WeightsError: there are no such files, or they hold a kind of layer that is not read here.
    """
    try:
        lines = Path(f"{stem}.param").read_text(encoding="utf-8").splitlines()[2:]
        raw = Path(f"{stem}.bin").read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"cannot be read: {error}", path=stem, hint="the path is given without .param") from error
    at = 0

    def take(count: int, kind: type[np.floating]) -> Tensor:
        nonlocal at
        values = np.frombuffer(raw, kind, count, at).astype(np.float32)
        at += (values.size * np.dtype(kind).itemsize + 3) // 4 * 4
        return torch.from_numpy(values)

    def read(line: str) -> NcnnLayer:
        nonlocal at
        kind, _, inputs, outputs, *words = line.split()
        first, last = int(inputs), int(inputs) + int(outputs)
        settings = dict(_settings(words[last:]))
        weights: tuple[Tensor, ...] = ()
        if kind == "Convolution":
            out, side = int(settings[0]), int(settings.get(1, "3"))
            half = int.from_bytes(raw[at : at + 4], "little") == _HALF_PRECISION
            at += 4
            weight = take(int(settings[6]), np.float16 if half else np.float32).view(out, -1, side, side)
            weights = (weight, take(out, np.float32) if settings.get(5) == "1" else torch.zeros(out))
        elif kind == "PReLU":
            weights = (take(int(settings[0]), np.float32),)
        elif kind not in _WITHOUT_NUMBERS:
            raise ValueError(f"{kind} is not read here")
        return NcnnLayer(kind, tuple(words[:first]), tuple(words[first:last]), settings, weights)

    try:
        layers = [read(line) for line in lines if line.strip()]
    except (ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"is no network of convolutions that is read here: {error}", path=f"{stem}.param") from error
    if at != len(raw):
        raise WeightsError(f"has {len(raw)} bytes where its layers take {at}", path=f"{stem}.bin")
    return layers
