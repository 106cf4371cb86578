"""How far the networks are with one picture, told from inside: a pass through a network runs each of its layers once.

The listener is called many times a second, so it may also stop the work by raising.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from ccsr.networks.tiled import norms_of


@dataclass(frozen=True)
class WorkPart:
    """One part of the work, in the order in which they run."""

    name: str
    networks: Sequence[nn.Module]
    rows: int
    """Rows of a batch that will come to each layer: tiles, times two under guidance, times evaluations."""
    cost: float
    """Work of this part, in any unit that all parts share."""


@contextmanager
def watched(parts: Sequence[WorkPart], on_share: Callable[[float, str], None]) -> Iterator[None]:
    """Inside, `on_share` is called as (share of all work in 0..1, part's name) before each layer that counts."""
    total = sum(part.cost for part in parts)
    handles, before = [], 0.0
    for part in parts:
        layers = _layers(part.networks)
        hook = _counting(part, before / total, part.cost / total, len(layers), on_share)
        handles += [layer.register_forward_pre_hook(hook) for layer in layers]
        before += part.cost
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(networks: Sequence[nn.Module]) -> Sequence[nn.Module]:
    """Group norms, which stand evenly between the others; convolutions where there are none."""
    return norms_of(networks) or [m for network in networks for m in network.modules() if isinstance(m, nn.Conv2d)]


def _counting(
    part: WorkPart, start: float, share: float, layers: int, on_share: Callable[[float, str], None]
) -> Callable[[nn.Module, Any], None]:
    seen = 0

    def hook(_: nn.Module, inputs: Any) -> None:
        nonlocal seen
        seen += len(inputs[0])
        on_share(start + share * min(1.0, seen / (layers * part.rows)), part.name)

    return hook
