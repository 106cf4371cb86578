"""Where the networks are: moved to a plan's device and number format while nobody else is at work in them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ccsr.pipeline.lock import ReadWriteLock
from ccsr.plan import Plan
from ccsr.weights.tensors import DTYPES


@contextmanager
def placed(networks: Sequence[Any], plan: Plan, lock: ReadWriteLock) -> Iterator[None]:
    """Inside, the networks are where the plan wants them and stay there, and torch has the plan's threads."""
    # With its number, as networks tell theirs: `cuda` is the same place as `cuda:0`.
    device, dtype = torch.empty(0, device=plan.device).device, DTYPES[plan.dtype]
    if plan.tile is None and plan.vae_tile is None:
        with lock.shared():
            if not _elsewhere(networks, device, dtype):
                _set_threads(plan)
                yield
                return
    # Nobody else may be at work in networks that move, or that keep the statistics of tiles.
    with lock.exclusive():
        for network in _elsewhere(networks, device, dtype):
            torch.nn.Module.to(network, device, dtype)
        _set_threads(plan)
        yield


def _elsewhere(networks: Sequence[Any], device: torch.device, dtype: torch.dtype) -> list[Any]:
    """The networks that are not on that device and in that number format; offloaded ones go there by themselves."""
    return [
        network
        for network in networks
        if network.dtype != dtype or (network.device != device and not hasattr(network, "_hf_hook"))
    ]


def _set_threads(plan: Plan) -> None:
    if plan.device == "cpu" and torch.get_num_threads() != plan.threads:
        torch.set_num_threads(plan.threads)
