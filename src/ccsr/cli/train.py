"""`ccsr train`: a config file, settings laid over it, a bar, and a model folder at the end."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccsr.cli import terminal
from ccsr.cli.arguments import Command, Parser
from ccsr.errors import OptionError

if TYPE_CHECKING:
    from ccsr.training.loop import Progress
    from ccsr.training.validation import Levels

_STAGES = {
    "pretrain": "Train a model's VAE, then its denoiser, from nothing or from a base.",
    "stage1": "Train the networks to restore structure: ControlNet and, for small models, all of the denoiser.",
    "stage2": "Train the decoder on the latents that inference gives it (DeFT).",
}


def _parser(stage: str) -> Parser:
    made = Parser(
        f"ccsr train {stage}",
        "--config FILE [key=value ...] [options]",
        f"{_STAGES[stage]} The same command goes on where a run was stopped.",
    )
    made.add_argument("words", nargs="*", metavar="key=value", help="settings over the file's, such as loop.steps=1000")
    made.add_argument("--config", metavar="FILE", help="YAML; configs/ holds some to begin with")
    made.add_argument(
        "--dry-run", action="store_true", help="print every setting as YAML, count the pictures, and stop"
    )
    made.add_argument("--no-progress", action="store_true", help="no bar")
    made.add_argument("-q", "--quiet", action="store_true", help="only errors")
    made.add_argument("-v", "--verbose", action="store_true", help="all messages")
    return made


def _run(stage: str, arguments: argparse.Namespace) -> int:
    if not arguments.config:
        raise OptionError("--config is needed", hint="a YAML file; configs/ holds some to begin with")
    from ccsr.training.config import resolve
    from ccsr.training.yaml_config import as_yaml, read_settings

    config = resolve(stage, read_settings(Path(arguments.config), arguments.words))
    if arguments.dry_run:
        from ccsr.data.sources import Pictures
        from ccsr.training.run import cache_note, caches, sources_of

        print(as_yaml(config), end="")
        pictures = Pictures.open(sources_of(config))
        terminal.say(f"{len(pictures)} pictures{f'; {cache_note(pictures)}' if caches(config) else ''}")
        return 0
    from ccsr.training.run import train

    # Of several processes, started by accelerate or torchrun, the first one speaks.
    quiet = arguments.quiet or os.environ.get("RANK", "0") != "0"
    reporter = TrainingReporter(progress=not arguments.no_progress, quiet=quiet)
    try:
        outcome = train(config, reporter)
    finally:
        reporter.close()
    if not quiet:
        if outcome.finished:
            terminal.say(f"done after step {outcome.step}: {outcome.model}")
        else:
            terminal.say(f"stopped after step {outcome.step}; the same command goes on")
    return 0 if outcome.finished or not reporter.interrupted else 130


class TrainingReporter:
    """Listens to the loop: a bar with the time left on a terminal, else a line now and then."""

    def __init__(self, *, progress: bool, quiet: bool) -> None:
        self._progress, self._quiet = progress and not quiet and sys.stderr.isatty(), quiet
        self._bar: Any = None
        self._steps = 0
        self._start: tuple[float, int] | None = None
        self.interrupted = False

    def __call__(self, progress: "Progress") -> None:
        """Show one event; only the first of several processes speaks."""
        if progress.kind == "note":  # before the first step, when there is no bar yet
            if not self._quiet:
                terminal.say(progress.text)
            return
        if (self._bar is None and self._progress) or progress.steps != self._steps:
            self._begin(progress)
        match progress.kind:
            case "step" if self._bar:
                self._bar.update(progress.step - self._bar.n)
            case "log" | "evaluation" if not self._quiet:
                self._tell(progress)
            case "warning":
                terminal.say(f"warning: {progress.text}")
            case "stopped":
                self.interrupted = True

    def _begin(self, progress: "Progress") -> None:
        self.close()
        self._steps, self._start = progress.steps, (time.monotonic(), progress.step)
        if self._progress:
            from tqdm import tqdm

            # The losses stand behind the time left, as many as there is room for.
            self._bar = tqdm(
                total=progress.steps, initial=progress.step, unit="step", file=sys.stderr, leave=False,
                dynamic_ncols=True, smoothing=0.05,
            )  # fmt: skip
            terminal.add_bar(self._bar)

    def _tell(self, progress: "Progress") -> None:
        values = ", ".join(f"{name} {value:.4g}" for name, value in progress.values.items())
        if self._bar and progress.kind == "log":
            self._bar.set_postfix_str(values[:80])
            return
        left = ""
        if self._start and progress.step > self._start[1]:
            began, first = self._start
            rest = (time.monotonic() - began) / (progress.step - first) * (progress.steps - progress.step)
            left = f", {terminal.duration(rest)} left" if rest > 0 else ""
        step = f"step {progress.step}/{progress.steps}{left}:"
        from ccsr.training.validation import by_level

        if levels := by_level(progress.values):
            for line in (step, *_table(levels)):
                terminal.say(line)
        else:
            terminal.say(f"{step} {values}")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar:
            terminal.remove_bar(self._bar)
            self._bar = None


def _table(levels: "Levels") -> list[str]:
    """A line for each level: bicubic enlargement, codec alone, S1, each with PSNR, PSNR of CbCr, and distance."""
    width = max(map(len, levels))
    methods = list(next(iter(levels.values())))
    heads = "".join(f"{name:>24}" for name in ("S1" if method == "s1" else method for method in methods))
    lines = [f"{'':{width}}{heads}", f"{'':{width}}" + f"{'PSNR':>8}{'CbCr':>7}{'distance':>9}" * len(methods)]
    for level, found in levels.items():
        cells = "".join(f"{s['psnr']:8.2f}{s['cbcr']:7.2f}{s['distance']:9.4f}" for s in found.values())
        lines.append(f"{level:{width}}{cells}")
    return lines


def _command(stage: str) -> Command:
    return Command(lambda: _parser(stage), lambda arguments: _run(stage, arguments))


COMMANDS = {f"train {stage}": _command(stage) for stage in _STAGES}
