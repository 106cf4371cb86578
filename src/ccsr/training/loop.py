"""The training loop: one `while` that evaluates, steps, averages, logs and saves.

Nothing here keeps a random state. Which samples, noise and timesteps step n of process r sees is a function of
(seed, n, r), so a run goes on from a checkpoint as if it had never stopped, and two processes with one pass each do
what one process with two passes does.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ccsr.data.pairs import Pair, generator_of
from ccsr.errors import OptionError, TrainingError
from ccsr.log import get_logger
from ccsr.training import checkpoints
from ccsr.training.checkpoints import Checkpoint
from ccsr.training.config import LoopConfig

logger = get_logger("training")

_GIVE_UP = 20
"""Steps in a row whose gradients are not finite."""


class StepNoise:
    """The random values of one pass: `normal` on the device, everything else by `rng`."""

    def __init__(self, seed: int, number: int, device: torch.device) -> None:
        self.rng = generator_of(seed, 3, number)
        self._generator = torch.Generator(device).manual_seed(int(self.rng.integers(2**62)))
        self._device = device

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal values, float32."""
        return torch.randn(tuple(shape), generator=self._generator, device=self._device)


Losses = Callable[[Pair, StepNoise, int], dict[str, Tensor]]
"""Named, weighted terms, float32 scalars, whose sum is minimised, for (pair, draws, step)."""


@dataclass
class Trainee:
    """A network that learns, with its own losses and optimiser. Only tensors that ask for gradients are trained."""

    name: str
    module: nn.Module
    losses: Losses


@dataclass
class ValidationResult:
    """How good the network is now."""

    scores: dict[str, float]
    sheet: Tensor | None = None
    """A picture of results, (3, H, W) in 0..1."""


class TrainingStage(Protocol):
    """What is trained: the first trainee is the product, whose weights are averaged; a second one is its critic."""

    trainees: list[Trainee]

    def evaluate(self) -> ValidationResult | None:
        """Judge the first trainee's present weights, or None where there is nothing to judge on."""


@dataclass
class Progress:
    """What a listener hears after each step and each evaluation."""

    step: int
    steps: int
    values: dict[str, float] = field(default_factory=dict)
    """Means since the last line of the log, when there is one; scores after an evaluation."""
    kind: str = "step"
    """step, log, evaluation, save, stopped (by a signal), or note and warning (with `text`)."""
    text: str = ""


Listener = Callable[[Progress], None]


def _silence(progress: Progress) -> None:
    """A listener that says nothing."""


class EMA:
    """Exponential moving average of the trained tensors, in float32."""

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self.decay, self.count = decay, 0
        self.values = {name: value.detach().float().clone() for name, value in tensors.items()}

    @torch.no_grad()
    def update(self, tensors: Mapping[str, Tensor]) -> None:
        """Take in the present weights; the first ones count more, so that a short run has an average too."""
        self.count += 1
        weight = 1 - min(self.decay, self.count / (self.count + 10))
        for name, value in tensors.items():
            self.values[name].lerp_(value.float(), weight)

    @contextmanager
    def swapped_in(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside, the network has the averaged weights."""
        kept = {name: value.detach().clone() for name, value in tensors.items()}
        self.copy_to(tensors)
        try:
            yield
        finally:
            _copy(kept, tensors)

    def copy_to(self, tensors: Mapping[str, Tensor]) -> None:
        """Give the network the averaged weights for good."""
        _copy(self.values, tensors)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, value in target.items():
        value.copy_(source[name])


def rate_factor(step: int, config: LoopConfig) -> float:
    """Learning rate at a step as a share of the full one: warm-up, then constant, or a plateau and a cosine."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    if config.schedule == "constant":
        return warm
    fall = max(0.0, (step / config.steps - config.hold) / max(1e-9, 1 - config.hold))
    return warm * (config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, fall))))


