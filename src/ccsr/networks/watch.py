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
class Stage:
    """One part of the work, in the order in which they run."""

    name: str
    networks: Sequence[nn.Module]
    rows: int
    """Rows of a batch that will come to each norm: tiles, times two under guidance, times evaluations."""
    cost: float
    """Work of this part, in any unit that all stages share."""


@contextmanager
def watched(stages: Sequence[Stage], on_share: Callable[[float, str], None]) -> Iterator[None]:
    """Inside, `on_share` is called as (share of all work in 0..1, stage's name) before each group norm."""
    total = sum(stage.cost for stage in stages)
    handles, before = [], 0.0
    for stage in stages:
        norms = norms_of(stage.networks)
        hook = _counting(stage, before / total, stage.cost / total, len(norms), on_share)
        handles += [norm.register_forward_pre_hook(hook) for norm in norms]
        before += stage.cost
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _counting(
    stage: Stage, start: float, share: float, norms: int, on_share: Callable[[float, str], None]
) -> Callable[[nn.Module, Any], None]:
    seen = 0

    def hook(_: nn.Module, inputs: Any) -> None:
        nonlocal seen
        seen += len(inputs[0])
        on_share(start + share * min(1.0, seen / (norms * stage.rows)), stage.name)

    return hook
