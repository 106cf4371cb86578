"""The training loop: one `while` that evaluates, steps, averages, logs and saves."""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

logger = logging.getLogger("ccsr.training")


@dataclass(frozen=True)
class LoopConfig:
    """How long, how fast and how often: shared by every stage."""

    minutes: float = 30.0
    """Wall time of the run; the rate decays over it, so that a slow machine still ends its decay."""
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    """Last rate as a share of the first (cosine decay)."""
    hold: float = 0.3
    """Share of the run at the full rate before the decay."""
    warmup_steps: int = 50
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    save_minutes: float = 4.0
    evaluate_minutes: float = 2.0
    seed: int = 0


class Average:
    """Exponential moving average of a module's parameters and buffers, kept in float32."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.values = {name: value.detach().clone().float() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's present weights; the first ones count more, so that a short run has an average too."""
        self.count += 1
        weight = 1 - min(self.decay, self.count / (self.count + 10))
        for name, value in module.state_dict().items():
            self.values[name].lerp_(value.float(), weight)

    def swapped_into(self, module: nn.Module) -> dict[str, Tensor]:
        """Load the average into `module`; returns the weights that were there."""
        kept = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.values)
        return kept


def rate_factor(progress: float, step: int, config: LoopConfig) -> float:
    """Learning rate at `progress` (0..1) as a share of the full one: warm-up, plateau, cosine decay."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = max(0.0, (progress - config.hold) / (1 - config.hold))
    cosine = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))
    return warm * cosine


def fit(
    module: nn.Module,
    losses: Callable[[int], dict[str, Tensor]],
    config: LoopConfig,
    folder: Path,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train `module`'s parameters that ask for gradients until the time is over; leave the average in it.

    `losses(step)` returns the named, weighted terms whose sum is minimised; `evaluate()` runs with the averaged
    weights. `folder` gets `log.jsonl` and `average.safetensors`, the latter replaced as a whole at each save.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    average = Average(module, config.ema_decay)
    start = time.monotonic()
    saved = evaluated = start
    step, means = 0, dict[str, float]()
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:

        def record(values: dict[str, float]) -> None:
            line = {"step": step, "minutes": round((time.monotonic() - start) / 60, 2), **values}
            log.write(json.dumps(line) + "\n")
            log.flush()
            logger.info("%s", line)

        while (progress := (time.monotonic() - start) / (60 * config.minutes)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * rate_factor(progress, step, config)
            terms = losses(step)
            total = torch.stack(list(terms.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            if torch.isfinite(norm):
                optimizer.step()
                average.update(module)
            step += 1
            for name, value in (*terms.items(), ("gradient_norm", norm)):
                means[name] = means.get(name, value.item()) * 0.98 + 0.02 * value.item()
            now = time.monotonic()
            if evaluate and now - evaluated > 60 * config.evaluate_minutes:
                kept = average.swapped_into(module)
                record({**{k: round(v, 5) for k, v in means.items()}, **evaluate()})
                module.load_state_dict(kept)
                evaluated = time.monotonic()
            if now - saved > 60 * config.save_minutes:
                _save(average.values, folder)
                saved = now
        average.swapped_into(module)
        _save(average.values, folder)
        record({**{k: round(v, 5) for k, v in means.items()}, **(evaluate() if evaluate else {})})


def _save(values: dict[str, Tensor], folder: Path) -> None:
    part = folder / "average.part"
    save_file({name: value.contiguous() for name, value in values.items()}, part)
    part.replace(folder / "average.safetensors")
