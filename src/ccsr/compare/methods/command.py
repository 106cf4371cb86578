"""Any program, as a command template."""

import itertools
import re
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ccsr.compare import processes
from ccsr.compare.find_results import find_results, place
from ccsr.compare.methods.base import Cost, Method, MethodJob, MethodResult
from ccsr.errors import OptionError

FIELDS = ("lr", "out", "seed", "steps", "samples")
_FIELD = re.compile(r"\{(\w*)\}")
_MARGIN = 0.1
"""Share of a program's time over which its results must spread to tell the time of one from their dates."""


@dataclass(frozen=True, kw_only=True)
class ExternalProgram(Method):
    """A program that reads the pictures of a folder `{lr}` (PNG) and writes results somewhere below `{out}`.

    `{seed}`, `{steps}` and `{samples}` are filled in where they stand. With `{samples}` the program makes all runs at
    once; with `{seed}` alone it is started once for each run, with seeds that follow each other; with neither it runs
    once. No shell is involved.
    """

    PATHS: ClassVar[tuple[str, ...]] = ("cwd",)
    ONE_BY_ONE: ClassVar[bool] = False

    command: str | Sequence[str]
    cwd: Path | None = None
    """Folder that the program runs in."""
    outputs: str | None = None
    """Pattern of the results below `{out}`, such as `*/{name}_out.png`, where there are other pictures too."""

    def check(self) -> None:
        """The template must take inputs and outputs, and know its fields."""
        found = {name for word in self._words() for name in _FIELD.findall(word)}
        for name in sorted(found - set(FIELDS)):
            raise OptionError(
                f"{self.name}: {{{name}}} is no field of a command", hint=f"there are {', '.join(FIELDS)}"
            )
        for name in ("lr", "out"):
            if name not in found:
                raise OptionError(f"{self.name}: the command has no {{{name}}}", hint="{lr} and {out} are folders")
        if "steps" in found and self.steps is None:
            raise OptionError(f"{self.name}: the command has {{steps}}, the method has none", hint="steps: 50")

    def runs(self, asked: int) -> int:
        """One where the template has no place for a seed or a number of samples."""
        return (self.samples or asked) if self._has("seed") or self._has("samples") else 1

    def make(self, job: MethodJob) -> MethodResult:
        """Run the program, for each run or once for all, and collect what it wrote."""
        cost = Cost()
        passes = 1 if self._has("samples") else job.runs
        for number in range(passes):
            home = job.results / f"sample{number:02d}" if passes > 1 else job.results
            if home.is_dir() and any(home.iterdir()):
                continue  # an earlier comparison was stopped after this pass
            out = job.scratch / f"out{number:02d}"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            begin = time.time()
            ended = processes.run(
                self._filled(job, out, number), job.log, cwd=self.cwd, environment=processes.thread_limits(job.threads)
            )
            found = find_results(out, job.inputs, self.outputs)
            cost = _cost(begin, ended, [path for run in found for path in run.values()]).after(cost)
            if passes > 1:
                place(found[:1], job.results, number, passes)
            else:
                place(found, job.results)
            shutil.rmtree(out)
            job.on_progress(number + 1, passes)
        return MethodResult(cost)

    def _filled(self, job: MethodJob, out: Path, number: int) -> list[str]:
        values = {
            "lr": str(next(iter(job.inputs.values())).parent.resolve()),
            "out": str(out.resolve()),
            "seed": str(job.seed + number),
            "steps": str(self.steps),
            "samples": str(job.runs),
        }
        return [_FIELD.sub(lambda match: values[match[1]], word) for word in self._words()]

    def _words(self) -> list[str]:
        return shlex.split(self.command) if isinstance(self.command, str) else [str(word) for word in self.command]

    def _has(self, name: str) -> bool:
        return any(f"{{{name}}}" in word for word in self._words())


def _cost(begin: float, ended: processes.Ended, results: Sequence[Path]) -> Cost:
    """Seconds of one picture: from the dates of the results if the program wrote them one after another."""
    dates = sorted(path.stat().st_mtime for path in results)
    if len(dates) > 1 and dates[-1] - dates[0] > _MARGIN * ended.seconds:
        gaps = [later - earlier for earlier, later in itertools.pairwise(dates)]
        return Cost(dates[0] - begin, None, gaps, ended.peak_bytes, "by the dates of its results; load holds the first")
    return Cost(None, ended.seconds / len(dates), [], ended.peak_bytes, "whole run over its pictures, load included")