class TrainState:
    """A trainee's trained tensors, their optimiser and its loss scale."""

    def __init__(self, trainee: Trainee, config: LoopConfig, device: torch.device) -> None:
        self.trainee, self.config = trainee, config
        named = dict(trainee.module.named_parameters())
        self.trained = {name: p for name, p in named.items() if p.requires_grad}
        if not self.trained:
            raise OptionError(f"nothing of {trainee.name} is trained", hint="model.trained names the parts that learn")
        # Statistics and power-iteration vectors belong to the state, though no gradient reaches them.
        self.buffers = {
            name: b for name, b in trainee.module.named_buffers() if name in trainee.module.state_dict(keep_vars=True)
        }
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
        self.optimizer: torch.optim.Optimizer = kind(
            list(self.trained.values()), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    def update(self, step: int, world: int) -> Tensor:
        """One step on the gradients of all passes and processes; returns their norm, whether or not it was finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * rate_factor(step, self.config)
        parameters = list(self.trained.values())
        average_gradients(parameters, world)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif torch.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weights and buffers, and the optimiser's tensors, by name."""
        tensors: dict[str, Tensor] = {
            f"{self.trainee.name}/{n}": v for n, v in {**self.trained, **self.buffers}.items()
        }
        moments = {
            f"{self.trainee.name}/{index}/{key}": value
            for index, values in self.optimizer.state_dict()["state"].items()
            for key, value in values.items()
        }
        return tensors, moments

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint's state."""
        head = f"{self.trainee.name}/"
        _copy({n.removeprefix(head): v for n, v in checkpoint.weights.items()}, {**self.trained, **self.buffers})
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in checkpoint.optimizer.items():
            if name.startswith(head):
                index, key = name.removeprefix(head).split("/")
                state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        if scale := checkpoint.facts.get("scales", {}).get(self.trainee.name):
            self.scaler.load_state_dict(scale)


def average_gradients(parameters: Sequence[nn.Parameter], world: int) -> None:
    """Replace each gradient by its mean over all processes.

    By hand and after the last pass, not by a wrapper's hooks: those only see what goes through the wrapper's forward,
    and the published stage 2 calls its decoder past it, so that its processes drift apart (ccsr-spec 6.4).
    """
    if world == 1:
        return
    by_kind: dict[torch.dtype, list[Tensor]] = {}
    for p in parameters:
        if p.grad is None:  # another process may have one
            p.grad = torch.zeros_like(p)
        by_kind.setdefault(p.grad.dtype, []).append(p.grad)
    for gradients in by_kind.values():
        flat = torch.cat([g.flatten() for g in gradients])
        torch.distributed.all_reduce(flat)
        flat /= world
        for g, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            g.copy_(mean.view_as(g))


def fit(
    stage: TrainingStage,
    batches_from: Callable[[int], Iterator[Pair]],
    config: LoopConfig,
    run: Path,
    accelerator: Accelerator,
    listen: Listener = _silence,
) -> bool:
    """Train until `config.steps`; True when done, False when time or a signal ended it early.

    The first trainee ends with its averaged weights. `batches_from(n)` gives this process's batches from number n on.
    `run` gets `checkpoints/`, `log.jsonl` and `pictures/`; if it has a checkpoint, training goes on from it.

    Raises:
        TrainingError: a checkpoint cannot be written, or losses stay without a finite gradient.
    """
    device, world, rank = accelerator.device, accelerator.num_processes, accelerator.process_index
    if not accelerator.is_main_process:
        listen = _silence
    learning = [TrainState(trainee, config, device) for trainee in stage.trainees]
    product = learning[0]
    average = EMA(product.trained, config.ema) if config.ema else None
    step, before, skipped = 0, 0.0, 0
    if accelerator.is_main_process:
        checkpoints.clean(run)
    if (last := _agreed(checkpoints.latest(run), world)) is not None:
        found = checkpoints.load(run, last)
        step, before, skipped = found.step, found.facts["seconds"], found.facts["skipped"]
        for each in learning:
            each.restore(found)
        if average:
            average.count = found.facts["averaged"]
            average.values = {name: found.average[name].to(device) for name in average.values}
    log = _Log(run, step, accelerator, listen, config.steps)
    stream = batches_from(step * config.accumulate)
    sums = dict[str, Tensor | float]()
    counted, bad_steps = 0, 0
    start = since = time.monotonic()
    waiting = 0.0

    def seconds() -> float:
        return before + time.monotonic() - start

    def save() -> None:
        if not accelerator.is_main_process:
            return
        states = [each.state() for each in learning]
        facts = {
            "seconds": seconds(), "skipped": skipped, "averaged": average.count if average else 0,
            "scales": {e.trainee.name: e.scaler.state_dict() for e in learning},
        }  # fmt: skip
        weights, moments = ({k: v for s in states for k, v in s[i].items()} for i in (0, 1))
        state = Checkpoint(step, weights, average.values if average else {}, moments, facts)
        checkpoints.save(run, state, config.keep)
        listen(Progress(step, config.steps, kind="save"))

    with _stop_signals() as stopped:
        while True:
            if accelerator.is_main_process and (step % config.evaluate_every == 0 or step == config.steps):
                with average.swapped_in(product.trained) if average else _nothing():
                    log.evaluation(step, seconds(), stage.evaluate())
            if step >= config.steps:
                break
            for k in range(config.accumulate):
                waited = time.monotonic()
                pair = next(stream)
                waiting += time.monotonic() - waited
                skipped += log.skipped(step, pair.skipped)
                pair = Pair(pair.gt.to(device, non_blocking=True), pair.lq.to(device, non_blocking=True), ())
                draws = StepNoise(config.seed, (step * config.accumulate + k) * world + rank, device)
                for each in learning:
                    terms = each.trainee.losses(pair, draws, step)
                    total = torch.stack(list(terms.values())).sum() / config.accumulate
                    each.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
                    for name, value in terms.items():
                        sums[name] = sums.get(name, 0.0) + value.detach() / config.accumulate
            finite = True
            for each in learning:
                norm = each.update(step, world)
                name = "gradient" if each is product else f"gradient_{each.trainee.name}"
                sums[name] = sums.get(name, 0.0) + norm
                # A loss scale of fp16 that is too large costs a few steps in a row, each of which halves it.
                finite = finite and bool(torch.isfinite(norm))
            bad_steps = 0 if finite else bad_steps + 1
            if bad_steps == _GIVE_UP:
                raise TrainingError(
                    f"no finite gradient in {_GIVE_UP} steps before step {step}",
                    path=run,
                    hint="lower loop.learning_rate",
                )
            if average:
                average.update(product.trained)
            step += 1
            counted += 1
            listen(Progress(step, config.steps))
            if step % config.log_every == 0 or step == config.steps:
                rate = config.learning_rate * rate_factor(step - 1, config)
                means = {n: float(v) / counted for n, v in sums.items()}
                now = time.monotonic()
                # Of the time, how much passed waiting for data.
                timing = {"seconds_per_step": (now - since) / counted, "waiting": waiting / (now - since)}
                log.means(step, seconds(), {**means, **timing, **({"skipped": skipped} if skipped else {})}, rate)
                sums, counted, since, waiting = {}, 0, now, 0.0
            out_of_time = config.hours is not None and time.monotonic() - start > config.hours * 3600
            early = _any(bool(stopped) or out_of_time, world, device)
            if step % config.save_every == 0 or step == config.steps or early:
                save()
            if early and step < config.steps:
                if stopped:
                    listen(Progress(step, config.steps, kind="stopped"))
                log.close()
                if average:
                    average.copy_to(product.trained)
                return False
    if average:
        average.copy_to(product.trained)
    log.close()
    return True


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _agreed(last: int | None, world: int) -> int | None:
    """What the first process found, on all."""
    if world == 1:
        return last
    said: list[Any] = [last]
    torch.distributed.broadcast_object_list(said)
    return said[0]


def _any(mine: bool, world: int, device: torch.device) -> bool:
    if world == 1:
        return mine
    flag = torch.tensor(float(mine), device=device)
    torch.distributed.all_reduce(flag)
    return bool(flag > 0)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """The first interrupt or termination ends the run after its step, with a checkpoint; a second one at once."""
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    earlier: dict[int, Any] = {}

    def hear(number: int, frame: Any) -> None:
        heard.append(number)
        signal.signal(number, earlier[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        earlier[number] = signal.getsignal(number)
        signal.signal(number, hear)
    try:
        yield heard
    finally:
        for each, handler in earlier.items():
            signal.signal(each, handler)


class _Log:
    """`log.jsonl`, the trackers and the listener; only the first process writes."""

    def __init__(self, run: Path, step: int, accelerator: Accelerator, listen: Listener, steps: int) -> None:
        self.accelerator, self.listen, self.steps, self.run = accelerator, listen, steps, run
        self.seen: set[str] = set()
        self.file = None
        if accelerator.is_main_process:
            run.mkdir(parents=True, exist_ok=True)
            path = run / "log.jsonl"
            if path.exists():
                # Lines of steps that are done anew: a killed run had got further than its last checkpoint.
                lines = [line for line in path.read_text(encoding="utf-8").splitlines() if _is_past(line, step)]
                path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            self.file = path.open("a", encoding="utf-8")

    def _write(self, line: dict[str, Any]) -> None:
        if self.file:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()

    def means(self, step: int, seconds: float, values: dict[str, float], rate: float) -> None:
        """Means over the steps since the last call."""
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        self._write({"step": step, "seconds": round(seconds, 1), "rate": rate, **rounded})
        self.accelerator.log({f"train/{n}": v for n, v in values.items()} | {"train/rate": rate}, step=step)
        self.listen(Progress(step, self.steps, rounded, "log"))

    def evaluation(self, step: int, seconds: float, found: ValidationResult | None) -> None:
        """Scores into the log, the sheet into `pictures/`."""
        if found is None:
            return
        self._write({"step": step, "seconds": round(seconds, 1), "evaluation": found.scores})
        self.accelerator.log({f"validation/{n}": v for n, v in found.scores.items()}, step=step)
        if found.sheet is not None:
            from PIL import Image

            pixels = (found.sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            (self.run / "pictures").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(self.run / "pictures" / f"step-{step:08d}.png")
            for tracker in self.accelerator.trackers:
                # The only two that take pictures, each in its own way.
                if tracker.name == "tensorboard":
                    tracker.log_images({"validation": pixels[None]}, step=step, dataformats="NHWC")
                elif tracker.name == "wandb":
                    tracker.log_images({"validation": [pixels]}, step=step)
        self.listen(Progress(step, self.steps, found.scores, "evaluation"))

    def skipped(self, step: int, lines: Sequence[str]) -> int:
        """Say each bad picture once; returns how many there were."""
        for line in lines:
            if line not in self.seen:
                self.seen.add(line)
                self.listen(Progress(step, self.steps, kind="warning", text=f"skipped: {line}"))
        return len(lines)

    def close(self) -> None:
        if self.file:
            self.file.close()


def _is_past(line: str, step: int) -> bool:
    try:
        said = json.loads(line)
        # The evaluation at the step itself is about to be made again.
        return bool(said["step"] < step or (said["step"] == step and "evaluation" not in said))
    except (ValueError, KeyError, TypeError):
        return False  # cut off by a kill
