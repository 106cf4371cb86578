"""What this server takes on: the tasks of a request, those beyond its limits refused one by one, and the same told in
advance for a photo that is not sent yet."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path

from ccsr.errors import CCSRError, TooLargeError
from ccsr.jobs import runner
from ccsr.options import UpscaleOptions
from ccsr.plan import MAXIMUM_SIDE, Plan, make_plan
from ccsr.serve.eta import Estimator
from ccsr.serve.settings import ServeSettings
from ccsr.serve.store import Input
from ccsr.weights import ModelDescription

_LARGEST_SCALE = 8


@dataclass(frozen=True)
class Choice:
    """What one photo would become at one scale."""

    scale: Fraction
    plan: Plan | None
    """None where it cannot be."""
    seconds: float | None
    """Of all samples; None where there is nothing to judge by."""
    problem: str | None
    """Why it cannot be, in one line."""


def on_device(options: UpscaleOptions, device: str, settings: ServeSettings) -> UpscaleOptions:
    """A request's options with what the server decides."""
    return dataclasses.replace(options, device=device, threads=settings.threads)


def job_of(folder: Path, inputs: Sequence[Input], model: ModelDescription) -> runner.Job:
    """A job as the runner takes it: from the files of `inputs` in its folder to results beside them."""
    return runner.Job([folder / input.stored for input in inputs], model, f"{folder / 'result'}/")


def tasks_of(job: runner.Job, options: UpscaleOptions, settings: ServeSettings) -> list[runner.Task]:
    """The tasks of a job; those of a picture that is too large for this server have failed already.

    Raises:
        CCSRError: as `runner.prepare`.
    """
    return [_within(task, settings) for task in runner.prepare(job, options).tasks]


def _within(task: runner.Task, settings: ServeSettings) -> runner.Task:
    if task.planned is None or task.error is not None:
        return task
    header, plan = task.planned.header, task.planned.plan
    problem = refusal(header.width, header.height, plan, settings)
    if problem is None:
        return task
    error = TooLargeError(problem.what, path=task.source.path, hint=problem.hint)
    return dataclasses.replace(task, error=error, planned=None)


def refusal(width: int, height: int, plan: Plan | None, settings: ServeSettings) -> TooLargeError | None:
    """Why a picture of (width, height), or the result that is planned of it, is too large for this server."""
    if (coming := width * height / 1e6) > settings.max_megapixels:
        return TooLargeError(
            f"{width}x{height} is {coming:.1f} megapixels, the limit is {settings.max_megapixels:g}",
            hint="cut or shrink it first",
        )
    if plan and (made := plan.output_width * plan.output_height / 1e6) > settings.max_output_megapixels:
        return TooLargeError(
            f"the result has {made:.1f} megapixels, the limit is {settings.max_output_megapixels:g}",
            hint="choose a smaller --scale",
        )
    return None


@dataclass(frozen=True)
class Adviser:
    """Tells in advance what a request would get: the plans, limits and estimates that the request itself meets."""

    options: UpscaleOptions
    model: ModelDescription
    settings: ServeSettings
    estimator: Estimator

    def choice(self, width: int, height: int, scale: Fraction) -> Choice:
        """What a photo of (width, height) would become at this scale."""
        options = dataclasses.replace(self.options, scale=scale, width=None, height=None, megapixels=None, print=None)
        try:
            plan = make_plan(width, height, options, self.model)
        except CCSRError as error:
            return Choice(scale, None, None, str(error))
        if problem := refusal(width, height, plan, self.settings):
            return Choice(scale, None, None, str(problem))
        seconds = self.estimator.seconds_for(plan.flops * options.samples)
        return Choice(scale, plan, seconds, None)

    def largest(self, width: int, height: int) -> Choice:
        """The largest scale that fits, in hundredths, at most 8."""
        by_pixels = (self.settings.max_output_megapixels * 1e6 / (width * height)) ** 0.5
        by_side = MAXIMUM_SIDE / max(width, height)
        hundredths = max(100, floor(100 * min(_LARGEST_SCALE, by_pixels, by_side)))
        choice = self.choice(width, height, Fraction(hundredths, 100))
        # Rounding of the sides, or memory, may ask for a little or a lot less.
        while choice.problem and hundredths > 100:
            hundredths = max(100, min(hundredths - 1, hundredths * 9 // 10))
            choice = self.choice(width, height, Fraction(hundredths, 100))
        return choice
