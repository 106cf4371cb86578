"""How far the networks are with one picture, told from inside: a pass through a network runs each group norm once.

The listener is called many times a second, so it may also stop the work by raising.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from ccsr.networks.tiled import norms_of


@dataclass(frozen=True)
class Phase:
    """One part of the work, in the order in which they run."""

    name: str
    networks: Sequence[nn.Module]
    rows: int
    """Rows of a batch that will come to each norm: tiles, times two under guidance, times evaluations."""
    cost: float
    """Work of this part, in any unit that all phases share."""


@contextmanager
def watched(phases: Sequence[Phase], on_share: Callable[[float, str], None]) -> Iterator[None]:
    """Inside, `on_share` is called as (share of all work in 0..1, phase's name) before each group norm."""
    total = sum(phase.cost for phase in phases)
    handles, before = [], 0.0
    for phase in phases:
        norms = norms_of(phase.networks)
        hook = _counting(phase, before / total, phase.cost / total, len(norms), on_share)
        handles += [norm.register_forward_pre_hook(hook) for norm in norms]
        before += phase.cost
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _counting(
    phase: Phase, start: float, share: float, norms: int, on_share: Callable[[float, str], None]
) -> Callable[[nn.Module, Any], None]:
    seen = 0

    def hook(_: nn.Module, inputs: Any) -> None:
        nonlocal seen
        seen += len(inputs[0])
        on_share(start + share * min(1.0, seen / (norms * phase.rows)), phase.name)

    return hook
