"""A job as a response, whether it waits, runs or has ended."""

from ccsr.serve.admission import Choice
from ccsr.serve.eta import Estimator
from ccsr.serve.queue import Place
from ccsr.serve.responses import ChoiceResponse, JobInput, JobResponse, JobResult, PhotoPlan, Stability
from ccsr.serve.settings import ServeSettings
from ccsr.serve.store import Input, Result, StoredJob


def active_view(place: Place, estimator: Estimator, keep_seconds: float) -> JobResponse:
    """A job that waits or runs."""
    active = place.active
    return job_view(
        active.snapshot(), keep_seconds, active.progress, estimator.seconds_to_end(place), position=place.position
    )


def stored_view(job: StoredJob, keep_seconds: float) -> JobResponse:
    """A job that has ended."""
    done = len(job.results)
    return job_view(job, keep_seconds, 1.0 if job.state == "done" else done / max(1, done + 1))


def job_view(
    job: StoredJob, keep_seconds: float, progress: float, seconds_left: float | None = None, position: int = 0
) -> JobResponse:
    """The response for a job; it is removed `keep_seconds` after its end."""
    links = links_of(job.id)
    return JobResponse(
        id=job.id,
        state=job.state,
        progress=round(progress, 4),
        seconds_left=None if seconds_left is None else round(seconds_left, 1),
        position=position,
        created=round(job.created, 3),
        expires=round(job.finished + keep_seconds, 3) if job.finished else None,
        error=job.error,
        options=job.options,
        inputs=[_input_view(links["self"], input) for input in job.inputs],
        files=[_result_view(links["self"], result) for result in job.results],
        links=links,
    )


def links_of(id: str) -> dict[str, str]:
    """Where a job can be asked for."""
    home = f"/v1/jobs/{id}"
    return {"self": home, "events": f"{home}/events", "result": f"{home}/result"}


def _input_view(home: str, input: Input) -> JobInput:
    links = {
        "picture": f"{home}/input?index={input.number}",
        "stability": f"{home}/stability?index={input.number}" if input.spread else None,
    }
    return JobInput(
        index=input.number, name=input.name, stability=Stability(**input.spread) if input.spread else None, links=links
    )


def _result_view(home: str, result: Result) -> JobResult:
    links = {
        "result": f"{home}/result?index={result.number}" if result.stored else None,
        "difference": f"{home}/difference?index={result.number}" if result.stored else None,
    }
    return JobResult(index=result.number, input_index=result.input, sample=result.sample, **result.record, links=links)


def photo_plan(width: int, height: int, choices: list[Choice], largest: Choice, settings: ServeSettings) -> PhotoPlan:
    """The choices for a photo of (width, height) as they are sent."""

    def view(choice: Choice) -> ChoiceResponse:
        plan, seconds = choice.plan, choice.seconds
        return ChoiceResponse(
            scale=float(choice.scale),
            width=plan.output_width if plan else None,
            height=plan.output_height if plan else None,
            seconds=None if seconds is None or plan is None else round(seconds, 1),
            late=plan is not None and (seconds or 0) > settings.job_seconds,
            problem=choice.problem,
        )

    return PhotoPlan(width=width, height=height, choices=[view(c) for c in choices], largest=view(largest))
